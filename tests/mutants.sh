#!/bin/sh
# Takes one protection of the library out at a time, and shows that the tests fail then. Some two hours on two cores.
# usage: mutants.sh [--list] [--equivalents] [--jobs N] [--junit FILE] [NAME...]
# A NAME is a part of a mutant's name; FILE is taken from the repository's top.
set -eu
cd "$(dirname "$0")/.."
. tests/support/packages.sh
# shellcheck disable=SC2086
need $build_packages $mutants_packages
need_postgres
PATH=/usr/bin:$PATH exec python3 tests/mutants/mutants.py "$@"
