// expect: stash: the serializer cannot turn this type into bytes and back
// expect: serializer_policy
// expect: deserialize
#include <stash/basic_stash.hpp>

struct serializer {
  using value_type = std::string;
  std::string serialize(std::string const&) const;
#ifdef WRONG
#else
  template <class T>
  T deserialize(std::string_view) const;
#endif
};

void f(stash::basic_stash<stash::memory_storage, serializer>& store) { store.save("orders", std::string("value")); }
