#!/bin/sh
# Annotates a real table and kills reloads of it in the middle: one that keeps everything, and one that drops the table
# first. Shows that every row and every word survived.
set -eu
cd "$(dirname "$0")/.."
. tests/support/packages.sh
# shellcheck disable=SC2086
need $pusher_packages jq

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
say() { printf '\n== %s\n' "$*"; }
run() {
  printf '$ pusher %s\n' "$*"
  "$work/pusher" "$@"
}

say "Building pusher: one compiler line"
line="g++ -std=c++20 -Iinclude tests/examples/pusher.cpp -lboost_json -lboost_filesystem -lsqlite3 -lcsv \
$(pkg-config --cflags --libs libpq libcurl) -o pusher"
echo "$ $line"
mkdir -p .build
${line% -o pusher} -o .build/pusher
cp .build/pusher "$work/"

csv=$PWD/tests/data/seattle-weather.csv
words=$PWD/tests/data/seattle-weather.dictionary.json
cd "$work"
cp "$csv" weather.csv
cp "$words" dictionary.json
table="--datastore sqlite:weather.db --resource weather"
infos() { "$work/pusher" show $table | jq -S '[.fields[] | select(.info) | {(.id): .info}] | add'; }

say "A first upload, and somebody types a Data Dictionary"
run push $table --stash stash weather.csv
run annotate $table dictionary.json
infos >typed
jq -r 'to_entries[] | "  \(.key): \(.value.label)"' typed

lost() {
  echo "LOST: $*"
  exit 1
}
rows() { "$work/pusher" show $table | jq .rows; }

say "A reload is killed (SIGKILL) in the middle: nothing happened to the table"
status=0
run push $table --stash stash --crash-at mid-load weather.csv 2>&1 || status=$?
echo "exit status $status"
infos >amid
cmp typed amid || lost "the dictionary is not what was typed"
[ "$(rows)" = 1461 ] || lost "$(rows) rows instead of 1461"
echo "all $(rows) rows are there, and every word"

say "With --keep words, as datapusher-plus does it, the table is dropped first: the same kill, and it is gone"
status=0
run push $table --stash stash --keep words --crash-at mid-load weather.csv 2>&1 || status=$?
echo "exit status $status"
run show $table 2>&1 || :

say "But the words are on the disk"
run stashes --stash stash
head -n 1 stash/weather.stash
tail -n 1 stash/weather.stash | cut -c 1-100

say "The next reload finds them"
run push $table --stash stash weather.csv 2>&1
infos >afterwards
cmp typed afterwards || lost "the dictionary is not what was typed"
[ "$(rows)" = 1461 ] || lost "$(rows) rows instead of 1461"
say "All $(rows) rows are there, and every word survived; pusher stays: .build/pusher --help"
