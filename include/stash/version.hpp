#pragma once

#if !defined(__linux__)
#error "stash needs Linux: elsewhere nobody has tested what its promises rest on, fsync, rename and file locks"
#endif

#if !defined(__cpp_concepts) || !defined(__cpp_impl_three_way_comparison)
#error "stash needs C++20: -std=c++20"
#endif

/// Major * 10000 + minor * 100 + patch. The build file reads the text.
#define STASH_VERSION 200
/// The same as text: "major.minor.patch".
#define STASH_VERSION_STRING "0.2.0"
