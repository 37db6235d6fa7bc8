"""The job of job.py on a database of a real PostgreSQL server."""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "examples"))
import postgres_cluster  # noqa: E402
from job import Job  # noqa: E402

MARK = "stash: unfinished"


class PostgresJob(Job):
    def __init__(self, directory, cluster, stash, resource="weather"):
        super().__init__(directory, resource)
        self.cluster = cluster
        self.database = "job_" + directory.name.replace("'", "").replace('"', "")
        cluster.sql(f'CREATE DATABASE "{self.database}"')
        self.datastore = cluster.uri(self.database)
        self.stash = {"file": self.stash, "sqlite": f"sqlite:{directory / 'stash' / 'stash.sqlite'}",
                      "journal": f"journal:{self.stash}", "postgres": self.datastore}[stash]

    def command(self, name, *arguments, **changed):
        return super().command(name, *arguments, **({"datastore": self.datastore} | changed))

    def sql(self, query):
        return [tuple(line.split("\t")) for line in self.cluster.sql(query, self.database).splitlines()]

    def change(self, script):
        self.cluster.sql(script, self.database)

    def name(self):
        return '"' + self.resource.replace('"', '""') + '"'

    def literal(self):
        return "'" + self.resource.replace("'", "''") + "'"

    def is_there(self):
        found = self.sql(f"SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tablename = {self.literal()}")
        return found == [("1",)]

    def table(self):
        """The rows as PostgreSQL has them; None: there is no such table."""
        if not self.is_there():
            return None
        text = self.cluster.sql(f"SELECT coalesce(json_agg(t ORDER BY _id), '[]') FROM public.{self.name()} t",
                                self.database)
        return [tuple(row.values())[2:] for row in json.loads(text)]

    def unfinished(self):
        """The tables that are marked."""
        return [name for name, in self.sql("SELECT relname FROM pg_class WHERE obj_description(oid, 'pg_class') ="
                                           f" '{MARK}'")]

    def beside(self):
        return self.sql("SELECT tablename FROM pg_tables WHERE schemaname LIKE 'stash\\_beside%'")

    def everything(self):
        files = {str(p): p.read_bytes() if p.is_file() else None for p in self.directory.rglob("*")}
        return files, self.cluster.dump(self.database)

    def is_loading(self):
        copying = self.sql("SELECT count(*) FROM pg_stat_progress_copy WHERE tuples_processed > 0"
                           f" AND datname = '{self.database}'")
        return copying == [("1",)]

    def aside(self):
        return [e for e in self.all_stashes() if "set aside" in e.where]


@pytest.fixture(scope="session")
def servers():
    """A directory that the servers, which run as another user, can reach, unlike those of pytest."""
    place = Path(tempfile.mkdtemp(prefix="stash-postgres."))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place, ignore_errors=True)


def start_server(servers, **settings):
    """Skips where there is none to be had."""
    if postgres_cluster.programs() is None:
        pytest.skip("there is no PostgreSQL server to run")
    place = Path(tempfile.mkdtemp(dir=servers))
    place.chmod(0o755)
    return postgres_cluster.Cluster(place / "postgres", **settings).init().start()
