// expect: value_type
#include <stash/basic_stash.hpp>

struct serializer {
#ifdef WRONG
#else
  using value_type = std::string;
#endif
  std::string serialize(std::string const&) const;
  template <class T>
  T deserialize(std::string_view) const;
};

void f(stash::basic_stash<stash::memory_storage, serializer>& store) { store.save("orders", std::string("value")); }
