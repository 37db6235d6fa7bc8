// expect: stash: a storage needs std::string set_aside(key const&, std::string_view reason)
#include <stash/basic_stash.hpp>

#include "good_storage.hpp"

struct storage : good_storage<> {
#ifdef WRONG
  std::string set_aside(stash::key const&);
#endif
};

static_assert(sizeof(stash::basic_stash<storage>) > 0);
