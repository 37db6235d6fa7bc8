// expect: ambiguous
#ifdef WRONG
namespace stash {
class manual_clock;
}
#endif
#include <stash/clock.hpp>
#include <stash/fwd.hpp>

void f(stash::manual_clock&);
