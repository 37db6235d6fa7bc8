"""Takes one protection of the library out at a time and runs the unit tests that should see it: each must fail then.

A mutant is found by its text, whatever the white space in it, and must stand exactly once in its file: one that
does not apply any more, or does not compile, fails the run as one does that lives.
"""
import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Overflow ends the program, as it does in the suite, which is built with this sanitizer too.
SANITIZED = {"clang++-19": ["-fsanitize=signed-integer-overflow", "-fsanitize-trap=signed-integer-overflow"],
             "g++": ["-fsanitize=signed-integer-overflow", "-fsanitize-undefined-trap-on-error"]}
COMPILER = next((c for c in SANITIZED if shutil.which(c)), "g++")  # the fastest first: it takes half the time
COMPILE = [COMPILER, "-std=c++20", "-O0", "-w", "-pthread", *SANITIZED[COMPILER], "-DBOOST_TEST_DYN_LINK",
           f"-I{ROOT}/tests/support", "-I/usr/include/postgresql"]
LINK = [*(["-fuse-ld=gold"] if shutil.which("ld.gold") else []),
        "-lboost_json", "-lboost_filesystem", "-lboost_unit_test_framework", "-lsqlite3", "-lxxhash", "-lpq"]
OTHER_USER = {"user": 65534, "group": 65534, "extra_groups": []}  # what a permission forbids, root does not notice
# No test can see what a real disk does with a sync, but all wait for it.
IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.R_OK | os.W_OK | os.X_OK) else None


@dataclass
class Mutant:
    name: str  # the protection that is taken out
    file: str  # under include/stash
    edits: list  # of (text, what stands there instead)
    tests: tuple  # of unit tests, the likeliest to see it first; "file/suite/case" runs but these of a file
    needs_root: bool = False
    may_hang: bool = False  # what is taken out is an end: running on is how a test sees it
    reason: str = ""  # why nobody can see it, of an equivalent one


mutants, equivalents = [], []


def take_out(name, file, old, new, *tests, needs_root=False, may_hang=False):
    edits = list(zip(old, new)) if isinstance(old, tuple) else [(old, new)]
    mutants.append(Mutant(name, file, edits, tests, needs_root, may_hang))


def equivalent(name, file, old, new, *tests, reason):
    equivalents.append(Mutant(name, file, [(old, new)], tests, reason=reason))


# --- Saving: detail/files/temporary_file.hpp, storage/atomic_file.hpp

take_out("the sync of the bytes before they have a name", "detail/files/temporary_file.hpp",
         "if (durable_ && retried([&] { return ops_.fsync(file_->get()); }) != 0)", "if (false)", "atomic_file")
take_out("not believing a second sync after one that failed", "detail/files/temporary_file.hpp",
         "retried([&] { return ops_.fsync(file_->get()); }) != 0",
         "ops_.fsync(file_->get()) != 0 && ops_.fsync(file_->get()) != 0", "atomic_file")
take_out("the checked close", "detail/files/temporary_file.hpp",
         "if (has_name_ && file_->close() != 0)", "if (has_name_ && file_->close() != 0 && false)", "atomic_file")
take_out("the rename: a record is written in place", "detail/files/temporary_file.hpp",
         ("name_ = detail::temporary_name(key_, op_.name, dir_.random());", "O_CREAT | O_EXCL", "if (has_name_) ops_.unlink",
          "if (!durable_ || !open_unnamed()) create_named();"),
         ("name_ = record_name(key_, op_.name);", "O_CREAT | O_TRUNC", "if (false) ops_.unlink", "create_named();"),
         "atomic_file", may_hang=True)
take_out("going on under a name where there are no files without", "detail/files/temporary_file.hpp",
         "if (!durable_ || !open_unnamed()) create_named();",
         'if (!durable_) create_named(); else if (!open_unnamed()) fail("open", name_);', "atomic_file")
take_out("going on under a name where a file cannot be given one", "detail/files/temporary_file.hpp",
         "create_named(); write_all(); finish();", 'fail("link", name_);',
         "power_cut/power_cut/where_a_kernel_lacks*")
take_out("comparing what was given the record's name", "detail/files/temporary_file.hpp",
         "if (!is_ours && retried(", "if (false && retried(", "descriptors")
take_out("going on under a name where another file was linked", "detail/files/temporary_file.hpp", "return is_ours;",
         "return true;", "descriptors")
take_out("not knowing what stands where another file was linked", "detail/files/temporary_file.hpp",
         "op_.fail(errc::indeterminate, dir_.path_of(name), \"what was linked there may be another file\");", "",
         "descriptors")
take_out("a thread's own descriptors", "storage/posix_file_ops.hpp", "/proc/thread-self/fd/%d", "/proc/self/fd/%d",
         "descriptors")
take_out("the name of a file without one coming last under power_loss only", "detail/files/temporary_file.hpp",
         "if (!durable_ || !open_unnamed()) create_named();", "if (!open_unnamed()) create_named();",
         "atomic_file")
take_out("removing the temporary file where the save failed", "detail/files/temporary_file.hpp",
         "if (has_name_) ops_.unlink", "if (false) ops_.unlink", "atomic_file")
take_out("O_EXCL of the temporary file", "detail/files/temporary_file.hpp",
         "O_CREAT | O_EXCL | O_NOFOLLOW", "O_CREAT", "atomic_file")
take_out("a temporary name that nobody can foresee", "detail/files/temporary_file.hpp",
         "temporary_name(key_, op_.name, dir_.random())", "temporary_name(key_, op_.name, 0)", "atomic_file")
take_out("mode 0600 from the start", "detail/files/temporary_file.hpp",
         "name_.c_str(), flags, 0600)", "name_.c_str(), flags, 0666)", "atomic_file")
take_out("fchmod against the umask", "detail/files/temporary_file.hpp",
         "if (ops_.fchmod(file_->get(), 0600) != 0)", "if (false)", "atomic_file")
take_out("going on after a short write", "detail/files/temporary_file.hpp",
         "auto done = static_cast<std::size_t>(written);",
         "return; auto done = static_cast<std::size_t>(written);", "atomic_file")
take_out("an error where a write wrote nothing", "detail/files/temporary_file.hpp",
         "if (written == 0) errno = EIO; if (written <= 0)", "if (written < 0)", "atomic_file", may_hang=True)
take_out("calling again where a signal interrupted", "detail/operation.hpp",
         "if (result != -1 || errno != EINTR) return result;", "return result;", "atomic_file")
take_out("the sync of the directory after a save", "storage/atomic_file.hpp",
         "*made_ = 0; make_durable(dir, op); } /// As `put`", "*made_ = 0; } /// As `put`", "atomic_file")
take_out("telling that the sync of a directory failed", "storage/atomic_file.hpp",
         "if (is_durable() && dir.sync() != 0)", "if (is_durable() && dir.sync() != 0 && false)", "atomic_file")
take_out("refusing a payload over the cap before anything is written", "storage/atomic_file.hpp",
         "detail::check_size( r.payload.size(), options_.max_bytes, [&] { return (directory_ / name).native(); }, op);", "",
         "atomic_file")
take_out("syncing nothing under process_crash", "storage/atomic_file.hpp",
         "return options_.durability == durability::power_loss;", "return true;", "atomic_file")

# --- Removing and setting aside

take_out("the sync of the directory after a removal", "storage/atomic_file.hpp",
         "one.from, one.to); make_durable(dir, op);", "one.from, one.to);", "atomic_file")
take_out("the sync of the directory where there was nothing to remove", "storage/atomic_file.hpp",
         "one.from, one.to); make_durable(dir, op);",
         "one.from, one.to); if (all.front().was_there) make_durable(dir, op);", "atomic_file")
take_out("unlinking only after the sync", "storage/atomic_file.hpp",
         "move_away(dir, all, op); std::exception_ptr first;",
         "all.front().was_there = unlink(dir, all.front().from) == 0; make_durable(dir, op); return;"
         " std::exception_ptr first;",
         "atomic_file")
take_out("moving a record back whose removal could not be synced", "storage/atomic_file.hpp",
         "if (one.was_there) move_back(dir, one.to, one.from);", "", "atomic_file")
take_out("moving all back that were to be removed together", "storage/atomic_file.hpp",
         "if (one.was_there) move_back(dir, one.to, one.from);",
         "if (&one == &all.front() && one.was_there) move_back(dir, one.to, one.from);", "delete_guards")
take_out("the first error where moving back fails too", "storage/atomic_file.hpp",
         "return move_without_replacing(dir, from, to); } catch (...) {",
         "return move_without_replacing(dir, from, to); } catch (char const*) {", "atomic_file")
take_out("moving a record back that could not be unlinked", "storage/atomic_file.hpp",
         "bool const is_back = move_back(dir, one.to, one.from) && (!is_durable() || dir.sync() == 0);",
         "bool const is_back = true;", "atomic_file")
take_out("the sync of a record that was moved back", "storage/atomic_file.hpp",
         "move_back(dir, one.to, one.from) && (!is_durable() || dir.sync() == 0);", "move_back(dir, one.to, one.from);",
         "atomic_file")
take_out("syncing nothing of what was moved back under process_crash", "storage/atomic_file.hpp",
         "move_back(dir, one.to, one.from) && (!is_durable() || dir.sync() == 0);",
         "move_back(dir, one.to, one.from) && dir.sync() == 0;", "atomic_file")
take_out("telling a record that could not be moved back from one that stands", "storage/atomic_file.hpp",
         "if (!is_back) indeterminate(\"unlink\", dir.path_of(one.to), failed, op);", "", "atomic_file")
take_out("telling that a record could not be unlinked", "storage/atomic_file.hpp",
         "if (!one.was_there || unlink(dir, one.to) == 0 || errno == ENOENT) continue;",
         "if (!one.was_there || unlink(dir, one.to) == 0 || true) continue;", "atomic_file")
take_out("a cleaner unlinking a record that is being removed", "storage/atomic_file.hpp",
         "unlink(dir, one.to) == 0 || errno == ENOENT) continue;", "unlink(dir, one.to) == 0) continue;", "atomic_file")
take_out("a copy of what is set aside: it is renamed", "storage/atomic_file.hpp",
         "bool const is_copied = is_durable() && copy(*dir, name, aside, k, op);", "bool const is_copied = false;",
         "atomic_file")
take_out("copying nothing under process_crash", "storage/atomic_file.hpp",
         "is_durable() && copy(*dir, name, aside, k, op);", "copy(*dir, name, aside, k, op);", "atomic_file")
take_out("the sync of the bytes that are set aside", "storage/atomic_file.hpp",
         "file{ops_, dir, k, true, op};", "file{ops_, dir, k, false, op};", "atomic_file")
take_out("a copy's bytes being written anew: it is another name of the file", "storage/atomic_file.hpp",
         "detail::temporary_file<FileOps> file{ops_, dir, k, true, op}; file.write({*bytes, {}, {}});"
         " file.finish(); file.give_name();"
         " if (!move_without_replacing(dir, file.name(), to)) op.fail(ENOENT, \"rename\", dir.path_of(file.name()));"
         " file.keep();",
         "int const fd = ops_.open(dir.get(), from.c_str(), O_WRONLY); ops_.fsync(fd); ops_.close(fd);"
         " if (ops_.link(dir.get(), from.c_str(), to.c_str()) != 0) dir.fail(\"link\", from);", "atomic_file")
take_out("the sync of the directory before what was copied is removed", "storage/atomic_file.hpp",
         "file.keep(); make_durable(dir, op);", "file.keep();", "atomic_file")
take_out("removing what was copied", "storage/atomic_file.hpp",
         "is_copied ? remove(*dir, {&move, 1}, op) :", "is_copied ? void(move.was_there = true) :", "atomic_file")
take_out("a copy that replaces nothing", "storage/atomic_file.hpp",
         "if (!move_without_replacing(dir, file.name(), to)) op.fail(ENOENT, \"rename\", dir.path_of(file.name()));",
         "file.rename_to(to);", "atomic_file")
take_out("an error where a cleaner took the copy", "storage/atomic_file.hpp",
         "if (!move_without_replacing(dir, file.name(), to)) op.fail(ENOENT, \"rename\", dir.path_of(file.name()));",
         "move_without_replacing(dir, file.name(), to);", "atomic_file")
take_out("copying what is over the cap", "storage/atomic_file.hpp",
         "dir, from, std::numeric_limits<std::uint64_t>::max(), op)", "dir, from, options_.max_bytes, op)",
         "atomic_file")
take_out("an error where a record that is set aside cannot be read", "storage/atomic_file.hpp",
         "if (problem.code() != errc::corrupt) throw; return false;", "return false;", "atomic_file")
take_out("setting aside what is no regular file", "storage/atomic_file.hpp",
         "if (problem.code() != errc::corrupt) throw; return false;", "throw;", "atomic_file")
take_out("no copy of a record that is not there", "storage/atomic_file.hpp",
         "if (!bytes) op.fail(ENOENT, \"open\", dir.path_of(from));", "if (!bytes) bytes.emplace();",
         "storage_conformance/*/files_that_survive_power_loss")
take_out("an error where there is none to set aside", "storage/atomic_file.hpp",
         "if (!move.was_there) op.fail(ENOENT, \"rename\", dir->path_of(name));", "",
         "storage_conformance/*/files_that_survive_a_crash")
take_out("the place of what is set aside being known before", "storage/atomic_file.hpp",
         ("std::string place = dir->path_of(aside);", "return place;"), ("", "return dir->path_of(aside);"),
         "every_call_fails/*/whichever_allocation_fails")
take_out("setting aside without replacing", "storage/posix_file_ops.hpp",
         "return ::renameat2(directory, from, directory, to, RENAME_NOREPLACE);",
         "return ::renameat(directory, from, directory, to);", "atomic_file")
take_out("the way round a kernel that cannot rename without replacing", "storage/atomic_file.hpp",
         "if (errno != ENOSYS && errno != EINVAL) dir.fail", "dir.fail", "atomic_file")
take_out("that way round not replacing either", "storage/atomic_file.hpp",
         "if (detail::retried([&] { return ops_.link(dir.get(), from.c_str(), to.c_str()); }) != 0) {"
         " if (errno == ENOENT) return false;"
         " dir.fail(\"link\", from); }",
         "return ops_.rename(dir.get(), from.c_str(), to.c_str()) == 0;", "atomic_file")
take_out("an error where that way round leaves the old name", "storage/atomic_file.hpp",
         "if (unlink(dir, from) != 0) dir.fail(\"unlink\", from);", "unlink(dir, from);", "atomic_file")
take_out("linking again where a signal interrupted", "storage/atomic_file.hpp",
         "if (detail::retried([&] { return ops_.link(dir.get(), from.c_str(), to.c_str()); }) != 0)",
         "if (ops_.link(dir.get(), from.c_str(), to.c_str()) != 0)", "atomic_file")
take_out("unlinking again where a signal interrupted", "storage/atomic_file.hpp",
         "return detail::retried([&] { return ops_.unlink(dir.get(), name.c_str()); });",
         "return ops_.unlink(dir.get(), name.c_str());", "atomic_file")
take_out("the sync of the directory after a purge", "storage/atomic_file.hpp",
         "if (removed > 0) attempt(first, [&] { make_durable(dir, op); });", "", "atomic_file")
take_out("purge telling an error", "storage/atomic_file.hpp",
         "if (first) std::rethrow_exception(first); return removed;", "return removed;", "atomic_file")
take_out("purge's first error, not its last", "storage/atomic_file.hpp",
         "if (!first) first = std::current_exception();", "first = std::current_exception();", "atomic_file")
take_out("purge going on after an error", "storage/atomic_file.hpp",
         "if (!first) first = std::current_exception();", "throw;", "atomic_file")
take_out("two who purge at the same time", "storage/atomic_file.hpp",
         "++removed; } else if (errno != ENOENT) {", "++removed; } else {", "atomic_file")
take_out("the age below which purge destroys nothing", "storage/atomic_file.hpp",
         "detail::age_between(parsed->second, now) >= older_than", "true",
         "storage_conformance/*/files_that_survive_a_crash")
take_out("sweeping one key's temporary files only", "storage/atomic_file.hpp",
         "return k && std::binary_search(names.begin(), names.end(), k->str());", "return k.has_value();", "atomic_file")

# --- Reading: detail/files/read_file.hpp, storage/atomic_file.hpp

take_out("O_NOFOLLOW of a record", "detail/files/read_file.hpp",
         "O_RDONLY | O_NOFOLLOW | O_NONBLOCK", "O_RDONLY | O_NONBLOCK", "atomic_file")
take_out("O_NONBLOCK of a record", "detail/files/read_file.hpp",
         "O_RDONLY | O_NOFOLLOW | O_NONBLOCK", "O_RDONLY | O_NOFOLLOW", "atomic_file", may_hang=True)
take_out("telling a record that cannot be opened from none", "detail/files/read_file.hpp",
         "if (fd < 0 && failed == ENOENT) return std::nullopt;", "if (fd < 0) return std::nullopt;", "atomic_file")
take_out("telling a link or a socket from an error", "detail/files/read_file.hpp",
         "if (fd < 0 && failed != ELOOP && failed != ENXIO) dir.fail", "if (fd < 0) dir.fail", "atomic_file")
take_out("an error where a file cannot be looked at", "detail/files/read_file.hpp",
         "ops.lstat(dir.get(), name.c_str(), &s)) != 0) dir.fail(\"stat\", name);",
         "ops.lstat(dir.get(), name.c_str(), &s)) != 0) return std::nullopt;", "atomic_file")
take_out("the owner of a record", "detail/files/read_file.hpp",
         "if (s.st_uid != dir.user())", "if (false)", "atomic_file", needs_root=True)
take_out("a record being a regular file", "detail/files/read_file.hpp",
         "if (!S_ISREG(s.st_mode))", "if (false)", "atomic_file")
take_out("the cap before a file is read", "detail/files/read_file.hpp",
         "if (opened->size > longest_header && opened->size - longest_header > cap)", "if (false)", "atomic_file")
take_out("the cap of a payload that was read", "storage/atomic_file.hpp",
         "detail::check_size(result.payload.size(), options_.max_bytes, where, op);", "", "atomic_file")
take_out("an error while reading", "detail/files/read_file.hpp",
         "if (n < 0) dir.fail(\"read\", name);", "if (n < 0) break;", "atomic_file")
take_out("going on after a short read", "detail/files/read_file.hpp",
         "size += static_cast<std::size_t>(n);", "size += static_cast<std::size_t>(n); break;", "atomic_file")
take_out("an end to reading a file that was cut meanwhile", "detail/files/read_file.hpp",
         "if (n == 0) break;", "if (n == 0) continue;", "atomic_file", may_hang=True)
take_out("listing the others beside one that cannot be read", "detail/files/read_file.hpp",
         "if (code == errc::corrupt || code == errc::too_large) return true;", "return false;", "atomic_file")
take_out("telling what concerns one file from what concerns the process", "detail/files/read_file.hpp",
         "if (code == errc::corrupt || code == errc::too_large) return true;", "return true;", "atomic_file")
take_out("a newer version being listed as whole", "storage/atomic_file.hpp",
         "if (problem.code() == errc::mismatch)", "if (false)", "atomic_file")
take_out("an error of listing a directory", "detail/files/directory.hpp",
         "if (ops_->list(get(), result) != 0) fail(\"list\");", "ops_->list(get(), result);", "recover")
take_out("something in the place of a closed standard descriptor", "storage/posix_file_ops.hpp",
         "detail::occupy_standard_descriptors();", "", "descriptors")
take_out("the same before SQLite opens", "detail/sqlite/connection.hpp", "occupy_standard_descriptors();", "", "descriptors")
take_out("the same before libpq connects", "detail/postgres/connecting.hpp", "occupy_standard_descriptors();", "",
         "postgres_storage/*/its_socket_is_no_standard_descriptor_where_these_are_closed")
take_out("what is there being gone in another program", "detail/standard_descriptors.hpp",
         "O_PATH | O_DIRECTORY | O_CLOEXEC", "O_PATH | O_DIRECTORY", "descriptors")
take_out("no descriptor of ours being a standard one", "detail/standard_descriptors.hpp",
         "if (fd < 0 || fd > STDERR_FILENO) return fd;", "return fd;", "descriptors")
take_out("closing one that was moved up", "detail/standard_descriptors.hpp",
         "::close(fd); errno = failed;", "errno = failed;", "descriptors")
take_out("one that was moved up being closed in another program", "detail/standard_descriptors.hpp",
         "F_DUPFD_CLOEXEC", "F_DUPFD", "descriptors")
take_out("an error where a listing has no descriptor", "storage/posix_file_ops.hpp",
         "if (copy < 0) return -1;", "if (copy < 0) return 0;", "atomic_file")
take_out("listing what is gone when it is looked at", "storage/atomic_file.hpp",
         "if (errno == ENOENT) return std::nullopt; dir.fail(\"lstat\", name);", "dir.fail(\"lstat\", name);",
         "atomic_file")
take_out("an error where a regular file cannot be opened", "detail/files/read_file.hpp",
         "if (fd < 0) op.fail(failed, \"open\", dir.path_of(name));", "if (fd < 0) return std::nullopt;", "atomic_file")
take_out("an error in the middle of a listing", "storage/posix_file_ops.hpp",
         "return failed == 0 ? 0 : -1;", "return 0;", "atomic_file")

# --- The format of a record: detail/record/format.hpp

take_out("the newline at a record's end", "detail/record/format.hpp", "|| !bytes.ends_with('\\n')", "", "record_format")
take_out("the newline behind an empty payload", "detail/record/format.hpp",
         "|| newline + 1 == bytes.size()", "", "record_format")
take_out("the end of the header line", "detail/record/format.hpp", "!line.ends_with(header_end) ||", "",
         "record_format")
take_out("the least length of a header line", "detail/record/format.hpp",
         "|| line.size() < 16 + header_end.size()", "", "record_format")
take_out("the place of the checksum", "detail/record/format.hpp",
         "!line.ends_with(checksum_field) ||", "", "record_format")
take_out("the checksum", "detail/record/format.hpp", "|| detail::checksum(line, payload) != digits", "", "record_format")
take_out("the checksum of the header", "detail/record/format.hpp",
         "xxh64::hash(payload, xxh64::hash(std::string(prefix).append(header_end)))", "xxh64::hash(payload)",
         "record_format")
take_out("the version", "detail/record/format.hpp", "if (version != 1)", "if (false)", "record_format")
take_out("the version being a number", "detail/record/format.hpp", "if (parsed.ec != std::errc{})", "if (false)",
         "record_format")
take_out("the header's beginning", "detail/record/format.hpp",
         "if (!detail::take(header, \"{\\\"stash\\\":\"))", "if (!detail::take(header, \"{\\\"stash\\\":\") && false)", "record_format")
take_out("the time's name in the header", "detail/record/format.hpp",
         "if (!detail::take(header, \",\\\"saved_at\\\":\\\"\"))", "if (!detail::take(header, \",\\\"saved_at\\\":\\\"\") && false)",
         "record_format")
take_out("the version having one form only", "detail/record/format.hpp",
         "if (!detail::take(header, \"1\")) throw fail(errc::corrupt, \"no version\");", "header.remove_prefix(header.find(','));",
         "record_format")
take_out("the key's name in the header", "detail/record/format.hpp",
         "if (!detail::take(header, \",\\\"key\\\":\"))", "if (!detail::take(header, \",\\\"key\\\":\") && false)", "record_format")
take_out("the record being that of its key", "detail/record/format.hpp",
         "if (!detail::take(header, detail::quoted(k)))", "if (!detail::take(header, header.substr(0, header.find(\",\\\"saved\"))))",
         "record_format")
take_out("the time being one", "detail/record/format.hpp",
         ("if (!saved_at) throw fail(errc::corrupt, \"no time\");", "return {std::move(bytes), *saved_at};"),
         ("", "return {std::move(bytes), saved_at.value_or(time_point{})};"), "record_format")
take_out("the header telling how many bytes the payload has", "detail/record/format.hpp",
         "|| !detail::take(header, std::to_string(parts->payload.size()))",
         "|| !(header.remove_prefix(header.find(',')), true)", "record_format")
take_out("the header having nothing else", "detail/record/format.hpp", "|| header != checksum_field",
         "|| !header.ends_with(checksum_field)", "record_format")
take_out("a time coming out of its text again", "detail/record/time.hpp",
         "if (detail::to_text(result, compact) != text) return std::nullopt;", "", "record_format")
take_out("a time within what can be counted", "detail/record/time.hpp",
         "if (__builtin_mul_overflow(days, micros_per_day, &micros) || __builtin_add_overflow(micros, rest, &micros)) {"
         " return std::nullopt; }", "micros = days * micros_per_day + rest;", "record_format")
take_out("an age that is never negative", "detail/record/time.hpp",
         "if (now <= then) return std::chrono::microseconds::zero();", "", "basic_stash")
take_out("an age that does not overflow", "detail/record/time.hpp",
         "return std::chrono::microseconds::max();", "return std::chrono::microseconds{age};", "basic_stash")

# --- Keys and names: key.hpp, detail/text/utf8.hpp, detail/record/names.hpp

take_out("no null pointer being equal to a key", "key.hpp", "if (b == nullptr) return false;", "", "key")
take_out("a key printed the same whatever is left on the stream", "key.hpp",
         "return detail::print(out, k.text_);", "return out << k.text_;", "key")
take_out("refusing an empty key", "key.hpp", "if (s.empty())", "if (false)", "key")
take_out("refusing a key over 200 bytes", "key.hpp", "if (s.size() > max_size)", "if (false)", "key")
take_out("refusing \".\" and \"..\"", "key.hpp", "if (s == \".\" || s == \"..\")", "if (false)", "key")
take_out("refusing a slash", "key.hpp", "s.find_first_of(\"/\\\\\")", "s.find_first_of(\"\\\\\")", "key")
take_out("refusing a backslash", "key.hpp", "s.find_first_of(\"/\\\\\")", "s.find_first_of(\"/\")", "key")
take_out("refusing control bytes", "key.hpp", "return c < 0x20 || c == 0x7f;", "return c == 0x7f;", "key")
take_out("refusing DEL", "key.hpp", "return c < 0x20 || c == 0x7f;", "return c < 0x20;", "key")
take_out("refusing what is not UTF-8", "key.hpp", "if (!detail::is_utf8(s))", "if (false)", "key")
take_out("refusing a letter of UTF-8 that was cut", "detail/text/utf8.hpp",
         "|| point == boost::locale::utf::incomplete", "", "key")
take_out("refusing a null pointer", "key.hpp", "if (text == nullptr)", "if (false)", "key")
take_out("encoding capitals", "detail/record/names.hpp",
         "bool const stays = (c >= 'a' && c <= 'z')",
         "bool const stays = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')",
         "key")
take_out("encoding bytes above ASCII", "detail/record/names.hpp",
         "bool const stays = (c >= 'a' && c <= 'z')", "bool const stays = (c >= 'a' && c <= 'z') || c >= 0x80", "key",
         "storage_conformance/*/files_that_survive_a_crash")
take_out("encoding a dot or a dash in front", "detail/record/names.hpp", "&& !out.empty()", "", "key")
take_out("the longest name", "detail/record/names.hpp", "if (name.size() > longest)", "if (false)", "key")
take_out("cutting a reason that is too long", "detail/record/names.hpp",
         "percent_encoded(reason, false).substr(0, left)", "percent_encoded(reason, false)",
         "key")
take_out("encoding a reason", "detail/record/names.hpp", "return head + detail::percent_encoded(reason, false).substr",
         "return head + std::string(reason).substr", "storage_conformance/*/files_that_survive_a_crash")
take_out("reading only names that we would write", "detail/record/names.hpp",
         "if (detail::encoded(k, \"decode\") != name) return std::nullopt;", "", "key")
take_out("leaving strangers' temporary files alone", "detail/record/names.hpp",
         "if (name[name.size() - behind_key] != '.') return std::nullopt;", "", "key")

take_out("the digits of a temporary name", "detail/record/names.hpp",
         "if (!detail::is_hex16(name.substr(name.size() - behind_key + 1, 16))) return std::nullopt;", "", "key")
take_out("the end of a temporary name", "detail/record/names.hpp", "|| !name.ends_with(temporary_suffix)", "", "key")
take_out("the end of a record's name", "detail/record/names.hpp",
         "if (!name.ends_with(record_suffix)) return std::nullopt;", "", "key")
take_out("the digits in the name of what was set aside", "detail/record/names.hpp",
         "|| !detail::is_hex16(name.substr(random + 1))", "", "key")
take_out("the reason in the name of what was set aside", "detail/record/names.hpp",
         "reason.find_first_not_of(\"abcdefghijklmnopqrstuvwxyz0123456789_%\") != reason.npos", "false", "key")
take_out("the time in the name of what was set aside", "detail/record/names.hpp",
         "if (!t || !k) return std::nullopt; return std::pair{std::move(*k), *t};",
         "if (!k) return std::nullopt; return std::pair{std::move(*k), t.value_or(time_point{})};", "key")

# --- The directory: detail/files/directory.hpp, storage/posix_file_ops.hpp

take_out("the owner of the directory", "detail/files/directory.hpp", "if (!is_ours && !may_look) {", "if (false) {",
         "directory", needs_root=True)
take_out("root reading only what is another's", "detail/files/directory.hpp",
         "may_look = wanted == access::read && us == root_user;", "may_look = us == root_user;", "directory",
         needs_root=True)
take_out("root reading what is another's", "detail/files/directory.hpp",
         "may_look = wanted == access::read && us == root_user;", "may_look = false;", "directory", needs_root=True)
take_out("nobody but root reading what is another's", "detail/files/directory.hpp",
         "may_look = wanted == access::read && us == root_user;", "may_look = wanted == access::read;", "directory",
         needs_root=True)
take_out("a link of root's own to root's own directory", "detail/files/directory.hpp",
         "if (us == root_user && s.st_uid == us && way_.size() > 1) {", "if (false) {", "directory", needs_root=True)
take_out("the user as whom root can change something", "detail/files/directory.hpp",
         "else if (us == root_user)", "else if (false)", "directory", needs_root=True)
take_out("naming a directory below the root of a volume", "detail/files/directory.hpp",
         "if (is_writable) { // the root of a volume, which cannot be made ours", "if (false) {", "directory",
         needs_root=True)
take_out("asking the kernel where all users look the same", "detail/files/directory.hpp",
         "(us != overflow_user || is_proved_ours())", "true", "directory", needs_root=True)
take_out("what keeps the kernel from telling whose it is", "detail/files/directory.hpp",
         "if (proved < 0 && errno != EPERM) fail(\"open\");", "", "directory")
take_out("following a link that only root can have made", "detail/files/directory.hpp",
         "auto target = failed == ENOTDIR || failed == ELOOP ? target_of_link(ops, place, wanted, op) : std::nullopt;",
         "std::optional<boost::filesystem::path> target;", "directory", needs_root=True)
take_out("the owner of a link to the directory", "detail/files/directory.hpp", "link.st_uid == root_user &&", "",
         "directory", needs_root=True)
take_out("the owner of the directory that a link is in", "detail/files/directory.hpp", "&& in.st_uid == root_user", "",
         "directory", needs_root=True)
take_out("the mode of the directory that a link is in", "detail/files/directory.hpp", "&& (in.st_mode & 022) == 0", "",
         "directory", needs_root=True)
take_out("a link of root's own", "detail/files/directory.hpp", "|| (ops.user() == root_user && wanted == access::write)", "", "directory", needs_root=True)
take_out("a link that leads nowhere being an error", "detail/files/directory.hpp",
         "if (failed == ENOENT && way.size() == 1) return std::nullopt;", "if (failed == ENOENT) return std::nullopt;",
         "directory", needs_root=True)
take_out("an end to following links", "detail/files/directory.hpp", "if (way.size() > most_links)", "if (false)",
         "directory", needs_root=True, may_hang=True)
take_out("a link that leads to another with a slash behind it", "detail/operation.hpp",
         "while (path.has_parent_path() &&", "while (false &&", "atomic_file", "directory")
take_out("the sync of what a link leads to into its parent", "detail/files/directory.hpp",
         "for (auto const& leaf : way_) {", "for (auto const& leaf : {*path_}) {", "directory", needs_root=True)
take_out("the mode of the directory", "detail/files/directory.hpp",
         "if (is_writable) { bool const is_shared", "if (false) { bool const is_shared", "atomic_file")
take_out("O_NOFOLLOW of the directory", "detail/files/directory.hpp", "O_RDONLY | O_DIRECTORY | O_NOFOLLOW",
         "O_RDONLY | O_DIRECTORY", "directory", "atomic_file")
take_out("a link spelled with a slash behind it", "detail/files/absolute.hpp",
         "return detail::without_dots_behind(std::move(directory));", "return directory;", "directory")
take_out("telling a link from a file in the directory's place", "storage/posix_file_ops.hpp",
         "return ::fstatat(directory, name, s, AT_SYMLINK_NOFOLLOW);", "return ::fstatat(directory, name, s, 0);",
         "atomic_file")
take_out("telling a directory that cannot be opened from none", "detail/files/directory.hpp",
         "if (failed == ENOENT && way.size() == 1) return std::nullopt;", "return std::nullopt;", "atomic_file")
take_out("a directory with two slashes in front being the one with one", "detail/files/absolute.hpp",
         "directory = directory.native().substr(std::min(directory.native().find_first_not_of('/'), directory.size()) - 1);",
         "", "atomic_file")
take_out("a relative directory staying where it was", "detail/files/absolute.hpp",
         "directory = boost::filesystem::path(here.c_str()) / directory;", "", "atomic_file")
take_out("refusing an empty path", "detail/files/absolute.hpp",
         "if (directory.empty()) op.fail(EINVAL, \"directory\", \"\\\"\\\"\");", "", "atomic_file")
take_out("refusing a path with a NUL", "detail/files/absolute.hpp",
         "if (directory.native().find('\\0') != std::string::npos) op.fail(EINVAL, \"directory\", directory.native());",
         "", "atomic_file")
take_out("an XDG_STATE_HOME that is relative counting as unset", "storage/default_directory.hpp",
         "xdg.starts_with('/')", "!xdg.empty()", "atomic_file")
take_out("a HOME that is relative counting as unset", "storage/default_directory.hpp",
         "if (!home.starts_with('/')) {", "if (home.empty()) {", "atomic_file")
take_out("mode 0700 of the directory", "detail/files/directory.hpp", "make_levels(ops, path, 0700, durable, op, made);",
         "make_levels(ops, path, 0777, durable, op, made);", "directory", "atomic_file")
take_out("a mode of the parents that the umask says", "detail/files/directory.hpp",
         "make_levels(ops, parent, 0777, durable, op, made);", "make_levels(ops, parent, 0700, durable, op, made);",
         "directory")
take_out("mode 0700 against the umask", "storage/posix_file_ops.hpp",
         "return ::fchmodat(AT_FDCWD, path, (s.st_mode & 07777) | 0700, AT_SYMLINK_NOFOLLOW);", "return 0;",
         "atomic_file")
take_out("removing what was made for a lock", "detail/files/lock_file.hpp",
         "if (made_) directory<Ops>::remove_unused(ops_, path_, *made_);", "", "directory")
take_out("a directory staying in which something was saved", "storage/atomic_file.hpp",
         "file.rename_to(name); *made_ = 0;", "file.rename_to(name);", "directory")
take_out("a directory staying in which many were saved", "storage/atomic_file.hpp",
         "\"put_all\")); *made_ = 0;", "\"put_all\"));", "directory")
take_out("a directory staying in which another has a lock", "detail/files/directory.hpp", "ops_->lock_bytes(fd, 0, 0) == 0 &&",
         "", "directory")
take_out("a directory staying in which there is something", "detail/files/directory.hpp",
         "return name == \".\" || name == \"..\" || name == lock_file_name;", "return !name.empty();", "directory")
take_out("looking whether the lock file is still the one that is locked", "detail/files/directory.hpp",
         "std::pair(ours.st_dev, ours.st_ino) == std::pair(found.st_dev, found.st_ino) && std::ranges", "std::ranges",
         "directory")
take_out("removing what was made before something fails", "detail/files/directory.hpp",
         "if (!made.empty()) remove(ops, path, made);", "", "directory")
take_out("making anew what was removed meanwhile", "detail/files/directory.hpp", "if (!is_gone || tries == 100) throw;",
         "throw;", "directory")
take_out("opening anew a lock file that was removed meanwhile", "detail/files/lock_file.hpp",
         "if (!is_open && errno == ENOENT && tries < 100) continue;", "", "directory")
take_out("leaving alone a descriptor that became another's", "detail/files/lock_file.hpp",
         "identity_ && ops_.fstat(fd_, &s) == 0 && *identity_", "false && ops_.fstat(fd_, &s) == 0 && *identity_", "locks")
take_out("the lock file that was deleted going before another is made", "detail/files/file_lock.hpp", "file.reset(); file =",
         "file =", "locks")
take_out("the longest name that a file system allows", "storage/atomic_file.hpp",
         "dir.check_name(k); detail::temporary_file", "detail::temporary_file", "directory")
take_out("the longest name of many that a file system allows", "storage/atomic_file.hpp",
         "for (auto const& [k, r] : all) dir.check_name(k);", "", "directory")
take_out("cutting a reason to what a file system allows", "storage/atomic_file.hpp",
         "dir->random(), dir->name_max())", "dir->random())", "directory")
take_out("an error where the directory must exist", "detail/files/directory.hpp", "if (!found && must_exist) op.fail",
         "if (false) op.fail", "directory")
take_out("making no directory that must exist", "storage/atomic_file.hpp",
         "if (options_.must_exist) open(op, detail::access::write);", "", "directory")
take_out("a setuid program's environment being its user's", "storage/default_directory.hpp", "::secure_getenv(name)",
         "std::getenv(name)", "directory", needs_root=True)
take_out("the sync of each level before the next is made", "detail/files/directory.hpp",
         "if (is_made) made.push_back(path); sync_into_parent(ops, path, path, durable, op);", "if (is_made) made.push_back(path);",
         "atomic_file")
take_out("the sync of a directory whose maker died", "detail/files/directory.hpp",
         "for (auto level = leaf; level.has_parent_path(); level = level.parent_path()) {",
         "for (auto level = leaf.parent_path(); level.has_parent_path(); level = level.parent_path()) {", "atomic_file")
take_out("the sync of all that is above it", "detail/files/directory.hpp",
         "for (auto level = leaf; level.has_parent_path(); level = level.parent_path()) {",
         "for (auto level = leaf; level == leaf; level = level.parent_path()) {", "atomic_file")
take_out("the lock file being made after that sync", "detail/files/directory.hpp",
         "for (auto level = leaf; level.has_parent_path(); level = level.parent_path()) {",
         "::close(ops.open(made.get(), lock_file_name, lock_file_flags, 0600));"
         " for (auto level = leaf; level.has_parent_path(); level = level.parent_path()) {", "atomic_file")
take_out("syncing no further than the file system goes", "detail/files/directory.hpp",
         "if (above.st_dev != here.st_dev) return;", "", "atomic_file")
take_out("removing a directory that could not be synced", "detail/files/directory.hpp", "ops.rmdir(leaf.c_str());", "",
         "atomic_file")
take_out("syncing the file system where a parent cannot be read", "detail/files/directory.hpp",
         "readable ? ops.fsync(fd) : ops.syncfs(fd)", "readable ? ops.fsync(fd) : 0", "atomic_file")
take_out("an error where a directory cannot be synced into its parent", "detail/files/directory.hpp",
         "if (!durable && failed == EINVAL) return;", "return;", "atomic_file")
take_out("a file system that cannot sync directories doing under process_crash only", "detail/files/directory.hpp",
         "if (!durable && failed == EINVAL) return;", "if (failed == EINVAL) return;", "atomic_file")
take_out("a file system that cannot sync directories doing under process_crash", "detail/files/directory.hpp",
         "if (!durable && failed == EINVAL) return;", "", "atomic_file")
take_out("an end to making parents", "detail/files/directory.hpp",
         "if (parent.empty()) op.fail(ENOENT, \"mkdir\", path.native());", "", "atomic_file")
take_out("a directory that is removed again while it is made", "detail/files/directory.hpp",
         "op.fail(ENOENT, \"open\", path.native());  // removed again",
         "return open_or_make(ops, path, durable, op, made);", "atomic_file")
take_out("whichever errno says that a link is in the directory's place", "detail/files/directory.hpp",
         "failed == ENOTDIR || failed == ELOOP ?", "failed == ENOTDIR ?", "atomic_file")
take_out("another making the directory at the same time", "detail/files/directory.hpp",
         "if (!is_made && errno != EEXIST)", "if (!is_made)", "atomic_file")
take_out("fchmod of the lock file against the umask", "detail/files/directory.hpp",
         "if (ops_->fchmod(fd, 0600) != 0) fail(\"fchmod\", lock_file_name);", "", "atomic_file")
take_out("O_NOFOLLOW of the lock file", "detail/files/directory.hpp", "O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK",
         "O_RDWR | O_CREAT | O_NONBLOCK", "locks")

# --- Locks: detail/files/lock_file.hpp, detail/files/file_lock.hpp, detail/process.hpp, detail/sleep.hpp, detail/lock.hpp

take_out("the lock", "detail/files/lock_file.hpp", "if (lock_again(byte)) return std::nullopt;",
         "return std::nullopt;", "locks", may_hang=True)
take_out("going on with a pause that a signal ended", "detail/sleep.hpp", "errno != EINTR", "true", "locks")
take_out("an end to a pause where there is no sleeping", "detail/sleep.hpp", "left = pause - detail::since(start)",
         "left = pause", "locks", may_hang=True)
take_out("an end to a call that is always interrupted", "detail/operation.hpp",
         "if (detail::since(*start) >= std::chrono::seconds(2)) return result;", "", "locks", may_hang=True)
take_out("a byte of its own for each key", "detail/files/file_lock.hpp",
         "static_cast<off_t>(xxh64::hash(name) >> 2)", "off_t{0}", "locks")
take_out("telling a lock that cannot be taken from one that another has", "detail/files/lock_file.hpp",
         "if (errno != EAGAIN && errno != EACCES) op.fail(errno, \"lock\", path_);", "", "locks")
take_out("the second look after locking", "detail/files/file_lock.hpp", "if (file->stands()) {", "{", "locks")
take_out("an end to locking a file that is deleted again and again", "detail/files/file_lock.hpp",
         "tries < 100; ++tries) { std::size_t", ";) { std::size_t", "locks", may_hang=True)
take_out("the lock file being a regular file", "detail/files/lock_file.hpp", "if (!S_ISREG(mode_))", "if (false)",
         "locks")
take_out("the lock file being for us alone", "detail/files/lock_file.hpp",
         "if ((file->mode_ & 0777) != 0600 && ops.fchmod(file->fd_, 0600) != 0) dir.fail(\"fchmod\", lock_file_name);", "",
         "locks")
take_out("comparing the file system of the locked file", "detail/files/lock_file.hpp",
         "ours.st_dev == found.st_dev &&", "", "locks")
take_out("an error where the lock file cannot be closed to others", "detail/files/lock_file.hpp",
         "ops.fchmod(file->fd_, 0600) != 0) dir.fail(\"fchmod\", lock_file_name);", "ops.fchmod(file->fd_, 0600) != 0) { }", "locks")
take_out("comparing the locked file with the one that stands there", "detail/files/lock_file.hpp",
         "ours.st_dev == found.st_dev && ours.st_ino == found.st_ino", "true", "locks")
take_out("locking again to see whether the lock is held", "detail/files/file_lock.hpp",
         "(file_.use_count() >= few || file_->lock_again(byte_))", "true", "locks")
take_out("an inherited lock not being held", "detail/files/lock_file.hpp",
         "if (!owner_.is_current()) return false;", "", "locks")
take_out("an inherited lock not being released", "detail/files/lock_file.hpp",
         "if (!owner_.is_current()) return;", "", "locks")
take_out("locks of the open file description", "storage/posix_file_ops.hpp",
         "return lock(F_OFD_SETLK, fd, F_WRLCK, start, count);", "return lock(F_SETLK, fd, F_WRLCK, start, count);",
         "locks")
take_out("a lock of one byte", "storage/posix_file_ops.hpp", "wanted.l_start = start;", "wanted.l_start = 0;", "locks")
take_out("unlocking before closing", "storage/posix_file_ops.hpp", "unlock_bytes(fd, 0, 0); ::close(fd);",
         "::close(fd);", "locks")
take_out("O_CLOEXEC", "storage/posix_file_ops.hpp", "name, flags | O_CLOEXEC, mode)", "name, flags, mode)", "locks")
take_out("a forked child closing the lock file", "detail/files/lock_file.hpp",
         "if (fd_ >= 0 && !is_foreign()) ops_.close(std::exchange(fd_, -1)); }", "fd_ = -1; }", "locks")
take_out("a forked child forgetting what it closed", "detail/files/lock_file.hpp",
         "if (fd_ >= 0 && !is_foreign()) ops_.close(std::exchange(fd_, -1)); }", "if (fd_ >= 0 && !is_foreign()) ops_.close(fd_); }", "locks")
take_out("numbers of processes that do not come again", "detail/process.hpp", "number = ++here.count", "number = 1",
         "locks")
take_out("seeing a fork that no handler was told of", "detail/process.hpp",
         "static_cast<void>(::madvise(page, sizeof(atomic_word), MADV_WIPEONFORK));", "", "locks")
take_out("seeing a fork where the kernel does not", "detail/process.hpp", "word->store(0);", "", "locks")
take_out("each of locks that share a descriptor being released by itself", "detail/files/file_lock.hpp",
         "file_->unlock(byte_);", "{}", "delete_guards")
take_out("an inherited one of locks that share a descriptor not being released", "detail/files/file_lock.hpp",
         "if (file_ && is_shared() && !file_->is_inherited())", "if (file_ && is_shared())", "locks")
take_out("holding a lock that was taken again until the record is removed", "recover.hpp",
         "if (auto again = held.take_own()) locks_[locks_.size() - 1] = std::move(*again);", "", "recover")
take_out("looking whether the file of locks stands before another joins them", "detail/files/file_lock.hpp",
         "&& taken.back().file_->stands()", "", "delete_guards")
take_out("locking many otherwise than one by one", "detail/files/lock_file.hpp",
         "if (bytes.size() >= many) return lock_many(bytes, op);", "", "delete_guards")
take_out("freeing what lies between many locks", "detail/files/lock_file.hpp",
         "for (auto const part : free) unlock_between(part, op);", "", "delete_guards", may_hang=True)
take_out("looking at all of many before one is locked", "detail/files/lock_file.hpp",
         "if (first != last) return obstacle{first->index, count != 1};",
         "if (first != last) { for (auto const p : free) ops_.lock_bytes(fd_, range_of(p).first, range_of(p).second);"
         " for (auto const p : free) unlock_between(p, op);"
         " sleep_for(std::chrono::milliseconds(5)); return obstacle{first->index, count != 1}; }",
         "delete_guards", may_hang=True)
take_out("letting others lock many in passing", "detail/files/lock_file.hpp", "if (!met || !met->passes ||",
         "if (true ||", "delete_guards")
take_out("an end to letting others pass", "detail/files/lock_file.hpp",
         "!met->passes || detail::since(start) >= std::chrono::seconds(1))", "!met->passes)", "delete_guards", may_hang=True)
take_out("freeing all of many where one is busy", "detail/files/lock_file.hpp", "if (one) ops_.unlock_bytes(fd_, 0, 0);", "",
         "delete_guards")
take_out("many locks beside those of others", "detail/files/lock_file.hpp",
         "parts.emplace_back(part.begin(), first); parts.emplace_back(last, part.end());", "",
         "delete_guards", may_hang=True)
take_out("waiting for a lock", "detail/lock.hpp", "if (waited >= wait) return waited;", "return waited;", "locks")
take_out("a wait without end that does not overflow", "detail/lock.hpp",
         "if (waited >= wait)", "if (std::chrono::nanoseconds(waited) >= std::chrono::nanoseconds(wait))", "locks")
take_out("the second look at a lock that may be lost", "detail/lock.hpp",
         "if (is_held()) return;", "return;", "locks")
take_out("going on only with a lock that could be taken again", "detail/lock.hpp",
         "if (!lock_again()) throw detail::busy(storage_, operation, key_, \"its lock was lost and is held by another now\");",
         "if (!lock_again()) return;", "locks")
take_out("comparing the record under a lock that was lost", "detail/lock.hpp", "if (!stands_unchanged())",
         "if (false)", "locks")
take_out("a record that cannot be read under a lost lock being an error", "detail/lock.hpp",
         "if (problem.code() == errc::corrupt) return false;", "return false;", "locks")
take_out("a record that was damaged under a lost lock being another's", "detail/lock.hpp",
         "if (problem.code() == errc::corrupt) return false;", "", "locks")
take_out("the lock never having been lost when a guard saves", "detail/guard/guarded_key.hpp",
         "record_.require_held(guard_); if (origin_", "record_.ensure_held(guard_); if (origin_", "locks")
take_out("the look at the lock before a save", "detail/guard/guarded_key.hpp",
         "record_.require_held(guard_); if (origin_", "if (origin_", "locks")
take_out("the lock being held still after the save", "detail/guard/guarded_key.hpp",
         "if (r) was_put(std::move(*r)); require_lock();", "if (r) was_put(std::move(*r));", "locks")
take_out("the lock being held still after a save that failed and was forgiven", "detail/guard/guarded_key.hpp",
         "put_failed(std::current_exception()); r.reset();", "return put_failed(std::current_exception());", "locks")
take_out("a server's refusal not being a lock that cannot be made", "detail/guard/guarded_key.hpp",
         "if (code.category() != boost::system::system_category()) return false;", "", "postgres_storage")
take_out("the locks being held still after the saves of many", "delete_guards.hpp",
         "for (auto const& one : guarded_) one->require_lock();", "", "locks")
take_out("the look at the lock before setting aside", "detail/lock.hpp",
         "require_held(operation); std::string where", "std::string where", "locks")
take_out("the look at the lock before a removal", "detail/lock.hpp",
         "require_held(operation); bool const was_there", "bool const was_there", "locks")
take_out("the lock never having been lost when a record is destroyed", "detail/lock.hpp",
         "require_held(operation); bool const was_there", "ensure_held(operation); bool const was_there", "locks")
take_out("rescuing only under a lock", "detail/lock.hpp",
         "if (!is_held() && !lock_again()) return {};", "", "locks")
take_out("rescuing only where no record stands", "detail/lock.hpp",
         "if (storage_.get(key_)) return {};", "", "locks")

# --- The guard: delete_guard.hpp

take_out("asking for the live value under the lock", "delete_guard.hpp",
         "key_.lock(options_.wait_for_lock); key_.inspect(detail::live_value<T>(std::forward<Live>(live)()));",
         "auto early = detail::live_value<T>(std::forward<Live>(live)()); key_.lock(options_.wait_for_lock);"
         " key_.inspect(std::move(early));",
         "delete_guard")
take_out("live, none: saved", "detail/guard/guarded_key.hpp",
         "stash_.storage().put(key_, *r);",
         "if (origin_ != stash::origin::live) stash_.storage().put(key_, *r);", "delete_guard")
take_out("live, the same: not set aside", "detail/guard/guarded_key.hpp",
         "if (old.payload == pending_->payload) return false;", "", "delete_guard")
take_out("live, the same in another order: not set aside", "detail/guard/guarded_key.hpp",
         "return !(value == *value_) || sorted(old.payload) != sorted(pending_->payload);", "return true;", "delete_guard")
take_out("live, equal but for what its == does not look at: set aside", "detail/guard/guarded_key.hpp",
         "return !(value == *value_) || sorted(old.payload) != sorted(pending_->payload);", "return !(value == *value_);",
         "delete_guard")
take_out("live, the same bytes in another order, but not equal: set aside", "detail/guard/guarded_key.hpp",
         "return !(value == *value_) || sorted(old.payload) != sorted(pending_->payload);",
         "return sorted(old.payload) != sorted(pending_->payload);", "delete_guard")
take_out("the value in memory of its own", "detail/guard/guarded_key.hpp",
         "value_.emplace(deserialize(r));", "value_.emplace(std::move(*live));", "delete_guard")
take_out("an unsaved value in memory of its own", "detail/guard/guarded_key.hpp",
         "value_.emplace(detail::in_own_memory(std::move(live)));", "value_.emplace(std::move(live));", "delete_guard")
take_out("not forgiving a value that was not saved and may be in another's memory", "detail/guard/guarded_key.hpp",
         "std::rethrow_exception(save_error_); } else {", "value_.emplace(std::move(live)); } else {", "delete_guard")
take_out("an optional of another library being one", "detail/guard/live_value.hpp",
         "if (!result.has_value()) return std::nullopt;", "", "delete_guard")
take_out("live, another: set aside", "detail/guard/guarded_key.hpp",
         "std::string const where = record_.set_aside(\"superseded\", guard_);", "std::string const where;", "delete_guard")
take_out("not live, intact: adopted", "detail/guard/guarded_key.hpp",
         "if (!pending_) return; value_.emplace", "pending_.reset(); return; value_.emplace", "delete_guard")
take_out("not live, intact: put again", "detail/guard/guarded_key.hpp",
         "stash_.storage().put(key_, *r);",
         "if (origin_ == stash::origin::live) stash_.storage().put(key_, *r);", "delete_guard")
take_out("not live, intact, cannot be put again: throws", "detail/guard/guarded_key.hpp",
         "if (origin_ != stash::origin::live || !options_.best_effort || is_busy(problem))",
         "if (origin_ == stash::origin::live && (!options_.best_effort || is_busy(problem)))", "delete_guard")
take_out("corrupt: set aside", "detail/guard/guarded_key.hpp",
         "std::string const where = record_.set_aside(\"corrupt\", guard_);", "std::string const where;",
         "delete_guard")
take_out("unreadable: throws", "detail/guard/guarded_key.hpp", "if (problem.code() != errc::corrupt) throw;", "", "delete_guard")
take_out("another type: throws", "detail/guard/guarded_key.hpp", "T const value = deserialize(old); if constexpr", "T const& value = *value_; if constexpr",
         "delete_guard")
take_out("too large: throws before anything is moved", "detail/guard/guarded_key.hpp", "check_put(stash_.storage(), key_, *pending_);", "",
         "delete_guard")
take_out("believing \"not live\" only under a lock that was never lost", "detail/guard/guarded_key.hpp",
         "pending_ = look(); record_.require_held(guard_);", "pending_ = look();", "locks")
take_out("throwing where the save failed", "detail/guard/guarded_key.hpp",
         "if (origin_ != stash::origin::live || !options_.best_effort || is_busy(problem))",
         "if (origin_ != stash::origin::live || is_busy(problem))", "delete_guard")
take_out("best_effort not forgiving a key that is busy", "detail/guard/guarded_key.hpp",
         "if (origin_ != stash::origin::live || !options_.best_effort || is_busy(problem))",
         "if (origin_ != stash::origin::live || !options_.best_effort)", "locks")
take_out("throwing where no lock can be made", "detail/guard/guarded_key.hpp",
         "if (!options_.best_effort || !no_lock_can_be_made(e.code())) throw;",
         "if (!no_lock_can_be_made(e.code())) throw;", "delete_guard")
take_out("best_effort not forgiving a lock that cannot be judged", "detail/guard/guarded_key.hpp",
         "if (!options_.best_effort || !no_lock_can_be_made(e.code())) throw;",
         "if (!options_.best_effort || e.code() == errc::busy) throw;", "delete_guard")
take_out("best_effort without a lock only with a live value", "detail/guard/guarded_key.hpp",
         "if (!live) { if (no_lock_) std::rethrow_exception(no_lock_);", "if (!live) {", "delete_guard")
take_out("touching no record without a lock", "detail/guard/guarded_key.hpp",
         "saving([&] { if (no_lock_) std::rethrow_exception(no_lock_);", "saving([&] {", "delete_guard")
take_out("a commit destroying only what may be destroyed", "detail/guard/guarded_key.hpp",
         "if (clearable_) { if (reason", "if (record_.was_locked()) { if (reason", "delete_guard")
take_out("a rollback destroying only what may be destroyed", "detail/guard/guarded_key.hpp",
         "if (!options_.clear_after_restore || !clearable_) return;",
         "if (!options_.clear_after_restore || !record_.was_locked()) return;", "delete_guard")
take_out("a restore destroying the record only if it is asked to", "detail/guard/guarded_key.hpp",
         "if (!options_.clear_after_restore || !clearable_) return;", "if (!clearable_) return;", "delete_guard")
take_out("the second look at the lock before a restore", "detail/guard/guarded_key.hpp",
         "if (record_.was_locked()) record_.ensure_held(\"rollback\");", "", "locks")
take_out("keeping the record until the restore has returned", "detail/guard/guarded_key.hpp",
         "restore(std::as_const(*value_));", "record_.erase(\"rollback\"); restore(std::as_const(*value_));",
         "delete_guard")
take_out("keeping the record where the restore failed", "detail/guard/guarded_key.hpp",
         "{.where = is_busy(problem) ? rescue() : place(), .error = problem}); throw;",
         "{.where = is_busy(problem) ? rescue() : place(), .error = problem});", "delete_guard")
take_out("keeping the value where lock and record are lost", "detail/guard/guarded_key.hpp",
         "is_busy(problem) ? rescue() : place()", "place()", "locks")
take_out("the first error where the rescue fails too", "detail/guard/guarded_key.hpp",
         "if (!where.empty()) return where; } catch (...)", "if (!where.empty()) return where; } catch (int)", "locks")
take_out("calling restore once", "delete_guard.hpp", "done_ = true; key_.roll_back(restore_);", "key_.roll_back(restore_);",
         "delete_guard")
take_out("no exception from the destructor", "delete_guard.hpp", "try { roll_back(); } catch (...) {",
         "roll_back(); if (false) {", "delete_guard")
take_out("nothing done by an inherited guard", "delete_guard.hpp",
         "if (done_ || !owner_.is_current()) return; detail::no_cancel const whole; try",
         "if (done_) return; try", "locks")
take_out("an inherited guard refusing to commit or roll back", "detail/guard/guarded_key.hpp",
         "if (!owner.is_current()) {", "if (false) {", "locks")
take_out("an inherited guard releasing nothing", "delete_guard.hpp",
         "if (done_ || !owner_.is_current()) return; detail::no_cancel const whole; done_ = true;",
         "if (done_) return; done_ = true;", "locks")
take_out("a release that restores nothing", "delete_guard.hpp",
         "if (done_ || !owner_.is_current()) return; detail::no_cancel const whole; done_ = true;",
         "if (done_ || !owner_.is_current()) return;",
         "delete_guard")
take_out("telling at a release that there is no record", "detail/guard/guarded_key.hpp", "if (save_error_) {", "if (false) {",
         "delete_guard")
take_out("an event printed the same whatever is left on the stream", "event.hpp",
         "return detail::print(out, line);", "return out << line;", "delete_guard")
take_out("nothing restored after a commit that failed", "delete_guard.hpp",
         "done_ = true; key_.commit(reason);", "key_.commit(reason); done_ = true;", "delete_guard")
take_out("a commit that cannot clear throwing", "detail/guard/guarded_key.hpp",
         "clear_failed(std::current_exception()); throw;", "clear_failed(std::current_exception());", "delete_guard")
take_out("a commit syncing where there is no record", "detail/guard/guarded_key.hpp",
         "record_.erase(\"commit\");", "if (value_) record_.erase(\"commit\");", "delete_guard")
take_out("a commit after the end destroying nothing", "delete_guard.hpp",
         "if (done_) return; detail::no_cancel const whole; done_ = true;",
         "done_ = true;", "delete_guard")
take_out("dropping what an observer throws", "detail/observer.hpp",
         "try { to(event{kind, k, d.age, d.where, d.error}); } catch (...) { }",
         "to(event{kind, k, d.age, d.where, d.error});", "delete_guard")

# --- recover.hpp

take_out("leaving what is busy", "recover.hpp", "if (locks_.size() == others) return false;",
         "if (locks_.size() == others) return true;", "recover")
take_out("recover's look at the record under the lock", "recover.hpp",
         ("bool recover_one(key const& k) {", "found = held.look();"),
         ("std::optional<record> early_; bool recover_one(key const& k) { early_.reset();"
          " try { early_ = stash_.storage().get(k); } catch (...) { }",
          "found = held.look(); if (early_) found = early_;"), "recover")
take_out("a record that cannot be read being told from a corrupt one", "recover.hpp",
         "if (problem.code() != errc::corrupt) throw;", "", "recover")
take_out("leaving a corrupt record where it is", "recover.hpp", "++report_.corrupt;",
         "++report_.corrupt; held.set_aside(\"corrupt\", \"recover\");", "recover")
take_out("leaving a live resource alone", "recover.hpp", "if (is_live_(k))", "if (is_live_(k) && false)", "recover")
take_out("leaving a live resource's record alone", "recover.hpp", "++report_.live; return false;",
         "++report_.live; held.erase(\"recover\"); return false;", "recover")
take_out("the second look at the lock before recover restores", "recover.hpp", "held.ensure_held(\"recover\");", "",
         "recover")
take_out("keeping a record whose restore failed", "recover.hpp", "locks_.pop_back(); throw; }",
         "restored_.push_back(k); return true; }", "recover")
take_out("keeping a restored record if asked to", "recover.hpp",
         ("if (options_.clear_after_restore) restored_", "return options_.clear_after_restore;"),
         ("restored_", "return true;"), "recover")
take_out("one key's failure stopping no other", "recover.hpp",
         "failed(std::move(k), std::current_exception()); return true;",
         "failed(std::move(k), std::current_exception()); throw;", "recover")
take_out("one record that cannot be removed stopping no other", "recover.hpp",
         "for (auto& k : doomed_) clear_alone(k);",
         "for (auto& k : doomed_) { if (doomed_.size() < 2) clear_alone(k); else clear_failed(std::move(k), {}); }",
         "recover")
take_out("reporting a record that could not be removed", "recover.hpp",
         "clear_failed(std::move(k), std::current_exception()); } } void clear_failed", "} } void clear_failed",
         "recover")
take_out("the locks never having been lost when records are destroyed", "recover.hpp",
         "if (!locks_[i].held()) throw detail::busy(stash_.storage(), \"recover\", restored_[i], \"its lock was lost\");", "",
         "recover")
take_out("holding the lock until the record is removed", "recover.hpp",
         "if (!is_to_be_cleared) locks_.pop_back();", "locks_.pop_back();", "recover")
take_out("releasing what is not to be removed at once", "recover.hpp",
         "if (!is_to_be_cleared) locks_.pop_back();", "", "recover")
take_out("removing soon what was restored", "recover.hpp",
         "if (!restored_.empty() && detail::since(first_) >= std::chrono::milliseconds(500)) clear();", "", "recover")
take_out("removing what was restored together", "recover.hpp", "if (doomed_.size() < 2) return false;",
         "return false;", "recover")
take_out("waiting for all busy keys together", "recover.hpp", "std::erase_if(busy, [&](key* k) { return is_done(*k); });",
         "std::erase_if(busy, [&](key* k) { return !wait_for(short_wait, [&] { return is_done(*k); }); });", "recover")
take_out("listing all before anything is restored", "recover.hpp",
         ("interrupted = stash_.storage().temporaries(); report_.failed", "report_.busy = busy.size();"),
         ("static_cast<void>(0); report_.failed", "report_.busy = busy.size();"
          " if constexpr (sweepable<storage>) interrupted = stash_.storage().temporaries();"), "recover")
take_out("sweeping", "recover.hpp", "sweep_all(stash_.storage(), ours);", "", "recover")
take_out("sweeping only under the lock", "recover.hpp", "sweep_all(stash_.storage(), ours);",
         "sweep_all(stash_.storage(), stash_.storage().temporaries());", "recover")
take_out("one listing for all that is swept", "recover.hpp", "if constexpr (requires { storage.sweep_all(all); })",
         "if constexpr (false)", "recover")
take_out("a report for those alone whose leftovers could not be removed", "recover.hpp",
         "std::erase_if(left, [&](key const& k) { return !all.empty() &&",
         "left = all; std::erase_if(left, [&](key const& k) { return !all.empty() &&", "recover")

# --- basic_stash.hpp, storage/memory.hpp

take_out("an error coming through that names its subject already", "detail/error_context.hpp",
         "if (!e.subject().empty()) throw;", "", "basic_stash")
take_out("no cancellation amid a call", "detail/no_cancel.hpp",
         "::pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before_);", "", "basic_stash/cancellation/*")
take_out("letting a cancellation come afterwards", "detail/no_cancel.hpp",
         "::pthread_setcancelstate(before_, nullptr);", "", "basic_stash/cancellation/*")
take_out("no cancellation in a destructor that closes", "storage/posix_file_ops.hpp",
         "detail::no_cancel const whole; // for it is called by destructors", "", "basic_stash/cancellation/*")
take_out("the lock of a save", "basic_stash.hpp",
         "auto const lock = detail::acquire(storage_, k, detail::short_wait, \"save\");", "", "locks")
take_out("the lock of a clear", "basic_stash.hpp",
         "auto const lock = detail::acquire(storage_, k, detail::short_wait, \"clear\");", "", "locks")
take_out("a clear making nothing", "basic_stash.hpp", "if (!storage_.exists()) return false;", "", "atomic_file")
take_out("telling a record that cannot be read from an absent one", "basic_stash.hpp",
         "if (problem.code() != errc::corrupt) throw;", "", "atomic_file")
take_out("the lock in memory", "storage/key_locks.hpp", "if (!is_new && row->second.is_current()) return std::nullopt;", "",
         "storage_conformance/*/memory")
take_out("a forked child being free to lock in memory", "storage/key_locks.hpp",
         "if (!is_new && row->second.is_current())", "if (!is_new)", "locks")
take_out("an inherited lock in memory not being held", "storage/key_locks.hpp",
         "return rows_ != nullptr && owner_.is_current();", "return rows_ != nullptr;",
         "storage_conformance/*/memory")
take_out("an inherited lock in memory not being released", "storage/key_locks.hpp",
         "if (!rows_ || !owner_.is_current()) return;", "if (!rows_) return;", "locks")
take_out("keeping in memory what was set aside", "storage/memory.hpp",
         "state_->aside.push_back({now, as_entry(k, found->second, where), found->second});", "",
         "storage_conformance/*/memory")
take_out("the age below which purge destroys nothing in memory", "storage/memory.hpp",
         "detail::age_between(one.when, now) >= older_than;", "true;", "storage_conformance/*/memory")

# --- The journal: detail/journal*.hpp, storage/journal.hpp

take_out("waking who leads next", "detail/journal/journal.hpp",
         "if (!queue_.empty()) queue_.front()->woken.notify_one();", "", "journal", may_hang=True)
take_out("waking who was written for", "detail/journal/journal.hpp", "one->woken.notify_one();", "", "journal", may_hang=True)
journal_cuts = "power_cut/power_cut/no_history_of_a_journal_loses_a_word_or_brings_a_record_back"
take_out("the sync of a journal's frames", "detail/journal/journal.hpp", "file_->sync(op); file_->note_synced();",
         "file_->note_synced();", journal_cuts, "journal", may_hang=True)
take_out("zeroing what may stand behind the last frame", "detail/journal/file.hpp",
         "write_zeros(end(), capacity_, op);", "", "journal")
take_out("writing again what may be in the page cache alone", "detail/journal/file.hpp",
         "write(read(at, std::min(step, end() - at), op), at, op);", "", journal_cuts)
take_out("the sync when a journal is opened", "detail/journal/file.hpp", "if (syncs) sync(op); synced_ =", "synced_ =",
         journal_cuts, "journal")
take_out("zeros on the disk before a journal grows into them", "detail/journal/file.hpp",
         "is_poisoned = true; sync(op); // also where no frame is: so that a torn one has zeros in it, and not what the disk had before is_poisoned = false;", "",
         "journal", journal_cuts)
take_out("the zeros that a journal grows by", "detail/journal/file.hpp",
         "write_zeros(capacity_, target, op); is_poisoned", "is_poisoned", journal_cuts, "journal")
take_out("a sync of what others have synced before others follow it unsynced", "detail/journal/file.hpp",
         "durable_ || last_.is_synced || found.has_torn_end", "durable_ || found.has_torn_end", journal_cuts)
take_out("noting in a journal that a frame is not synced", "detail/journal/file.hpp", "f.head.is_synced = durable_;", "",
         "journal")
take_out("a last frame by which damage in the one before is known", "detail/journal/journal.hpp", "file_->close(op);", "", "journal")
take_out("damage below what was synced", "detail/journal/reader.hpp", "result.proves_damage = true;", "", "journal")
take_out("damage where all was written", "detail/journal/reader.hpp",
         "if (may_be_torn && !behind.next) {", "if (!behind.proves_damage && !behind.next) {", "journal")
take_out("cutting what a crash left", "detail/journal/reader.hpp", "bool const has_gap = has_unwritten(at, end, has_head ? &*head : nullptr);",
         "bool const has_gap = false;", "journal", journal_cuts)
take_out("cutting the beginning of a head", "detail/journal/reader.hpp", "is_cut_short(front, end - at)", "false",
         journal_cuts)
take_out("what is whole behind a torn frame", "detail/journal/reader.hpp", "if (may_be_torn && !behind.next) {",
         "if (may_be_torn) {", "journal")
take_out("doubt about what was not synced, where it may be torn", "detail/journal/reader.hpp",
         "if (!may_be_torn || behind.is_unsynced) {", "if (!may_be_torn) {", "journal")
take_out("no doubt about what was synced, where others may be torn", "detail/journal/reader.hpp",
         "if (may_be_torn) damage.certain_below = found_.synced;", "", "journal", journal_cuts)
take_out("doubt where a journal was cut", "detail/journal/reader.hpp",
         "if (!behind.next && !has_gap && (has_head ? reach >= size_ : reach + 8 > size_)) {", "if (false) {", "journal")
take_out("mending one bit of a head", "detail/journal/reader.hpp", "!is_next(head) && bit < 8 * front.size()", "false",
         "journal")
take_out("writing a journal anew where others are not to follow", "detail/journal/journal.hpp",
         "file_->is_new() || !found_.is_settled", "file_->is_new()", "journal")
take_out("the hash of a frame's body", "detail/journal/reader.hpp",
         "if (xxh64::hash(body, salt_) != head->body_hash) return false;", "", "journal")
take_out("not reading a descriptor that became another's", "detail/journal/file.hpp",
         "if (is_foreign()) op.fail(errno, \"read\", path_);", "", "journal")
take_out("not writing to a descriptor that became another's", "detail/journal/file.hpp",
         "return !is_foreign() && ops_->lstat", "return ops_->lstat", "journal")
take_out("not closing a descriptor that became another's", "detail/journal/file.hpp",
         "if (file_.get() >= 0 && identity_ && is_foreign() && errno == EBADF) file_.release();", "", "journal")
take_out("reading without writing", "detail/journal/journal.hpp", "if (file_ || load_to_look(op)) f(",
         "if (file_ || open_to_change(false, op)) f(", "journal")
take_out("reading a journal that cannot be locked", "detail/files/lock_file.hpp", "if (failed != ENOENT && failed != EROFS)",
         "if (failed != ENOENT)", "journal")
take_out("reading a journal without a lock file", "detail/files/lock_file.hpp", "if (failed != ENOENT && failed != EROFS)",
         "if (failed != EROFS)", "journal")
take_out("a second look where another came while one read without a lock", "detail/journal/journal.hpp",
         "if (lock_ || state_of_file(*dir) == before) return true;", "return true;", "journal")
take_out("looking for records where a change could not be made", "detail/journal/journal.hpp",
         "if (lock_) return load(*dir, access::write, op);", "if (lock_) return false;", "journal")
take_out("a journal that was cut where a frame ends", "detail/journal/reader.hpp", "if (at >= size_) cut(visit);", "",
         "journal")
take_out("zeros behind the last frame, by which one sees that nothing was cut", "detail/journal/file.hpp",
         "frames.back().head.end() + room_behind;", "frames.back().head.end();", "journal")
take_out("a second closing frame in another sector", "detail/journal/file.hpp",
         "if (frames.back().head.end() + 8 > capacity_) {", "if (true) {", "journal")
take_out("knowing by its body that a frame was written", "detail/journal/reader.hpp",
         "if (has_body_still) to = head->body_at();", "", "journal")
take_out("seeing a gap in a head that can be mended", "detail/journal/reader.hpp",
         "if (has_body_still) to = head->body_at();", "if (head != nullptr && has_body(*head)) return false;", journal_cuts)
take_out("seeing that the last byte of a frame was not written", "detail/journal/reader.hpp",
         "if (head != nullptr && !has_body_still && bytes(head->body_at() + head->body_size - 1, 1) == zero) return true;",
         "", "every_call_fails/*/a_write_is_short*")
take_out("the end of doubt when what was damaged is purged", "storage/journal.hpp", "if (index.ends_damage(names)) {",
         "if (false) {", "journal")
take_out("doubt while what was damaged is kept", "detail/journal/index.hpp",
         "std::ranges::none_of(kept_, [&](auto const& row) { return !is_named(row) && is_of_it(row); }) &&", "", "journal")
take_out("doubt while a doubtful record stands", "detail/journal/index.hpp",
         "return row.second.size != 0 && is_doubtful(row.second);", "return false;", "journal")
take_out("keeping no owner out while root looks", "detail/journal/journal.hpp",
         "if (dir->user() == ops_.user()) {  // else its owner would be kept out", "{", "journal", needs_root=True)
take_out("forgetting what was read without a lock", "detail/journal/journal.hpp", "if (self.is_view_) self.end_view();", "",
         "journal")
take_out("a look whether what was read before is still there", "detail/journal/journal.hpp", "if (!dir || !lock_->held() || (file_ && !file_->is_current())) fail_as_lost(op);", "",
         "journal")
take_out("the hash of a body that is read", "detail/journal/compaction.hpp",
         "if (xxh64::hash(body, salt) != head->body_hash) return {false, false, std::move(bytes)};", "", "journal")
take_out("the checksum of a frame's head", "detail/journal/format.hpp",
         "if (head.checksum != xxh64::hash(bytes.substr(8, head.size() - 8), salt)) return std::nullopt;", "", "journal")
take_out("the second copy of a journal's first bytes", "detail/journal/format.hpp",
         "for (; bytes.size() >= 32; bytes.remove_prefix(32))", "for (; bytes.size() >= 64; bytes.remove_prefix(64))",
         "journal")
take_out("refusing a journal of a newer version", "detail/journal/file.hpp", "if (!head->is_this_version)", "if (false)",
         "journal")
take_out("doubt about what was written before damage", "detail/journal/index.hpp",
         "return place.at == 0 || (one.certain_below <= place.at && place.at < one.place.at);", "return false;", "journal")
take_out("doubt about a key that is not there", "detail/journal/index.hpp", "if (unknown_.empty()) return std::nullopt;",
         "if (unknown_.empty() || row == records_.end()) return std::nullopt;", "journal")
take_out("an erase being remembered where all is in doubt", "detail/journal/index.hpp",
         "if (unknown_.empty()) records_.erase(k);", "records_.erase(k);", "journal")
take_out("keeping what a damaged frame may have replaced", "detail/journal/index.hpp",
         "if (row != records_.end() && row->second.size != 0) { auto const when", "if (false) { auto const when",
         "journal")
take_out("copying damage when a journal is written anew", "detail/journal/compaction.hpp",
         "for (auto const& one : old.unknown()) add(frame_kind::damage, {}, {}, content(one.place).payload);", "",
         "journal")
take_out("copying what was set aside", "detail/journal/compaction.hpp", "for (auto const& [name, one] : old.kept()) {",
         "for (auto const& [name, one] : kept_records{}) {", "journal")
take_out("copying that a record is corrupt", "detail/journal/compaction.hpp",
         "found.is_intact ? frame_kind::put : frame_kind::corrupt", "frame_kind::put", "journal")
take_out("the sync of a new journal's name", "detail/journal/journal.hpp",
         "return dir.sync() == 0 || (!durable_ && errno == EINVAL);", "return true;", journal_cuts, "journal")
take_out("making a journal once more whose name may not be certain", "detail/journal/journal.hpp",
         "if (!file_ || file_->is_new() || !found_", "if (!file_ || !found_", "journal")
take_out("the sync of the name when a journal is opened", "detail/journal/journal.hpp",
         "if (durable_ && dir.sync() != 0) dir.fail(\"fsync\");", "", "journal")
take_out("the sync of a new journal before it is renamed", "detail/journal/file.hpp",
         "capacity_ = target; sync(op); note_synced(); mark(frame_kind::made, op);", "capacity_ = target; note_synced();",
         "journal", journal_cuts)
take_out("writing a journal anew once more where its name could not be synced", "detail/journal/journal.hpp",
         "tries < 2; ++tries", "tries < 1; ++tries", "journal")
take_out("poison after a write or a sync that failed", "detail/journal/journal.hpp",
         "if (failed != nullptr) poison_ = failed;", "", "journal")
take_out("poison where there was no memory to say what failed", "detail/journal/journal.hpp",
         ("failed = \"a write or a sync\";", "throw error{errc::indeterminate, {}, {},"),
         ("", "failed = \"a write\"; throw error{errc::indeterminate, {}, {},"), "journal")
take_out("poison for those who waited while another's write failed", "detail/journal/journal.hpp",
         "refuse_poisoned(failed, op);", "", "journal")
take_out("poison after the sync of zeros that failed", "detail/journal/journal.hpp", "if (is_poisoned) failed = \"a sync\";", "",
         "journal")
take_out("poison where neither of two names could be synced", "detail/journal/journal.hpp",
         "poison_ = sync_name(dir) ? nullptr : \"a sync of the directory\";", "sync_name(dir);", "journal")
take_out("refusing a journal that another has open", "detail/journal/journal.hpp", "if (!lock) fail_as_busy(op); lock_", "if (!lock) return false; lock_",
         "journal")
take_out("other processes being kept out of a journal", "detail/journal/journal.hpp",
         "durable_, lock_name, op, made_);",
         "durable_, std::string(lock_name) + std::to_string(::getpid()), op, made_);",
         "concurrency/*/after_a_kill_locks_are_free_records_whole_and_leftovers_swept")
take_out("a look at the lock before a journal is written", "detail/journal/journal.hpp",
         "return lock_->held() && file_->is_current();", "return file_->is_current();", "journal")
take_out("a look at the file's name before a journal is written", "detail/journal/journal.hpp",
         "return lock_->held() && file_->is_current();", "return lock_->held();", "journal")
take_out("removing what a journal's lock made where nothing was saved", "detail/journal/journal.hpp",
         "durable_, lock_name, op, made_);", "durable_, lock_name, op);", "directory")
take_out("removing what a lock beside an SQLite file made where nothing was saved", "storage/sqlite.hpp",
         "locks, session_->made());", "locks);", "directory")
take_out("a directory that must exist for a journal", "detail/journal/journal.hpp",
         "directory<Ops>::find(ops_, path_, op, wanted, must_exist_)", "directory<Ops>::open(ops_, path_, op, wanted)",
         "directory")
take_out("a directory that must exist for a journal's lock", "detail/journal/journal.hpp",
         "if (must_exist_) find_directory(op, access::write);", "", "directory")
take_out("a directory that must exist for an SQLite file", "detail/sqlite/session.hpp",
         "::find(ops_, directory_, op, wanted, options_.must_exist)", "::open(ops_, directory_, op, wanted)", "directory")
take_out("a directory that must exist for a lock beside an SQLite file", "storage/sqlite.hpp",
         "if (options_.must_exist) session_->find_directory(op, detail::access::write);", "", "directory")
take_out("refusing what a child inherits", "detail/journal/journal.hpp",
         "void refuse_in_child(operation const& op) const { if (!owner_.is_current())",
         "void refuse_in_child(operation const& op) const { if (false)", "journal", may_hang=True)
take_out("one process's journal lock held by its locks", "storage/journal.hpp",
         "return lock_.held() && journal_->is_held();", "return lock_.held();", "journal")
take_out("removing a new journal that could not be ended", "detail/journal/journal.hpp",
         "ops_.unlink(dir.get(), file_type::temporary); throw;", "throw;", "journal")
take_out("removing a new journal that could not be renamed", "detail/journal/journal.hpp",
         "or_removed(dir, [&] { file->rename(dir); });", "file->rename(dir);", "journal")
take_out("a journal's path being known before it is open or made", "detail/journal/file.hpp",
         ("std::string path = dir.path_of(name);  // before there is a descriptor to lose",
          "journal_file file{ops, fd, std::move(path), durable}; struct stat s;",
          "std::string path = dir.path_of(temporary);", "journal_file file{ops, fd, std::move(path), durable}; if"),
         ("", "journal_file file{ops, fd, dir.path_of(name), durable}; struct stat s;",
          "", "journal_file file{ops, fd, dir.path_of(temporary), durable}; if"),
         "every_call_fails/*/whichever_allocation_fails")
take_out("syncing no record of a journal under process_crash", "storage/journal.hpp",
         "options.durability == durability::power_loss, std::max", "true, std::max", "journal")
take_out("a chunk of no bytes being taken for the least", "storage/journal.hpp",
         "std::max<std::uint64_t>(options.chunk, 64)", "options.chunk", "journal")
take_out("a cap on what is put into a journal", "storage/journal.hpp", "check(k, r); auto change", "auto change", "journal")
take_out("mode 0600 of a journal whatever the umask", "detail/journal/file.hpp",
         "if (ops.fchmod(fd, 0600) != 0)", "if (false)", "journal")
take_out("not following a link in a journal's place", "detail/journal/file.hpp",
         ": O_RDWR) | O_NOFOLLOW | O_NONBLOCK", ": O_RDWR) | O_NONBLOCK", "journal")
take_out("a journal being a regular file", "detail/journal/file.hpp", "if (!S_ISREG(s.st_mode))", "if (false)", "journal")

# --- json_serializer.hpp

take_out("doubles bit for bit", "json_serializer.hpp",
         ("bool on_double(double, view s, error_code& failed)", "stack_.push_double(exact)"),
         ("bool on_double(double inexact, view s, error_code& failed)", "stack_.push_double(inexact)"),
         "json_serializer")
take_out("refusing a number that is out of range", "json_serializer.hpp",
         "if (!detail::nearest_double(digits_, exact))", "if (detail::nearest_double(digits_, exact), false)", "json_serializer")
take_out("refusing what would be zero, without from_chars", "detail/text/nearest_double.hpp", "&& !is_too_small", "",
         "json_serializer")
take_out("refusing infinity, without from_chars", "detail/text/nearest_double.hpp", "&& std::isfinite(result)", "",
         "json_serializer")
take_out("refusing what stands behind a number, without from_chars", "detail/text/nearest_double.hpp",
         "&& end == digits.c_str() + digits.size()", "", "json_serializer")
take_out("refusing NaN and infinities", "json_serializer.hpp", "v.is_double() && !std::isfinite(v.get_double())",
         "false", "json_serializer")
take_out("refusing text that is not UTF-8", "json_serializer.hpp",
         "if (!detail::is_utf8({s.data(), s.size()}))", "if (false)", "json_serializer")
take_out("refusing names that are not UTF-8", "json_serializer.hpp", "check_text(member.key());", "",
         "json_serializer")
take_out("refusing to save more than 64 levels", "json_serializer.hpp", "if (depth > max_depth)", "if (false)",
         "json_serializer")
take_out("refusing to read more than 64 levels", "json_serializer.hpp", "options.max_depth = max_depth;",
         "options.max_depth = 1000;", "json_serializer")
take_out("refusing what stands behind the JSON", "json_serializer.hpp", "if (used != bytes.size())", "if (false)",
         "json_serializer")
take_out("trying on save whether a value comes back", "json_serializer.hpp",
         "T const back = deserialize<T>(bytes); if constexpr (detail::is_comparable<T>) check_equal(v, back, bytes);", "",
         "json_serializer")
take_out("finding a member that was forgotten", "json_serializer.hpp", "check_equal(v, back, bytes);", ";",
         "json_serializer")
take_out("comparing all that is equal to itself", "json_serializer.hpp", "|| !is_equal(v, v)", "", "json_serializer")
take_out("a variant coming back as another alternative", "json_serializer.hpp",
         "if (boost::json::serialize(boost::json::value_from(back)) != bytes) return;", "", "json_serializer")
take_out("finding a member that was forgotten beside a variant", "json_serializer.hpp",
         "if (boost::json::serialize(boost::json::value_from(back)) != bytes) return;", "return;", "json_serializer")
take_out("telling out of memory from a mismatch", "json_serializer.hpp", "catch (std::bad_alloc const&) { throw; }",
         "catch (char const*) { throw; }", "json_serializer")
take_out("any exception of value_to being a mismatch", "json_serializer.hpp",
         "} catch (std::exception const& problem) {", "} catch (std::bad_cast const& problem) {", "json_serializer")
take_out("no array around a value", "json_serializer.hpp", "serialize(boost::json::value(boost::json::value_from(v)))",
         "serialize(boost::json::value(boost::json::array({boost::json::value_from(v)})))",  # as g++ reads braces
         "json_serializer")

# --- ckan

take_out("\"_beside\" being reserved", "ckan/data_dictionary.hpp", 
         "if (char const* const key = detail::reserved_key(saved))", "if (char const* const key = nullptr)",
         "data_dictionary")
take_out("a plain remark being words of a person's", "ckan/data_dictionary.hpp", "&& !f.comment) continue;", ") continue;",
         "reload")
take_out("a person's text travelling beside what it says", "ckan/data_dictionary.hpp",
         "if (f.comment) saved.emplace(detail::comment_key, *f.comment);", "", "data_dictionary")
take_out("a text without info replacing the info", "ckan/data_dictionary.hpp", "f.info.reset();", "", "data_dictionary")
take_out("what is written on the table being no field", "ckan/data_dictionary.hpp",
         "if (member.key() == table_key) continue;", "", "data_dictionary")
take_out("a text of somebody's being kept", "ckan/column_comment.hpp",
         "if (is_ambiguous || detail::new_comment(f) != text) f.comment = std::move(text);", "", "data_dictionary")
take_out("an empty info beside other words", "ckan/column_comment.hpp", "if (is_ambiguous || detail::new_comment", "if (detail::new_comment",
         "data_dictionary")
take_out("a text that says something else not being written", "ckan/column_comment.hpp",
         "return detail::comment_holds(f) ? f.comment : detail::new_comment(f);", "return f.comment ? f.comment : detail::new_comment(f);",
         "data_dictionary")
take_out("reading what Python writes", "ckan/column_comment.hpp", "std::string const json = detail::without_nan(text);",
         "std::string const json(text);", "data_dictionary")
take_out("words of a comment that could not be saved being its text only", "ckan/column_comment.hpp",
         "return detail::can_be_saved(found) ? found : column_words{};", "return found;", "data_dictionary")
take_out("new info in the last of several", "ckan/column_comment.hpp", "if (name == \"_info\") from = begin, to = end;",
         "if (name == \"_info\" && to == 0) from = begin, to = end;", "data_dictionary")
take_out("a quote in a text not ending it", "ckan/column_comment.hpp", "if (c == '\\\\') ++at;", "", "data_dictionary",
         may_hang=True)
take_out("a text beside an info that says the same", "ckan/column_comment.hpp", "|| !detail::says_the_same(f)) {", ") {",
         "data_dictionary")
take_out("a comment that comes alone", "ckan/column_comment.hpp",
         "((!f.info && f.beside.empty()) || detail::says_the_same(f))", "detail::says_the_same(f)", "data_dictionary")
take_out("a remark that an info would take the place of", "ckan/column_comment.hpp",
         "detail::refuse_lost_remark(comment, f.info); if", "if", "sqlite_datastore")
take_out("a remark that a new table's info would take the place of, SQLite", "ckan/sqlite_datastore.hpp",
         "detail::refuse_lost_remark(f, \"check\", id);", "", "sqlite_datastore")
take_out("a remark that a new table's info would take the place of, PostgreSQL", "ckan/postgres_datastore.hpp",
         "detail::refuse_lost_remark(f, op.name, op.subject);", "", "postgres_datastore")
take_out("numbers beyond a double, as Python reads them", "ckan/column_comment.hpp",
         "instead = other.empty() ? rest.substr(0, size) : other;", "instead = rest.substr(0, size);", "data_dictionary")
take_out("lone surrogates, as Python reads them", "ckan/column_comment.hpp",
         "return is_half(at, high) || is_half(at, low) ? 0 : 2;", "return 2;", "data_dictionary")
take_out("what the encoding of an SQLite datastore would change", "ckan/sqlite_datastore.hpp",
         "if (is_utf8_ || stash::detail::is_held(db_, text, {operation, id})) return;", "return;", "sqlite_datastore")
take_out("rows that the encoding of an SQLite datastore would change", "ckan/sqlite_datastore.hpp",
         "i < values.size() && !is_utf8_; ++i)", "false; ++i)", "sqlite_datastore")
take_out("what the encoding of a PostgreSQL datastore would change", "ckan/postgres_datastore.hpp",
         "if (stash::detail::is_held(db, text)) return;", "return;", "postgres_table")
take_out("views that are none of the standard's", "detail/parts.hpp", "|| is_two_pointers<T> ||", "||", "json_serializer")
take_out("what a trigger undid of a batch in SQLite", "storage/sqlite.hpp",
         "for (auto const& [k, r] : all) check_written(written, k, \"\", row_to_write(k, r), op);", "", "sqlite_file")
take_out("a password anywhere in what is no path", "detail/text/address.hpp",
         "if (is_setting) return std::string(word) + '='; return detail::has_password(text)",
         "if (is_setting) return std::string(word) + '='; return false", "address")
take_out("info shown as somebody wrote it", "ckan/column_comment.hpp",
         "if (text.empty() || detail::without_nan(text) != text)", "if (true)", "data_dictionary")
take_out("digits that somebody typed", "ckan/parse_dictionary.hpp", "if (!read.inexact.contains(name)) return;",
         "return;", "data_dictionary")
take_out("names of ours in what somebody typed", "ckan/parse_dictionary.hpp",
         "if (char const* const key = detail::reserved_key(*info))", "if (char const* const key = nullptr)", "data_dictionary")
take_out("a name that stands twice being refused", "detail/ckan/exact_json.hpp", "if (!names_.back().insert(name_).second)",
         "if (false)", "data_dictionary")
take_out("a minus before a zero", "detail/text/decimal.hpp", "if (is_negative) all.insert(0, 1, '-');", "", "data_dictionary")
take_out("CKAN's reserved names", "ckan/field_names.hpp", "if (name.front() == '_') return", "if (false) return",
         "data_dictionary")
take_out("no double quote in a field name", "ckan/field_names.hpp", "if (name.find('\"') != name.npos) return",
         "if (false) return", "data_dictionary")
take_out("no white space at the ends of a field name", "ckan/field_names.hpp",
         "if (std::any_of(ends.begin(), ends.end(), is_white))", "if (is_white(ends[0]))", "data_dictionary")
take_out("a restored field keeping its name", "ckan/field_names.hpp", "if (!had_words || f.id.front() == '_')", "if (true)",
         "sqlite_datastore")
take_out("reserved names not being restored", "ckan/field_names.hpp", "if (!had_words || f.id.front() == '_')",
         "if (!had_words)", "sqlite_datastore")
take_out("keeping what is beside the info", "ckan/data_dictionary.hpp",
         "if (!f.beside.empty()) saved.emplace(detail::beside_key, f.beside);", "", "data_dictionary")
take_out("a table without words not being live", "ckan/reload.hpp", "if (now && now->empty()) return std::nullopt;", "",
         "reload")
take_out("not touching a live table", "ckan/reload.hpp", "if (!now) { ckan::recreate", "if (true) { ckan::recreate", "reload")
take_out("the words being in a live table", "ckan/reload.hpp", "!has_words(*now, dictionary)", "false",
         "reload")
take_out("noting the drop before it", "ckan/reload.hpp", "drop_was_attempted_ = true; datastore_.drop(id_);",
         "datastore_.drop(id_); drop_was_attempted_ = true;", "reload")
take_out("the drop before the create", "ckan/reload.hpp", 
         "datastore_.drop(id_); detail::create_with(datastore_, id_, headers, remarks);",
         "detail::create_with(datastore_, id_, headers, remarks);", "reload")
take_out("what was written on the table being on the new one", "ckan/reload.hpp",
         "create_with(datastore_, id_, headers, remarks);", "create_with(datastore_, id_, headers, {});", "reload")
take_out("what was written on the table being on one made anew", "ckan/reload.hpp",
         "detail::create_with(d, id, restored, remarks);", "detail::create_with(d, id, restored, {});", "reload")
take_out("what was written on the table being in the record", "ckan/reload.hpp",
         "dictionary.emplace(table_key, std::move(remarks));", ";", "reload")
take_out("remarks without a place being reported", "ckan/reload.hpp",
         "std::vector<std::string> result = detail::remarks_without_place<Datastore>(remarks);", "std::vector<std::string> result;",
         "reload")
take_out("remarks without a place keeping their record", "ckan/reload.hpp", "if (left.empty()) return;", "return;", "reload")
take_out("the finish", "ckan/reload.hpp", "datastore_.finish(id_);", "", "reload")
take_out("the finish only after the load", "ckan/reload.hpp", "load(headers); datastore_.finish(id_);",
         "datastore_.finish(id_); load(headers);", "reload")
take_out("the drop of a half-built table before it is made anew", "ckan/reload.hpp",
         "d.drop(id); detail::create_with(d, id, restored, remarks);", "detail::create_with(d, id, restored, remarks);",
         "reload")
take_out("the finish of a table made anew", "ckan/reload.hpp", 
         "detail::create_with(d, id, restored, remarks); d.finish(id);", "detail::create_with(d, id, restored, remarks);",
         "reload")
take_out("the release before the drop", "ckan/reload.hpp", "guard.release();", "", "reload")
take_out("removing a half-built first table", "ckan/reload.hpp", "job.remove_half_built();", "", "reload")
take_out("not removing a first table that was finished", "ckan/reload.hpp",
         "if (!datastore_.describe(id_)) datastore_.drop(id_);", "datastore_.drop(id_);", "reload")
take_out("setting aside words without a column", "ckan/reload.hpp", "if (report.unplaced.empty()) { guard.commit();",
         "if (true) { guard.commit();", "reload")
take_out("words without a column needing a record", "ckan/reload.hpp",
         "if (!report.unplaced.empty()) stash::detail::guard_access::require_saved(guard);", "", "reload")
take_out("the check before the drop", "ckan/reload.hpp", "d.check(resource_id.str(), headers); job.rebuild",
         "job.rebuild", "reload")
take_out("SQLite's synchronous=FULL", "ckan/sqlite_datastore.hpp", "PRAGMA synchronous=FULL", "PRAGMA synchronous=OFF",
         "sqlite_datastore")
take_out("SQLite's write-ahead log", "ckan/sqlite_datastore.hpp", "PRAGMA journal_mode=WAL",
         "PRAGMA journal_mode=MEMORY", "sqlite_datastore")
take_out("SQLite's EXTRA without a write-ahead log", "ckan/sqlite_datastore.hpp", "PRAGMA synchronous=EXTRA",
         "PRAGMA synchronous=OFF", "sqlite_datastore")
take_out("the syncs of records in SQLite", "detail/sqlite/session.hpp", "is_wal ? \"PRAGMA synchronous=FULL\"",
         "is_wal ? \"PRAGMA synchronous=NORMAL\"", "sqlite_storage")
take_out("writing a row that stays as it is", "storage/sqlite.hpp",
         "INSERT OR REPLACE INTO stash (key, version, saved_at, xxh64, payload) VALUES (?, ?, ?, ?, ?)\"",
         "INSERT INTO stash (key, version, saved_at, xxh64, payload) VALUES (?, ?, ?, ?, ?) ON CONFLICT (key, set_aside)"
         " DO UPDATE SET saved_at = excluded.saved_at, xxh64 = excluded.xxh64, payload = excluded.payload\"",
         "sqlite_storage")
take_out("writing where there is nothing to erase", "storage/sqlite.hpp", "if (removed == 0) {", "if (false) {",
         "sqlite_storage")
take_out("no open connection across a fork", "detail/at_fork.hpp", "row->before_();", "", "sqlite_storage")
take_out("no fork amid a call", "detail/at_fork.hpp", ("row->only_.lock();", "row->only_.unlock();"), ("", ""),
         "sqlite_storage", may_hang=True)
take_out("seeing that an SQLite file was replaced", "detail/sqlite/session.hpp",
         "if (db_ && std::pair(found.st_dev, found.st_ino) != std::pair(opened_.st_dev, opened_.st_ino)) db_.reset();", "",
         "sqlite_storage")
take_out("an SQLite file for its owner alone", "detail/sqlite/session.hpp", "S_IFREG | 0600", "S_IFREG | 0644",
         "sqlite_storage")
take_out("no link as an SQLite file", "detail/sqlite/session.hpp", "if (!S_ISREG(s.st_mode))", "if (false)", "sqlite_storage")
take_out("no foreign SQLite file", "detail/sqlite/session.hpp", "if (s.st_uid != dir->user())", "if (false)", "sqlite_storage",
         needs_root=True)
take_out("an I/O error of SQLite being indeterminate", "detail/sqlite/session.hpp",
         "if (problem.code() != boost::system::errc::io_error) throw;", "throw;", "sqlite_storage")
take_out("waiting for another writer of an SQLite file", "detail/sqlite/session.hpp", ">= self.options_.wait_for_file",
         ">= std::chrono::milliseconds(0)", "sqlite_storage")
take_out("the cap of a payload read from SQLite", "storage/sqlite.hpp", "check_size(found.payload.size(), op);", "",
         "sqlite_storage")
take_out("a row's version", "detail/record/row.hpp", "if (row.version != row_version)", "if (false)", "sqlite_storage")
take_out("a row's time", "detail/record/row.hpp", "if (!saved_at) op.fail(errc::corrupt, where, \"no time\");",
         "if (!saved_at) return {};", "sqlite_storage")
take_out("a row's checksum", "detail/record/row.hpp", "if (detail::row_checksum(k, r) != row.xxh64)", "if (false)",
         "sqlite_storage")
take_out("passing over rows that are under no key", "detail/record/row.hpp", "return std::nullopt; } entry e",
         "throw; } entry e", "sqlite_storage")
take_out("bytes that are no text being a blob", "storage/sqlite.hpp",
         "r.payload.find('\\0') == r.payload.npos && detail::is_utf8(r.payload) &&", "", "sqlite_storage")
take_out("a blob where UTF-16 would change text", "storage/sqlite.hpp", "&& detail::is_held(db, r.payload, op);", ";",
         "sqlite_file")
take_out("no key that UTF-16 would change", "storage/sqlite.hpp",
         "[&](auto const& db) -> std::optional<record> { detail::require_held(db, k, op);",
         "[&](auto const& db) -> std::optional<record> {", "sqlite_file")
take_out("looking at what was written to SQLite before it counts", "storage/sqlite.hpp", "if (is_right) return;", "return;",
         "sqlite_file")
take_out("one row for each key in SQLite", "detail/sqlite/session.hpp", "} else if (*table != sqlite_table_sql) {",
         "} else if (false) {", "sqlite_file")
take_out("no SQLite table without a rowid", "detail/sqlite/table.hpp", "if (row.integer(0) != 0)", "if (false)", "sqlite_file")
take_out("no view for an SQLite table", "detail/sqlite/table.hpp",
         "if (row.text(0) != \"table\" || sql.starts_with(\"CREATE VIRTUAL\"))", "if (false)", "sqlite_file")
take_out("an SQLite table that lost one of its names", "detail/sqlite/table.hpp",
         "OR (tbl_name = 'stash' COLLATE NOCASE AND type NOT IN ('trigger', 'index'))", "", "sqlite_file")
take_out("an SQLite file that was cut to nothing being corrupt", "detail/sqlite/session.hpp", "if (s.st_size < 512)",
         "if (false)", "sqlite_file")
take_out("an SQLite file that has its table when it gets its name", "detail/sqlite/session.hpp",
         "from = to + \".new-\" + hex16(dir.random());", "from = to;", "sqlite_file")
take_out("syncing a new SQLite file's name", "detail/sqlite/session.hpp", "if (is_durable() && dir.sync() != 0)", "if (false)",
         "sqlite_file")
take_out("no absence in a damaged SQLite file", "storage/sqlite.hpp",
         "return session_->require_whole(op), std::nullopt;", "return std::nullopt;", "sqlite_file")
take_out("no short list of a damaged SQLite file", "storage/sqlite.hpp", "session_->require_whole(op); statement row",
         "statement row", "sqlite_file")
take_out("no change of a damaged SQLite file", "detail/sqlite/session.hpp",
         "has_table_ = table.has_value(); require_whole(op);", "has_table_ = table.has_value();", "sqlite_file")
take_out("no absence of the table in a damaged SQLite file", "detail/sqlite/session.hpp", "} else { require_whole(op); }", "}",
         "sqlite_file")
take_out("reading an SQLite file where nothing can be written", "detail/sqlite/session.hpp",
         "found->st_uid != ops_.user() || !is_writable(),", "found->st_uid != ops_.user(),", "sqlite_file")
take_out("nothing of root's in another user's SQLite directory", "detail/sqlite/session.hpp",
         "found->st_uid != ops_.user() || !is_writable(),", "!is_writable(),", "sqlite_file", needs_root=True)
take_out("reading the log where nothing can be written", "detail/sqlite/view.hpp",
         "(is_alone ? \"?immutable=1\" : \"?readonly_shm=1\")", "\"?immutable=1\"", "sqlite_file")
take_out("reading again what changed meanwhile", "detail/sqlite/session.hpp", "if (!is_alone || is_unchanged(*found, op))",
         "if (true)", "sqlite_file")
take_out("no record lost in a log that cannot be read", "detail/sqlite/view.hpp",
         "if (has_log && !has_bytes(\"-shm\"))", "if (false)", "sqlite_file")
take_out("keeping in SQLite what was set aside nobody knows when", "storage/sqlite.hpp",
         "set_aside_at LIKE '____-__-__T__:__:__.______Z' AND", "", "sqlite_file")
take_out("purging all of SQLite, at whatever time it was set aside", "storage/sqlite.hpp", "?1 IS NULL OR", "?1 = '' OR",
         "sqlite_file")

# --- PostgreSQL: storage/postgres.hpp, detail/postgres/*.hpp, ckan/postgres_datastore.hpp

take_out("a missing schema being an error", "detail/postgres/table.hpp", "if (found.text(0, 0) == \"0\" && !is_default())",
         "if (false)", "postgres_storage")
take_out("a bound for a name's length", "detail/postgres/name.hpp", "if (name.size() > longest)", "if (false)",
         "postgres_table/postgres_table/a_name_that_the_server_would_cut_or_refuse_is_refused_by_the_constructor")
take_out("a name of a table being text", "detail/postgres/name.hpp", "if (!detail::is_utf8(name))", "if (false)",
         "postgres_table/postgres_table/a_name_that_the_server_would_cut_or_refuse_is_refused_by_the_constructor")
take_out("no table's name with a NUL", "detail/postgres/name.hpp", "if (name.find('\\0') != name.npos)", "if (false)",
         "postgres_table/postgres_table/a_name_that_the_server_would_cut_or_refuse_is_refused_by_the_constructor")
take_out("looking at what was written before it counts", "detail/postgres/session.hpp",
         "table_.check_written(db, written, op, until);", "",
         "postgres_table/postgres_table/what_a_trigger_swallows_or_changes_is_an_error_and_the_old_stands")
take_out("calling triggers of the end before looking", "detail/postgres/table.hpp", "SET CONSTRAINTS ALL IMMEDIATE",
         "SET CONSTRAINTS ALL DEFERRED",
         "postgres_table/postgres_table/what_a_trigger_swallows_or_changes_is_an_error_and_the_old_stands")
take_out("what a trigger changes being an error", "storage/postgres.hpp",
         "if (row.rows() != 1 || row.text(0, 1) != \"true\")", "if (row.rows() != 1)",
         "postgres_table/postgres_table/what_a_trigger_swallows_or_changes_is_an_error_and_the_old_stands")
take_out("what a trigger swallows being an error", "detail/postgres/table.hpp", "if (at != one.at)", "if (false)",
         "postgres_table/postgres_table/what_a_trigger_swallows_or_changes_is_an_error_and_the_old_stands")
take_out("no unlogged table", "detail/postgres/table.hpp", "refuse_if(found.text(0, 1) != \"p\"", "refuse_if(false",
         "postgres_table/postgres_table/what_is_no_table_that_keeps_its_rows_is_refused_and_nothing_written")
take_out("no view for a table", "detail/postgres/table.hpp", "refuse_if(found.text(0, 0) != \"r\"", "refuse_if(false",
         "postgres_table/postgres_table/what_is_no_table_that_keeps_its_rows_is_refused_and_nothing_written")
take_out("no table that inherits", "detail/postgres/table.hpp", "refuse_if(found.text(0, 2) != \"false\"",
         "refuse_if(false",
         "postgres_table/postgres_table/what_is_no_table_that_keeps_its_rows_is_refused_and_nothing_written")
take_out("no table with rules", "detail/postgres/table.hpp", "refuse_if(found.text(0, 3) != \"false\"",
         "refuse_if(false",
         "postgres_table/postgres_table/what_is_no_table_that_keeps_its_rows_is_refused_and_nothing_written")
take_out("nothing granted to anybody", "detail/postgres/table.hpp", "db.run(\"REVOKE ALL ON \"",
         "if (false) db.run(\"REVOKE ALL ON \"",
         "postgres_table/postgres_table/the_default_schema_is_made_by_the_first_save_and_is_nobody_elses")
take_out("trying again where another made the schema", "detail/postgres/table.hpp", "if (is_made && tries < 5) continue;", "",
         "postgres_table/postgres_table/first_savers_of_several_tables_of_the_default_schema_succeed")
take_out("finding what 0.1 wrote", "detail/postgres/table.hpp", "has_old_ = is_default() && found.text(0, 2) == \"8\";",
         "has_old_ = false;",
         "postgres_table/postgres_table/what_version_0_1_wrote_is_found_and_moves_when_it_is_changed")
take_out("no foreign table of that name for ours", "detail/postgres/table.hpp",
         "has_old_ = is_default() && found.text(0, 2) == \"8\";", "has_old_ = is_default() && found.text(0, 2) != \"0\";",
         "postgres_table/postgres_table/a_public_table_of_that_name_that_is_nothing_of_ours_is_left_alone")
take_out("not believing a table that anybody may have made", "detail/postgres/table.hpp",
         "if (has_old() && !found.is_null(0, 3)) {", "if (false) {", "postgres_table/postgres_table/"
         "an_old_table_that_anybody_may_have_made_is_neither_believed_nor_taken_for_none")
take_out("moving what 0.1 wrote before it is changed", "detail/postgres/session.hpp",
         "for (auto const& one : all) table_.take_over(db, one.k, op, until);", "",
         "postgres_table/postgres_table/what_version_0_1_wrote_is_found_and_moves_when_it_is_changed")
take_out("seeing that an old record did not move", "detail/postgres/table.hpp", "if (left.rows() > 0) refuse(", "if (false) refuse(",
         "postgres_table/postgres_table/an_old_record_that_cannot_be_moved_stops_a_save_that_it_would_hide")
take_out("the lock that a job of 0.1 has", "detail/postgres/table.hpp", "is_default() ? old_schema : schema_;", "schema_;",
         "postgres_table/postgres_table/jobs_of_version_0_1_and_later_ones_exclude_each_other_and_the_last_save_counts")
take_out("bytes where the encoding would change text", "storage/postgres.hpp",
         "&& detail::is_held(db, r.payload);", ";",
         "postgres_table/postgres_table/what_the_databases_encoding_cannot_hold_is_kept_as_bytes_or_refused")
take_out("no key that the encoding would change", "detail/postgres/session.hpp",
         "for (auto const& one : all) postgres_table::require_held(db, one.k, op, until);", "",
         "postgres_table/postgres_table/what_the_databases_encoding_cannot_hold_is_kept_as_bytes_or_refused")
take_out("no reading of a key that the encoding would change", "storage/postgres.hpp",
         "detail::postgres_table::require_held(db, k, op, until);", "",
         "postgres_table/postgres_table/what_the_databases_encoding_cannot_hold_is_kept_as_bytes_or_refused")
take_out("a bound for keys locked at once", "detail/postgres/session.hpp", "require_room(db, op, end);", "",
         "postgres_table/postgres_table/more_keys_at_once_than_the_server_has_locks_to_spare_are_refused_and_others_go_on")
take_out("keeping what was set aside nobody knows when", "storage/postgres.hpp",
         "set_aside_at LIKE '____-__-__T__:__:__.______Z' AND", "",
         "postgres_table/postgres_table/a_row_set_aside_at_a_time_that_nobody_knows_is_listed_and_goes_only_when_all_go")
take_out("purging all, at whatever time it was set aside", "storage/postgres.hpp", "$1::text IS NULL OR", "$1::text = '' OR",
         "postgres_table/postgres_table/a_row_set_aside_at_a_time_that_nobody_knows_is_listed_and_goes_only_when_all_go")
take_out("refusing synchronous_commit off", "detail/postgres/session.hpp", "if (found.text(0, 2) == \"off\")", "if (false)",
         "postgres_storage")
take_out("refusing fsync off", "detail/postgres/session.hpp", "if (found.text(0, 1) == \"off\")", "if (false)",
         "postgres_storage")
take_out("synchronous_commit staying as it was", "detail/postgres/session.hpp",
         "THEN 'on' ELSE c END, false)", "THEN 'on' ELSE c END, true)", "postgres_storage")
take_out("writing again in another session", "detail/postgres/session.hpp",
         "catch (...) { if (!db.is_lost()) throw; }", "catch (...) { throw; }",
         "postgres_storage")
take_out("writing again where memory ran out", "detail/postgres/connection.hpp", "is_lost_ = true; throw;", "throw;",
         "postgres_storage")
take_out("no change in another session than its lock's", "detail/postgres/session.hpp",
         "db_ && !db_->is_lost() && taken == generation_", "db_ && taken == generation_", "postgres_storage")
take_out("the whole time for a call that waited for its turn", "detail/postgres/session.hpp",
         "std::lock_guard const alone{mutex_}; auto const until = end(); for",
         "auto const until = end(); std::lock_guard const alone{mutex_}; for", "postgres_storage")
take_out("ending a session whose locks could not be released", "detail/postgres/session.hpp",
         "pg_advisory_unlock_all()::text\", {}, op, until); } catch (...) { db_.reset(); }",
         "pg_advisory_unlock_all()::text\", {}, op, until); } catch (...) {}", "postgres_storage")
take_out("a lack of memory in writing again being indeterminate", "detail/postgres/session.hpp",
         "db_.reset(); std::rethrow_exception(unknown);", "db_.reset(); throw;",
         "postgres_storage")
take_out("time to say that a lock could not be taken again", "detail/postgres/session.hpp", "if (is_over(until - 2 * pause))",
         "if (is_over(until))", "postgres_storage")
take_out("reading a table that was made just now", "detail/postgres/table.hpp", "if (exists(db, op, until)) {  // it",
         "if (exists(db, op, until) && false) {  // it", "postgres_storage")
take_out("not waiting for what will not pass", "detail/postgres/reconnect.hpp", "if (!again || !detail::may_pass(problem.code()) ||",
         "if (!again ||", "postgres_storage")
take_out("of several hosts, the one that can be written to", "detail/postgres/connecting.hpp",
         "value(used, \"target_session_attrs\") == \"any\"", "true", "postgres_storage/postgres_storage/the_environment*")
take_out("the other addresses of a name", "detail/postgres/connecting.hpp", "if (is_name) {", "if (false) {",
         "postgres_connection/postgres_connection/each_address*")
take_out("connect_timeout", "detail/postgres/connecting.hpp",
         "auto const longest = connect_timeout(used, op);", "std::chrono::seconds const longest{0};",
         "postgres_connection/postgres_connection/each_address*")
take_out("asking no other host where one does not let us in", "detail/postgres/connecting.hpp",
         "&& !state.starts_with(\"28\")", "", "postgres_connection/postgres_connection/where_one_host*")
take_out("connecting's end by the clock", "detail/postgres/wait.hpp", "if (left.count() < 0) return false;", "",
         "postgres_connection/postgres_connection/connecting_ends*", may_hang=True)
take_out("no password in what libpq could not read", "detail/postgres/connecting.hpp",
         "auto const end = said.find_first_not_of(plain);", "auto const end = said.npos;",
         "postgres_connection/postgres_connection/no_error*")
take_out("no password in a host or a database", "detail/postgres/connecting.hpp",
         "if (could_tell_a_password(used)) {", "if (false) {", "postgres_connection/postgres_connection/no_error*")
take_out("no password in a port", "detail/postgres/connecting.hpp", "check_port(one.port, op);", "",
         "postgres_connection/postgres_connection/no_error*")
take_out("nothing of a server's on stderr", "detail/postgres/connecting.hpp",
         "made.get(), [](void*, PGresult const*) {}, nullptr);", "made.get(), nullptr, nullptr);",
         "postgres_connection/postgres_connection/what_the_server_tells*")
take_out("a failure that no server sent being a lost connection", "detail/postgres/connection.hpp",
         "if (!detail::is_sqlstate(state)) lose(op);", "", "postgres_storage")
take_out("losing a connection that answers what was not asked", "detail/postgres/connection.hpp",
         "if (!detail::is_sqlstate(failed->field(PG_DIAG_SQLSTATE))) break;", "", "postgres_storage", may_hang=True)
take_out("an end of what answers a COPY", "detail/postgres/connection.hpp", "if (status == PGRES_COPY_IN) return;", "",
         "postgres_datastore", may_hang=True)
take_out("taking the lock anew before writing again", "detail/postgres/session.hpp", "while (!try_lock(db, one.k, op, until))",
         "while (false)", "postgres_storage")
take_out("not writing again over what another wrote", "detail/postgres/session.hpp",
         "if (now[i] == before[i] || checksum_of(now[i]) == all[i].after) continue;", "continue;", "postgres_storage")
take_out("not erasing again what another adopted", "detail/postgres/session.hpp", "if (now[i] == before[i] ||",
         "if (checksum_of(now[i]) == checksum_of(before[i]) ||", "postgres_storage")
take_out("releasing the locks of writing again", "detail/postgres/session.hpp",
         "unlock_all(op, until); return result;", "return result;", "postgres_storage")
take_out("a change needing the session of its lock", "detail/postgres/session.hpp",
         "for (auto const& one : all) require_lock(one.k, op);", "", "postgres_storage")
take_out("asking the server whether a session lives", "detail/postgres/session.hpp",
         "db_->run(\"SELECT 'here'\", {}, {\"held\", {}}, until);", "", "postgres_storage")
take_out("a flush where there is nothing to erase in PostgreSQL", "storage/postgres.hpp",
         "SELECT pg_logical_emit_message(true, 'stash', '')::text", "SELECT 'nothing'", "postgres_storage")
take_out("the cap of a payload read from PostgreSQL", "storage/postgres.hpp", "check_size(number(rows.text(0, 5)), op);",
         "", "postgres_storage")
take_out("reading again in another session", "detail/postgres/session.hpp", "if (!db_ || !db_->is_lost()) throw;", "throw;",
         "postgres_storage")
take_out("closing an inherited session's socket", "detail/postgres/connection.hpp", "::close(::PQsocket(connection_));", "",
         "postgres_storage")
take_out("not ending the session of one's parent", "detail/postgres/connection.hpp",
         "::close(::PQsocket(connection_)); connection_ = nullptr;", "::PQfinish(connection_); connection_ = nullptr;",
         "postgres_storage")
take_out("a deadline on every call", "detail/postgres/wait.hpp", "return ready > 0;", "return true;", "postgres_storage",
         may_hang=True)
take_out("a dark host's share of the time", "detail/postgres/connecting.hpp",
         "std::min<deadline::duration>((until - now) / left, longest)",
         "std::min<deadline::duration>((until - now) / (left > 0 ? 1 : left), longest)",
         "postgres_connection/postgres_connection/each_address*")
take_out("time that begins anew with whatever comes", "detail/postgres/connection.hpp",
         "std::chrono::steady_clock::now() + until.silence", "until",
         "postgres_connection/postgres_connection/a_deadline*")
take_out("pages of a long list", "storage/postgres.hpp", "constexpr int most = 1000;", "constexpr int most = 1000000;",
         "postgres_connection/postgres_connection/a_long_list*")
take_out("the next page beginning where the last one ended", "storage/postgres.hpp",
         "found.last = row_name{k, name};", "found.last = row_name{k, std::string()};",
         "postgres_connection/postgres_connection/a_long_list*")
take_out("no end of a list before its last page", "storage/postgres.hpp",
         "if (rows_read < most) found.last.reset();", "if (rows_read <= most) found.last.reset();",
         "postgres_connection/postgres_connection/a_l*")
take_out("the SQLSTATE of a refused connection", "detail/postgres/connecting.hpp",
         "::PQsetErrorVerbosity(made.get(), PQERRORS_VERBOSE);", "", "postgres_storage")
take_out("an error where row security would hide a record", "detail/postgres/settings.hpp", "{\"row_security\", \"off\"},", "",
         "postgres_storage")
take_out("a session that may be idle", "detail/postgres/settings.hpp", "{\"idle_session_timeout\", \"0\"},", "", "postgres_storage")
take_out("a server that notices a dark client", "detail/postgres/settings.hpp", "{\"tcp_user_timeout\", \"50000\"},",
         "{\"tcp_user_timeout\", \"0\"},", "postgres_storage")
take_out("a warning that no setting hides", "detail/postgres/settings.hpp", "{\"client_min_messages\", ", "// ",
         "postgres_settings/postgres_settings/each_session_is_set*")
take_out("names that mean what we mean", "detail/postgres/settings.hpp", "{\"search_path\", ", "// ",
         "postgres_settings/postgres_settings/each_session_is_set*")
take_out("names of types as the server writes them", "detail/postgres/settings.hpp", "{\"quote_all_identifiers\", ", "// ",
         "postgres_settings/postgres_settings/each_session_is_set*")
take_out("a session that outlives an error", "detail/postgres/settings.hpp", "{\"exit_on_error\", ", "// ",
         "postgres_settings/postgres_settings/each_session_is_set*")
take_out("triggers that fire", "detail/postgres/settings.hpp", "{\"session_replication_role\", ", "// ",
         "postgres_settings/postgres_settings/each_session_is_set*")
take_out("a damaged page being an error", "detail/postgres/settings.hpp", "{\"zero_damaged_pages\", ", "// ",
         "postgres_settings/postgres_settings/each_session_is_set*")
take_out("a statement that may take its time", "detail/postgres/settings.hpp", "{\"statement_timeout\", ", "// ",
         "postgres_settings/postgres_settings/each_session_is_set*")
take_out("a lock that may be waited for", "detail/postgres/settings.hpp", "{\"lock_timeout\", ", "// ",
         "postgres_settings/postgres_settings/each_session_is_set*")
take_out("waiting for a standby whatever synchronous_commit says", "detail/postgres/session.hpp",
         "c <> 'remote_apply' THEN 'on'", "c <> 'remote_apply' THEN c",
         "postgres_settings/postgres_settings/a_standby_is_waited_for*")
take_out("an operator that no search_path replaces", "detail/postgres/settings.hpp", "OPERATOR(pg_catalog.<>)", "<>",
         "postgres_settings/postgres_settings/whatever_is_set_for_a_role*")
take_out("finding out a pooler that makes process ids up", "detail/postgres/connection.hpp",
         "if (found.text(0, 0) != std::to_string(::PQbackendPID(connection_))) refuse(why, op);", "",
         "postgres_connection")
take_out("finding out a pooler that passes process ids on", "detail/postgres/connection.hpp",
         "if (found.text(0, 1) + ' ' + found.text(0, 2) != own_address())", "if (false)", "postgres_connection")
take_out("finding a pooler out before anything is set", "detail/postgres/connection.hpp",
         "refuse_pooler(op, until); run(set_session_settings(), {}, op, until);",
         "run(set_session_settings(), {}, op, until); refuse_pooler(op, until);", "postgres_connection")
take_out("not asking a server that sees us what only a pooler knows", "detail/postgres/connection.hpp",
         "if (found.text(0, 1) + ' ' + found.text(0, 2) != own_address())", "if (true)", "postgres_connection")
take_out("a client that notices a dark server", "detail/postgres/connecting.hpp", "{\"tcp_user_timeout\", \"50000\"}", "",
         "postgres_storage")
take_out("a commit's warning being indeterminate", "detail/postgres/transaction.hpp",
         "the server rolled back\", op_); db_.refuse_warning(op_);", "the server rolled back\", op_);",
         "postgres_datastore")
take_out("looking whether a transaction was left open", "detail/postgres/connection.hpp",
         "bool const is_as_it_must = state == must_be_ ||", "bool const is_as_it_must = state != must_be_ || true ||",
         "postgres_connection")
take_out("no session in which a BEGIN was refused", "detail/postgres/connection.hpp",
         "must_be_ = PQTRANS_IDLE; is_lost_ = true;", "must_be_ = PQTRANS_IDLE;", "postgres_connection")
take_out("an unfinished mark in PostgreSQL", "ckan/postgres_datastore.hpp", "std::string mark(unfinished);",
         "std::string mark;", "postgres_datastore")
take_out("what was written on a table behind its mark", "ckan/postgres_datastore.hpp",
         "if (auto const kept = detail::remark_on_table(remarks)) mark += '\\n' + *kept;", "", "postgres_datastore")
take_out("what was written on a table after its mark", "ckan/postgres_datastore.hpp",
         "(text ? db.literal(*text) : \"NULL\")", "\"NULL\"", "postgres_datastore")
take_out("a remark that begins as the mark being none", "ckan/postgres_datastore.hpp",
         "found.is_unfinished = rest.empty() || rest.front() == '\\n';", "found.is_unfinished = true;", "postgres_datastore")
take_out("comments on CKAN's own columns", "ckan/postgres_datastore.hpp",
         "if (auto const text = detail::remark_on(remarks, name)) sql += comment_on(db, table, name, *text);", "",
         "postgres_datastore")
take_out("one round trip for all columns", "ckan/postgres_datastore.hpp", "sql += comment_on(db, table, f.id, *text);",
         "run(db, \"SELECT 1::text\", op), sql += comment_on(db, table, f.id, *text);", "postgres_datastore")
take_out("what else stands in a comment that is annotated", "ckan/postgres_datastore.hpp",
         "detail::with_info(comment, info)", "detail::with_info(\"\", info)",
         "postgres_datastore")
take_out("as many columns as PostgreSQL can have", "ckan/postgres_datastore.hpp", "if (columns.size() > most)", "if (false)",
         "postgres_datastore")
take_out("a comment that libpq would cut", "ckan/postgres_datastore.hpp", "if (f.comment) check_text", "if (false) check_text",
         "postgres_datastore")
take_out("a reload waiting for the disk", "ckan/postgres_datastore.hpp",
         "d.run(db, \"SELECT set_config('synchronous_commit', 'on', true)\", op);", "", "postgres_datastore")
take_out("a datastore refusing fsync off", "ckan/postgres_datastore.hpp", "if (found.text(0, 1) != \"off\") return;",
         "return;", "postgres_datastore")
take_out("not taking any table for a resource", "ckan/postgres_datastore.hpp", "if (!is_table || !has_id)", "if (false)",
         "postgres_datastore")
take_out("names that PostgreSQL would cut", "ckan/postgres_datastore.hpp", "if (name.size() > longest)", "if (false)",
         "postgres_datastore")
take_out("no resource that is another's, cut", "ckan/postgres_datastore.hpp",
         "stash::detail::check_postgres_name(\"name\", \"resource\", id);", "", "postgres_table/postgres_table/"
         "a_datastores_names_are_never_cut")
take_out("no schema whose name would be cut", "ckan/postgres_datastore.hpp",
         "stash::detail::check_postgres_name(\"open\", \"schema\", state_->options.schema);", "",
         "postgres_table/postgres_table/a_datastores_names_are_never_cut")
take_out("a field name that CKAN refuses, in PostgreSQL", "ckan/postgres_datastore.hpp",
         "for (field const& f : columns) detail::refuse_field_name(f, op.name, id);", "", "postgres_datastore")
take_out("a new field name that CKAN refuses, in PostgreSQL", "ckan/postgres_datastore.hpp",
         "detail::refuse_new_field_name(f, op.name, op.subject);", "", "postgres_datastore")
take_out("keeping what is beside the words in PostgreSQL", "ckan/column_comment.hpp",
         "for (auto const& member : f.beside) all.emplace(member.key(), member.value());", "", "postgres_datastore")
take_out("CKAN's space before a comment", "ckan/column_comment.hpp", "return ' ' + json_serializer{}.serialize(all);",
         "return json_serializer{}.serialize(all);", "postgres_datastore")
take_out("waiting for a drop that is under way", "ckan/postgres_datastore.hpp",
         "run(db, \"SELECT pg_advisory_xact_lock_shared($1::text::bigint)::text\", {lock_id(id)}, op);", "",
         "postgres_datastore")
take_out("a connection that outlives a load that was given up", "detail/postgres/copy.hpp",
         "if (!is_done) db_.give_up();", "db_.give_up();", "postgres_datastore")
take_out("types without a length of one", "ckan/postgres_datastore.hpp", "format_type(to_regtype(t)::oid, -1)",
         "format_type(to_regtype(t)::oid, NULL)", "postgres_datastore")
take_out("an empty text not being NULL in a load", "detail/postgres/copy.hpp", "if (!value.empty() && ", "if (",
         "postgres_datastore")
take_out("quotes around what a load would take apart", "detail/postgres/copy.hpp",
         "value.find_first_of(special) == value.npos", "true", "postgres_datastore")
take_out("comparing the rows that a load gave with those that the server took", "detail/postgres/copy.hpp",
         "if (taken_ == std::to_string(given_.rows())) return;", "return;", "postgres_loader")
take_out("a long row going to the server in pieces", "detail/postgres/copy.hpp",
         "n = std::min(bytes.size(), chunk);", "n = bytes.size();", "postgres_loader")
take_out("a row after CSV beginning a line", "detail/postgres/copy.hpp",
         "if (given_.is_in_row()) append(\"\\n\");", "", "postgres_loader")
take_out("no row within the quotes of the CSV before it", "detail/postgres/copy.hpp",
         "if (given_.is_quoted()) refuse", "if (false) refuse", "postgres_loader")
take_out("sizes that an int does not hold", "detail/postgres/int_size.hpp",
         "if (std::in_range<int>(size)) return", "return", "postgres_loader/postgres_loader/a_size_that*")
take_out("a load that is under way not being taken for a lost one", "detail/postgres/load_mark.hpp",
         'if (alone.text(0, 0) == "true") comment.erase', "comment.erase", "postgres_loader")
take_out("a load having a lock while it is under way", "detail/postgres/load_mark.hpp",
         'run("SELECT pg_advisory_lock_shared($1::text::bigint)::text", {lock_}); try', "try", "postgres_loader")
take_out("a later load making up for a lost one", "detail/postgres/load_mark.hpp",
         'if (alone.text(0, 0) == "true") comment.erase', "if (false) comment.erase", "postgres_loader")
take_out("a load that is finished leaving the mark of another", "detail/postgres/load_mark.hpp",
         "comment.erase(at, line_.size());", "comment.erase(0, end_of_marks(comment));", "postgres_loader")
take_out("what people wrote beside the mark of a load", "detail/postgres/load_mark.hpp",
         "write(line_ + comment);", "write(line_);", "postgres_loader")
take_out("the mark of a load being no remark", "ckan/postgres_datastore.hpp",
         "auto const remark = stash::detail::postgres_load_mark::without_marks(*text);",
         "std::string_view const remark = *text;", "postgres_loader")
take_out("giving up a load that was not finished", "detail/postgres/copy.hpp", "end(\"given up\");", "",
         "postgres_datastore")
take_out("not finishing a resource whose rows were lost in PostgreSQL", "ckan/postgres_datastore.hpp",
         "if (is_loaded_in_part(db, op))", "if (false)", "postgres_datastore", "postgres_loader")
take_out("names for a rollback's report being there before the first restore", "delete_guards.hpp",
         "std::move(names[i])", "guarded_[i]->key()",
         "every_call_fails/*/a_rollback_of_many*")
take_out("in memory, setting aside what no file could be named after", "storage/memory.hpp",
         "detail::kept_name(k, reason,", "detail::set_aside_name(k, \"set_aside\", reason,", "basic_stash")
take_out("not finishing a resource whose rows were lost", "ckan/sqlite_datastore.hpp", "refuse_lost_rows(id);", "",
         "sqlite_datastore")
take_out("a load being marked before its first row", "ckan/sqlite_datastore.hpp",
         "load_ = ::sqlite3_last_insert_rowid(db_.get()); all.commit();", "load_ = 0; return;", "sqlite_datastore")
take_out("rows of a lost load not being loaded a second time", "ckan/sqlite_datastore.hpp",
         "AND has_rows = 0", "", "sqlite_datastore")
take_out("a later load making up for one that left no rows", "ckan/sqlite_datastore.hpp",
         "AND has_rows = 0", "AND has_rows = 2", "sqlite_datastore")
take_out("looking for the mark of a load when the lock is ours", "ckan/sqlite_datastore.hpp",
         ".bind(*load_).step()) return;", ".bind(*load_).step() || true) return;", "sqlite_datastore")
take_out("not going on with a load whose resource was dropped", "ckan/sqlite_datastore.hpp",
         "if (has_committed_) refuse(", "if (false) refuse(", "sqlite_datastore")
take_out("the marks of loads going with their resource", "ckan/sqlite_datastore.hpp",
         "if (has_loads()) statement", "if (false) statement", "sqlite_datastore")
take_out("an address being no directory", "detail/files/absolute.hpp",
         "if (auto const address = detail::address_in(directory.native())) {", "if (auto const address = detail::address_in({})) {", "address")
take_out("an address being no file of a datastore", "ckan/sqlite_datastore.hpp", "if (!address) return file;",
         "return file;", "address")
take_out("no affinity that changes numbers", "ckan/sqlite_datastore.hpp", 'f.type == "numeric" ? "" : " TEXT"',
         'f.type == "numeric" ? " NUMERIC" : " TEXT"', "sqlite_datastore")
take_out("numbers of no more digits than a double holds", "detail/text/exact_number.hpp", "most_digits = 15", "most_digits = 16",
         "sqlite_datastore")
take_out("powers of ten that a double holds", "detail/text/exact_number.hpp", "most_tens = 22", "most_tens = 23",
         "sqlite_datastore")
take_out("refusing what an older table would change", "ckan/sqlite_datastore.hpp", "if (c.keeps_texts || ", "if (true || ",
         "sqlite_datastore")
take_out("a load being one transaction", "ckan/postgres_datastore.hpp",
         "mark_->take_away(); all_->commit();", "mark_->take_away();", "postgres_datastore")

take_out("the unfinished mark", "ckan/sqlite_datastore.hpp", "VALUES (?, 0)", "VALUES (?, 1)", "sqlite_datastore")
take_out("transactions", "detail/sqlite/connection.hpp", "\"ROLLBACK\"", "\"COMMIT\"", "sqlite_datastore")
take_out("writing from a transaction's start", "detail/sqlite/connection.hpp", "\"BEGIN IMMEDIATE\"", "\"BEGIN\"",
         "sqlite_datastore")
take_out("not dropping somebody else's table", "ckan/sqlite_datastore.hpp",
         "refuse(operation, id, \"table \\\"\"", "return; refuse(operation, id, \"table \\\"\"", "sqlite_datastore")
take_out("looking for somebody else's table within the transaction", "ckan/sqlite_datastore.hpp",
         "transaction all{db_, \"drop\", id}; refuse_foreign_table(id, \"drop\");",
         "refuse_foreign_table(id, \"drop\"); transaction all{db_, \"drop\", id};", "sqlite_datastore")
take_out("quoting names in SQL", "detail/sqlite/connection.hpp", "if (c == '\"') out += '\"';", "", "sqlite_datastore")
take_out("an empty text not being NULL", "detail/sqlite/connection.hpp",
         "text->data() != nullptr ? text->data() : \"\"", "text->data()", "sqlite_datastore")
take_out("an error where SQLite refuses to bind", "detail/sqlite/connection.hpp",
         "if (result != SQLITE_OK) fail(); return *this;", "return *this;", "sqlite_storage")
take_out("an error where SQLite has no memory for a text", "detail/sqlite/connection.hpp",
         "if (bytes == nullptr && ::sqlite3_errcode(db_.get()) == SQLITE_NOMEM) fail();", "", "sqlite_storage")
take_out("a rollback journal as durable as a WAL", "detail/sqlite/session.hpp",
         "\"PRAGMA journal_mode=DELETE; PRAGMA synchronous=EXTRA\"", "\"PRAGMA synchronous=FULL\"", "sqlite_storage")
take_out("sharing an SQLite file that another made meanwhile", "detail/sqlite/session.hpp", "&& errno != EEXIST", "",
         "sqlite_storage")
take_out("an SQLite file that cannot be looked at being an error", "detail/sqlite/session.hpp",
         "if (errno == ENOENT) return std::nullopt;", "return std::nullopt;", "sqlite_storage")
take_out("an error where SQLite refuses to do", "detail/sqlite/connection.hpp",
         "if (result != SQLITE_ROW && result != SQLITE_DONE) fail();", "", "sqlite_datastore")
take_out("annotating with a \"_beside\" being refused", "ckan/column_comment.hpp", "if (!f.beside.empty()) detail::fail(",
         "if (false) detail::fail(", "data_dictionary")
take_out("a text of somebody's in SQLite", "ckan/sqlite_datastore.hpp",
         "bool const is_verbatim = detail::comment_holds(f);", "bool const is_verbatim = false;", "sqlite_datastore")
take_out("finding a text of somebody's in SQLite", "ckan/sqlite_datastore.hpp",
         "if (!is_ours) f.comment = std::move(*info);", "", "sqlite_datastore")
take_out("digits beside other words in SQLite", "ckan/sqlite_datastore.hpp",
         "return f.comment || (!f.beside.empty() && annotated", "return f.comment || (false && annotated", "sqlite_datastore")
take_out("digits that would not come back from SQLite", "ckan/sqlite_datastore.hpp", "if (!read.inexact.empty())",
         "if (false)", "sqlite_datastore")
take_out("what is beside an annotated info in SQLite", "ckan/sqlite_datastore.hpp",
         "beside = text_of(f->second->beside, \"annotate\", id, name);", "", "sqlite_datastore")
take_out("what was written on a table in SQLite", "ckan/sqlite_datastore.hpp", "if (!remarks.empty()) { std::string const text",
         "if (false) { std::string const text", "sqlite_datastore")
take_out("words that are no UTF-8 in SQLite", "ckan/sqlite_datastore.hpp", "if (!stash::detail::is_utf8(*info)) refuse",
         "if (false) refuse", "sqlite_datastore")
take_out("a field name that CKAN refuses, in SQLite", "ckan/sqlite_datastore.hpp",
         "for (field const& f : columns) detail::refuse_field_name(f, \"check\", id);", "", "sqlite_datastore")
take_out("a new field name that CKAN refuses, in SQLite", "ckan/sqlite_datastore.hpp",
         "detail::refuse_new_field_name(f, \"check\", id);", "", "sqlite_datastore")
take_out("finishing only what is there", "ckan/sqlite_datastore.hpp",
         "if (::sqlite3_changes(db_.get()) != 1) refuse(\"finish\"", "if (false) refuse(\"finish\"",
         "sqlite_datastore")
take_out("annotating only fields that are there", "ckan/sqlite_datastore.hpp",
         "if (f == by_name.end()) refuse(\"annotate\"", "if (f == by_name.end()) continue; if (false) refuse(\"annotate\"",
         "sqlite_datastore")
take_out("a forked child leaving the connection alone", "ckan/sqlite_datastore.hpp",
         "if (!owner_.is_current()) db_.abandon();", "", "sqlite_datastore")

# --- Mutants that nobody can tell from the library

equivalent("O_NOFOLLOW beside O_EXCL", "detail/files/temporary_file.hpp", "O_EXCL | O_NOFOLLOW", "O_EXCL", "atomic_file",
           reason="POSIX: with O_CREAT and O_EXCL a link at the name is EEXIST, wherever it leads")
equivalent("O_NONBLOCK of the lock file", "detail/files/directory.hpp", "O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK",
           "O_RDWR | O_CREAT | O_NOFOLLOW", "locks",
           reason="Linux does not wait when a FIFO is opened for reading and writing; POSIX leaves it open")

# --- Many keys at once: delete_guards.hpp, basic_stash.hpp, detail/lock.hpp

take_out("locking many keys in the order of their bytes", "detail/lock.hpp",
         "std::ranges::sort(order, {}, key_of);", "", "delete_guards")
take_out("refusing a key that is given twice", "detail/lock.hpp",
         "twice != order.end())", "twice != order.end() && false)", "delete_guards")
take_out("going on from one of many locks to the next at once", "detail/lock.hpp",
         "if (!lock) return; locks_.push_back(std::move(*lock));",
         "if (!lock) return; locks_.push_back(std::move(*lock)); return;", "delete_guards")
take_out("looking at all before any record is moved", "delete_guards.hpp",
         "one->inspect(detail::live_value<T>(live(one->key()))); for (auto const& one : guarded_) one->make_way();",
         "{ one->inspect(detail::live_value<T>(live(one->key()))); one->make_way(); }", "delete_guards")
take_out("no delete before all are saved", "delete_guards.hpp",
         "if (first) std::rethrow_exception(first); for (std::size_t i", "for (std::size_t i", "delete_guards")
take_out("asking for the locks before a commit of many", "detail/guard/guarded_key.hpp",
         "if (clearable_) record_.require_held(\"commit\");", "", "delete_guards")
take_out("a failed restore stopping no other, in the destructor", "delete_guards.hpp",
         "try { restore_one(*one); } catch (...) {", "restore_one(*one); if (false) {", "delete_guards")
take_out("a failed restore stopping no other", "delete_guards.hpp",
         "report.failed.emplace_back(std::move(names[i]), std::current_exception());",
         "report.failed.emplace_back(std::move(names[i]), std::current_exception()); break;", "delete_guards")
take_out("nothing restored after a commit of many that failed", "delete_guards.hpp",
         "done_ = true; std::exception_ptr first;", "std::exception_ptr first;", "delete_guards")
take_out("a commit of many that cannot clear throwing", "delete_guards.hpp",
         "committed(); if (first) std::rethrow_exception(first);", "committed();", "delete_guards")
take_out("an inherited guard of many releasing nothing", "delete_guards.hpp",
         "if (done_ || !owner_.is_current()) return; detail::no_cancel const whole; done_ = true;"
         " for (auto const& one : guarded_) one->release();",
         "if (done_) return; done_ = true; for (auto const& one : guarded_) one->release();", "delete_guards")
take_out("refusing what cannot be put before any of many is written", "basic_stash.hpp",
         "detail::check_put(storage_, keys.back(), records.back().second);", "", "basic_stash")
take_out("the locks of a save of many", "basic_stash.hpp",
         "locks.take(storage_, sorted, detail::short_wait, \"save_all\");", "", "basic_stash")
take_out("the sync of the directory after a save of many", "storage/atomic_file.hpp",
         "all.first(std::min(most, all.size()))); } make_durable(dir, op);", "all.first(std::min(most, all.size()))); }",
         "delete_guards")
take_out("the sync of each file of many", "storage/atomic_file.hpp",
         "for (auto const& one : files) one->finish();", "files.front()->finish();", "delete_guards")
take_out("writing all of many before the first is synced", "storage/atomic_file.hpp",
         ("files.back()->start_writeback();", "for (auto const& one : files) one->finish();"),
         ("files.back()->finish();", ""), "delete_guards")
take_out("going on with those that do not fit in one pass", "storage/atomic_file.hpp",
         "all = all.subspan(std::min(most, all.size()))", "all = {}", "basic_stash")


# --- The runner

def pattern_of(text):
    """A regular expression for `text` as clang-format may have broken it: white space between any two of its words
    and signs, at least one between two words."""
    tokens = re.findall(r"\w+|[^\w\s]", text)
    out = r"(?<!\w)" if re.match(r"\w", text) else ""
    for i, token in enumerate(tokens):
        if i > 0:
            both_words = re.match(r"\w", tokens[i - 1]) and re.match(r"\w", token)
            out += r"\s+" if both_words else r"\s*"
        out += re.escape(token)
    return out + (r"(?!\w)" if re.match(r"\w", tokens[-1]) else "")


def apply(mutant, include):
    """Changes the copy in `include`; returns what is wrong with the list, or None."""
    path = include / "stash" / mutant.file
    if not path.is_file():
        return f"does not apply: no file {mutant.file}"
    source = path.read_text()
    for old, new in mutant.edits:
        found = len(re.findall(pattern_of(old), source))
        if found != 1:
            return f"does not apply: stands {found} times in {mutant.file}: {old}"
        source = re.sub(pattern_of(old), lambda _: new, source)
    path.write_text(source)
    return None


def precompile(header):
    """What is not ours is the same for all mutants: compiled once, it saves more than half of the time. Returns how
    to use it."""
    ours = [*(ROOT / "include").rglob("*.hpp"), ROOT / "tests/support/support.hpp"]
    names = {name for file in ours for name in re.findall(r"^#include <((?!stash/).+)>", file.read_text(), re.M)}
    header.write_text("".join(f"#if __has_include(<{n}>)\n#include <{n}>\n#endif\n" for n in sorted(names)))
    is_clang = COMPILER.startswith("clang")
    precompiled = f"{header}.pch" if is_clang else f"{header}.gch"
    instantiate = ["-fpch-instantiate-templates"] if is_clang else []
    subprocess.run([*COMPILE, *instantiate, "-x", "c++-header", header, "-o", precompiled], check=True)
    return ["-include-pch", precompiled] if is_clang else ["-include", header]


def run_once(program, limit, cases, **user):
    """Returns the first failure, or None."""
    # What a killed test had mounted there cannot be removed.
    with tempfile.TemporaryDirectory(prefix="stash-mutant.", dir=IN_MEMORY, ignore_cleanup_errors=True) as scratch:
        os.chmod(scratch, 0o777)
        # A mutant's figures are not the library's.
        env = {name: value for name, value in os.environ.items() if name not in ("STASH_FIGURES", "STASH_LONG")}
        env |= {"TMPDIR": scratch, **({"HOME": scratch} if user else {})}
        process = subprocess.Popen([*program, *cases, "--color_output=no", "--log_level=error", "--report_level=no"],
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                                   cwd=scratch, env=env, start_new_session=True, **user)
        try:
            output, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return f"timeout: still running after {limit:.0f} s"
    if process.returncode == 0:
        return None
    named = re.search(r'(?:error|last checkpoint).*?in "([^"]+)"', output)
    return named[1] if named else f"status {process.returncode}"


def file_of(test):
    return test.partition("/")[0]


def run(test, program, limit=300):
    cases = ["--run_test=" + test.partition("/")[2]] if "/" in test else []
    if test.startswith("postgres"):  # each with a server of its own, whose settings it changes
        return run_once([sys.executable, ROOT / "tests/support/postgres_cluster.py", program], limit, cases)
    failure = run_once([program], limit, cases)
    if failure is None and os.geteuid() == 0:
        failure = run_once([program], limit, cases, **OTHER_USER)
        failure = failure and "as another user: " + failure
    return failure


@dataclass
class Outcome:
    mutant: Mutant
    verdict: str  # caught, lives, skipped, or broken: an error of the list
    detail: str = ""


class Runner:
    def __init__(self, scratch):
        self.scratch = scratch
        self.precompiled = []
        self.main = scratch / "main.o"
        self.limits = {}

    def prepare(self, tests, jobs):
        """Without a mutant all tests must pass, else all would be caught. Returns what fails."""
        self.precompiled = precompile(self.scratch / "not_ours.hpp")
        subprocess.run([*COMPILE, "-c", f"{ROOT}/tests/unit/main.cpp", "-o", self.main], check=True)
        files = sorted({file_of(test) for test in tests})
        with ThreadPoolExecutor(jobs) as pool:
            return [why for of_file in pool.map(lambda file: self.unmutated(file, tests), files) for why in of_file]

    def build(self, test, include, program):
        """Returns what the compiler said, or None."""
        source = f"{ROOT}/tests/unit/{file_of(test)}_test.cpp"
        done = subprocess.run([*COMPILE, f"-I{include}", *self.precompiled, source, self.main, "-o", program,
                               *LINK], capture_output=True, text=True)
        return None if done.returncode == 0 else "does not compile: " + done.stderr[:2000]

    def unmutated(self, file, tests):
        program = self.scratch / file
        if problem := self.build(file, ROOT / "include", program):
            return [f"{file}: {problem}"]
        failing = []
        for test in (t for t in tests if file_of(t) == file):
            start = time.monotonic()
            if failure := run(test, program):
                failing.append(f"{test}: {failure}")
            self.limits[test] = 30 + 10 * (time.monotonic() - start)
        program.unlink()
        return failing

    def outcome(self, mutant):
        if mutant.needs_root and os.geteuid() != 0:
            return Outcome(mutant, "skipped", "only root can make what the test looks at")
        with tempfile.TemporaryDirectory(dir=self.scratch) as place:
            os.chmod(place, 0o755)
            include = Path(place) / "include"
            shutil.copytree(ROOT / "include", include)
            if problem := apply(mutant, include):
                return Outcome(mutant, "broken", problem)
            for test in mutant.tests:
                program = Path(place) / "test"
                if problem := self.build(test, include, program):
                    return Outcome(mutant, "broken", problem)
                failure = run(test, program, self.limits[test])
                if failure and "timeout" in failure and not mutant.may_hang:
                    return Outcome(mutant, "broken", failure)  # a slow machine is no failed check
                if failure:
                    return Outcome(mutant, "caught", failure)
        return Outcome(mutant, "lives", "not seen by " + ", ".join(mutant.tests))


def write_junit(path, outcomes):
    suite = ET.Element("testsuite", name="mutants")
    for o in outcomes:
        case = ET.SubElement(suite, "testcase", classname="mutants", name=o.mutant.name)
        if o.verdict in ("lives", "broken"):
            ET.SubElement(case, "failure", message=f"{o.verdict}: {o.detail}")
        elif o.verdict == "skipped":
            ET.SubElement(case, "skipped", message=o.detail)
    ET.ElementTree(suite).write(path, encoding="utf-8")


def note_figure(tried, lived):
    if path := os.environ.get("STASH_FIGURES"):
        with open(path, "a") as out:
            out.write(f"mutants\tprotections taken out, one at a time\t{tried}\t{lived}\n")


def arguments():
    parser = argparse.ArgumentParser(description="Takes the library's protections out, one at a time.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="a part of the names of those to run")
    parser.add_argument("--list", action="store_true", help="only name them")
    parser.add_argument("--equivalents", action="store_true", help="run those that nobody can see; they must live")
    parser.add_argument("--jobs", type=int, default=(os.cpu_count() or 1) + 1, help="one more than there are cores,"
                        " because tests of waiting wait")
    parser.add_argument("--junit", metavar="FILE")
    return parser.parse_args()


def main():
    args = arguments()
    chosen = [m for m in (equivalents if args.equivalents else mutants)
              if not args.names or any(name in m.name for name in args.names)]
    if args.list:
        for m in chosen:
            print(f"{m.file}: {m.name}")
        return 0
    if not chosen:
        sys.exit("no mutant has such a name")
    with tempfile.TemporaryDirectory(prefix="stash-mutants.") as scratch:
        os.chmod(scratch, 0o755)  # where another user may run what is built
        runner = Runner(Path(scratch))
        if failing := runner.prepare(sorted({test for m in chosen for test in m.tests}), args.jobs):
            print("without any mutant these fail:", *failing, sep="\n")
            return 1
        outcomes = []
        with ThreadPoolExecutor(args.jobs) as pool:
            for o in pool.map(runner.outcome, chosen):
                outcomes.append(o)
                print(f"{o.verdict:8} {o.mutant.name} ({o.detail})", flush=True)
    return report(outcomes, args)


def report(outcomes, args):
    of = {v: [o for o in outcomes if o.verdict == v] for v in ("caught", "lives", "skipped", "broken")}
    if args.junit and not args.equivalents:
        write_junit(args.junit, outcomes)
    if args.equivalents:
        print(f'{len(of["lives"])} of {len(outcomes)} live, as they should')
        return 0 if len(of["lives"]) == len(outcomes) else 1
    stale = list_equivalents()
    for verdict in ("lives", "broken", "skipped"):
        for o in of[verdict]:
            print(f"{verdict}: {o.mutant.file}: {o.mutant.name}: {o.detail}")
    tried, lived = len(outcomes) - len(of["skipped"]), len(of["lives"]) + len(of["broken"])
    note_figure(tried, lived)
    skipped = f', {len(of["skipped"])} skipped' if of["skipped"] else ""
    print(f'caught {len(of["caught"])} of {tried}{skipped}')
    return 1 if lived or stale else 0


def list_equivalents():
    """Names those that change nothing that can be seen; returns how many do not even apply."""
    stale = 0
    for m in equivalents:
        with tempfile.TemporaryDirectory() as place:
            shutil.copytree(ROOT / "include", Path(place) / "include")
            problem = apply(m, Path(place) / "include")
        stale += problem is not None
        print(f"cannot be seen: {m.name}: {problem or m.reason}")
    return stale


if __name__ == "__main__":
    sys.exit(main())
