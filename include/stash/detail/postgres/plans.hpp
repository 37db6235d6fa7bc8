#pragma once

#include <libpq-fe.h>

#include <cstddef>
#include <span>
#include <stash/detail/operation.hpp>
#include <stash/detail/postgres/int_size.hpp>
#include <stash/detail/postgres/result.hpp>
#include <stash/detail/record/file_names.hpp>
#include <stash/detail/text/xxh64.hpp>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace stash::inline v1::detail {

/// A statement and its parameters, of what lives until it was sent.
struct postgres_question {
  std::string_view sql;
  std::vector<postgres_parameter> parameters;
};

/// Parameters as libpq takes them. Throws `errc::too_large`.
struct postgres_arguments {
  std::vector<char const*> values;
  std::vector<int> sizes, formats;

  postgres_arguments(std::span<postgres_parameter const> all, operation const& op) : formats(all.size(), 1) {
    for (auto const& p : all) {
      values.push_back(!p ? nullptr : p->data() != nullptr ? p->data() : "");
      sizes.push_back(p ? detail::int_size(p->size(), op) : 0);
    }
  }
  int count() const noexcept { return static_cast<int>(values.size()); }
};

#ifndef LIBPQ_HAS_PIPELINING
#error "stash needs libpq 14 or later"
#endif

/// The statements that one session's server has prepared, named by the hash of their text. Not thread safe.
class postgres_plans {
 public:
  /// What was sent, and is to be answered: a plan, by its name, or a question, "".
  struct asked {
    std::vector<std::string> names;
    std::size_t answered = 0;
    bool is_next_a_question() { return names.at(answered++).empty(); }
  };

  /// Sends all, and BEGIN before them where it `begins`. False: libpq says no. `flush` empties what libpq has kept.
  template <class Flush>
  bool send(PGconn* connection, std::span<postgres_question const> all, bool begins, asked& sent, operation const& op,
            Flush flush) {
    constexpr std::size_t most = 1 << 20;  // bytes to be kept: libpq's buffer has room for no more than 2 GiB
    std::size_t kept = 0;
    if (begins && !send(connection, {"BEGIN", {}}, sent, op)) return false;
    for (auto const& one : all) {
      if (!send(connection, one, sent, op)) return false;
      for (auto const& p : one.parameters) kept += p ? p->size() : 0;
      if (kept < most) continue;
      flush();
      kept = 0;
    }
    return true;
  }
  /// Those that were not answered: the server has none of them.
  void forget(asked const& all) noexcept {
    for (std::size_t i = all.answered; i < all.names.size(); ++i) names_.erase(all.names[i]);
  }

 private:
  bool send(PGconn* connection, postgres_question const& one, asked& sent, operation const& op) {
    postgres_arguments const with{one.parameters, op};
    std::string const sql(one.sql), name = "stash_" + detail::hex16(xxh64::hash(sql));
    if (!names_.contains(name)) {
      sent.names.push_back(name);
      names_.insert(name);
      if (::PQsendPrepare(connection, name.c_str(), sql.c_str(), 0, nullptr) == 0) return false;
    }
    sent.names.emplace_back();
    return ::PQsendQueryPrepared(connection, name.c_str(), with.count(), with.values.data(), with.sizes.data(),
                                 with.formats.data(), 1) != 0;
  }

  std::unordered_set<std::string> names_;
};

}  // namespace stash::inline v1::detail
