// How rows go to a CKAN site: batches, several at one time, what nobody knows, a site that is busy.
#include "api_fixture.hpp"

namespace api_datastore_test {

BOOST_FIXTURE_TEST_SUITE(api_datastore, fixture)

BOOST_AUTO_TEST_CASE(rows_go_in_batches_of_bytes_and_of_rows_and_are_counted_once) {
  auto o = options();
  o.batch_rows = 3;
  ckan::api_datastore d{site().url(), "token", o};
  d.create(id, columns());
  auto const upserts = [&] {
    std::string sizes;
    for (auto const& r : requests()) {
      auto const& sent = r.as_array()[1].as_object();
      if (r.as_array()[0] != "datastore_upsert") continue;
      sizes += std::to_string(sent.at("records").as_array().size());
      if (sent.at("calculate_record_count").as_bool()) sizes += '!';
    }
    return sizes;
  };
  load(d, {"1", "2", "3", "4", "5", "6", "7"});
  BOOST_TEST(upserts() == "331!");
  d.finish(id);
  o.batch_rows = 1000;
  o.batch_bytes = 300;
  ckan::api_datastore small{site().url(), "token", o};
  load(small, {"8", "9", "10", "11", "12", "13", "14", "15", "16", "17", "18", "19", "20"});
  BOOST_TEST(rows() == "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20");
  for (auto const& r : requests()) {
    if (r.as_array()[0] == "datastore_upsert") BOOST_TEST(json::serialize(r.as_array()[1]).size() <= 360U);
  }
}

BOOST_AUTO_TEST_CASE(each_text_comes_to_the_site_as_it_is) {
  auto d = datastore();
  d.create(id, {{"text", "text", {}}});
  std::vector<std::string> texts{"",
                                 "plain",
                                 "\"",
                                 "\\",
                                 "a\"b\\c",
                                 "\n",
                                 "\t\r\b\f",
                                 "\x01\x1f\x7f",
                                 "</script>",
                                 "\u00e4",
                                 "\u20ac \U0001f600",
                                 "\u2028",
                                 std::string(3000, 'x'),
                                 std::string(3000, '"')};
  {
    ckan::api_datastore::loader all{d, id, {{"text", "text", {}}}};
    for (auto const& one : texts) all.add(std::array<std::optional<std::string_view>, 1>{one});
    all.finish();
  }
  auto const there = table().at("rows").as_array();
  BOOST_TEST_REQUIRE(there.size() == texts.size());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    BOOST_TEST(there[i].as_object().at("text").as_string() == texts[i], "text " << i);
  }
}

BOOST_AUTO_TEST_CASE(a_loader_that_was_not_finished_leaves_the_resource_unfinished) {
  auto d = datastore();
  d.create(id, columns());
  {
    ckan::api_datastore::loader all{d, id, columns()};
    all.add(std::array<std::optional<std::string_view>, 2>{"1", std::nullopt});
    BOOST_TEST(code_of([&] { all.add(std::array<std::optional<std::string_view>, 1>{"1"}); }) == errc::mismatch);
    BOOST_TEST(code_of([&] {
                 all.add(std::array<std::optional<std::string_view>, 2>{"\xff", "2"});
               }) == errc::mismatch);
  }
  BOOST_TEST(code_of([&] { d.finish(id); }) == errc::mismatch);
  BOOST_TEST(!d.describe(id));
}

BOOST_AUTO_TEST_CASE(a_batch_of_which_nobody_knows_is_counted_and_sent_again_only_if_it_is_not_there) {
  for (char const* const kind : {"cut_before", "cut_after", "502", "502_after", "503", "silent_after", "json_cut"}) {
    site().reset();
    auto o = hasty();
    o.batch_rows = 1;  // the second goes over a connection that was kept
    ckan::api_datastore d{site().url(), "token", o};
    d.create(id, columns());
    json::value const how = std::isdigit(kind[0]) && kind[3] == '\0' ? json::value(std::atoi(kind)) : json::value(kind);
    site().fail("datastore_upsert", 2, how);
    load(d, {"1", "2", "3"});
    d.finish(id);
    BOOST_TEST(rows() == "1,2,3", kind);
  }
  // Somebody else adds rows.
  site().reset();
  auto d = datastore(), other = datastore();
  d.create(id, columns());
  ckan::api_datastore::loader all{d, id, columns()};
  all.add(std::array<std::optional<std::string_view>, 2>{"1", std::nullopt});
  load(other, {"8"});
  site().fail("datastore_upsert", 1, "cut_after");
  BOOST_TEST(code_of([&] { all.finish(); }) == errc::indeterminate);
}

BOOST_AUTO_TEST_CASE(several_batches_on_their_way_at_one_time_add_each_row_once_or_say_that_they_did_not) {
  std::vector<std::string> ids;
  for (int n = 1; n <= 9; ++n) ids.push_back(std::to_string(n));
  auto const all_rows = [&] {
    auto all = table().at("rows").as_array();
    std::multiset<std::string> result;
    for (auto const& row : all) result.insert(json::serialize(row.as_object().at("id")));
    return result;
  };
  std::multiset<std::string> const wanted{ids.begin(), ids.end()};
  int indeterminate = 0, refused = 0;
  for (json::value const& kind : std::initializer_list<json::value>{"", "cut_before", "cut_after", 502, "502_after",
                                                                    503, "silent_after", "json_cut", 409, 403}) {
    for (json::value const& nth : std::initializer_list<json::value>{1, 2, 3, 9, {}}) {
      if (kind == "" && nth != 1) continue;
      site().reset();
      auto o = hasty();
      o.at_once = 3;
      o.batch_rows = 1;
      o.settle = 300ms;
      ckan::api_datastore d{site().url(), "token", o};
      d.create(id, columns());
      if (kind != "") site().fail("datastore_upsert", nth, kind);
      boost::system::error_code problem;
      try {
        load(d, ids);
      } catch (stash::error const& e) {
        problem = e.code();
      }
      site().heal();
      auto const what = json::serialize(kind) + " of " + json::serialize(nth) + ": " + problem.message();
      auto const there = all_rows();
      if (!problem.failed()) BOOST_TEST((there == wanted), what);
      for (auto const& one : there) BOOST_TEST(there.count(one) == 1U, what << ", row " << one);
      bool const has_acted =
          kind == "" || kind == "cut_after" || kind == "502_after" || kind == "silent_after" || kind == "json_cut";
      bool const can_be_mended = has_acted || (!nth.is_null() && kind != 409 && kind != 403);
      BOOST_TEST(problem.failed() != can_be_mended, what);
      indeterminate += problem == errc::indeterminate;
      refused += problem.failed() && problem != errc::indeterminate;
      BOOST_TEST((code_of([&] { d.finish(id); }) == errc::mismatch) == problem.failed(), what);
    }
  }
  BOOST_TEST(indeterminate > 0);
  BOOST_TEST(refused >= 10);
  // One of two is there, and nobody knows which.
  site().reset();
  auto o = hasty();
  o.at_once = 2;
  o.batch_rows = 1;
  o.settle = 300ms;
  ckan::api_datastore d{site().url(), "token", o};
  d.create(id, columns());
  site().fail("datastore_upsert", 1, 502);
  site().fail("datastore_upsert", 2, "502_after");
  BOOST_TEST(code_of([&] { load(d, {"1", "2", "3", "4"}); }) == errc::indeterminate);
  BOOST_TEST(code_of([&] { d.finish(id); }) == errc::mismatch);
}

BOOST_AUTO_TEST_CASE(what_a_site_refuses_is_told_by_the_numbers_of_the_rows_and_no_more_are_taken) {
  auto o = options();
  o.batch_rows = 2;
  ckan::api_datastore d{site().url(), "token", o};
  d.create(id, columns());
  ckan::api_datastore::loader all{d, id, columns()};
  auto const add = [&](std::string_view one) {
    all.add(std::array<std::optional<std::string_view>, 2>{one, "2026-11-30"});
  };
  for (char const* const one : {"1", "2", "3", "much"}) add(one);
  std::string const why = message_of([&] {
    for (char const* const one : {"5", "6", "7", "8", "9"}) add(one);
  });
  BOOST_TEST(why.find("rows 3 to 4: ") != std::string::npos, why);
  BOOST_TEST(why.find("much") != std::string::npos, why);
  BOOST_TEST(code_of([&] { add("9"); }) == errc::mismatch);
  BOOST_TEST(code_of([&] { all.finish(); }) == errc::mismatch);
  BOOST_TEST(code_of([&] { d.finish(id); }) == errc::mismatch);
  BOOST_TEST(rows().find('3') == std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_forked_child_does_not_wait_for_what_its_parent_has_on_its_way) {
  auto o = options();
  o.batch_rows = 1;
  ckan::api_datastore d{site().url(), "token", o};
  d.create(id, columns());
  std::array<std::optional<std::string_view>, 2> const row{"1", std::nullopt};
  auto all = std::make_unique<ckan::api_datastore::loader>(d, id, columns());
  site().fail("datastore_upsert", 1, 429, {{"retry_after", 2}});
  auto const before = requests().size();
  all->add(row);
  all->add(row);  // one is on its way now
  while (requests().size() == before) stash::detail::sleep_for(1ms);
  stash::detail::sleep_for(200ms);  // now it waits to be sent again
  BOOST_TEST(support::in_child([&] {
               ::alarm(20);
               int const code = code_of([&] { all->add(row); }) == errc::busy ? 0 : 1;
               all.reset();
               return code;
             }) == 0);
  all->finish();
  BOOST_TEST(d.rows(id) == 2U);
}

BOOST_AUTO_TEST_CASE(a_busy_site_is_asked_again_when_it_says_and_no_longer_than_a_call_may_take) {
  auto d = datastore();
  d.create(id, columns());
  for (int const busy : {429, 503}) {
    auto const start = std::chrono::steady_clock::now();
    site().fail("datastore_search", 1, busy, {{"retry_after", 1}});
    BOOST_TEST(d.rows(id) == 0U);
    BOOST_TEST((std::chrono::steady_clock::now() - start >= 1s), busy);
    site().fail("datastore_search", 1, busy, {{"retry_after", 3600}});
    auto const before = requests().size();
    BOOST_TEST(code_of([&] { d.rows(id); }) == http_status(busy));
    BOOST_TEST(requests().size() == before + 1);
    // Without a word of the site's, and with its last try when the call's time is over.
    site().fail("datastore_search", {}, busy, {{"retry_after", nullptr}});
    ckan::api_datastore hurried{site().url(), "token", hasty()};
    auto const again = std::chrono::steady_clock::now();
    auto const tries = requests().size();
    BOOST_TEST(code_of([&] { hurried.rows(id); }) == http_status(busy));
    BOOST_TEST((std::chrono::steady_clock::now() - again < 30s), busy);
    BOOST_TEST(requests().size() > tries + 4);  // of 2 s, each pause twice the one before
    BOOST_TEST(requests().size() < tries + 20);
    site().heal();
  }
}

BOOST_AUTO_TEST_CASE(only_an_answer_that_is_whole_and_says_so_is_a_success) {
  using ckan::detail::is_success;
  for (char const* const one : {R"({"success":true})", R"({"success":true,"result":{"records":[{"success":false}]}})",
                                R"({"result":[1,-2,18446744073709551615,0.5,null,"\u00e4"],"succ\u0065ss":true} )"}) {
    BOOST_TEST(is_success(one), one);
  }
  for (char const* const one :
       {"", "{}", "true", "[true]", R"({"success":false})", R"({"success":"true"})", R"({"success":true)",
        R"({"success":true}})", R"({"success":true,"result":{"reco)", R"({"result":{"success":true}})",
        R"({"success":false,"result":[{"success":true}]})", R"([{"success":true}])", R"({"success":[true]})",
        R"({"success":{"a":true}})", "<html>true</html>"}) {
    BOOST_TEST(!is_success(one), one);
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace api_datastore_test
