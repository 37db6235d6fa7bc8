#ifndef STASH_TESTS_PCH_UNIT_HPP  // not #pragma once, which compilers warn of in a file that they precompile
#define STASH_TESTS_PCH_UNIT_HPP
#include "../support/support.hpp"
#endif
