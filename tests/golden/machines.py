"""Machines of other kinds: their libraries, from the packages of this one's release, a cross compiler and qemu-user."""
import functools
import pathlib
import shutil
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "compile"))
from compiling import CORE_LIBRARIES, FLAGS, TOP, run, succeed  # noqa: E402


class Machine:
    def __init__(self, name, compiler, libraries, emulator, family, endian="little"):
        self.name = name  # as Debian calls it
        self.compiler = f"{compiler}-g++"
        self.libraries = libraries  # the folder below /usr/lib
        self.emulator = f"qemu-{emulator}"
        self.family, self.endian = family, endian  # as Meson calls it

    def __repr__(self):
        return self.name


MACHINES = [Machine("s390x", "s390x-linux-gnu", "s390x-linux-gnu", "s390x", "s390x", "big"),
            Machine("arm64", "aarch64-linux-gnu", "aarch64-linux-gnu", "aarch64", "aarch64"),
            Machine("i386", "i686-linux-gnu", "i386-linux-gnu", "i386", "x86")]


def libraries_to_install():
    """Those that the tests are built with, by the names that they have in this release."""
    names = succeed("sh", "-c", ". tests/support/packages.sh; echo $build_packages", cwd=TOP).split()
    return [name for name in names if name.startswith("lib")]


class NotToBeHad(Exception):
    pass


class Root:
    """A machine's libraries and headers in a directory. What this machine's package manager knows is left as it is."""

    def __init__(self, machine, directory):
        self.machine = machine
        self.directory = directory / "root"
        for tool in ["apt-get", "dpkg-deb", machine.compiler, machine.emulator]:
            if shutil.which(tool) is None:
                raise NotToBeHad(f"there is no {tool}")
        state, cache = directory / "state", directory / "cache"
        for made in [state / "lists/partial", cache / "archives/partial", self.directory]:
            made.mkdir(parents=True)
        (state / "status").touch()  # nothing is installed there
        settings = {"APT::Architecture": machine.name, "APT::Architectures::": machine.name, "Dir::State": state,
                    "Dir::State::status": state / "status", "Dir::Cache": cache, "APT::Sandbox::User": "root",
                    "APT::Get::List-Cleanup": "false", "Acquire::Languages": "none"}
        self.options = [word for name, value in settings.items() for word in ["-o", f"{name}={value}"]]
        self.apt("update")
        self.apt("install", "--download-only", "--no-install-recommends", "-y", *libraries_to_install())
        packages = sorted((cache / "archives").glob("*.deb"))
        assert packages
        for package in packages:
            succeed("dpkg-deb", "--extract", package, self.directory)
        shutil.rmtree(cache)
        shutil.rmtree(state)

    def apt(self, *words):
        done = run("apt-get", "-q", *self.options, *words)
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise NotToBeHad(f"apt-get {words[0]} for {self.machine.name}: {said[-1] if said else 'failed'}")

    def command(self, program):
        """The words that run it."""
        return [self.machine.emulator, "-L", self.directory, program]

    def flags(self):
        return [f"--sysroot={self.directory}", "-D_FILE_OFFSET_BITS=64"]  # the latter as Meson adds it everywhere

    def compile(self, source, to, *options):
        """The words that run what it became. Among the options, another include directory goes before ours."""
        succeed(self.machine.compiler, *self.flags(), *options, *FLAGS, source, "-o", to, *CORE_LIBRARIES, "-lsqlite3")
        return self.command(to)

    @functools.cached_property
    def golden(self):
        return self.compile(HERE / "golden.cpp", self.directory.parent / "golden")

    def unit_tests(self, part):
        """The words that run the unit tests, whose parts stand in tests/meson.build."""
        return self.command(self.built_units / f"unit_{part}")

    @functools.cached_property
    def built_units(self):
        directory = self.directory.parent / "build"
        libraries = self.directory / "usr/lib" / self.machine.libraries
        prefix = self.machine.compiler.removesuffix("g++")
        places = {
            "binaries": {"cpp": self.machine.compiler, "ar": f"{prefix}gcc-ar", "strip": f"{prefix}strip",
                         "pkgconfig": "pkg-config", "pkg-config": "pkg-config",  # before Meson 1.3, and from then on
                         "exe_wrapper": self.command("")[:-1]},
            "built-in options": {"cpp_args": [f"--sysroot={self.directory}"],
                                 "cpp_link_args": [f"--sysroot={self.directory}"]},
            "properties": {"sys_root": self.directory, "boost_includedir": self.directory / "usr/include",
                           "boost_librarydir": libraries,
                           "pkg_config_libdir": [libraries / "pkgconfig", self.directory / "usr/share/pkgconfig"]},
            "host_machine": {"system": "linux", "cpu_family": self.machine.family, "cpu": self.machine.family,
                             "endian": self.machine.endian}}
        cross_file = directory.with_suffix(".ini")
        cross_file.write_text("".join(
            f"[{section}]\n" + "".join(f"{name} = {meson_value(value)}\n" for name, value in values.items())
            for section, values in places.items()), encoding="utf-8")
        # Several files as one take half the time, and g++ has warnings for that which are not ours.
        succeed("meson", "setup", directory, TOP / "tests", "--cross-file", cross_file, "-Dbuildtype=debug",
                "-Ddebug=false", "-Dunity=on", "-Dunity_size=8", "-Dwerror=false")
        succeed("ninja", "-C", directory, "unit_core", "unit_rest")
        return directory


def meson_value(value):
    return [str(part) for part in value] if isinstance(value, list) else repr(str(value))
