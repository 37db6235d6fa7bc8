// expect: conversion from 'const char
#include <stash/basic_stash.hpp>

void f() {
#ifdef WRONG
  stash::file_stash store = "/var/lib/etl/stash";
#else
  stash::file_stash store{"/var/lib/etl/stash"};
#endif
}
