#include <boost/optional/optional.hpp>
#include <functional>
#include <map>
#include <utility>

#include "support.hpp"

namespace callbacks_test {

using namespace std::string_literals;
using support::code_of;
using support::message_of;
using words = std::optional<std::string>;

namespace {

/// Resources by key. What acts on one comes with the key and without it; without it, it means "orders".
struct catalog {
  std::map<std::string, std::string> tables;

  words find(std::string const& name) const {
    auto const found = tables.find(name);
    return found == tables.end() ? words() : words(found->second);
  }
  auto live() const {
    return [this] { return find("orders"); };
  }
  auto live_of_key() const {
    return [this](stash::key const& k) { return find(k.string()); };
  }
  auto restore() {
    return [this](std::string const& saved) { tables["orders"] = saved; };
  }
  auto restore_of_key() {
    return [this](stash::key const& k, std::string const& saved) { tables[k.string()] = saved; };
  }
};

struct fixture {
  catalog c{{{"orders", "words"}}};
  stash::memory_stash store;
};

/// Each pair of `live` and `restore`.
template <class F>
void for_each_pair(catalog& c, F f) {
  f(c.live(), c.restore());
  f(c.live(), c.restore_of_key());
  f(c.live_of_key(), c.restore());
  f(c.live_of_key(), c.restore_of_key());
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(callbacks, fixture)

BOOST_AUTO_TEST_CASE(a_guard_takes_them_with_the_key_or_without) {
  for_each_pair(c, [&](auto live, auto restore) {
    {
      stash::delete_guard guard{store, "orders", live, restore};
      BOOST_TEST(guard.value_or("none") == "words");
      c.tables.clear();
    }
    BOOST_TEST(c.find("orders").value() == "words");
    stash::delete_guard guard{store, "orders", live, restore};
    c.tables.clear();
    guard.rollback();
    BOOST_TEST(c.find("orders").value() == "words");
  });
}

BOOST_AUTO_TEST_CASE(guards_of_many_take_them_with_the_key_or_without) {
  for_each_pair(c, [&](auto live, auto restore) {
    stash::delete_guards guard{store, std::vector<stash::key>{"orders"}, live, restore};
    BOOST_TEST(guard.value_or("orders", "none") == "words");
    c.tables.clear();
    BOOST_TEST(guard.rollback().restored == 1U);
    BOOST_TEST(c.find("orders").value() == "words");
  });
}

BOOST_AUTO_TEST_CASE(recover_takes_those_of_a_guard_with_the_key_or_without) {
  for_each_pair(c, [&](auto live, auto restore) {
    store.save("orders", "saved");
    auto report = stash::recover(store, live, restore);
    BOOST_TEST((report.live == 1U && report.restored == 0U));
    c.tables.clear();
    report = stash::recover(store, live, restore);
    BOOST_TEST((report.live == 0U && report.restored == 1U && report.failed.empty()));
    BOOST_TEST(c.find("orders").value() == "saved");
    BOOST_TEST(store.entries().empty());
    c.tables["orders"] = "words";
  });
}

BOOST_AUTO_TEST_CASE(each_key_is_passed_on_to_those_that_take_it) {
  c.tables = {{"a", "of a"}, {"b", "of b"}};
  {
    stash::delete_guards guard{store, std::vector<stash::key>{"a", "b"}, c.live_of_key(), c.restore_of_key()};
    c.tables.clear();
    guard.release();
  }
  auto const report = stash::recover(store, c.live_of_key(), c.restore_of_key());
  BOOST_TEST(report.restored == 2U);
  BOOST_TEST((c.find("a") == "of a" && c.find("b") == "of b"));
}

BOOST_AUTO_TEST_CASE(a_guard_gives_no_key_to_what_can_be_called_without_it_as_it_always_was) {
  using std::placeholders::_1;
  auto const check = [&](auto live, auto restore) {
    c.tables = {{"orders", "words"}};
    {
      stash::delete_guard const guard{store, "a key", live, restore};
      BOOST_TEST(guard.value_or("none") == "words");
      c.tables.clear();
    }
    BOOST_TEST((c.tables == std::map<std::string, std::string>{{"orders", "words"}}));
  };
  auto const ensure = [&](std::string_view name, std::string_view saved) { c.tables[std::string(name)] = saved; };
  auto const live = [&](std::string_view name = "orders") { return c.find(std::string(name)); };
  check(live, std::bind(ensure, "orders", _1));
  check(live, [&](std::string_view saved, std::string_view name = "orders") { ensure(name, saved); });
  check(live, [&](auto const& saved, auto const&...) { ensure("orders", saved); });
}

BOOST_AUTO_TEST_CASE(guards_of_many_and_recover_give_the_key_to_what_can_be_called_both_ways) {
  struct both {
    std::string* told;
    words operator()() const { return *told = "live", words(); }
    words operator()(stash::key const& k) const { return *told = "live of " + k.string(), words("x"); }
    void operator()(std::string const&) const { *told = "restore"; }
    void operator()(stash::key const& k, std::string const&) const { *told = "restore of " + k.string(); }
  };
  std::string told;
  stash::delete_guards guard{store, std::vector<stash::key>{"orders"}, both{&told}, both{&told}};
  BOOST_TEST(told == "live of orders");
  BOOST_TEST(guard.rollback().restored == 1U);
  BOOST_TEST(told == "restore of orders");
}

BOOST_AUTO_TEST_CASE(recover_refuses_what_takes_no_key_where_there_are_records_of_several) {
  store.save("orders", "of orders");
  store.save("customers", "of customers");
  c.tables.clear();
  auto const run = [&] { stash::recover(store, c.live(), c.restore()); };
  BOOST_TEST(code_of(run) == support::os(EINVAL));
  BOOST_TEST(message_of(run).find("\"customers\" and \"orders\"") != std::string::npos, message_of(run));
  BOOST_TEST(code_of([&] { stash::recover(store, c.live(), c.restore_of_key()); }) == support::os(EINVAL));
  BOOST_TEST(code_of([&] { stash::recover(store, c.live_of_key(), c.restore()); }) == support::os(EINVAL));
  BOOST_TEST((c.tables.empty() && store.entries().size() == 2U));
  auto const nothing_is_live = [] { return false; };  // that is said of all
  BOOST_TEST(stash::recover<std::string>(store, nothing_is_live, c.restore_of_key()).restored == 2U);
}

BOOST_AUTO_TEST_CASE(recover_restores_what_the_guards_live_returns_an_optional_of) {
  using numbers = std::vector<int>;
  store.save("orders", numbers{1, 2});
  numbers restored;
  auto const restore = [&](numbers const& saved) { restored = saved; };
  BOOST_TEST(stash::recover(
                 store, [] { return std::optional<numbers>(); }, restore)
                 .restored == 1U);
  BOOST_TEST((restored == numbers{1, 2}));
  store.save("orders", numbers{3});
  BOOST_TEST(stash::recover(
                 store, [] { return boost::optional<numbers>(); }, restore)
                 .restored == 1U);
  BOOST_TEST((restored == numbers{3}));
}

BOOST_AUTO_TEST_CASE(value_or_gives_the_fallback_only_where_there_is_nothing) {
  auto const nothing = [] { return words(); };
  auto const restore = [](std::string const&) {};
  stash::delete_guard none{store, "none", nothing, restore};
  BOOST_TEST((none.value_or("fallback") == "fallback" && none.value_or({}).empty()));
  stash::delete_guards many{store, std::vector<stash::key>{"a", "b"}, nothing, restore};
  BOOST_TEST((many.value_or("b", "fallback") == "fallback" && many.value_or("b", {}).empty()));
  BOOST_TEST(code_of([&] { many.value_or("c", {}); }) == support::os(EINVAL));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace callbacks_test
