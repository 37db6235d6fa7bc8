// ckan::api_datastore against a stand-in that answers as a real CKAN does.
#include "api_fixture.hpp"
#include "fake_postgres.hpp"

namespace api_datastore_test {

BOOST_FIXTURE_TEST_SUITE(api_datastore, fixture)

BOOST_AUTO_TEST_CASE(a_table_is_made_loaded_described_annotated_and_dropped) {
  auto d = datastore();
  BOOST_TEST(!d.describe(id));
  d.check(id, columns());
  d.create(id, columns());
  BOOST_TEST(code_of([&] { d.create(id, columns()); }) == errc::mismatch);
  BOOST_TEST(!d.describe(id));
  BOOST_TEST(d.unfinished(id).has_value());
  BOOST_TEST(mark() != "");
  load(d, {"1", "2"});
  d.finish(id);
  BOOST_TEST((d.describe(id) == columns()));
  BOOST_TEST(rows() == "1,2");
  BOOST_TEST(mark() == "");
  BOOST_TEST(!d.unfinished(id));
  d.annotate(id, {{"day", {{"label", "Day"}}}});
  BOOST_TEST((d.describe(id)->at(1).info == json::object{{"label", "Day"}}));
  BOOST_TEST((d.describe(id)->at(0) == columns()[0]));
  d.drop(id);
  BOOST_TEST(rows() == "none");
  d.drop(id);
  BOOST_TEST(!d.is_deleted(id));
  BOOST_TEST(d.is_deleted("nobody"));
}

BOOST_AUTO_TEST_CASE(what_hangs_on_it_is_told_and_made_again) {
  auto d = datastore();
  make(d, {{"aliases", {"an_alias"}}, {"indexes", {"day", "id, day"}}});
  auto const remarks = d.remarks(id);
  BOOST_TEST(json::serialize(remarks.at("aliases")) == R"(["an_alias"])");
  BOOST_TEST(code_of([&] { d.describe("an_alias"); }) == errc::mismatch);
  auto const report = reload(d, {"3"}, {{"id", "text", {}}, {"day", "date", {}}});
  BOOST_TEST(!report.rows_only);
  BOOST_TEST(rows() == "\"3\"");
  BOOST_TEST(json::serialize(d.remarks(id)) == json::serialize(remarks));
  BOOST_TEST(store.entries().empty());
}

BOOST_AUTO_TEST_CASE(where_nothing_would_change_the_table_stays_and_its_rows_alone_go) {
  auto d = datastore();
  make(d);
  auto const report = reload(d, {"3", "4"}, headers());
  BOOST_TEST(report.rows_only);
  BOOST_TEST(rows() == "3,4");
  BOOST_TEST(table().at("last_id") == 4);  // it was never dropped
  std::string order;
  for (auto const& r : requests()) order += std::string(r.as_array()[0].as_string()) + ' ';
  BOOST_TEST(order.find("resource_patch datastore_records_delete ") != std::string::npos, order);
  BOOST_TEST((d.describe(id) == columns()));
  BOOST_TEST(mark() == "");
}

BOOST_AUTO_TEST_CASE(a_row_that_ckan_refuses_stops_the_reload_with_its_words_and_the_dictionary_is_back) {
  auto d = datastore();
  make(d);
  auto const why = message_of([&] { reload(d, {"5", "nonsense"}, headers()); });
  BOOST_TEST(why.find("invalid input syntax for type numeric") != std::string::npos, why);
  BOOST_TEST((d.describe(id)->at(0).info == columns()[0].info));
  BOOST_TEST(rows() == "");
  BOOST_TEST(mark() == "");
}

BOOST_AUTO_TEST_CASE(an_address_or_a_token_that_is_none_is_refused_at_once_and_the_token_is_not_told) {
  for (char const* const url : {"", "ftp://a", "https://", "https://u:secret@a", "http://data.example.org",
                                "https://a/?x", "https://a b", "http://127.example.org"}) {
    auto const why = message_of([&] { ckan::api_datastore{url, "secret"}; });
    BOOST_TEST(why.find("the site's address") != std::string::npos, url << ": " << why);
    BOOST_TEST(why.find("secret") == std::string::npos, why);
  }
  for (std::string const token : {"two words", "a line\n", "gr\xc3\xb6", "a\"b"}) {
    auto const why = message_of([&] { ckan::api_datastore{"https://a", token}; });
    BOOST_TEST(why.find("the token has characters") != std::string::npos, why);
    BOOST_TEST(why.find(token) == std::string::npos, why);
  }
  ckan::api_datastore{"http://data.example.org", "t", {.allow_plain_http = true}};
  ckan::api_datastore{"https://data.example.org/ckan/", ""};
}

BOOST_AUTO_TEST_CASE(a_token_without_the_right_is_told_before_anything_is_touched) {
  auto d = datastore();
  make(d);
  for (char const* const token : {"", "another"}) {
    auto stranger = datastore(token);
    BOOST_TEST(code_of([&] { stranger.check(id, columns()); }) == http_status(403));
    BOOST_TEST(code_of([&] { reload(stranger, {"9"}, headers()); }) == http_status(403));
    BOOST_TEST(rows() == "1,2");
    BOOST_TEST(mark() == "");
  }
  BOOST_TEST(code_of([&] { d.check("nobody", columns()); }) == http_status(404));
  // Who answers may repeat it: here a word of the answer is the token.
  auto echoed = datastore("denied");
  auto const why = message_of([&] { echoed.drop(id); });
  BOOST_TEST(why.find("Access (token)") != std::string::npos, why);
}

BOOST_AUTO_TEST_CASE(a_site_that_says_two_things_is_not_believed_that_there_is_no_table) {
  auto d = datastore();
  make(d);
  site().fail("datastore_info", nullptr, 404);
  BOOST_TEST(code_of([&] { d.describe(id); }) == errc::mismatch);
  BOOST_TEST(code_of([&] { reload(d, {"9"}, headers()); }) == errc::mismatch);
  site().heal();
  site().fail("resource_show", nullptr, 404);
  BOOST_TEST(code_of([&] { d.describe(id); }) == http_status(404));
  BOOST_TEST(rows() == "1,2");
}

BOOST_AUTO_TEST_CASE(a_page_that_is_not_found_is_no_table_that_is_not_there) {
  ckan::api_datastore elsewhere{site().url() + "/elsewhere/", "token", options()};
  BOOST_TEST(code_of([&] { elsewhere.describe(id); }) == http_status(404));
  BOOST_TEST(code_of([&] { elsewhere.drop(id); }) == http_status(404));
  BOOST_TEST(code_of([&] { reload(elsewhere, {"9"}, headers()); }) == http_status(404));
}

BOOST_AUTO_TEST_CASE(fields_that_ckan_would_refuse_are_told_before_anything_is_touched) {
  auto d = datastore();
  make(d);
  for (ckan::field const& wrong : {ckan::field{"_x", "text", {}},
                                   {"", "text", {}},
                                   {"a\"b", "text", {}},
                                   {" a", "text", {}},
                                   {"x", "nonsense", {}},
                                   {std::string(64, 'x'), "text", {}}}) {
    BOOST_TEST(code_of([&] { reload(d, {}, {wrong}); }) == errc::mismatch, wrong.id);
  }
  ckan::field remark{"x", "text", {}};
  remark.comment = "a remark of PostgreSQL's";
  BOOST_TEST(code_of([&] { d.create("other", {remark}); }) == errc::mismatch);
  BOOST_TEST(code_of([&] { d.create("other", columns(), {{"comment", "a"}}); }) == errc::mismatch);
  BOOST_TEST(rows() == "1,2");
}

BOOST_AUTO_TEST_CASE(a_site_that_takes_no_mark_is_told_of_and_loaded_all_the_same) {
  support::ckan_site old{{{"version", "2.10.4"}, {"refuses_extra_keys", true}}};
  ckan::api_datastore d{old.url(), "token", options()};
  d.create(id, columns());
  BOOST_TEST(notices.size() == 1U);
  BOOST_TEST(notices[0].find("takes no mark") != std::string::npos, notices[0]);
  d.finish(id);
  BOOST_TEST(d.describe(id).has_value());
  auto const report = reload(d, {"3"}, headers());  // and it has no action that deletes rows alone
  BOOST_TEST(!report.rows_only);
  BOOST_TEST((d.describe(id) == columns()));
  support::ckan_site older{{{"version", "2.9.11"}}};
  ckan::api_datastore o{older.url(), "token", options()};
  BOOST_TEST(code_of([&] { o.check(id, columns()); }) == errc::mismatch);
}

BOOST_AUTO_TEST_CASE(a_site_that_hides_its_version_is_taken_for_one_that_makes_the_table_anew) {
  support::ckan_site hiding{{{"version", nullptr}}};
  ckan::api_datastore d{hiding.url(), "token", options()};
  d.check(id, columns());
  make(d);
  auto const report = reload(d, {"3"}, headers());
  BOOST_TEST(!report.rows_only);
  BOOST_TEST((d.describe(id) == columns()));
  json::value const status = json::parse(R"({"ckan_version":"2.11.5"})");
  BOOST_TEST(code_of([&] { ckan::detail::is_version(status, 2, 10, {"check", id}); }) == errc::mismatch);
}

BOOST_AUTO_TEST_CASE(an_index_on_a_field_that_is_gone_is_told_and_costs_no_word) {
  auto d = datastore();
  support::ckan_site old{{{"version", "2.10.4"}}};
  ckan::api_datastore o{old.url(), "token", options()};
  json::object const hanging{{"indexes", {"day", "id"}}, {"aliases", {"orders"}}};
  auto const kept = [&](ckan::api_datastore& at) {
    auto const all = at.describe(id);
    return all && all->at(0).info == columns()[0].info ? json::serialize(at.remarks(id)) : "no words";
  };
  ckan::fields const other{{"id", "numeric", {}}, {"day", "text", {}}};
  // A load that fails: the new table stays, or, where rows cannot go alone, one of the fields that had words is made.
  make(d, hanging);
  BOOST_TEST(code_of([&] { reload(d, {"much"}, other); }) == http_status(409));
  BOOST_TEST(kept(d) == R"({"aliases":["orders"],"indexes":["id","day"]})");
  BOOST_TEST(notices.empty());
  for (auto const& e : store.entries()) store.clear(e.key);
  make(o, hanging);
  BOOST_TEST(code_of([&] { reload(o, {"much"}, other); }) == http_status(409));
  BOOST_TEST(kept(o) == R"({"aliases":["orders"],"indexes":["id"]})");
  BOOST_TEST(notices.size() == 1U);
  BOOST_TEST(notices.at(0).find("the index on \"day\" is not made again") != std::string::npos, notices.at(0));
  // Rows that have no such field any more.
  site().reset();
  for (auto const& e : store.entries()) store.clear(e.key);
  make(d, hanging);
  reload(d, {"3"}, {{"id", "numeric", {}}});
  BOOST_TEST(kept(d) == R"({"aliases":["orders"],"indexes":["id"]})");
  BOOST_TEST(rows() == "3");
  BOOST_TEST(notices.size() == 2U);
  // One of several fields, one of them gone; and a key.
  std::vector<std::string> others;
  json::object const all{{"primary_key", {"id", "x"}}, {"indexes", {"id, day", "day, x", "id"}}};
  BOOST_TEST(json::serialize(ckan::detail::remarks_on(columns(), all, others)) == R"({"indexes":["id, day","id"]})");
  BOOST_TEST(others.size() == 2U);
  others.clear();
  BOOST_TEST((ckan::detail::remarks_on(columns(), {{"primary_key", {"id"}}}, others).size() == 1 && others.empty()));
}

BOOST_AUTO_TEST_CASE(what_a_site_does_not_make_again_is_told_and_costs_no_word) {
  auto d = datastore();
  json::object const hanging{{"aliases", {"orders"}}, {"indexes", {"day"}}};
  make(d, hanging);
  // datastore_create: the fields, then the aliases.
  site().fail("datastore_create", 2, 409);
  reload(d, {"3"}, {{"id", "text", {}}, {"day", "date", {}}});
  BOOST_TEST(d.describe(id).value().at(0).info.has_value());
  BOOST_TEST(json::serialize(d.remarks(id)) == R"({"indexes":["day"]})");
  BOOST_TEST(notices.size() == 1U);
  BOOST_TEST(notices.at(0).find("aliases") != std::string::npos, notices.at(0));
}

BOOST_AUTO_TEST_CASE(aliases_of_a_table_without_words_come_back_after_a_load_that_fails) {
  auto d = datastore();
  ckan::fields const wordless{{"id", "numeric", {}}};
  d.create(id, wordless, {{"aliases", {"orders"}}});
  d.finish(id);
  BOOST_TEST(code_of([&] { reload(d, {"much"}, {{"id", "numeric", {}}, {"more", "text", {}}}); }) == http_status(409));
  BOOST_TEST(json::serialize(d.remarks(id)) == R"({"aliases":["orders"]})");
  reload(d, {"3"}, wordless);
  BOOST_TEST(json::serialize(d.remarks(id)) == R"({"aliases":["orders"]})");
  BOOST_TEST(rows() == "3");
}

BOOST_AUTO_TEST_CASE(what_was_loaded_by_half_is_not_called_whole_where_a_site_takes_no_mark) {
  support::ckan_site old{{{"refuses_extra_keys", true}}};
  ckan::api_datastore d{old.url(), "token", options()};
  make(d);
  auto const half = [&](ckan::fields const& created) {
    ckan::api_datastore::loader all{d, id, created};
    all.add(std::array<std::optional<std::string_view>, 2>{"3", std::nullopt});
    all.finish();
    throw std::runtime_error("the job");
  };
  ckan::fields const other{{"id", "text", {}}, {"day", "date", {}}};
  BOOST_CHECK_THROW(ckan::reload(d, store, id, other, half, {.guard = {.observer = stash::silent}}),
                    std::runtime_error);
  BOOST_TEST(d.describe(id).value().at(0).info.has_value());
  BOOST_TEST(d.rows(id) == 0U);
  // And where there are no words to restore.
  d.drop(id);
  d.create(id, {{"id", "text", {}}, {"day", "date", {}}});
  d.finish(id);
  for (auto const& e : store.entries()) store.clear(e.key);
  BOOST_CHECK_THROW(ckan::reload(d, store, id, headers(), half, {.guard = {.observer = stash::silent}}),
                    std::runtime_error);
  BOOST_TEST(!d.describe(id).has_value());
}

BOOST_AUTO_TEST_CASE(words_that_a_site_does_not_keep_are_told) {
  support::ckan_site plain{{{"keeps_plugin_keys", false}}};
  ckan::api_datastore d{plain.url(), "token", options()};
  make(d);
  BOOST_TEST_REQUIRE(notices.size() == 1U);
  BOOST_TEST(notices[0].find("what was written on field \"id\" was not kept") != std::string::npos, notices[0]);
  auto other = datastore();  // one that does
  make(other);
  BOOST_TEST(notices.size() == 1U);
}

BOOST_AUTO_TEST_CASE(where_the_rows_alone_were_to_go_a_failure_costs_no_more_than_these) {
  ckan::fields const three{columns()[0], {"day", "date", {}}, {"more", "text", {}}};  // two without words
  json::object const hanging{{"indexes", {"day"}}};
  ckan::fields const same{{"id", "numeric", {}}, {"day", "date", {}}, {"more", "text", {}}};
  auto const whole = [&](ckan::api_datastore& d) {
    return d.describe(id) == three && json::serialize(d.remarks(id)) == R"({"indexes":["day"]})";
  };
  auto const make_three = [&](ckan::api_datastore& d) {
    site().reset();
    for (auto const& e : store.entries()) store.clear(e.key);
    d.create(id, three, hanging);
    load(d, {"1", "2"});
    d.finish(id);
  };
  auto d = datastore();
  // Amid the load.
  make_three(d);
  BOOST_TEST(code_of([&] { reload(d, {"3", "much"}, same); }) == http_status(409));
  BOOST_TEST(whole(d));
  BOOST_TEST(rows() == "");
  // The rows may not go.
  make_three(d);
  site().fail("datastore_records_delete", 1, 403);
  BOOST_TEST(code_of([&] { reload(d, {"3"}, same); }) == http_status(403));
  BOOST_TEST(whole(d));
  BOOST_TEST(rows() == "1,2");
  BOOST_TEST(mark() == "");
  // Killed, and given back by somebody else.
  make_three(d);
  BOOST_TEST(support::in_child([&] {
               auto one = datastore();
               ckan::reload(one, store, id, same, [](ckan::fields const&) { ::raise(SIGKILL); },
                            {.guard = {.observer = stash::silent}});
               return 0;
             }) == 256 + SIGKILL);
  auto other = datastore();
  BOOST_TEST(ckan::recover(other, store, {.observer = stash::silent}).restored == 1U);
  BOOST_TEST(whole(other));
  BOOST_TEST(rows() == "");
}

BOOST_AUTO_TEST_CASE(a_proxy_is_not_asked_for_a_site_on_this_machine) {
  ::setenv("http_proxy", "http://127.0.0.1:9", 1);
  auto d = datastore();
  BOOST_TEST(!d.describe(id).has_value());
  ::unsetenv("http_proxy");
}

BOOST_AUTO_TEST_CASE(what_was_certainly_not_sent_is_told_as_a_site_that_is_not_reached) {
  support::listener nobody;  // it takes calls, and says nothing: the handshake never ends
  auto o = options();
  o.connect = 200ms;
  ckan::api_datastore silent{"https://127.0.0.1:" + nobody.port, "token", o};
  BOOST_TEST(code_of([&] { silent.drop(id); }) == boost::system::errc::host_unreachable);
}

BOOST_AUTO_TEST_CASE(an_answer_full_of_tokens_is_told_without_them) {
  std::string const said = "The CSRF token is missing. token token";
  support::fake_server between{{"HTTP/1.1 400 Bad Request\r\nContent-Length: " + std::to_string(said.size()) +
                                "\r\nConnection: close\r\n\r\n" + said}};
  ckan::api_datastore d{"http://127.0.0.1:" + between.place.port, "token", options()};
  auto const why = message_of([&] { d.describe(id); });
  BOOST_TEST(why.find("The CSRF (token) is missing. (token) (token)") != std::string::npos, why);
}

BOOST_AUTO_TEST_CASE(times_without_end_and_without_length_can_be_said) {
  for (auto const time : {std::chrono::milliseconds::max(), std::chrono::milliseconds::min(), 0ms}) {
    ckan::api_datastore_options o;
    o.connect = o.silence = o.timeout = std::max(time, 0ms) == 0ms ? 60s : time;
    o.pause = o.settle = time;
    site().reset();
    ckan::api_datastore d{site().url(), "token", o};
    make(d);
    BOOST_TEST(rows() == "1,2");
  }
}

BOOST_AUTO_TEST_CASE(a_site_that_is_not_there_is_unreachable_and_a_certificate_that_nobody_vouches_for_is_refused) {
  ckan::api_datastore nowhere{"http://127.0.0.1:9", "token", options()};
  BOOST_TEST(code_of([&] { nowhere.describe(id); }) == boost::system::errc::host_unreachable);
  auto const key = (root / "key").native(), certificate = (root / "certificate").native();
  std::string const make = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=other -days 1 -keyout " + key +
                           " -out " + certificate + " 2>/dev/null";
  BOOST_REQUIRE(std::system(make.c_str()) == 0);
  support::ckan_site tls{{{"tls", {certificate, key}}}};
  BOOST_TEST(tls.url().starts_with("https://"));
  ckan::api_datastore strange{tls.url(), "token", options()};
  auto const why = message_of([&] { strange.describe(id); });
  BOOST_TEST(code_of([&] { strange.describe(id); }) == boost::system::errc::protocol_error);
  BOOST_TEST(why.find("ertificate") != std::string::npos, why);
  // One that is vouched for, but is another host's.
  ::setenv("CURL_CA_BUNDLE", certificate.c_str(), 1);
  ckan::api_datastore named{tls.url(), "token", options()};
  BOOST_TEST(code_of([&] { named.describe(id); }) == boost::system::errc::protocol_error);
  std::string const right =
      "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=here -days 1 -addext"
      " subjectAltName=IP:127.0.0.1 -keyout " +
      key + " -out " + certificate + " 2>/dev/null";
  BOOST_REQUIRE(std::system(right.c_str()) == 0);
  support::ckan_site good{{{"tls", {certificate, key}}}};
  ckan::api_datastore vouched{good.url(), "token", options()};
  BOOST_TEST(!vouched.describe(id));
  ::unsetenv("CURL_CA_BUNDLE");
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace api_datastore_test
