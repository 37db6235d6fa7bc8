#pragma once

#include <stash/concepts.hpp>

/// A place, of which each case takes or changes one part.
struct good_place {
  using value_type = std::string;
  std::optional<std::string> live() const;
  void park(std::string const&);
  void put_back(std::string const&);
  void settle(std::string const&);
  void discard();
};
