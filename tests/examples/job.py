"""One resource of one datastore and its stash, worked on by the program as its users would."""

import json
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest

OPTIONS = {
    "push": ["datastore", "stash", "resource"],
    "annotate": ["datastore", "resource"],
    "show": ["datastore", "resource"],
    "stashes": ["stash"],
    "recover": ["datastore", "stash"],
}
TIMEOUT = 20  # seconds; less than the program waits for a locked database


def program():
    path = os.environ.get("STASH_PUSHER")
    if not path:
        pytest.fail("STASH_PUSHER is not set: it must be the path of the pusher to test")
    if not os.access(path, os.X_OK):
        pytest.fail(f"STASH_PUSHER: {path} is not a program")
    return os.path.abspath(path)


def parts(text):
    """The members of a JSON array, or names and values of an object in turn, each as the text that stands there."""
    between = re.compile(r"[\s,:]*")
    found = []
    at = between.match(text, 1).end()
    while at < len(text) - 1:
        end = json.JSONDecoder().raw_decode(text, at)[1]
        found.append(text[at:end])
        at = between.match(text, end).end()
    return found


def members(text):
    names_and_values = parts(text)
    return dict(zip(map(json.loads, names_and_values[::2]), names_and_values[1::2]))


class Live(NamedTuple):
    """What `show` prints. Infos are text: parsed, a number or an escape that changed could look the same."""

    rows: int
    types: dict
    infos: dict


class Stashed(NamedTuple):
    key: str
    age: str
    bytes: str
    state: str
    where: str


class Job:
    def __init__(self, directory, resource="weather"):
        self.directory = directory
        self.resource = resource
        self.database = directory / "datastore.sqlite"
        self.stash = directory / "stash"

    def file(self, name, content):
        path = self.directory / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def command(self, name, *arguments, **changed):
        given = {"datastore": f"sqlite:{self.database}", "stash": self.stash, "resource": self.resource} | changed
        options = [word for option in OPTIONS[name] for word in (f"--{option}", given[option])]
        return [program(), name, *options, *arguments]

    def start(self, command, **how):
        # With LOCPATH, newlocale leaks in glibc, and libraries that libpq is linked with call it: sanitizers would tell.
        env = {name: value for name, value in os.environ.items() if name != "LOCPATH"}
        return subprocess.Popen(command, cwd=self.directory, stdin=subprocess.DEVNULL, env=env, **how)

    def run(self, name, *arguments, exits=0, preexec_fn=None, **changed):
        """Runs a command to its end; `exits` is the code that it must end with, or several, or minus a signal."""
        return self.run_words(self.command(name, *arguments, **changed), exits, preexec_fn)

    def run_words(self, command, exits, preexec_fn=None):
        pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        text = {"encoding": "utf-8", "errors": "surrogateescape"}
        with self.start(command, preexec_fn=preexec_fn, **pipe, **text) as process:
            try:
                out, err = process.communicate(timeout=TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                pytest.fail(f"no end after {TIMEOUT} s: {shlex.join(map(str, command))}")
        expected = exits if isinstance(exits, tuple) else (exits,)
        if process.returncode not in expected:
            pytest.fail(f"exit {process.returncode}, not {exits}: {shlex.join(map(str, command))}\n{err}")
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def push(self, csv, *options, **how):
        return self.run("push", *options, csv, **how)

    def annotate(self, dictionary, **how):
        """`dictionary` is a path, or JSON text, or what becomes it."""
        if not isinstance(dictionary, Path):
            text = dictionary if isinstance(dictionary, (str, bytes)) else json.dumps(dictionary)
            dictionary = self.file("dictionary.json", text)
        return self.run("annotate", dictionary, **how)

    def show(self):
        shown = members(self.run("show").stdout.strip())
        fields = {json.loads(f["id"]): f for f in map(members, parts(shown["fields"]))}
        assert json.loads(shown["resource_id"]) == self.resource
        types = {name: json.loads(f["type"]) for name, f in fields.items()}
        return Live(int(shown["rows"]), types, {name: f["info"] for name, f in fields.items()})

    def is_live(self):
        shown = self.run("show", exits=(0, 1))
        assert shown.returncode == 0 or ("not live" in shown.stderr and shown.stdout == "")
        return shown.returncode == 0

    def recover(self, **how):
        """What `recover` counted: restored, live, busy, corrupt, failed."""
        told = self.run("recover", **how).stderr
        return {word: int(n) for n, word in re.findall(r"(\d+) (restored|live|busy|corrupt|failed)\b", told)}

    def all_stashes(self):
        return [Stashed(*line.split("\t")) for line in self.run("stashes").stdout.splitlines()]

    def stashes(self):
        return [e for e in self.all_stashes() if "set aside" not in e.where]

    def set_aside(self):
        return [(e, Path(e.where[e.where.index("/"):])) for e in self.all_stashes() if "set aside" in e.where]

    def sql(self, query, *values):
        with closing(sqlite3.connect(f"file:{quote(str(self.database))}?mode=ro", uri=True)) as db:
            return db.execute(query, values).fetchall()

    def change(self, script):
        with closing(sqlite3.connect(self.database)) as db:
            db.executescript(script)

    def table(self):
        """The rows as SQLite has them; None: there is no such table."""
        if not self.database.exists():
            return None
        if not self.sql("SELECT 1 FROM sqlite_schema WHERE name = ?", self.resource):
            return None
        name = self.resource.replace('"', '""')
        return [row[1:] for row in self.sql(f'SELECT * FROM "{name}" ORDER BY _id')]

    def beside(self):
        """The tables that a push has built and not put in their place."""
        return self.sql("SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE '\\_stash\\_beside%' ESCAPE '\\'")

    def everything(self):
        """All that a run could touch. The database counts for what is in it: opening it may tidy its files."""
        ours = [p for p in self.directory.rglob("*") if not p.name.startswith(self.database.name)]
        files = {str(p): p.read_bytes() if p.is_file() else None for p in ours}
        if not self.database.exists():
            return files, None
        with closing(sqlite3.connect(self.database)) as db:
            return files, list(db.iterdump())

    def is_loading(self):
        for table in (self.resource, f"_stash_beside_{self.resource}"):  # where a push builds, with --keep words or without
            try:
                if self.sql("SELECT 1 FROM _stash_resource WHERE id = ? AND finished <= 0 AND EXISTS"
                            f' (SELECT 1 FROM "{table}")', table):
                    return True
            except sqlite3.OperationalError:  # no such file, no such table: not yet
                pass
        return False

    @contextmanager
    def stopped_push(self, csv, keep="words"):
        """A push that sleeps in the middle of its load: some rows are there, the mark too. Killed at the end."""
        process = self.start(self.command("push", "--keep", keep, csv), stderr=subprocess.PIPE, text=True)
        try:
            deadline = time.monotonic() + TIMEOUT
            while not self.is_loading():
                if process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail("the push was never seen while it loads")
                time.sleep(0.001)
            process.send_signal(signal.SIGSTOP)
            state = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            assert state.si_code == os.CLD_STOPPED and self.is_loading()
            yield process
        finally:
            process.kill()
            process.communicate()
