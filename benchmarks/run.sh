#!/bin/sh
# Measures the library against the floor and its neighbours, and writes a table and plots to benchmarks/results. Some
# 25 minutes; on a machine that does nothing else: on one that does, it says so and keeps nothing.
#
# usage: run.sh [--quick]
# --quick tries everything with a twentieth of the rounds and up to 10,000 keys, in less than a minute once it is built,
# and writes to .build/benchmarks/results.
# STASH_BENCHMARK_DIR: where to put what is measured, a directory on the disk in question (.build/benchmarks/data).
set -eu
cd "$(dirname "$0")/.."
case "$#${1-}" in
  0 | 1--quick) quick=${1-} ;;
  *)
    echo "usage: run.sh [--quick]" >&2
    exit 2
    ;;
esac
. tests/support/packages.sh
# shellcheck disable=SC2086
need $build_packages libbenchmark-dev gnuplot-nox git rsync
(need libleveldb-dev librocksdb-dev liblmdb-dev) || echo "going on without what is missing"
(need_postgres) || echo "going on without PostgreSQL"

build=$PWD/.build/benchmarks
results=$build/results
rounds=11
[ -z "$quick" ] || rounds=1
[ -e "$build/build.ninja" ] || meson setup "$build" benchmarks -Dbuildtype=plain -Doptimization=2 \
  -Db_ndebug=true >/dev/null # as distributions build the neighbours
echo "building"
ninja -C "$build" >"$build/compile.log" 2>&1 || {
  grep -E 'error|FAILED' -A5 "$build/compile.log" | head -60
  exit 1
}

mkdir -p "${STASH_BENCHMARK_DIR:-$build/data}" "$build/measured" "$results"
data=$(mktemp -d "${STASH_BENCHMARK_DIR:-$build/data}/XXXXXX")
chmod 0711 "$data" # for the server's user
trap 'rm -rf "$data"' EXIT
trap 'exit 1' INT TERM
rm -f "$build/measured/"*
idle() { awk '/^cpu / {print $5, $2 + $3 + $4 + $5 + $6 + $7 + $8 + $9; exit}' /proc/stat; }
if [ -z "$quick" ]; then
  sync
  before=$(idle)
  sleep 10
  echo "$before $(idle)" | awk '{exit ($3 - $1) < 0.95 * ($4 - $2)}' || {
    echo "the machine is not quiet: something else used more than a twentieth of it for ten seconds; nothing was measured" >&2
    exit 1
  }
fi
commit=$(git rev-parse --short HEAD)
git diff --quiet HEAD -- include benchmarks ":!benchmarks/results" || commit="$commit with changes"
stamp="$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores, $(uname -sr), load average \
$(cut -d ' ' -f 1 /proc/loadavg); $(df --output=fstype "$data" | tail -n 1); $(date -u +%F); commit $commit"
echo "$stamp"
with_server() { # COMMAND...
  python3 tests/servers/postgres_cluster.py --set autovacuum=off --set bgwriter_lru_maxpages=0 \
    --set checkpoint_timeout=1h --set max_wal_size=16GB --set wal_writer_delay=10s --set unix_socket_directories= \
    "$@" || {
    [ $? = 77 ] && "$@"
  }
}
measure() { # PROGRAM [COMMAND THAT RUNS IT]...
  program=$1
  shift
  # shellcheck disable=SC2086
  "$@" "$build/$program" --directory "$data" $quick --benchmark_out="$build/measured/$program.json" \
    --benchmark_out_format=json >"$build/measured/$program.log"
}
for program in neighbours policies scale; do
  # A server that does nothing but what it is asked to; where there is none, without. On the disk in question.
  TMPDIR=$data measure "$program" with_server
done
for program in jobs trees; do measure "$program"; done
[ -n "$quick" ] || [ ! -x "$build/park_table" ] || TMPDIR=$data with_server "$build/park_table" >"$build/measured/park_table.log" || true
python3 benchmarks/compile.py "$rounds" "$build/measured/compile.json"
python3 benchmarks/report.py "$build/measured" "$results" "$stamp" && status=0 || status=$?
sed -n '/^## What must/,/^## Storages/p' "$results/table.md" | grep '^|'
[ ! -s "$build/measured/park_table.log" ] || cat "$build/measured/park_table.log"
if [ -z "$quick" ] && [ "$status" = 3 ]; then
  echo "the machine was not quiet: kept in $results only" >&2
elif [ -z "$quick" ]; then
  results=$PWD/benchmarks/results
  cp "$build"/results/table.md "$build"/results/*.svg "$results/"
fi
echo "the table and the plots are in $results"
[ -n "$quick" ] && [ "$status" = 3 ] && status=0
exit "$status"
