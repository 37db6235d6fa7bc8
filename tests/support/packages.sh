# Sourced. need PACKAGE...: installs what is missing, through apt-get as root or with sudo, and says what, how much that
# is, and what for (as $needed_for says); without either it says what is missing and stops.
missing_packages() {
  for package in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || printf ' %s' "$package"
  done
}

need() {
  command -v dpkg-query >/dev/null 2>&1 || {
    echo "this script sets itself up on Debian only; elsewhere, install what stands for: $*" >&2
    return 0
  }
  missing=$(missing_packages "$@")
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" = 0 ]; then
    as_root=
  elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    as_root=sudo
  else
    echo "missing packages, and neither root nor sudo to install them:$missing" >&2
    echo "run as root: apt-get install$missing" >&2
    exit 2
  fi
  echo "installing, which may take some minutes, ${needed_for:-for this script}:$missing"
  $as_root apt-get update -q >/dev/null
  # shellcheck disable=SC2086
  LC_ALL=C apt-get install --assume-no --no-install-recommends $missing 2>/dev/null | grep -E '^(Need to get|After this)' || :
  # shellcheck disable=SC2086
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing >/dev/null
}

# Debian 12's default Boost, 1.74, is too old, but it has another. From 13 on the default will do; $STASH_BOOST picks another.
release=$(sed -n 's/^VERSION_ID="\(.*\)"$/\1/p' /etc/os-release 2>/dev/null)
case $release in # testing and sid have no number
  12) boost=${STASH_BOOST-1.81} postgres=15 ;;
  13) boost=${STASH_BOOST-} postgres=17 ;;
  *) boost=${STASH_BOOST-} postgres=18 ;;
esac

# A server's programs, without the server that its package would start.
need_postgres() {
  [ -z "$(missing_packages postgresql-$postgres)" ] || {
    need postgresql-common
    config=/etc/postgresql-common/createcluster.conf
    ! [ -w "$config" ] || grep -q '^create_main_cluster' "$config" || echo 'create_main_cluster = false' >>"$config"
    need postgresql-$postgres
  }
}

pusher_packages="g++ pkg-config libboost-json$boost-dev libboost-filesystem$boost-dev libboost$boost-dev libsqlite3-dev
libpq-dev libcurl4-openssl-dev libcsv-dev libcli11-dev libutfcpp-dev"
build_packages="$pusher_packages meson ninja-build libboost-test$boost-dev libxxhash-dev openssl python3"
test_packages="$build_packages python3-pytest python3-pytest-xdist sqlite3 util-linux"
# What --all needs beside these (and PostgreSQL, see above); then what --long, the coverage and the mutants need.
all_packages="clang-14 clang-19 libclang-rt-19-dev libc++-19-dev locales mount e2fsprogs xfsprogs btrfs-progs
qemu-system-common eatmydata strace fiu-utils faketime nftables iproute2 cmake jq clang-format-14 clang-tidy-19 doxygen codespell"
long_packages="debootstrap f2fs-tools stress-ng qemu-user g++-s390x-linux-gnu g++-aarch64-linux-gnu g++-i686-linux-gnu
patroni python3-pysyncobj"
coverage_packages="clang-19 llvm-19 libclang-rt-19-dev locales"
mutants_packages=clang-19
