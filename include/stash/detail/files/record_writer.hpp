#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <stash/detail/files/directory.hpp>
#include <stash/detail/files/temporary_file.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/record/file_names.hpp>
#include <stash/detail/record/format.hpp>
#include <stash/key.hpp>
#include <stash/record.hpp>
#include <string>
#include <utility>
#include <vector>

namespace stash::inline v1::detail {

/// Writes records into a stash directory: all of it but the sync of the directory. What it is made with must outlive
/// it.
template <class Ops>
class record_writer {
 public:
  record_writer(Ops const& ops, directory<Ops> const& dir, bool durable) : ops_(ops), dir_(dir), durable_(durable) {}

  void write(key const& k, record const& r, operation const& op) const {
    auto const name = detail::record_name(k, op.name);
    std::string const header = detail::header_line(k, r);
    dir_.check_name(k);
    temporary_file<Ops> file{ops_, dir_, k, durable_, op};
    file.write({header, r.payload, "\n"});
    file.finish();
    file.rename_to(name);
  }

  /// Writes all before the first is synced, so that they share most of the flushes.
  void write_all(std::span<std::pair<key, record> const> all, operation const& op) const {
    for (auto const& [k, r] : all) dir_.check_name(k);
    constexpr std::size_t most = 128;  // files that are open at once
    for (std::size_t at = 0; at < all.size(); at += most) {
      write_some({all.data() + at, std::min(most, all.size() - at)}, op);
    }
  }

 private:
  void write_some(std::span<std::pair<key, record> const> some, operation const& op) const {
    std::vector<std::string> headers;
    headers.reserve(some.size());
    std::vector<std::unique_ptr<temporary_file<Ops>>> files;
    for (auto const& [k, r] : some) {
      headers.push_back(detail::header_line(k, r));
      files.push_back(std::make_unique<temporary_file<Ops>>(ops_, dir_, k, durable_, operation{op.name, k}));
      files.back()->write({headers.back(), r.payload, "\n"});
      files.back()->start_writeback();
    }
    for (auto const& one : files) one->finish();
    for (std::size_t i = 0; i < files.size(); ++i) files[i]->rename_to(detail::record_name(some[i].first, op.name));
  }

  Ops const& ops_;
  directory<Ops> const& dir_;
  bool durable_;
};

}  // namespace stash::inline v1::detail
