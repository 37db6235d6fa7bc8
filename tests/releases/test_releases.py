"""The library on a fresh machine and on newer releases of Debian, each in a root that debootstrap makes. Takes long; for root."""
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "compile"), str(HERE.parent / "readme")]
from compiling import sources_into  # noqa: E402
from test_readme import PROGRAM, block, commands  # noqa: E402

# With the versions of Boost to try; "" is the default one.
NEWER = {"trixie": ["", "1.88"], "sid": [""]}
# Within: a / that can be mounted anew, /proc and /dev; and all that is started ends with the command.
ENTER = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c",
         'mount --bind "$0" "$0" && mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" &&'
         ' exec chroot "$0" sh -ec "cd /stash; $1"']


class Root:
    def __init__(self, directory, release):
        self.directory = directory / release
        self.release = release
        made = subprocess.run(["debootstrap", "--variant=minbase", release, self.directory], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if made.returncode != 0:
            pytest.skip(f"debootstrap cannot make {release}: {made.stdout.splitlines()[-1]}")
        # A mirror of sid may lag: what it says is then past its date.
        (self.directory / "etc/apt/apt.conf.d/99mirror").write_text('Acquire::Check-Valid-Until "false";\n')
        sources_into(self.directory / "stash")

    def run(self, command, **environment):
        """What it printed."""
        done = subprocess.run([*ENTER, self.directory, command], text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root",
                                                             "DEBIAN_FRONTEND": "noninteractive", **environment})
        assert done.returncode == 0, f"{command}\n{done.stdout[-20000:]}"
        return done.stdout


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """Made when they are first asked for."""
    made = {}

    def root_of(release):
        if os.geteuid() != 0 or shutil.which("debootstrap") is None:
            pytest.skip("it takes root, and debootstrap")
        if release not in made:
            made[release] = Root(tmp_path_factory.mktemp("root"), release)
        return made[release]
    yield root_of
    for root in made.values():
        shutil.rmtree(root.directory)


@pytest.fixture
def root(roots, release):
    return roots(release)


pytestmark = pytest.mark.xdist_group("releases")  # in one worker: the tests of a release share its root
each_newer = pytest.mark.parametrize("release", NEWER)
each_boost = pytest.mark.parametrize("release, boost", [(release, boost) for release, versions in NEWER.items()
                                                        for boost in versions])


@pytest.mark.parametrize("release", ["bookworm", *NEWER])
def test_the_first_program_runs_where_nothing_was_installed_before(root):
    where = "Debian 12" if root.release == "bookworm" else "Debian 13"
    install = next(line for b in [block("sh", f"# {where}")] for line in b.text.splitlines() if f"# {where}" in line)
    (root.directory / "stash/job.cpp").write_text(block("cpp", PROGRAM).text, encoding="utf-8")
    root.run(f"apt-get update; {install.replace('install', 'install -y', 1)}")
    line = re.match(r"// (g\+\+ .*)\n", block("cpp", PROGRAM).text)[1]
    said = root.run(f"{line}; ./job; ./job kill && exit 1; test ! -e orders.json; ./job; rm -r job* stash orders.json")
    assert said.count('whole again: {"id":"Order number"}\n') == 2


@each_newer
def test_the_demo_runs(root):
    assert "sh tests/demo.sh" in commands()
    assert "every word survived" in root.run("sh tests/demo.sh").splitlines()[-1]


@each_newer
def test_the_quick_run_passes(root):
    assert "sh tests/run.sh" in commands()
    assert re.fullmatch(r"[1-9]\d* passed, 0 failed(, \d+ skipped)?", root.run("sh tests/run.sh").splitlines()[-1])


def set_up(root, boost):
    """Installs this Boost in place of another."""
    root.run(". tests/support/packages.sh; need $test_packages clang-19 libclang-rt-19-dev nftables iproute2;"
             " need_postgres", **({"STASH_BOOST": boost} if boost else {}))
    found = root.run("printf BOOST_LIB_VERSION | g++ -E -x c++ -include boost/version.hpp - | tail -n 1")
    assert boost.replace(".", "_") in found


@pytest.mark.parametrize("standard", ["c++20", "c++23", "c++26"])
@each_boost
def test_headers_compile_and_what_uses_them_runs(root, boost, standard):
    set_up(root, boost)
    root.run("python3 -m pytest -q -n 2 -p no:cacheprovider tests/compile"
             " -k 'translation_units or copies or one_line or public_api_is'",
             STASH_COMPILERS="g++ clang++-19", STASH_STANDARD=standard, STASH_LONG="1")


@pytest.mark.parametrize("compiler, standard", [("g++", "c++20"), ("clang++-19", "c++26")])
@each_boost
def test_unit_tests_and_a_server_pass(root, boost, compiler, standard):
    set_up(root, boost)
    build = f".build/{compiler}{boost}"
    root.run(f"meson setup {build} tests -Dbuildtype=debug -Ddebug=false -Dcpp_std={standard};"
             f" ninja -C {build} unit_core unit_rest postgres postgres_worker; {build}/unit_core --log_level=error;"
             f" {build}/unit_rest --log_level=error; python3 tests/servers/postgres_cluster.py {build}/postgres --log_level=error;"
             f" STASH_POSTGRES_WORKER=/stash/{build}/postgres_worker python3 -m pytest -q -p no:cacheprovider"
             " tests/servers/test_postgres_histories.py",
             CXX=compiler)
