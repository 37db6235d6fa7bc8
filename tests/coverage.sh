#!/bin/sh
# Shows that the tests run every line and take every branch of include/, but for those that coverage.py names with a
# reason. A quarter of an hour on two cores. Lines are counted by gcov's instrumentation; branches by clang's own, which
# knows the conditions of the source: to gcov a branch is an edge of what the compiler made of them.
# usage: coverage.sh [--junit FILE]
set -eu
cd "$(dirname "$0")/.."
. tests/support/packages.sh
# shellcheck disable=SC2086
need $test_packages $coverage_packages
need_postgres
PATH=/usr/bin:$PATH

export LLVM_PROFILE_FILE=/dev/null # what is not meant to be counted
figures=${STASH_FIGURES-}
unset STASH_FIGURES STASH_LONG # these runs are not the ones that tell how much was tried
build=$PWD/.build/coverage
[ -e "$build/build.ninja" ] || CXX=clang++-19 meson setup "$build" tests -Dbuildtype=debug -Doptimization=0 \
  -Db_coverage=true -Db_lundef=false -Dcpp_args='-fprofile-instr-generate -fcoverage-mapping' \
  -Dcpp_link_args='-fprofile-instr-generate -Wl,--wrap=__gcov_fork' >/dev/null
ninja -C "$build" unit_core unit_rest every_call_fails postgres ckan_api pusher postgres_worker >"$build/compile.log" 2>&1 || {
  cat "$build/compile.log"
  exit 1
}

counts=$(mktemp -d /tmp/stash-coverage.XXXXXX)
trap 'rm -rf "$counts"' EXIT
chmod 0755 "$counts"
# WHO COMMAND...: runs it. A test's children who are other users add to what it has counted, for its files are there first.
counting() {
  mkdir -p "$counts/$1"
  chmod 0777 "$counts/$1"
  # Several files: one that a process left half-written when it was killed is of no use to those after it.
  export LLVM_PROFILE_FILE="$counts/$1/%8m.profraw" GCOV_PREFIX="$counts/$1/gcov"
  case $2 in
    "$build/unit_"*)
      # Which of the eight files it is goes by the number of the process, and others make processes too.
      for _ in 1 2 3 4 5 6 7 8 9; do
        for _ in 1 2 3 4 5 6 7 8 9; do "$2" --list_content >/dev/null 2>&1; done
        [ "$(find "$counts/$1" -name '*.profraw' | wc -l)" -lt 8 ] || break
      done
      chmod -R a+rwX "$counts/$1"
      ;;
  esac
  shift
  "$@"
  unset GCOV_PREFIX
  LLVM_PROFILE_FILE=/dev/null
}
for part in core rest; do
  counting us "$build/unit_$part" --log_level=error
  [ "$(id -u)" != 0 ] ||
    counting another sh tests/support/without_root.sh "$build/unit_$part" "$build/without-root.xml"
done
counting us "$build/every_call_fails" --log_level=error
counting us python3 tests/servers/postgres_cluster.py "$build/postgres" --log_level=error
counting us env STASH_CKAN_SITE="$PWD/tests/servers/ckan_site.py" "$build/ckan_api" --log_level=error
# Standbys, poolers and servers that go down are there only.
counting pusher env STASH_PUSHER="$build/pusher" STASH_POSTGRES_WORKER="$build/postgres_worker" \
  python3 -m pytest -q -n 2 -p no:cacheprovider tests/servers/test_postgres.py
counting pusher env STASH_PUSHER="$build/pusher" python3 -m pytest -q -n 2 -p no:cacheprovider tests/servers/test_pusher_ckan.py
STASH_FIGURES=$figures python3 tests/support/coverage.py "$build" "$counts" "$@"
