#!/bin/sh
# Builds with g++ (alone) and clang++ 19 (with the address and undefined behaviour sanitizers, with the thread sanitizer,
# and with libFuzzer), and runs the whole test suite. The last line counts single test cases. The build stays in .build at
# the repository's top.
#
# usage: run.sh [--long]
# --long tries everything to its full figures, the mutants and the coverage too, and prints them as one table.
set -eu
cd "$(dirname "$0")/.."
case "$#${1-}" in
  0 | 1--long) long=${1-} ;;
  *)
    echo "usage: run.sh [--long]" >&2
    exit 2
    ;;
esac
. tests/support/packages.sh
# shellcheck disable=SC2086
need $build_packages clang-14 clang-19 libclang-rt-19-dev libc++-19-dev python3-pytest python3-pytest-xdist sqlite3 locales util-linux mount \
  e2fsprogs xfsprogs cmake jq clang-format-14 clang-tidy-19 doxygen codespell
need_postgres

build=$PWD/.build
rm -rf "$build/junit" "$build/figures.tsv"
mkdir -p "$build/junit" "$build/locale"
# A locale with a decimal comma: numbers must come back in it too.
[ -e "$build/locale/de_DE.UTF-8" ] || localedef -i de_DE -f UTF-8 "$build/locale/de_DE.UTF-8"
PATH=/usr/bin:$PATH # the Python that the packages above are for
export LOCPATH="$build/locale"
# Short stacks of allocations: they take a sixth of the time.
export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1:malloc_context_size=4 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1

setup() { # NAME COMPILER OPTION...
  name=$1 compiler=$2
  shift 2
  [ -e "$build/$name/build.ninja" ] || CXX=$compiler meson setup "$build/$name" tests "$@" >"$build/$name.log" 2>&1 || {
    cat "$build/$name.log"
    return 1
  }
}
compile() { # NAME TARGET...
  name=$1
  echo "building $name"
  shift
  meson compile -C "$build/$name" "$@" >"$build/$name-compile.log" 2>&1 || {
    grep -E 'error|FAILED' -A5 "$build/$name-compile.log" | head -60
    echo "0 passed, 1 failed"
    exit 1
  }
}
status=0
run() { # NAME ARGUMENT...
  name=$1
  shift
  rm -f "$build/$name/junit/"*.xml
  meson test -C "$build/$name" --no-rebuild --print-errorlogs --num-processes 2 "$@" || status=1
}
run_pytest() { # NAME ARGUMENT...
  name=$1
  shift
  python3 -m pytest -q -n 2 -p no:cacheprovider --junitxml="$build/junit/$name.xml" "$@" || status=1
}

# The sanitizers in clang's build: it compiles them in 8 s where g++ takes 20.
setup clang clang++-19 -Dbuildtype=debug -Db_sanitize=address,undefined -Db_lundef=false
setup gcc g++ -Dbuildtype=debug -Ddebug=false
setup clang-tsan clang++-19 -Dbuildtype=debug -Doptimization=1 -Db_sanitize=thread -Db_lundef=false
compile clang
compile clang-tsan concurrency & # a single file: it keeps one core busy
compile gcc
wait $! || exit 1

run clang
if [ -n "$long" ]; then
  export STASH_FIGURES="$build/figures.tsv" STASH_FUZZ_SECONDS=180
  export STASH_LONG=1
  run gcc --timeout-multiplier 20
  unset STASH_LONG
else
  run gcc --no-suite once
fi
run clang-tsan --timeout-multiplier 20 concurrency

echo "compile-time tests"
STASH_COMPILERS="g++ clang++-19" run_pytest compile tests/compile tests/compile_fail tests/consumers tests/examples/test_examples.py tests/readme tests/lint
echo "fuzzing"
run_pytest fuzz tests/fuzz

if [ -n "$long" ]; then
  echo "coverage"
  sh tests/coverage.sh --junit "$build/junit/coverage.xml" || status=1
  echo "mutants"
  sh tests/mutants.sh --junit "$build/junit/mutants.xml" || status=1
  echo
  echo "On $(date -u +%F), sh tests/run.sh --long:"
  echo
  python3 tests/support/figures.py "$build/figures.tsv" || status=1
  echo
fi

# What was run must have been counted, and a run that died before it could count is a failure.
python3 tests/support/count.py "$status" "$build/junit" "$build/gcc/junit" "$build/clang/junit" \
  "$build/clang-tsan/junit"
