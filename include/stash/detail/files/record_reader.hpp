#pragma once

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <optional>
#include <stash/detail/files/directory.hpp>
#include <stash/detail/files/read_file.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/record/check_size.hpp>
#include <stash/detail/record/format.hpp>
#include <stash/error.hpp>
#include <stash/key.hpp>
#include <stash/record.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// Reads the records of a stash directory, whose payloads may have `cap` bytes. What it is made with must outlive it.
template <class Ops>
class record_reader {
 public:
  record_reader(Ops const& ops, directory<Ops> const& dir, std::uint64_t cap) : ops_(ops), dir_(dir), cap_(cap) {}

  /// The record of `k` in the file `name`; nullopt: there is none. Throws as `read_file` and `parse_record`.
  std::optional<record> read(std::string const& name, key const& k, operation const& op) const {
    auto bytes = detail::read_file(ops_, dir_, name, cap_, op);
    if (!bytes) return std::nullopt;
    auto const where = [&] { return dir_.path_of(name); };
    record result = detail::parse_record(std::move(*bytes), k, op.name, where);
    detail::check_size(result.payload.size(), cap_, where, op);
    return result;
  }

  /// Those files of which `key_of(name)` says that they are of a key, by key and then by path.
  template <class KeyOf>
  std::vector<entry> list(std::string_view operation, KeyOf key_of) const {
    std::vector<entry> result;
    for (auto const& name : dir_.names()) {
      auto k = key_of(std::string_view(name));
      if (!k) continue;
      if (auto e = examine(name, *k, {operation, *k})) result.push_back(std::move(*e));
    }
    std::sort(result.begin(), result.end(),
              [](entry const& a, entry const& b) { return a.key != b.key ? a.key < b.key : a.where < b.where; });
    return result;
  }

 private:
  /// nullopt: it is gone.
  std::optional<entry> examine(std::string const& name, key const& k, operation const& op) const {
    entry e{k, record_state::intact, std::nullopt, 0, dir_.path_of(name)};
    try {
      auto const r = read(name, k, op);
      if (!r) return std::nullopt;
      e.saved_at = r->saved_at;
      e.bytes = r->payload.size();
      return e;
    } catch (error const& problem) {
      bool const is_newer = problem.code() == errc::mismatch;
      if (!is_newer && !detail::concerns_one_file(problem.code())) throw;
      e.state = is_newer ? record_state::intact : record_state::corrupt;
    }
    struct stat s;
    if (ops_.lstat(dir_.get(), name.c_str(), &s) != 0) {
      if (errno == ENOENT) return std::nullopt;
      dir_.fail("lstat", name);
    }
    e.bytes = static_cast<std::uint64_t>(s.st_size);
    return e;
  }

  Ops const& ops_;
  directory<Ops> const& dir_;
  std::uint64_t cap_;
};

}  // namespace stash::inline v1::detail
