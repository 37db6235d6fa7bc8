#pragma once

#include <functional>
#include <stash/ckan/swap.hpp>
#include <string_view>
#include <utility>

namespace support {

/// A datastore that calls `at(step)` before each of its steps, and amid the swap.
template <class Datastore>
struct hooked_datastore {
  Datastore& d;
  std::function<void(std::string_view step)> at;

  auto describe(std::string_view id) { return at("describe"), d.describe(id); }
  auto remarks(std::string_view id) { return d.remarks(id); }
  auto unfinished(std::string_view id) { return d.unfinished(id); }
  void check(std::string_view id, stash::ckan::fields const& f) { at("check"), d.check(id, f); }
  void drop(std::string_view id) { at("drop"), d.drop(id); }
  void create(std::string_view id, stash::ckan::fields const& f, boost::json::object const& remarks = {}) {
    at("create"), d.create(id, f, remarks);
  }
  void finish(std::string_view id) { at("finish"), d.finish(id); }
  void build(std::string_view id, stash::ckan::fields const& f, boost::json::object const& remarks) {
    at("build"), d.build(id, f, remarks);
  }
  auto swap_in(std::string_view id, stash::ckan::swap_options how) {
    at("swap");
    how.words = [this, words = how.words](auto built, auto const& live) {
      at("amid the swap");
      return words(std::move(built), live);
    };
    auto left = d.swap_in(id, how);
    return at("after the swap"), left;
  }
  void discard(std::string_view id) { at("discard"), d.discard(id); }
};

}  // namespace support
