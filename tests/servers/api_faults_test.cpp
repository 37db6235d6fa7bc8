// A reload through CKAN's actions whose requests fail in every way that HTTP can, and whose job throws or is killed.
#include "api_fixture.hpp"

namespace api_datastore_test {

BOOST_FIXTURE_TEST_SUITE(api_datastore, fixture)

BOOST_AUTO_TEST_CASE(whichever_request_fails_in_whichever_way_no_word_is_lost_and_no_row_stands_there_twice) {
  json::value const kinds[] = {"cut_before", "cut_after", "cut_amid",   "silent",   "silent_after",
                               401,          403,         404,          409,        413,
                               429,          500,         502,          503,        504,
                               "502_after",  "html",      "html_after", "json_cut", "redirect"};
  std::uint64_t seen = 0, tried = 0, bad = 0, failed = 0;
  for (bool const stays : {true, false}) {
    ckan::fields const wanted{{"id", stays ? "numeric" : "text", {}}, {"day", "date", {}}};
    std::string const fresh = stays ? "3,4" : R"("3","4")";
    // What a reload that nothing happens to asks for.
    std::map<std::string, int> asked;
    site().reset();
    {
      auto d = datastore();
      make(d);
      auto const before = requests().size();
      reload(d, {"3", "4"}, wanted);
      auto const all = requests();
      for (std::size_t i = before; i < all.size(); ++i) ++asked[std::string(all[i].as_array()[0].as_string())];
    }
    for (auto const& [action, count] : asked) {
      for (int nth = 1; nth <= count; ++nth) {
        for (auto const& kind : kinds) {
          for (bool const lasts : {false, true}) {
            if (lasts && nth > 1) continue;
            if (++seen % static_cast<unsigned>(support::stride()) != 0) continue;
            site().reset();
            for (auto const& e : store.entries()) store.clear(e.key);
            auto first = datastore();
            make(first);
            ckan::api_datastore d{site().url(), "token", hasty()};
            site().fail(action, lasts ? json::value{} : json::value(nth), kind, {{"retry_after", nullptr}});
            boost::system::error_code problem;
            std::string why;
            try {
              reload(d, {"3", "4"}, wanted);
            } catch (stash::error const& e) {
              problem = e.code();
              why = e.what();
            }
            auto const what = action + " " + std::to_string(nth) + (lasts ? " and later" : "") + ": " +
                              json::serialize(kind) + (stays ? ", the table stays" : "") + ": " + why;
            std::string wrong;
            try {
              wrong = judge(problem.failed(), wanted, fresh);
            } catch (std::exception const& e) {
              wrong = e.what();
            }
            BOOST_TEST(wrong == "", what << ": " << wrong);
            BOOST_TEST(why.find("token") == std::string::npos, what);
            ++tried;
            bad += !wrong.empty();
            failed += problem.failed();
          }
        }
      }
    }
  }
  BOOST_TEST(failed > 100U);
  support::figure("every call fails", "each request of a reload through CKAN's actions, in each way of HTTP", tried,
                  bad);
}

BOOST_AUTO_TEST_CASE(whenever_the_site_is_not_reached_or_the_job_throws_no_word_is_lost_and_no_row_stands_there_twice) {
  struct thrown {};
  std::uint64_t tried = 0, bad = 0;
  // Connection refused, a name that is not known, a wrong certificate; and, in its place, an exception of the job's.
  for (auto const code :
       {CURLE_COULDNT_CONNECT, CURLE_COULDNT_RESOLVE_HOST, CURLE_PEER_FAILED_VERIFICATION, CURLE_ABORTED_BY_CALLBACK}) {
    for (bool const stays : {true, false}) {
      for (bool const lasts : {true, false}) {
        ckan::fields const wanted{{"id", stays ? "numeric" : "text", {}}, {"day", "date", {}}};
        bool was_asked = true;
        for (int n = 1; was_asked; n += support::stride()) {
          site().reset();
          for (auto const& e : store.entries()) store.clear(e.key);
          auto d = datastore();
          make(d);
          was_asked = false;
          bool has_failed = false;
          instead_of_request = [&, calls = 0]() mutable {
            ++calls;
            was_asked = was_asked || calls == n;
            if (calls != n && !(lasts && calls > n)) return CURLE_OK;
            if (code == CURLE_ABORTED_BY_CALLBACK) throw thrown{};
            return code;
          };
          try {
            reload(d, {"3", "4"}, wanted);
          } catch (stash::error const& e) {
            has_failed = true;
            bool const is_told =
                e.code() == boost::system::errc::host_unreachable || e.code() == boost::system::errc::protocol_error;
            BOOST_TEST(is_told, e.what());
          } catch (thrown const&) {
            has_failed = true;
          }
          instead_of_request = nullptr;
          std::string wrong;
          try {
            wrong = judge(has_failed, wanted, stays ? "3,4" : R"("3","4")");
          } catch (std::exception const& e) {
            wrong = e.what();
          }
          BOOST_TEST(wrong == "", "code " << code << " at " << n << (lasts ? " and later" : "")
                                          << (stays ? ", the table stays: " : ": ") << wrong);
          ++tried;
          bad += !wrong.empty();
        }
      }
    }
  }
  BOOST_TEST(tried > 40U);
  support::figure("every call fails", "each request of a reload through CKAN's actions, a site that is not reached",
                  tried, bad);
}

BOOST_AUTO_TEST_CASE(wherever_the_job_is_killed_no_word_is_lost_and_no_row_stands_there_twice) {
  std::uint64_t tried = 0, bad = 0;
  for (bool const stays : {true, false}) {
    ckan::fields const wanted{{"id", stays ? "numeric" : "text", {}}, {"day", "date", {}}};
    bool was_killed = true;
    for (int n = 1; was_killed; ++n) {
      site().reset();
      for (auto const& e : store.entries()) store.clear(e.key);
      {
        auto d = datastore();
        make(d);
      }
      was_killed = support::in_child([&] {
                     auto d = datastore();
                     around_request = [&, calls = 0]() mutable {
                       if (++calls == n) ::raise(SIGKILL);
                     };
                     reload(d, {"3", "4"}, wanted);
                     return 0;
                   }) == 256 + SIGKILL;
      std::string wrong;
      try {
        wrong = judge(was_killed, wanted, stays ? "3,4" : R"("3","4")");
      } catch (std::exception const& e) {
        wrong = e.what();
      }
      BOOST_TEST(wrong == "", "killed at " << n << (stays ? ", the table stays: " : ": ") << wrong);
      ++tried;
      bad += !wrong.empty();
    }
  }
  BOOST_TEST(tried > 40U);
  support::figure("kills", "before and after each request of a reload through CKAN's actions", tried, bad);
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace api_datastore_test
