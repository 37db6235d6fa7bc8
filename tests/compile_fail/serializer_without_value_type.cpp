// expect: stash: a serializer needs a value_type
#include <stash/basic_stash.hpp>

struct serializer {
  std::string serialize(std::string const&) const;
  template <class T>
  T deserialize(std::string_view) const;
#ifdef WRONG
#else
  using value_type = std::string;
#endif
};

static_assert(sizeof(stash::basic_stash<stash::memory_storage, serializer>) > 0);
