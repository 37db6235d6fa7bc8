#pragma once

#include "support.hpp"

namespace basic_stash_test {

using namespace std::chrono_literals;
using stash::time_point;
namespace json = boost::json;

struct fixture : support::scratch {
  stash::manual_clock clock{time_point{1000s}};
  stash::basic_stash<stash::atomic_file_storage, stash::json_serializer, stash::manual_clock> store{
      stash::atomic_file_storage{dir()}, {}, clock};
  json::value const dictionary =
      json::parse(R"({"id":{"label":"Number","notes":"typed by hand"},"day":{"type_override":"date"}})");
};

}  // namespace basic_stash_test
