#!/bin/sh
# Runs the tests. The last line counts single test cases. The build stays in .build at the repository's top.
#
# usage: run.sh [--all | --long]
#
# Without an option: in three minutes, with g++ alone, what shows most: the unit tests of what most people use, what
# the compiler must refuse, the examples, the pusher's main cases, and power cuts on a model file system.
# --all adds clang++ 19 with the address, undefined behaviour and thread sanitizers, real power cuts, PostgreSQL, fuzzing,
# the ways into a project, lint, and the tests without root's rights. What has just passed is not run again.
# --long runs everything to its full figures, with both compilers, the mutants and the coverage too, and prints them as
# one table: hours. Where it was stopped, the next one goes on: a part that has passed is not run again before something
# changes.
set -eu
cd "$(dirname "$0")/.."
case "$#${1-}" in
  0 | 1--all | 1--long) how=${1-} ;;
  *)
    echo "usage: run.sh [--all | --long]" >&2
    exit 2
    ;;
esac
began=$(date +%s)
. tests/support/packages.sh
needed_for="to build and run the tests"
# shellcheck disable=SC2086
need $test_packages

trap 'trap - TERM; kill 0' INT # which what runs in the background does not hear

build=$PWD/.build
PATH=/usr/bin:$PATH # the Python that the packages above are for
# Short stacks of allocations: they take a sixth of the time.
export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1:malloc_context_size=4 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
status=0

# NAME COMMAND...: a line that says how it went and how long it took; the end of what it printed, where it failed.
step() {
  name=$1 started=$(date +%s) went=ok
  shift
  printf '%-50s' "$name"
  "$@" >"$build/step.log" 2>&1 || went=FAILED
  printf '%6s %5d s\n' "$went" $(($(date +%s) - started))
  [ "$went" = ok ] && return
  tail -n 200 "$build/step.log"
  status=1
}
setup() { # NAME COMPILER OPTION...
  name=$1 compiler=$2
  shift 2
  [ -e "$build/$name/build.ninja" ] || CXX=$compiler meson setup "$build/$name" tests "$@"
}
compile() { # "NAME TARGET..."...: builds, all at once, for some end with a single long file
  names=
  for each in "$@"; do names="$names${names:+, }${each%% *}"; done
  step "build with $names" at_once "$@"
  [ "$went" = ok ] || finish
}
at_once() {
  builds=
  for each in "$@"; do
    # shellcheck disable=SC2086
    ninja -C "$build/"$each & # which sees a target that is new in meson.build, unlike meson
    builds="$builds $!"
  done
  for each in $builds; do wait "$each" || went=FAILED; done
}
# NAME ARGUMENT...: the tests of a build; meson prints a line for each suite, and first builds what compile was not told of
in_build() {
  name=$1
  shift
  rm -f "$build/$name/junit/"*.xml
  meson test -C "$build/$name" --print-errorlogs --num-processes 2 "$@" || status=1
  for report in "$build/$name/junit/"*.xml; do
    [ ! -e "$report" ] || mv "$report" "$results/$name-${report##*/}"
  done
}
# COMMAND...: its tests make their files in memory: on a disk, which --all has them on too, they take three times as long.
in_memory() {
  free=$(df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 { print $4 }')
  if [ -w /dev/shm ] && [ "${free:-0}" -gt 4000000 ]; then # a container may have a few megabytes of it
    export TMPDIR=/dev/shm
    "$@"
    unset TMPDIR
  else
    "$@"
  fi
}
in_pytest() { # NAME ARGUMENT...
  report=$results/$(echo "$1" | tr -c 'a-z0-9\n' -).xml
  name=$1
  shift
  step "$name" python3 -m pytest -q -n 2 --dist loadgroup -p no:cacheprovider --junitxml="$report" "$@"
}
# What was run must have been counted, and a run that died before it could count is a failure.
finish() {
  set -- "$quick"
  [ "$how" != --all ] || set -- "$quick" "$rest"
  [ "$how" != --long ] || set -- "$quick" "$parts"/*/
  echo "in $((($(date +%s) - began) / 60)) min $((($(date +%s) - began) % 60)) s"
  [ -n "$how" ] || echo "sh tests/run.sh --all adds the sanitizers, PostgreSQL, real disks, fuzzing and lint, in some 20 minutes"
  python3 tests/support/count.py "$status" "$@"
  exit
}

# Whatever a test may depend on: the sources, and the compiler.
fingerprint() {
  {
    g++ --version
    find . \( -name .git -o -name .build -o -name __pycache__ \) -prune -o -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
  } | sha256sum
}

# NAME COMMAND...: a part of --long, with results and figures of its own.
part() {
  [ "$how" = --long ] || {
    shift
    "$@"
    return
  }
  results=$parts/$1 passed=$parts/$1.passed figures=$parts/$1.tsv earlier=$status status=0
  [ -z "${STASH_LONG-}" ] || export STASH_FIGURES="$figures"
  if [ "$(cat "$passed" 2>/dev/null)" = "$now" ]; then
    echo "$1: has passed, and counts"
  else
    rm -rf "$results" "$figures" "$passed"
    mkdir -p "$results"
    shift
    "$@"
    [ "$status" != 0 ] || echo "$now" >"$passed"
  fi
  [ "$earlier" = 0 ] || status=1
}

quick=$build/junit/quick rest=$build/junit/rest parts=$build/junit/parts
now=$(fingerprint)
if [ -n "$how" ] && [ "$(cat "$build/quick-passed" 2>/dev/null)" = "$now" ]; then
  echo "what sh tests/run.sh runs has passed just now, and counts"
else
  rm -rf "$quick" "$build/quick-passed"
  mkdir -p "$quick"
  results=$quick
  step "set up" setup gcc g++ -Dbuildtype=debug -Ddebug=false
  compile "gcc unit_core pusher power_cut"
  in_memory in_build gcc --suite quick
  STASH_COMPILERS=g++ in_pytest "what the compiler must refuse, and the examples" tests/compile_fail \
    tests/examples/test_examples.py -k "not other_compiler"
  [ "$status" != 0 ] || echo "$now" >"$build/quick-passed"
fi
[ -n "$how" ] || finish

needed_for="for the sanitizers, lint, servers, disks and the ways into a project"
# shellcheck disable=SC2086
need $all_packages
need_postgres
mkdir -p "$build/locale"
# A locale with a decimal comma: numbers must come back in it too.
[ -e "$build/locale/de_DE.UTF-8" ] || localedef -i de_DE -f UTF-8 "$build/locale/de_DE.UTF-8"
export LOCPATH="$build/locale"

# clang's sanitizers: it compiles them in 8 s where g++ takes 20, in a fifth less without debug information (a report
# names the functions all the same; for lines, `meson configure -Ddebug=true` in .build/clang), and in half of that where
# several files are compiled as one.
step "set up" setup clang clang++-19 -Dbuildtype=debug -Ddebug=false -Db_sanitize=address,undefined -Db_lundef=false \
  -Dunity=on -Dunity_size=8
step "set up" setup clang-tsan clang++-19 -Dbuildtype=debug -Ddebug=false -Doptimization=1 -Db_sanitize=thread -Db_lundef=false
if [ "$how" = --all ]; then
  rm -rf "$rest"
  mkdir -p "$rest"
  results=$rest
  export STASH_FUZZ_SECONDS="${STASH_FUZZ_SECONDS-10}" STASH_COMPILERS="clang++-19 g++"
  compile "clang-tsan concurrency" \
    "gcc postgres_worker power_cut_worker power_cut_postgres_worker power_cut_variants power_cut_tree" \
    "clang unit_core unit_rest every_call_fails postgres ckan_api"
  # At once: threads wait for one another most of the time.
  (
    in_memory in_build clang-tsan --timeout-multiplier 20 concurrency
    exit "$status"
  ) >"$build/clang-tsan.log" 2>&1 &
  threads=$!
  STASH_STRIDE=3 in_memory in_build clang --suite all
  wait "$threads" || status=1
  cat "$build/clang-tsan.log"
  in_build gcc --suite all
  in_pytest "headers, formats, and ways into a project" tests/compile tests/golden/test_golden.py tests/consumers
  STASH_COMPILERS=clang++-19 in_pytest "what the other compiler must refuse" tests/compile_fail
else
  # shellcheck disable=SC2086
  need $long_packages
  compile "clang-tsan concurrency" gcc clang
  part clang in_build clang
  part threads in_build clang-tsan --timeout-multiplier 20 concurrency
  export STASH_FUZZ_SECONDS=180 STASH_LONG=1 STASH_COMPILERS="g++ clang++-19"
  part gcc in_build gcc --timeout-multiplier 20
  part ways in_pytest "headers, formats, and ways into a project" tests/compile tests/compile_fail tests/consumers \
    tests/golden/test_golden.py tests/examples/test_examples.py
fi
part texts in_pytest "the READMEs, lint, and fuzzing" tests/readme tests/lint tests/fuzz

if [ "$how" = --long ]; then
  part coverage step "coverage" sh tests/coverage.sh --junit "$parts/coverage/coverage.xml"
  part mutants step "mutants" sh tests/mutants.sh --junit "$parts/mutants/mutants.xml"
  part machines in_memory in_pytest "other machines" tests/golden/test_other_machines.py
  part releases in_pytest "other releases of Debian" tests/releases
  echo
  echo "On $(date -u +%F), sh tests/run.sh --long:"
  echo
  cat "$parts"/*.tsv >"$build/figures.tsv"
  python3 tests/support/figures.py "$build/figures.tsv" || status=1
  echo
fi
finish
