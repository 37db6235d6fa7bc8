#pragma once

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <optional>
#include <span>
#include <stash/clock.hpp>
#include <stash/concepts.hpp>
#include <stash/detail/operation.hpp>
#include <stash/detail/storage/locking.hpp>
#include <stash/detail/storage/policy_checks.hpp>
#include <stash/detail/storage/traits.hpp>
#include <stash/detail/system/no_cancel.hpp>
#include <stash/detail/text/time.hpp>
#include <stash/detail/values/parts.hpp>
#include <stash/error.hpp>
#include <stash/json_serializer.hpp>
#include <stash/key.hpp>
#include <stash/record.hpp>
#include <stash/storage/atomic_file.hpp>
#include <stash/storage/memory.hpp>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace stash::inline v1 {

/// A record as `look_up` found it. `value`, `saved_at` and `age` are there if and only if it is intact.
template <class T>
struct lookup_result {
  record_state state = record_state::absent;       ///< why there is no value, where there is none
  std::optional<T> value{};                        ///< what was saved
  std::optional<time_point> saved_at{};            ///< UTC, by the clock of the stash that saved it
  std::optional<std::chrono::microseconds> age{};  ///< never negative
};

namespace detail {

template <class Stash, class Storage, class A, class... R>
concept storage_arguments = std::constructible_from<Storage, A, R...> && !std::same_as<std::remove_cvref_t<A>, Stash> &&
                            !std::same_as<std::remove_cvref_t<A>, Storage>;

/// The value of a record; `errc::mismatch` where it is no `T`.
template <class T, class Stash>
T value_of(Stash const& stash, key const& k, record const& r, char const* operation) {
  return detail::about(
      k, operation, [&] { return stash.serializer().template deserialize<T>(r.payload); },
      [&] { return storage_traits<typename Stash::storage_type>::where(stash.storage(), k); });
}

/// What shows text that somebody else owns.
template <class T>
concept text_of_another = std::convertible_to<T const&, std::string_view> &&(std::is_array_v<T> || is_view<T>);

/// The bytes of a value; `errc::unserializable` where there are none.
template <class Stash, class T>
std::string bytes_of(Stash const& stash, key const& k, T const& value) {
  return detail::about(
      k, "save", [&] { return stash.serializer().serialize(value); }, [] { return std::string(); });
}

}  // namespace detail

/// Values by key, kept as `Storage` keeps bytes, as `Serializer` writes them, aged by `Clock`.
///
/// What a saved value survives is said by the storage. Every member may be called from many threads at
/// once. Reads take no lock and never write; `save` and `clear` hold the key's lock for their duration and
/// wait up to a second for another short operation on it. A thread that is cancelled (pthread_cancel) in one of them
/// ends after it, not amid it.
///
///     stash::file_stash store{"/var/lib/etl/stash"};
///     store.save("orders", dictionary);
///     if (auto saved = store.load("orders")) use(*saved);
///
/// The policies are `storage_policy`, `serializer_policy` and `clock_policy` (concepts.hpp); what one of them lacks is
/// told in words.
template <class Storage, class Serializer = json_serializer, class Clock = std::chrono::system_clock>
class basic_stash {
  static_assert(detail::check_storage<Storage>());
  static_assert(detail::check_serializer<Serializer>());
  static_assert(detail::check_clock<Clock>());

 public:
  using storage_type = Storage;        ///< where the bytes go
  using serializer_type = Serializer;  ///< what makes bytes of values, and values of bytes
  using clock_type = Clock;            ///< what tells when a record was saved, and how old it is

  /// With the storage's defaults: a file stash's are `default_directory` and `durability::power_loss`. Throws as the
  /// storage's constructor.
  basic_stash() requires std::default_initializable<Storage>
  = default;

  /// Takes a storage that was made already, and where need be a serializer and a clock.
  explicit basic_stash(Storage storage, Serializer serializer = {}, Clock clock = {})
      : storage_(std::move(storage)), serializer_(std::move(serializer)), clock_(std::move(clock)) {}

  /// Passes its arguments to the storage: `file_stash store{"/var/lib/etl/stash"};` Throws as the storage's
  /// constructor.
  template <class A, class... R>
  requires detail::storage_arguments<basic_stash, Storage, A, R...>
  explicit basic_stash(A&& a, R&&... rest) : storage_(std::forward<A>(a), std::forward<R>(rest)...) {}

  /// Saves `value` under `k`, in place of what is there. Of text that somebody else owns (a literal, an array of char
  /// up to its NUL, a view, a pointer), where the serializer does not know that type, it saves a `std::string`.
  ///
  /// On return the record survives what the storage promises to survive (see its class comment).
  ///
  /// Throws `error`: `errc::unserializable`, `errc::too_large` (nothing was written); `errc::busy`: a guard holds
  /// `k`; `errc::indeterminate`: old or new may stand; or the operating system's error as it came. Unless it
  /// is `errc::indeterminate`, the earlier record stands unchanged; or, where a storage lost the lock and throws
  /// `errc::busy`, what another left there since, and this value may have stood before that.
  template <class T = typename Serializer::value_type>
  void save(key const& k, T const& value) {
    detail::no_cancel const whole;
    record r{bytes(k, value), {}};
    auto const lock = detail::acquire(storage_, k, detail::short_wait, "save");
    r.saved_at = now();
    storage_.put(k, r);
  }

  /// Saves each value of a range of pairs `{key, value}` under its key, with the flushes of one save where the storage
  /// can (a journal one for all, files one pass). The locks of all keys are held meanwhile.
  ///
  /// On return all are as durable as by `save`. It is not all or nothing: what is thrown while they are written, and
  /// `errc::indeterminate`, leave each key with its old record or its new one, whole.
  ///
  /// Throws as `save`, and EINVAL where a key is given twice. What cannot be saved at all (`errc::unserializable`,
  /// `errc::too_large`), a key given twice and `errc::busy` are found before anything is written.
  ///
  ///     store.save_all(std::map<std::string, boost::json::value>{{"orders", o}, {"customers", c}});
  template <detail::range Pairs>
  void save_all(Pairs&& all) {
    detail::no_cancel const whole;
    std::vector<std::pair<key, record>> records;
    std::vector<key> keys;
    for (auto const& [k, value] : all) {
      keys.emplace_back(k);
      records.emplace_back(keys.back(), record{bytes(keys.back(), value), {}});
      detail::storage_traits<Storage>::check(storage_, keys.back(), records.back().second);
    }
    std::vector<key> sorted;
    for (auto const i : detail::order_of(keys, "save_all")) sorted.push_back(keys[i]);
    detail::lock_set<Storage> locks;
    locks.take(storage_, sorted, detail::short_wait, "save_all");
    auto const saved_at = now();
    for (auto& one : records) one.second.saved_at = saved_at;
    detail::storage_traits<Storage>::put_all(storage_, records);
  }

  /// The value under `k`; nullopt: absent or corrupt (`look_up` tells which).
  ///
  /// Throws `error`: `errc::mismatch`: whole bytes that are not a `T`; `errc::too_large`; or the operating
  /// system's error. Changes nothing.
  template <class T = typename Serializer::value_type>
  std::optional<T> load(key const& k) const {
    return look_up<T>(k).value;
  }

  /// As `load`, with the reason why there is no value, the time and the age. `state` corrupt comes without
  /// value, time and age.
  template <class T = typename Serializer::value_type>
  lookup_result<T> look_up(key const& k) const {
    detail::no_cancel const whole;
    check_type<T>();
    lookup_result<T> result;
    auto const found = read(k);
    result.state = found.state;
    if (found.value) {
      result.saved_at = found.value->saved_at;
      result.age = detail::age_between(found.value->saved_at, now());
      result.value.emplace(detail::value_of<T>(*this, k, *found.value, "load"));
    }
    return result;
  }

  /// Removes the record, corrupt or not; false: there was none. Where the storage does not exist yet (no
  /// directory, table or file), it is not made.
  ///
  /// Throws `errc::busy`: a guard holds `k`; `errc::indeterminate`; or the operating system's error. Unless it is
  /// `errc::indeterminate`, the record stands; or what another left there since, as with `save`.
  bool clear(key const& k) {
    detail::no_cancel const whole;
    if (!detail::storage_traits<Storage>::exists(storage_)) return false;
    auto const lock = detail::acquire(storage_, k, detail::short_wait, "clear");
    return storage_.erase(k);
  }

  /// How long ago the record was saved, never negative; nullopt: absent or corrupt. Throws as the storage's `get`.
  std::optional<std::chrono::microseconds> age(key const& k) const {
    detail::no_cancel const whole;
    auto const found = read(k);
    if (!found.value) return std::nullopt;
    return detail::age_between(found.value->saved_at, now());
  }

  /// All records, corrupt ones too. Throws what the storage throws.
  std::vector<entry> entries() const {
    detail::no_cancel const whole;
    return storage_.entries();
  }
  /// All that was set aside and not purged. Throws what the storage throws.
  std::vector<entry> set_aside_entries() const {
    detail::no_cancel const whole;
    return storage_.set_aside_entries();
  }
  /// Destroys what was set aside at least `older_than` ago, by the system's clock (zero or less: all of it); how many
  /// that were. Throws what the storage throws.
  std::size_t purge(std::chrono::microseconds older_than) {
    detail::no_cancel const whole;
    return storage_.purge(older_than);
  }

  /// For what the storage alone can do. A `put` or an `erase` here goes behind the back of guards, unless you hold the
  /// key's lock.
  Storage& storage() noexcept { return storage_; }
  /// The same, to look only.
  Storage const& storage() const noexcept { return storage_; }
  /// The one that it was given, or made by default.
  Serializer const& serializer() const noexcept { return serializer_; }
  /// The one that it was given, or made by default.
  Clock const& clock() const noexcept { return clock_; }

 private:
  template <class T>
  static constexpr void check_type() {
    static_assert(serializer_policy<Serializer, T>,
                  "stash: the serializer cannot turn this type into bytes and back (see serializer_policy in "
                  "concepts.hpp; for json_serializer, boost::json::value_from and value_to must know it and all "
                  "that is in it: a struct needs BOOST_DESCRIBE_STRUCT)");
  }

  template <class T>
  std::string bytes(key const& k, T const& value) const {
    if constexpr (detail::text_of_another<T> && !serializer_policy<Serializer, T>) {
      if constexpr (std::is_pointer_v<T>) {
        if (value == nullptr) throw error{errc::unserializable, "save", k.string(), "a null pointer"};
      }
      if constexpr (std::is_array_v<T>) {
        std::string_view const all(value, std::extent_v<T>);
        auto const end = std::min(all.find('\0'), all.size());
        if (all.find_first_not_of('\0', end) != all.npos) {
          throw error{errc::unserializable, "save", k.string(), "an array with a NUL amid its text"};
        }
        return bytes(k, std::string(all.substr(0, end)));
      } else {
        return bytes(k, std::string(std::string_view(value)));
      }
    } else {
      check_type<T>();
      return detail::bytes_of(*this, k, value);
    }
  }

  time_point now() const { return std::chrono::floor<std::chrono::microseconds>(clock_.now()); }

  lookup_result<record> read(key const& k) const {
    lookup_result<record> result;
    try {
      result.value = storage_.get(k);
      if (result.value) result.state = record_state::intact;
    } catch (boost::system::system_error const& problem) {
      if (problem.code() != errc::corrupt) throw;
      result.state = record_state::corrupt;
    }
    return result;
  }

  [[no_unique_address]] Storage storage_{};
  [[no_unique_address]] Serializer serializer_{};
  [[no_unique_address]] Clock clock_{};
};

/// A file a key; survives the power cut.
using file_stash = basic_stash<atomic_file_storage>;
/// In memory; survives exceptions.
using memory_stash = basic_stash<memory_storage>;

}  // namespace stash::inline v1
