#pragma once

#include <boost/test/unit_test.hpp>
#include <exception>
#include <stash/testing/place_conformance.hpp>
#include <stash/testing/storage_conformance.hpp>
#include <string>

namespace support {

/// What the check says; empty: it passed.
template <class Check, class Factory>
std::string complaint(Check const& check, Factory factory) {
  try {
    check.run(factory);
  } catch (std::exception const& e) {
    return e.what();
  }
  return {};
}

/// Test cases are made at run time, one for each check, so that each is counted.
template <class F>
boost::unit_test::test_case* add_case(boost::unit_test::test_suite& suite, std::string const& name, F f) {
  auto* const added = boost::unit_test::make_test_case(f, name, __FILE__, __LINE__);
  suite.add(added);
  return added;
}

/// One for each of `checks`.
template <class Factory, class Checks>
boost::unit_test::test_suite* conforming(char const* name, Checks checks) {
  auto* const suite = BOOST_TEST_SUITE(name);
  for (auto const& check : checks) {
    auto* const added =
        add_case(*suite, std::string(check.name), [&check] { BOOST_TEST(complaint(check, Factory{}) == ""); });
    if (!check.applies)
      added->add_precondition(
          [](boost::unit_test::test_unit_id) { return boost::test_tools::assertion_result(false); });
  }
  return suite;
}
template <class Factory>
boost::unit_test::test_suite* conforming(char const* name) {
  return conforming<Factory>(name, stash::testing::storage_conformance<Factory>::checks());
}
template <class Factory>
boost::unit_test::test_suite* conforming_place(char const* name) {
  return conforming<Factory>(name, stash::testing::place_conformance<Factory>::checks());
}

}  // namespace support
