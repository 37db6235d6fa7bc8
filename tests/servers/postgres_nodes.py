"""Three PostgreSQL servers of which one takes over when another dies, and a network whose packets can be lost."""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import time

import postgres_cluster

TIMEOUT = 240  # for hangs only
CLIENTS, PEERS = "127.0.2.1", "127.0.1.1"  # where a server listens for clients, and for other servers; 127.0.0.1 is ours


class Network:
    """A network namespace of the thread that makes it and of all that it starts. Cuts are of one server's port, at the address
    for clients or at that for its peers, in one direction or both."""

    WAYS = {"to the server": ["daddr {at} tcp dport {port} drop"], "from the server": ["saddr {at} tcp sport {port} drop"],
            "both ways": ["daddr {at} tcp dport {port} drop", "saddr {at} tcp sport {port} drop"],
            "with a reset": ["daddr {at} tcp dport {port} reject with tcp reset"],
            "of new connections": ["daddr {at} tcp dport {port} tcp flags & (syn | ack) == syn reject with tcp reset"],
            "with a reset of both ends": ["daddr {at} tcp dport {port} reject with tcp reset",
                                          "saddr {at} tcp sport {port} reject with tcp reset"]}

    def cut(self, port, way, *addresses):
        for at in addresses:
            for rule in self.WAYS[way]:
                self.nft(f"add rule ip stash cuts ip {rule.format(at=at, port=port)}")

    def isolate(self, group, ports):
        """Nothing comes through that a process of this group sends, and nothing that is sent to these ports of its."""
        self.nft(f"add rule ip stash sent meta skgid {group} drop")
        self.nft(f"add rule ip stash cuts ip daddr {{ {CLIENTS}, {PEERS} }} tcp dport {{ {', '.join(map(str, ports))} }} drop")

    def heal(self):
        self.nft("flush chain ip stash cuts; flush chain ip stash sent")

    def nft(self, command):
        subprocess.run(["nft", command], check=True)


@contextlib.contextmanager
def network():
    """None where there can be no such thing here."""
    libc = ctypes.CDLL(None, use_errno=True)
    new_network = 0x40000000  # CLONE_NEWNET; Python has os.unshare from 3.12 on
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        if os.geteuid() != 0 or not shutil.which("nft") or not shutil.which("ip") or libc.unshare(new_network) != 0:
            yield None
            return
        try:
            made = Network()
            try:
                subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
                made.nft("add table ip stash; add chain ip stash cuts { type filter hook input priority 0; };"
                         "add chain ip stash sent { type filter hook output priority 0; }")
            except subprocess.CalledProcessError:
                made = None
            yield made
        finally:
            if libc.setns(before, new_network) != 0:
                raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(before)


class Nodes:
    """One primary and its standbys, at least one of which has what was acknowledged. When the primary is gone, the standby that
    has most takes its place, as a manager of such servers would see to it."""

    NAMES = ("n0", "n1", "n2")

    def __init__(self, place):
        self.place = place
        self.made, self.ports = 0, {}
        self.primary = self.node(self.NAMES[0]).init()
        self.primary.start()
        self.standbys = []
        try:
            self.wait_for_standbys(True)
            for name in self.NAMES[1:]:
                self.add_standby(name)
        except BaseException:
            self.stop()
            raise

    def wait_for_standbys(self, does):
        """Whether a commit waits for one of them; a standby that takes over does as its primary did when it was copied."""
        names = f"ANY 1 ({', '.join(self.NAMES)})" if does else ""
        for node in [self.primary, *self.standbys]:
            node.sql(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
            node.sql("SELECT pg_reload_conf()")
        wait_until(lambda: self.primary.sql("SHOW synchronous_standby_names") == names)

    def node(self, name):
        self.made += 1
        made = postgres_cluster.Cluster(self.place / f"{name}-{self.made}", listen_addresses=f"127.0.0.1,{CLIENTS},{PEERS}",
                                        max_wal_senders=10, hot_standby="on", wal_retrieve_retry_interval="100ms",
                                        wal_receiver_timeout="2s", wal_sender_timeout="5s", wal_keep_size="256MB",
                                        dynamic_shared_memory_type="mmap")  # its files go with the directory
        made.name = name
        made.settings["port"] = made.port = self.ports.setdefault(name, made.port)  # clients know these
        return made

    def add_standby(self, name):
        standby = self.node(name)
        standby.follow(self.primary)
        with (standby.data / "postgresql.auto.conf").open("a") as settings:
            settings.write(f"primary_conninfo = '{self.upstream(name)}'\n")
        self.standbys.append(standby.start())

    def upstream(self, name):
        return f"host={PEERS} port={self.primary.port} user=postgres application_name={name}"

    def fail_over(self, how, network, seconds):
        """The primary's machine goes dark, or is cut off first, and goes on for a while that nobody sees."""
        old = self.primary
        if how == "cut off":
            network.cut(old.port, "both ways", CLIENTS, PEERS)
            time.sleep(seconds)
        elif how == "killed alone":
            network.cut(old.port, "both ways", PEERS)
            time.sleep(seconds)
        old.stop(signal.SIGKILL)  # before another takes over, which every manager must see to
        network.heal()
        for standby in self.standbys:
            self.follow(standby, "")
        wait_until(lambda: all(s.sql("SELECT count(*) FROM pg_stat_wal_receiver") == "0" for s in self.standbys))
        self.standbys.sort(key=received, reverse=True)
        self.primary = self.standbys.pop(0)
        self.primary.promote()
        for standby in self.standbys:
            self.follow(standby, self.upstream(standby.name))
        self.add_standby(old.name)
        wait_until(lambda: self.primary.sql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") == "2")
        shutil.rmtree(old.place)

    def follow(self, standby, upstream):
        standby.sql(f"ALTER SYSTEM SET primary_conninfo = '{upstream}'")
        standby.sql("SELECT pg_reload_conf()")

    def end_sessions(self):
        """Of all clients: of those that wait for a standby, too."""
        self.primary.sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'stash'")

    def end_a_waiting_session(self):
        """One of a client that waits for a standby. How many there were: none or one."""
        return int(self.primary.sql("SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity WHERE"
                                    " application_name = 'stash' AND wait_event = 'SyncRep' ORDER BY random() LIMIT 1) AS w"))

    def uri(self):
        hosts = ",".join(f"{CLIENTS}:{self.ports[name]}" for name in self.NAMES)
        return f"postgresql://postgres@{hosts}/postgres?target_session_attrs=read-write"

    def stop(self):
        for node in [self.primary, *self.standbys]:
            node.stop(signal.SIGQUIT)  # at once


def received(standby):
    """How far the log is that it has on its disk."""
    return int(standby.sql("SELECT pg_wal_lsn_diff(pg_last_wal_receive_lsn(), '0/0')"))


def wait_until(is_so):
    deadline = time.monotonic() + TIMEOUT
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)
