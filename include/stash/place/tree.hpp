#pragma once

#include <boost/filesystem/path.hpp>
#include <boost/json/object.hpp>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <optional>
#include <stash/detail/files/absolute.hpp>
#include <stash/detail/files/owner.hpp>
#include <stash/detail/files/parent.hpp>
#include <stash/detail/files/tree_walk.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/record/file_names.hpp>
#include <stash/detail/text/quoted.hpp>
#include <stash/detail/text/utf8.hpp>
#include <stash/detail/text/xxh64.hpp>
#include <stash/error.hpp>
#include <stash/storage/posix_file_ops.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stash::inline v1 {

/// For `tree`. New members go last.
struct tree_options {
  /// true: `commit()` makes what was built durable before what it replaces loses its name: each file, then each
  /// directory, an fsync each; with a descriptor for each level of it. false: whoever built it has done so.
  bool sync_new = true;
};

/// A place in the file system: a file, a directory with all that is in it, or a link (as itself, not what it leads to).
///
/// What is parked stands beside it as `.<name>.stash-parked`; what is to be removed, as
/// `.<name>.stash-doomed-<random>`. Where that would be too long, the name is cut and its hash added. So it stays in
/// one file system, and to park it takes one rename and two fsyncs of the directory above. Nothing is ever copied.
/// While no job runs a person puts it back with
///
///     ls -d .export.stash-parked && rm -rf export && mv -T .export.stash-parked export
///
/// Where nothing is parked the first says so, and what stands there is whole. A plain `mv` would move it into what is
/// half-built.
///
/// That directory is the user's: it must be there, be readable, and let us rename in it, as it does for `mv`. Links on
/// the way to it are followed. What cannot be renamed (a mount point: EBUSY; a lower layer of overlayfs: EXDEV;
/// somebody else's in a sticky directory: EPERM) stays where it is, and the system's error is thrown. In a sticky
/// directory, as /tmp is, what a stranger has put under the parked name is not believed (`errc::unsafe_directory`).
/// Nothing is removed of a file system that is mounted somewhere in the tree.
///
/// Every system call is made through `FileOps`. Not thread safe.
template <class FileOps = posix_file_ops>
class basic_tree {
 public:
  /// Its path, the parked one, and its kind (`file`, `directory`, `link`, `other`).
  using value_type = boost::json::object;

  /// A relative path is that from the working directory of now. Touches nothing. Throws EINVAL for a path that cannot
  /// be replaced: an empty one, `/`, one that ends in `..`, one with a NUL, an address.
  explicit basic_tree(boost::filesystem::path place, tree_options options = {}, FileOps ops = {})
      : path_(detail::absolute(std::move(place), "tree")), options_(options), ops_(std::move(ops)) {
    name_ = path_.filename().native();
    detail::operation const op{"tree", {}};
    if (name_.empty() || name_ == "/" || name_ == "..") op.fail(EINVAL, "path", path_.native());
  }

  /// The place, absolute.
  boost::filesystem::path const& path() const noexcept { return path_; }
  /// Where what is parked stands.
  boost::filesystem::path parked_path() const { return path_.parent_path() / parked_name(); }
  /// The same, for messages.
  std::string where() const { return parked_path().native(); }
  /// The place that a note tells of. Throws EINVAL for what is no note of a tree.
  static boost::filesystem::path path_in(value_type const& note) {
    auto const* const hex = note.if_contains("path_in_hex");
    auto const* const text = note.if_contains("path");
    if (hex != nullptr && hex->is_string()) return from_hex(hex->get_string());
    if (text != nullptr && text->is_string()) return std::string(text->get_string());
    detail::operation{"tree", {}}.fail(EINVAL, "note", "no path in it");
  }

  // As a `place_policy`. Each throws the system's error, with its path.

  /// The note of what stands at the place; nullopt: nothing does, or something is parked. Throws `errc::mismatch` where
  /// somebody meant to put back what was parked, with an `mv` that has moved it into what is half-built.
  std::optional<value_type> live() const {
    auto const in = open("live");
    if (find_parked(in, "live")) return std::nullopt;
    if (in.has(name_ + '/' + parked_name())) {
      op("live").fail(errc::mismatch, path_.native(),
                      "what was parked was moved into it, as " + parked_name() + ": one of them is to be removed");
    }
    return note_of(in, name_);
  }
  /// The note of what is parked; nullopt: nothing is.
  std::optional<value_type> parked() const {
    auto const in = open("parked");
    return find_parked(in, "parked") ? note_of(in, parked_name()) : std::nullopt;
  }

  /// In two flushes of the directory above, whatever is in the tree. On a throw the old one stands where it stood; with
  /// `errc::indeterminate` it may be parked.
  void park(value_type const&) {
    auto const in = open("park");
    auto const old = in.look(name_);
    if (auto const there = find_parked(in, "park")) {
      if (old) in.move(name_, doomed_name("park"));
      in.sync();
      old_ = identity(*there);
    } else if (old) {
      in.sync();  // what an earlier run did here and did not live to sync must not come after this
      in.move(name_, parked_name());
      sync_or_move_back(in, parked_name(), name_);
      old_ = identity(*old);
    }
  }

  /// Throws ENOENT where neither something is parked nor something stands there, and `errc::mismatch` where this object
  /// had parked it and somebody else has taken it away. On a throw all is left for another try.
  void put_back(value_type const&) {
    auto const in = open("put_back");
    take_back_unsettled(in);
    if (find_parked(in, "put_back")) {
      if (in.has(name_)) in.move(name_, doomed_name("put_back"));
      in.sync();  // as in `park`; and that something half-built was made must not come after it either
      in.move(parked_name(), name_);
    } else {
      require_put_back(in);
    }
    in.sync();  // also where an earlier run has moved it: it may have died before its own
    old_.reset();
  }

  /// On a throw the old one is parked, as before, and the new one stands; with `errc::indeterminate` the old one may
  /// wait to be removed, and `put_back` of this object finds it. Throws `errc::mismatch` where somebody else has taken
  /// away what was parked; and where something that was built cannot be read, for it cannot be synced then.
  void settle(value_type const&) {
    auto const in = open("settle");
    take_back_unsettled(in);
    if (options_.sync_new) {
      detail::tree_syncer<FileOps> syncer{ops_, op("settle")};
      syncer.sync(in.get(), name_, path_.native());
      syncer.finish();
    }
    in.sync();  // the new one has its name for good before the old one loses its own
    if (find_parked(in, "settle")) {
      unsettled_ = doomed_name("settle");
      in.move(parked_name(), unsettled_);
      sync_or_move_back(in, unsettled_, parked_name());
      doomed_ = std::exchange(unsettled_, {});
    } else if (old_) {
      taken_away("settle");
    }
    old_.reset();
  }

  /// Removes what was to be removed, of earlier runs too. Throws the first error; what can be removed is removed.
  void discard() {
    auto const in = parent::find(ops_, path_.parent_path(), op("discard"));
    if (!in) return;
    auto const all = doomed_in(*in);
    // Before it is emptied it must have lost its other name for good.
    bool const is_durable = all.empty() || (all.size() == 1 && all[0] == doomed_);
    if (!is_durable) in->sync();
    detail::tree_remover<FileOps> remover{ops_, op("discard")};
    for (auto const& one : all) remover.remove(in->get(), one, in->path_of(one));
    remover.finish();
  }

 private:
  using parent = detail::parent<FileOps>;
  static constexpr std::string_view parked_suffix = ".stash-parked", doomed_suffix = ".stash-doomed-";
  static constexpr std::size_t random_digits = 16;

  detail::operation op(std::string_view name) const { return {name, path_.native()}; }
  parent open(std::string_view name) const { return parent::open(ops_, path_.parent_path(), op(name)); }

  using file_identity = std::pair<dev_t, ino_t>;
  static file_identity identity(struct stat const& s) { return {s.st_dev, s.st_ino}; }

  /// Throws `errc::unsafe_directory` where somebody may have made it who could not have parked anything.
  std::optional<struct stat> find_parked(parent const& in, char const* operation) const {
    auto const s = in.look(parked_name());
    if (s && identity(*s) != old_ && in.may_be_a_strangers(*s)) {
      op(operation).fail(errc::unsafe_directory, parked_path().native(),
                         "it is " + detail::shown_user(s->st_uid) + "'s, and anybody can make one here");
    }
    return s;
  }
  std::vector<std::string> doomed_in(parent const& in) const {
    auto const begins = fitted(doomed_suffix, random_digits);
    auto all = in.names();
    std::erase_if(all, [&](std::string const& one) {
      if (!one.starts_with(begins) || !detail::is_hex16(std::string_view(one).substr(begins.size()))) return true;
      if (one == doomed_ || one == unsettled_) return one == unsettled_;
      auto const s = in.look(one);
      return !s || in.may_be_a_strangers(*s);
    });
    return all;
  }
  /// Where nothing is parked.
  void require_put_back(parent const& in) const {
    auto const now = in.look(name_);
    if (old_ && (!now || identity(*now) != old_)) taken_away("put_back");
    // With nothing in its place, what waits to be removed was replaced by nothing, and that was committed.
    if (!now && doomed_in(in).empty()) {
      op("put_back").fail(ENOENT, "neither there nor parked:", path_.native());
    }
  }
  [[noreturn]] void taken_away(char const* operation) const {
    op(operation).fail(errc::mismatch, parked_path().native(), "what was parked there is gone, and not by this guard");
  }
  /// After a settle of which nobody knows.
  void take_back_unsettled(parent const& in) const {
    if (unsettled_.empty() || in.has(parked_name()) || !in.has(unsettled_)) return;
    in.move(unsettled_, parked_name());
  }

  /// `.<name><suffix>`, with room for what comes behind it.
  std::string fitted(std::string_view suffix, std::size_t behind) const {
    constexpr std::size_t longest = 255;
    std::string name = '.' + name_;
    if (name.size() + suffix.size() + behind > longest) {
      std::string const hash = '~' + detail::hex16(detail::xxh64::hash(name_));
      std::size_t keep = longest - suffix.size() - behind - hash.size();
      while (keep > 1 && (static_cast<unsigned char>(name[keep]) & 0xc0) == 0x80) --keep;  // not amid a letter
      name.replace(keep, name.npos, hash);
    }
    return name.append(suffix);
  }
  std::string parked_name() const { return fitted(parked_suffix, 0); }
  std::string doomed_name(std::string_view operation) const {
    return fitted(doomed_suffix, random_digits) +
           detail::hex16(detail::random_number(ops_, op(operation), path_.native()));
  }

  std::optional<value_type> note_of(parent const& in, std::string const& name) const {
    auto const s = in.look(name);
    if (!s) return std::nullopt;
    char const* const kind = S_ISDIR(s->st_mode)   ? "directory"
                             : S_ISREG(s->st_mode) ? "file"
                             : S_ISLNK(s->st_mode) ? "link"
                                                   : "other";
    value_type note{{"path", shown(path_.native())}, {"parked", shown(where())}, {"kind", kind}};
    if (note["path"].get_string() != path_.native()) note["path_in_hex"] = to_hex(path_.native());
    return note;
  }
  static std::string shown(std::string const& path) { return detail::printable(path, path.size()); }
  static std::string to_hex(std::string_view bytes) {
    std::string out;
    for (char const c : bytes) detail::append_hex(out, static_cast<unsigned char>(c));
    return out;
  }
  static std::string from_hex(std::string_view digits) {
    std::string out;
    bool is_whole = digits.size() % 2 == 0;
    for (std::size_t i = 0; is_whole && i < digits.size(); i += 2) {
      unsigned byte = 0;
      auto const end = digits.data() + i + 2;
      is_whole = std::from_chars(digits.data() + i, end, byte, 16).ptr == end;
      out += static_cast<char>(byte);
    }
    if (!is_whole)
      detail::operation{"tree", {}}.fail(EINVAL, "note", "no path in hexadecimal digits: " + std::string(digits));
    return out;
  }

  /// After a move. Where the sync fails nobody knows which name the disk has: it is moved back, and that for good, so
  /// that all is as before for whoever comes next.
  void sync_or_move_back(parent const& in, std::string const& now, std::string const& before) const {
    try {
      in.sync();
    } catch (error const& problem) {
      if (in.move_back(now, before)) throw;
      throw error{errc::indeterminate, problem.operation(), problem.subject(), problem.detail()};
    }
  }

  boost::filesystem::path path_;
  std::string name_;
  tree_options options_;
  FileOps ops_;
  std::optional<file_identity> old_;  // of what this object has parked
  std::string unsettled_, doomed_;    // what `settle` has begun to let go of, and has for good
};

/// The one that is used: on the operating system.
using tree = basic_tree<>;

}  // namespace stash::inline v1
