#!/bin/sh
# Runs unit tests without root's rights: what a permission forbids, root does not notice.
# usage: without_root.sh UNIT_TESTS JUNIT_FILE [OPTION]
set -eu
program=$1 report=$(realpath "$2")
shift 2
[ "$(id -u)" = 0 ] || exec "$program" "--logger=HRF,error,stdout:JUNIT,error,$report" "$@"
scratch=$(mktemp -d /tmp/stash-without-root.XXXXXX) # where another user may read the program, wherever the build is
trap 'rm -rf "$scratch"' EXIT
mkdir -m 0777 "$scratch/tmp"
chmod 0755 "$scratch"
cp "$program" "$scratch/unit"
cd "$scratch/tmp" # that user may not be allowed where we are
status=0
TMPDIR="$scratch/tmp" HOME="$scratch/tmp" setpriv --reuid=65534 --regid=65534 --clear-groups \
  "$scratch/unit" "--logger=HRF,error,stdout:JUNIT,error,$scratch/tmp/junit.xml" "$@" || status=$?
[ ! -e "$scratch/tmp/junit.xml" ] || cp "$scratch/tmp/junit.xml" "$report"
exit $status
