// expect: stash: a serializer needs std::string serialize(T const&) const
#include <stash/basic_stash.hpp>

struct serializer {
  using value_type = std::string;
  template <class T>
  T deserialize(std::string_view) const;
#ifdef WRONG
  std::string serialize(std::string const&);
#else
  std::string serialize(std::string const&) const;
#endif
};

static_assert(sizeof(stash::basic_stash<stash::memory_storage, serializer>) > 0);
