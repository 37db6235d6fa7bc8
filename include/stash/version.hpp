#pragma once

#if !defined(__unix__) && !defined(__APPLE__)
#error "stash needs a POSIX system: its promises rest on fsync, rename and advisory file locks"
#endif

/// Major * 10000 + minor * 100 + patch; agrees with the build file.
#define STASH_VERSION 100
/// The same as text: "major.minor.patch".
#define STASH_VERSION_STRING "0.1.0"
