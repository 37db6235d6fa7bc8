#!/bin/sh
# Builds with g++ (address and undefined behaviour sanitizers) and clang++ 19, and runs the whole test suite.
# The last line counts single test cases. The build stays in .build at the repository's top.
set -eu
cd "$(dirname "$0")/.."
. tests/support/packages.sh
# shellcheck disable=SC2086
need $build_packages clang-19 python3-pytest python3-pytest-xdist sqlite3 locales util-linux

build=$PWD/.build
rm -rf "$build/junit"
mkdir -p "$build/junit" "$build/locale"
# A locale with a decimal comma: numbers must come back in it too.
[ -e "$build/locale/de_DE.UTF-8" ] || localedef -i de_DE -f UTF-8 "$build/locale/de_DE.UTF-8"
PATH=/usr/bin:$PATH # the Python that the packages above are for
export LOCPATH="$build/locale"
export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1

setup() { # NAME COMPILER OPTION...
  name=$1 compiler=$2
  shift 2
  if [ -e "$build/$name/build.ninja" ]; then
    ninja -C "$build/$name" -t cleandead >/dev/null 2>&1 || :
  else
    CXX=$compiler meson setup "$build/$name" . "$@" >"$build/$name.log" 2>&1 || {
      cat "$build/$name.log"
      return 1
    }
  fi
}

status=0
setup gcc g++ -Dbuildtype=debug -Db_sanitize=address,undefined -Db_lundef=false
setup clang clang++-19 -Dbuildtype=debug -Doptimization=1
for name in gcc clang; do
  echo "building with $name"
  meson compile -C "$build/$name" >"$build/$name-compile.log" 2>&1 || {
    grep -E 'error|FAILED' -A5 "$build/$name-compile.log" | head -60
    echo "0 passed, 1 failed"
    exit 1
  }
done
for name in gcc clang; do
  rm -f "$build/$name/junit/"*.xml
  meson test -C "$build/$name" --no-rebuild --print-errorlogs --num-processes 2 || status=1
done

echo "compile-time tests"
STASH_COMPILERS="g++ clang++-19" python3 -m pytest -q -n 2 -p no:cacheprovider \
  --junitxml="$build/junit/compile.xml" tests/compile tests/compile_fail || status=1

# What was run must have been counted, and a run that died before it could count is a failure.
python3 tests/support/count.py "$status" "$build/junit" "$build/gcc/junit" "$build/clang/junit"
