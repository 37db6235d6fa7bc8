#include <boost/filesystem/operations.hpp>
#include <stash/ckan/sqlite_datastore.hpp>
#include <stash/detail/text/address.hpp>
#include <stash/stash.hpp>
#include <stash/storage/journal.hpp>
#include <stash/storage/sqlite.hpp>

#include "support.hpp"

namespace address_test {

namespace {

constexpr char const* addresses[] = {
    "postgresql://etl:S3cret@db1/etl",
    "postgress://etl:S3cret@db1/etl",
    "Postgres://etl:S3cret@db1/etl",
    " postgresql://etl:S3cret@db1/etl",
    "'postgresql://etl:S3cret@db1/etl'",
    "\"postgresql://etl:S3cret@db1/etl\"",
    "postgresql+psycopg2://etl:S3cret@db1/etl",
    "https://etl:S3cret@db1/etl",
    "sqlite:///etl?password=S3cret",
    "host=db1 password=S3cret",
    "password = S3cret",
    "\tuser=etl password='S3cret'",
    "sslpassword=S3cret host=db1",
    "connect_timeout=10 host=db1 password=S3cret",
    "application_name=x password=S3cret",
    "TARGET_SESSION_ATTRS = any password=S3cret",
    "PASSWORD=S3cret",
    "Host=db1;Password=S3cret",
    "Server=db1;Pwd=S3cret;",
    "pass=S3cret",
    "{password=S3cret}",
    "etl passwd = S3cret",
    "password:S3cret host=db1",
    "jdbc:postgresql://etl:S3cret@db1/etl",
    "postgresql:etl:S3cret@db1",
    "etl:S3cret@db1/etl",
    "//etl:S3cret@db1/etl",
    "sqlite:S3cret",
    "journal:stash/S3cret",
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(address, support::scratch)

BOOST_AUTO_TEST_CASE(an_address_is_no_directory_and_no_file_and_is_not_printed) {
  auto const here = boost::filesystem::current_path();
  boost::filesystem::current_path(root);
  for (std::string const text : addresses) {
    std::vector<std::function<void()>> const uses{
        [&] { stash::file_stash{text}; },
        [&] { stash::atomic_file_storage{text}; },
        [&] { stash::journal_storage{text}; },
        [&] { stash::sqlite_storage{text}; },
        [&] { stash::ckan::sqlite_datastore{text}; },
        [&] {
          ::setenv("STASH_DIR", text.c_str(), 1);
          stash::file_stash{};
        },
    };
    for (auto const& use : uses) {
      std::string said;
      try {
        use();
      } catch (stash::error const& problem) {
        BOOST_TEST(problem.code() == support::os(EINVAL));
        said = problem.what();
      }
      BOOST_TEST_INFO(text << ": " << said);
      BOOST_TEST((said.find("an address, and no") != said.npos && said.find("S3cret") == said.npos));
    }
  }
  ::unsetenv("STASH_DIR");
  BOOST_TEST(boost::filesystem::is_empty(root));
  boost::filesystem::current_path(here);
}

BOOST_AUTO_TEST_CASE(what_only_has_a_colon_or_an_equals_sign_is_a_path) {
  for (char const* const path : {"",
                                 " ",
                                 "stash",
                                 "/var/lib/etl:2/stash",
                                 "a:b",
                                 "C:/stash",
                                 "date=2026",
                                 "./host=db1",
                                 "/a/postgresql://b",
                                 "host",
                                 "1://x",
                                 "://",
                                 ":memory:",
                                 "hosts=1",
                                 "a b=c",
                                 "/a/pass:b@c",
                                 "./pass=x",
                                 "../etl:a@b",
                                 "compass:2",
                                 "etl pass",
                                 "etl pass b",
                                 "a@b",
                                 "a@b:c"}) {
    BOOST_TEST(!stash::detail::address_in(path), path);
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace address_test
