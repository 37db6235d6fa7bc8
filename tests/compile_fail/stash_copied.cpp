// expect: deleted
#include <stash/basic_stash.hpp>

#ifdef WRONG
std::size_t read(stash::memory_stash store) { return store.entries().size(); }
#else
std::size_t read(stash::memory_stash const& store) { return store.entries().size(); }
#endif

std::size_t f(stash::memory_stash const& store) { return read(store); }
