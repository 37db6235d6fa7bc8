// expect: stash: a serializer needs T deserialize<T>(std::string_view) const
#include <stash/basic_stash.hpp>

struct serializer {
  using value_type = std::string;
  std::string serialize(std::string const&) const;
#ifdef WRONG
  std::string deserialize(std::string_view) const;
#else
  template <class T>
  T deserialize(std::string_view) const;
#endif
};

static_assert(sizeof(stash::basic_stash<stash::memory_storage, serializer>) > 0);
