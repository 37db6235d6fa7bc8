// expect: deleted
#include <stash/key.hpp>

#ifdef WRONG
bool f(stash::key const& k) { return k == nullptr; }
#else
bool f(stash::key const& k, char const* text) { return k == text; }
#endif
