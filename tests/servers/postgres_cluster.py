"""Throw-away PostgreSQL servers on loopback, each in a directory of its own that is gone afterwards.

As a program, it runs another one with a server's connection string in STASH_POSTGRES:

    postgres_cluster.py [--skip-report FILE] [--set NAME=VALUE]... PROGRAM ARGUMENT...

Exit code 77 where no server can be had; then FILE says so as JUnit XML.
"""
import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TIMEOUT = 60  # seconds, for a server to be there or gone
NOBODY = {"user": 65534, "group": 65534, "extra_groups": []}  # the server refuses to be root
OPEN_TO_ALL = "local all all trust\nhost all with_password 127.0.0.1/32 scram-sha-256\n" \
              "host all all 127.0.0.1/32 trust\nlocal replication all trust\nhost replication all 127.0.0.1/32 trust\n"


def programs():
    """The directory with the newest server's programs; None: there is none."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if found:
        return max(found, key=lambda path: int(re.sub(r"\D", "", path.parent.name) or 0))
    return Path(shutil.which("initdb")).resolve().parent if shutil.which("initdb") else None


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Cluster:
    def __init__(self, place, **settings):
        self.place = Path(place)
        self.data = self.place / "data"
        self.port = free_port()
        self.settings = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": self.place,
                         "max_connections": 100} | settings
        self.user = NOBODY if os.geteuid() == 0 else {}
        self.process = None

    def run(self, name, *arguments):
        done = subprocess.run([programs() / name, *arguments], cwd=self.place, capture_output=True, text=True,
                              env=os.environ | {"LC_ALL": "C"}, **self.user)
        if done.returncode != 0:
            raise RuntimeError(f"{name}: {done.stdout}{done.stderr}")

    def own(self):
        self.place.mkdir(parents=True, exist_ok=True)
        if self.user:
            os.chown(self.place, NOBODY["user"], NOBODY["group"])

    def init(self):
        self.own()
        self.run("initdb", "--pgdata", self.data, "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8",
                 "--auth=trust", "--no-sync")
        (self.data / "pg_hba.conf").write_text(OPEN_TO_ALL)
        return self

    def follow(self, primary):
        """Makes it a standby of another one."""
        self.own()
        self.run("pg_basebackup", "--pgdata", self.data, "--host", "127.0.0.1", "--port", str(primary.port),
                 "--username=postgres", "--write-recovery-conf", "--checkpoint=fast", "--no-sync")
        return self

    def start(self, wait=True, **settings):
        self.settings |= settings
        options = [f"-c{name}={value}" for name, value in self.settings.items()]
        self.log = (self.place / "log").open("ab")
        self.process = subprocess.Popen([programs() / "postgres", "-D", self.data, *options], cwd=self.place,
                                        stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, **self.user)
        if wait:
            self.wait_until_ready()
        return self

    def wait_until_ready(self):
        deadline = time.monotonic() + TIMEOUT
        while subprocess.run([programs() / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]).returncode:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server does not start: {(self.place / 'log').read_text()[-2000:]}")
            time.sleep(0.02)

    def stop(self, how=signal.SIGINT):
        """SIGINT: at once, but in order. SIGKILL: with all its children, as when the machine goes dark."""
        if self.process is None:
            return
        if how == signal.SIGKILL:
            children = self.children()
            os.kill(self.process.pid, signal.SIGSTOP)  # so that it starts no more of them
            for pid in children + self.children():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        self.process.send_signal(how)
        self.process.wait(TIMEOUT)
        self.process = None
        self.log.close()

    def children(self):
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in listed.split()]

    def promote(self):
        self.run("pg_ctl", "promote", "--pgdata", self.data, "--wait", "--silent")

    def uri(self, database="postgres", user="postgres", password=""):
        secret = f":{password}" if password else ""
        return f"postgresql://{user}{secret}@127.0.0.1:{self.port}/{database}"

    def sql(self, statement, database="postgres", user="postgres"):
        """What psql prints, a row a line, columns apart by tabs."""
        done = subprocess.run([programs() / "psql", "-X", "-A", "-t", "-q", "-F\t", "-v", "ON_ERROR_STOP=1",
                               self.uri(database, user), "-c", statement], capture_output=True, text=True,
                              env=os.environ | {"PGCLIENTENCODING": "UTF8"})
        if done.returncode != 0:
            raise RuntimeError(f"psql: {done.stderr}")
        return done.stdout.rstrip("\n")


    def dump(self, database, *options):
        done = subprocess.run([programs() / "pg_dump", "--encoding", "UTF8", *options, "--dbname", self.uri(database)],
                              capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"pg_dump: {done.stderr}")
        return "".join(line for line in done.stdout.splitlines(True) if "restrict" not in line)  # these are random


def skip(report):
    print("skipped: there is no PostgreSQL server to run")
    if report:
        Path(report).write_text('<testsuite><testcase classname="postgres" name="a server"><skipped/></testcase></testsuite>')
    return 77


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--skip-report")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the server")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    if programs() is None:
        return skip(args.skip_report)
    with tempfile.TemporaryDirectory(prefix="stash-postgres.") as place:
        os.chmod(place, 0o755)
        settings = dict(setting.split("=", 1) for setting in args.set)
        cluster = Cluster(Path(place) / "server", **settings).init().start()
        try:
            os.environ.pop("LOCPATH", None)  # with it, newlocale leaks in glibc, which sanitizers would tell
            return subprocess.run(args.command, env=os.environ | {"STASH_POSTGRES": cluster.uri()}).returncode
        finally:
            cluster.stop()


if __name__ == "__main__":
    sys.exit(main())
