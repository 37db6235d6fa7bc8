"""Three PostgreSQL servers that Patroni manages, of the distribution: it decides which one takes over, and when."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import postgres_cluster
from postgres_nodes import CLIENTS, PEERS, wait_until

# It holds its elections among the three themselves (pysyncobj). A dead primary is replaced after `ttl` seconds.
CONFIG = """
scope: stash
name: {name}
restapi: {{listen: '{peers}:{rest}', connect_address: '{peers}:{rest}'}}
raft: {{data_dir: '{place}/raft', self_addr: '{peers}:{raft}', partner_addrs: {partners}}}
bootstrap:
  dcs:
    ttl: {ttl}
    loop_wait: 1
    retry_timeout: 3
    synchronous_mode: true
    synchronous_mode_strict: true
    primary_start_timeout: 0
    postgresql: {{use_pg_rewind: true, parameters: {{wal_log_hints: 'on', wal_keep_size: 256MB,
                 dynamic_shared_memory_type: mmap}}}}
  initdb: [{{encoding: UTF8}}, {{locale: C.UTF-8}}, {{auth: trust}}, no-sync]
postgresql:
  listen: '127.0.0.1,{clients},{peers}:{port}'
  connect_address: '{peers}:{port}'
  bin_dir: '{programs}'
  data_dir: '{place}/data'
  pgpass: '{place}/pgpass'
  pg_hba: [local all all trust, host all all 127.0.0.0/8 trust, local replication all trust,
           host replication all 127.0.0.0/8 trust]
  authentication: {{superuser: {{username: postgres}}, replication: {{username: postgres}}, rewind: {{username: postgres}}}}
  parameters: {{unix_socket_directories: '{place}'}}
"""
TTL = 8


def is_there():
    return shutil.which("patroni") is not None and subprocess.run(
        ["/usr/bin/python3", "-c", "import pysyncobj"], capture_output=True).returncode == 0


class Member(postgres_cluster.Cluster):
    """A machine: a Patroni and its server, in a group of their own, by which the network knows what they send."""

    def __init__(self, place, name, group):
        super().__init__(place)
        self.name, self.group = name, group
        self.user = postgres_cluster.NOBODY | {"group": group}
        self.rest, self.raft = postgres_cluster.free_port(), postgres_cluster.free_port()

    def configure(self, all_members):
        self.place.mkdir(parents=True)
        os.chown(self.place, self.user["user"], self.group)
        partners = [f"{PEERS}:{other.raft}" for other in all_members if other is not self]
        (self.place / "patroni.yml").write_text(CONFIG.format(
            name=self.name, place=self.place, rest=self.rest, raft=self.raft, partners=partners, port=self.port, ttl=TTL,
            clients=CLIENTS, peers=PEERS, programs=postgres_cluster.programs()))

    def start(self):
        self.log = (self.place / "log").open("ab")
        self.manager = subprocess.Popen(["/usr/bin/python3", shutil.which("patroni"), self.place / "patroni.yml"], cwd=self.place,
                                        stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, **self.user)

    def server(self):
        with contextlib.suppress(OSError, ValueError):
            return int((self.data / "postmaster.pid").read_text().split("\n")[0])

    def stop(self):
        """The machine goes dark, with all that runs in its group."""
        os.kill(self.manager.pid, signal.SIGSTOP)
        while processes := [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and self.owns(p)]:
            for pid in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.manager.poll()
            time.sleep(0.01)
        self.log.close()

    def owns(self, process):
        with contextlib.suppress(OSError):
            return process.stat().st_gid == self.group and "\nState:\tZ" not in (process / "status").read_text()
        return False

    def is_primary(self):
        with contextlib.suppress(OSError, RuntimeError):
            return self.sql("SELECT pg_is_in_recovery()") == "f"
        return False

    def told(self):
        """What Patroni says of all members."""
        with contextlib.suppress(OSError, ValueError):
            with urllib.request.urlopen(f"http://{PEERS}:{self.rest}/cluster", timeout=5) as answer:
                return {m["name"]: (m["role"], m["state"]) for m in json.load(answer)["members"]}
        return {}

    def reinitialize(self):
        asked = urllib.request.Request(f"http://{PEERS}:{self.rest}/reinitialize", b'{"force": true}', method="POST")
        with contextlib.suppress(OSError), urllib.request.urlopen(asked, timeout=5):
            pass


class PatroniNodes:
    def __init__(self, place):
        first_group = 65000  # in which nobody is
        self.members = [Member(place / f"p{n}", f"p{n}", first_group + n) for n in range(3)]
        for member in self.members:
            member.configure(self.members)
        for member in self.members:
            member.start()
        try:
            self.wait_until_whole()
        except BaseException:
            self.stop()
            raise

    def wait_until_whole(self):
        """A server that does not come back by itself is made anew, as its operator would do."""
        patience = 40
        next_help = time.monotonic() + patience

        def is_whole():
            nonlocal next_help
            told = self.primary.told()
            up = [name for name, (_, state) in told.items() if state in ("running", "streaming")]
            if time.monotonic() > next_help:
                next_help += patience
                for member in self.members:
                    if member.name not in up:
                        member.reinitialize()
            roles = sorted(told[name][0] for name in up)
            return roles in (["leader", "replica", "sync_standby"], ["leader", "sync_standby", "sync_standby"])
        wait_until(is_whole)

    @property
    def primary(self):
        wait_until(lambda: any(m.is_primary() for m in self.members))
        return next(m for m in self.members if m.is_primary())

    def fail_over(self, how, network, seconds):
        """Where only the server dies, Patroni may start it again, or let another take over. It lets none where it does not know
        of one that has everything: then all wait until the machine is back."""
        time.sleep(2)
        self.wait_until_whole()
        old = self.primary
        next_ones = [m for m in self.members if m is not old or how == "server killed"]
        if how == "cut off":
            network.isolate(old.group, [old.port, old.rest, old.raft])
            time.sleep(seconds)
        elif how == "server killed":
            os.kill(old.server(), signal.SIGKILL)
        else:
            old.stop()
        latest = time.monotonic() + 60
        wait_until(lambda: any(m.is_primary() for m in next_ones) or time.monotonic() > latest)
        network.heal()
        if how == "killed":
            old.start()
        self.wait_until_whole()

    def end_sessions(self):
        self.primary.sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'stash'")

    def uri(self):
        return (f"postgresql://postgres@{','.join(f'{CLIENTS}:{m.port}' for m in self.members)}/postgres"
                "?target_session_attrs=read-write")

    def print_logs(self):
        for member in self.members:
            print(f"{member.name}: {(member.place / 'log').read_text()[-5000:]}")

    def stop(self):
        for member in self.members:
            member.stop()
