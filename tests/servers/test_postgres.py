"""The pusher and the stash against real PostgreSQL servers: what test_pusher.py asks, kills at random moments, a server
that fails over, and servers that refuse."""

import contextlib
import csv
import io
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "examples"))
from job import TIMEOUT, program  # noqa: E402
from postgres_job import PostgresJob, postgres_cluster, servers, start_server  # noqa: E402,F401
import test_pusher  # noqa: E402
from test_pusher import (NO_WORDS, ODD_NAMES, STEPS, WEATHER, WEATHER_WORDS, annotated, assert_whole, each,  # noqa: F401
                         long_csv, short, strike, weather_rows)
from test_pusher import (  # noqa: F401  (the same, with the fixtures of this file)
    test_a_file_that_changes_while_it_loads_costs_no_word,
    test_a_file_without_records_touches_nothing,
    test_a_live_table_without_words_does_not_beat_the_stash,
    test_a_retry_that_fails_before_the_drop_says_that_nothing_was_restored,
    test_a_second_push_and_recover_are_told_busy_while_the_first_loads,
    test_annotate_replaces_the_words_of_the_columns_that_it_names_only,
    test_only_a_live_resource_can_be_annotated,
    test_recover_brings_back_the_words_that_a_killed_reload_left,
    test_recover_finds_nothing_of_a_killed_first_upload,
    test_the_lock_of_a_killed_push_is_gone_at_once,
    test_two_first_uploads_at_once_exclude_each_other,
    test_words_that_a_dropped_table_left_are_there_again_after_a_reload_beside_that_fails,
)

IS_LONG = bool(os.environ.get("STASH_LONG"))


def note(what, tried, bad):
    if path := os.environ.get("STASH_FIGURES"):
        with open(path, "a") as file:
            file.write(f"postgresql\t{what}\t{tried}\t{bad}\n")


@pytest.fixture(scope="session")
def server(servers):  # noqa: F811
    cluster = start_server(servers)
    yield cluster
    cluster.stop()


@pytest.fixture(params=["file", "postgres"] if IS_LONG else ["postgres"])  # the table is the same, wherever the words are
def job(tmp_path, server, request):
    program()
    return PostgresJob(tmp_path, server, request.param)


@pytest.fixture
def pg_job(tmp_path, server):
    """With the stash in the database too."""
    program()
    return PostgresJob(tmp_path, server, "postgres")


@pytest.fixture
def pg_annotated(pg_job):
    pg_job.push(WEATHER)
    pg_job.annotate(WEATHER_WORDS)
    return pg_job


# Jobs that end early, and their retries

FAULTS = test_pusher.FAULTS if IS_LONG else [["kill", "fail"]]
each_step = pytest.mark.parametrize("step", STEPS)
each_run_of_faults = pytest.mark.parametrize("faults", FAULTS, ids="-".join)


@each_step
@each_run_of_faults
def test_a_reload_that_ends_early_loses_no_word(annotated, step, faults):
    test_pusher.test_a_reload_that_ends_early_loses_no_word(annotated, step, faults)


@each_step
@each_run_of_faults
def test_a_reload_that_ends_early_loses_nothing(annotated, step, faults):
    test_pusher.test_a_reload_that_ends_early_loses_nothing(annotated, step, faults)


@each_step
@each_run_of_faults
def test_a_first_upload_beside_that_ends_early_leaves_no_half_built_table(job, step, faults):
    test_pusher.test_a_first_upload_beside_that_ends_early_leaves_no_half_built_table(job, step, faults)


@each_step
@each_run_of_faults
def test_a_first_upload_that_ends_early_leaves_no_live_table(job, step, faults):
    test_pusher.test_a_first_upload_that_ends_early_leaves_no_live_table(job, step, faults)


# CKAN's layout


def test_a_table_is_laid_out_as_ckan_does(annotated):
    columns = annotated.sql("SELECT attname, format_type(atttypid, atttypmod), coalesce(col_description(attrelid, attnum),"
                            " '-') FROM pg_attribute WHERE attrelid = 'public.weather'::regclass AND attnum > 0"
                            " ORDER BY attnum")
    assert [c[:2] for c in columns[:2]] == [("_id", "integer"), ("_full_text", "tsvector")]
    annotated.push(WEATHER)
    assert annotated.show().types == dict.fromkeys(annotated.show().types, "numeric") | {"date": "date", "weather": "text"}
    assert annotated.sql("SELECT pg_get_serial_sequence('public.weather', '_id')") == [("public.weather__id_seq",)]
    assert annotated.sql("SELECT count(*) FROM pg_constraint WHERE conrelid = 'public.weather'::regclass"
                         " AND contype = 'p'") == [("1",)]
    comment = annotated.cluster.sql("SELECT col_description('public.weather'::regclass, attnum) FROM pg_attribute WHERE"
                                    " attrelid = 'public.weather'::regclass AND attname = 'wind'", annotated.database)
    wind = annotated.show().infos["wind"]
    assert comment == f' {{"_info":{wind}}}'
    assert annotated.unfinished() == []


def test_what_other_plugins_keep_beside_the_words_survives_a_reload_and_a_crash(annotated):
    annotated.change("""COMMENT ON COLUMN weather.wind IS ' {"_info":{"label":"Wünd"},"plugin":{"a":[1.0,"é"]}}'""")
    annotated.change("""COMMENT ON COLUMN weather.date IS ' {"plugin":"alone"}'""")

    def comments():
        text = annotated.cluster.sql("SELECT json_object_agg(attname, col_description(attrelid, attnum)) FROM pg_attribute"
                                     " WHERE attrelid = 'public.weather'::regclass AND attnum > 2", annotated.database)
        found = json.loads(text)
        assert all(comment.startswith(" {") for comment in found.values())
        return {name: json.loads(comment) for name, comment in found.items()}

    before = comments()
    assert before["date"] == {"plugin": "alone"} and before["wind"]["plugin"] == {"a": [1.0, "é"]}
    annotated.push(WEATHER)
    assert comments() == before
    strike(annotated, "kill", "mid-load")
    annotated.push(WEATHER)
    assert comments() == before
    strike(annotated, "kill", "mid-load")
    annotated.recover()
    assert comments() == before


REMARKS = {
    "wind": '{"label":"old form"}', "date": "typed in psql", "precipitation": "{half", "temp_max": "[1]", "temp_min": " ",
    "weather": ' {"_info":{"label":"Sum","sum":12345678901234567890123},"plugin":{"x":1.10}}',
}
MORE_REMARKS = {
    "wind": '{"label": "of Python", "max": NaN}', "date": "{'label': 'T'}", "precipitation": '{"n":1e99999999999}',
    "temp_max": ' {"_info":{"a":1,"a":2}}', "temp_min": "\ufeff{}", "weather": "From SAP field VBELN",
}


@pytest.mark.parametrize("remarks", [REMARKS, MORE_REMARKS], ids=["forms", "more"])
def test_every_comment_is_carried_over_byte_for_byte(job, remarks):
    job.push(WEATHER)
    remarks = remarks | {"_id": "the key", "_full_text": '{"label":"search"}'}
    for column, comment in remarks.items():
        job.change(f"COMMENT ON COLUMN weather.{column} IS '" + comment.replace("'", "''") + "'")
    job.change("COMMENT ON TABLE weather IS 'stash: unfinished work'")

    def found():
        return json.loads(job.cluster.sql(
            "SELECT json_object_agg(coalesce(attname, ''), description) FROM pg_description LEFT JOIN pg_attribute"
            " ON attrelid = objoid AND attnum = objsubid WHERE objoid = 'weather'::regclass", job.database))
    expected = remarks | {"": "stash: unfinished work"}
    assert found() == expected
    infos = job.show().infos
    assert infos["wind"] != "null"
    job.push(WEATHER)
    assert found() == expected and job.show().infos == infos
    strike(job, "kill", "mid-load")
    job.push(WEATHER)
    assert found() == expected and job.show().infos == infos
    strike(job, "fail", "mid-load")
    assert found() == expected
    strike(job, "kill", "after-drop")
    assert job.recover()["restored"] == 1
    assert found() == expected


def test_the_full_text_trigger_of_ckan_is_set_where_there_is_its_function(pg_annotated):
    pg_annotated.change("""
        CREATE FUNCTION populate_full_text_trigger() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN NEW._full_text := to_tsvector('simple', NEW.weather); RETURN NEW; END $$""")
    pg_annotated.push(WEATHER)
    assert pg_annotated.sql("SELECT count(*) FROM weather WHERE _full_text @@ to_tsquery('simple', 'rain')") \
        == pg_annotated.sql("SELECT count(*) FROM weather WHERE weather = 'rain'")


FITTING = [name for name in ODD_NAMES if len(name.encode()) <= 63] + ["é" * 31, "A", "a", "Weather"]


def test_odd_column_names_keep_their_words_in_postgresql(pg_job):
    path = pg_job.directory / "odd.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([FITTING, [f"value {n}" for n in range(len(FITTING))]])
    pg_job.push(path)
    pg_job.annotate({name: {"label": name, "notes": n} for n, name in enumerate(FITTING)})
    infos = pg_job.show().infos
    assert [json.loads(info)["label"] for info in infos.values()] == FITTING == list(infos)
    strike(pg_job, "kill", "mid-load", path)
    pg_job.push(path)
    assert pg_job.show().infos == infos
    assert pg_job.table() == [tuple(f"value {n}" for n in range(len(FITTING)))]


ODD_IDS = ['x"; DROP TABLE weather; --', "apo'strophe", "日" * 21]
MORE_ODD_IDS = ["two words", 'quo"te', "d.o.t", "100%", "日本", "é", "select", "UPPER", "$(id)", "x" * 63]


@pytest.mark.parametrize("resource_id", ODD_IDS + MORE_ODD_IDS * IS_LONG, ids=short)
def test_an_odd_resource_id_is_a_resource_like_any_other_in_postgresql(pg_annotated, resource_id):
    weather = pg_annotated.show()
    pg_annotated.resource = resource_id
    pg_annotated.push(WEATHER)
    pg_annotated.annotate(WEATHER_WORDS)
    strike(pg_annotated, "kill", "mid-load")
    assert [e.key for e in pg_annotated.stashes()] == [resource_id]
    assert pg_annotated.recover()["restored"] == 1
    assert pg_annotated.show().infos == weather.infos
    pg_annotated.push(WEATHER)
    assert_whole(pg_annotated, weather.infos)
    pg_annotated.resource = "weather"
    assert pg_annotated.show() == weather


REFUSED = {
    "too long an id": ("x" * 64, "a\n1\n"), "a long name": ("t", f"{'x' * 64}\n1\n"), "reserved": ("t", "_a\n1\n"),
    "a view": ("view", "a\n1\n"), "a foreign table": ("foreign", "a\n1\n"), "a sequence": ("weather__id_seq", "a\n1\n"),
}


@each("resource_id, text", REFUSED)
def test_what_is_no_resource_is_refused_and_not_touched(pg_annotated, resource_id, text):
    pg_annotated.change('CREATE VIEW "view" AS SELECT 1 AS _id; CREATE TABLE "foreign" (a int);')
    before = pg_annotated.everything()
    pg_annotated.push(pg_annotated.file("a.csv", text), resource=resource_id, exits=2)
    (pg_annotated.directory / "a.csv").unlink()
    assert pg_annotated.everything() == before


def test_a_table_that_a_view_needs_is_not_dropped(pg_annotated):
    pg_annotated.change("CREATE VIEW wet AS SELECT * FROM weather")
    before, rows = pg_annotated.show(), pg_annotated.table()
    told = pg_annotated.push(WEATHER, "--keep", "words", exits=1).stderr
    assert "2BP01" in told
    assert pg_annotated.show() == before and pg_annotated.table() == rows
    told = pg_annotated.push(WEATHER, exits=1).stderr  # the types that are asked for are others than the view's
    assert "view public.wet (cannot change data type of view column" in told
    assert pg_annotated.show() == before and pg_annotated.table() == rows


def test_an_alias_survives_a_push_and_can_be_left_behind(pg_annotated):
    pg_annotated.push(WEATHER)
    pg_annotated.change("CREATE VIEW wet AS SELECT * FROM weather WHERE precipitation > 0; GRANT SELECT ON wet TO PUBLIC")
    before = pg_annotated.sql("SELECT oid, relacl FROM pg_class WHERE relname = 'wet'")
    wet = pg_annotated.sql("SELECT count(*) FROM wet")
    pg_annotated.push(WEATHER)
    assert pg_annotated.sql("SELECT oid, relacl FROM pg_class WHERE relname = 'wet'") == before
    assert pg_annotated.sql("SELECT count(*) FROM wet") == wet
    narrow = pg_annotated.file("narrow.csv", "weather,date\nrain,2012-01-01\n")
    assert "view public.wet" in pg_annotated.push(narrow, exits=1).stderr
    told = pg_annotated.push(narrow, "--leave-behind").stderr
    assert "left behind: view public.wet" in told
    assert pg_annotated.sql("SELECT count(*) FROM pg_class WHERE relname = 'wet'") == [("0",)]
    (entry,) = pg_annotated.aside()
    assert "left_behind" in entry.where


@pytest.mark.parametrize("keep", ["everything", "words"])
def test_a_row_that_the_server_refuses_fails_the_load_and_loses_no_word(pg_annotated, keep):
    pg_annotated.push(WEATHER)
    before, rows = pg_annotated.show(), pg_annotated.table()
    bad = pg_annotated.file("bad.csv", WEATHER.read_text() + "2012-01-01,much,12.8,5.0,4.7,rain\n")
    told = pg_annotated.push(bad, "--keep", keep, exits=1).stderr
    assert re.search(r'bad.csv: line 1463, column "precipitation": "much": .*; 1 row would be refused in all', told)
    assert pg_annotated.show().infos == before.infos
    assert pg_annotated.table() == (rows if keep == "everything" else [])
    pg_annotated.push(WEATHER)
    assert_whole(pg_annotated, before.infos)


REFUSED_VALUES = {  # what stands behind the header day,n,remark; the line and column that are told, and how many rows
    "in the middle": ("2012-01-01,1,\n2012-01-02,x,\n2012-01-03,3,\n", 3, "n", '"x"', 1),
    "by lines of the file and not of the server":
        ('2012-01-01,1,"two\nlines"\n\n\r\n"2012-01-02\n",2,\n2012-01-03,1e,"a\r\nb"\nnever,1,\n', 8, "n", '"1e"', 2),
    "two in a row": ("never,many,\n", 2, "day", '"never"', 1),
    "out of range": ("0000-00-00,1,\n", 2, "day", '"0000-00-00"', 1),
    "the first of many": ("2012-01-01,1,\n" + "2012-01-02,x,\n" * 10_000 + "2012-13-01,1,\n", 3, "n", '"x"', 10_001),
    "long": (f"2012-01-01,{'é' * 100}1,\n", 2, "n", f'"{"é" * 50}..."', 1),
    "empty is no number": ('2012-01-01,"",\n2012-01-01,,\n', 2, "n", '""', 1),
}


@each("text, line, column, value, rows", REFUSED_VALUES)
def test_what_an_override_refuses_is_told_by_the_files_line_and_column(pg_job, text, line, column, value, rows):
    pg_job.push(pg_job.file("good.csv", "day,n,remark\n2012-01-01,1,\n"))
    pg_job.annotate({"day": {"type_override": "date"}, "n": {"type_override": "numeric"}})
    before, table = pg_job.show(), pg_job.table()
    told = pg_job.push(pg_job.file("bad.csv", "day,n,remark\n" + text), exits=1).stderr
    (told,) = [one for one in told.splitlines() if "bad.csv" in one]
    assert f'bad.csv: line {line}, column "{column}": {value}: ' in told
    assert told.endswith(f"; {rows} row{'s' * (rows > 1)} would be refused in all") and "COPY" not in told
    assert pg_job.show() == before and pg_job.table() == table


def test_a_character_that_the_database_lacks_is_told_by_its_line(server, tmp_path):
    job = PostgresJob(tmp_path, server, "file")
    server.sql(f'DROP DATABASE "{job.database}"')
    server.sql(f"CREATE DATABASE \"{job.database}\" ENCODING latin1 LOCALE 'C' TEMPLATE template0")
    job.push(job.file("good.csv", "a,b\nné,1\n"))
    job.annotate({"a": {"label": "é"}})
    before, table = job.show(), job.table()
    told = job.push(job.file("bad.csv", "a,b\nné,1\nné,日本\nx,y\n日,本\n"), exits=1).stderr
    assert re.search('bad.csv: line 3, column "b": "日本": .*; 2 rows would be refused in all', told)
    assert job.show() == before and job.table() == table
    told = job.push(job.file("bad.csv", "a,日\n1,2\n"), exits=2).stderr
    assert '"日"' in told and "LATIN1" in told
    assert job.show() == before and job.table() == table


def test_what_a_trigger_refuses_is_told_by_the_files_line(pg_job):
    pg_job.change("""CREATE FUNCTION populate_full_text_trigger() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN IF NEW.a = 'bad' THEN RAISE 'not this' USING ERRCODE = '22023'; END IF; RETURN NEW; END $$""")
    told = pg_job.push(pg_job.file("bad.csv", 'a\n"1\n1"\n"2\r\n2"\n\nbad\n'), exits=1).stderr
    assert "bad.csv: line 7: " in told and "not this" in told and ", line 6" not in told
    assert not pg_job.is_there()


def test_where_no_function_can_be_made_the_line_is_told_all_the_same(pg_job):
    pg_job.push(pg_job.file("good.csv", "day,n\n2012-01-01,1\n"))
    pg_job.annotate({"n": {"type_override": "numeric"}})
    pg_job.change("DROP EXTENSION plpgsql")
    told = pg_job.push(pg_job.file("bad.csv", "day,n\n2012-01-01,1\n\n2012-01-02,x\n"), exits=1).stderr
    assert "bad.csv: line 4: " in told and 'column n: "x"' in told and "how many rows would be refused" in told


@pytest.mark.parametrize("value", ["COPY weather, line 1", "line 99999999999999999999999999", 'a","b'])
def test_what_a_value_says_is_not_taken_for_a_line(pg_job, value):
    pg_job.push(pg_job.file("good.csv", "day,n\n2012-01-01,1\n"))
    pg_job.annotate({"n": {"type_override": "numeric"}})
    pg_job.change("DROP EXTENSION plpgsql")
    quoted = value.replace('"', '""')
    told = pg_job.push(pg_job.file("bad.csv", f'day,n\n2012-01-01,1\n\n2012-01-02,"{quoted}"\n'), exits=1).stderr
    assert "bad.csv: line 4: " in told


def test_a_file_that_was_replaced_while_it_loaded_is_not_looked_through(pg_job):
    pg_job.push(pg_job.file("good.csv", "day,n\n2012-01-01,1\n"))
    pg_job.annotate({"n": {"type_override": "numeric"}})
    bad = pg_job.file("bad.csv", "day,n\n" + "2012-01-01,much\n" * 20_000)
    wide = pg_job.file("wide.csv", "day,n,more\n1,2,3\n")
    locker = pg_job.start([str(postgres_cluster.programs() / "psql"), "-X", "-q", pg_job.datastore, "-c",
                           "BEGIN; LOCK TABLE weather; SELECT pg_sleep(3)"])
    while pg_job.sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(3)%' AND wait_event = 'PgSleep'"
                     ) != [("1",)]:
        time.sleep(0.05)
    process = pg_job.start(pg_job.command("push", bad), stderr=subprocess.PIPE, text=True)
    time.sleep(1)  # it has opened the file, and waits
    wide.rename(bad)
    _, told = process.communicate(timeout=TIMEOUT)
    locker.wait()
    assert process.returncode == 1, told
    assert "22P02" in told and "changed while it was loaded" in told


@pytest.mark.parametrize("value", ['"\\."', '""', "\\.", '"a""b"', '" x "', '"\\N"', "日本", '"1\n2"', "\\x00"])
def test_a_value_is_loaded_as_it_stands(pg_job, value):
    text = f"a,b\n{value},\n{value},x\n"
    pg_job.push(pg_job.file("v.csv", text))
    expected = [tuple(row) for row in csv.reader(io.StringIO(text, newline=""))][1:]
    assert [(a, b or "") for a, b in pg_job.table()] == expected
    assert pg_job.table()[0][1] is None


@pytest.mark.parametrize("stash", ["file", "sqlite", "journal"])
def test_each_storage_stashes_for_the_pusher(tmp_path, server, stash):
    program()
    job = PostgresJob(tmp_path, server, stash)
    job.push(WEATHER)
    job.annotate(WEATHER_WORDS)
    infos = job.show().infos
    strike(job, "kill", "mid-load")
    assert [e.state for e in job.stashes()] == ["intact"]
    assert job.recover()["restored"] == 1
    assert job.show().infos == infos
    strike(job, "kill", "after-drop")
    job.push(WEATHER)
    assert_whole(job, infos)
    narrow = job.file("narrow.csv", "weather,date\nrain,2012-01-01\n")
    job.push(narrow)
    (aside,) = job.aside()
    assert aside.key == "weather"


# Failures before the swap

FURNISH = """CREATE INDEX by_wind ON weather (wind); CREATE VIEW wet AS SELECT date FROM weather WHERE precipitation > 0;
    GRANT SELECT ON weather TO PUBLIC; CREATE POLICY all_of_it ON weather USING (true);
    ALTER TABLE weather ENABLE ROW LEVEL SECURITY"""
FORBID = """CREATE FUNCTION forbid() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'forbidden here'; END $$;
    CREATE EVENT TRIGGER forbid ON ddl_command_start WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION forbid()"""
HEADER = WEATHER.read_text().splitlines()[0]
FAILURES = {  # what is changed in the database, the file, and what is told
    "a column named after a system column": ("", HEADER + ",xmin\n" + "1," * 6 + "1\n", "xmin"),
    "more columns than the server takes":
        ("", ",".join(f"c{n}" for n in range(1700)) + "\n" + "1," * 1699 + "1\n", "1598"),
    "an event trigger": (FORBID, None, "forbidden here"),
    "a bad row at the end": ("", WEATHER.read_text() + "2016-01-01,1\n", "line 1463: 2 fields"),
    "a bad value at the end": ("", WEATHER.read_text() + "2016-01-01,1,much,1,1,rain\n", 'line 1463, column "temp_max"'),
    "a role that may not replace it": (
        "CREATE ROLE {role} LOGIN; GRANT ALL ON SCHEMA public TO {role}; CREATE SCHEMA stash_beside_public_{role} AUTHORIZATION"
        " {role}", None, "the table is role postgres's"),
    "a role without CREATE": ("CREATE ROLE {role} LOGIN; ALTER TABLE weather OWNER TO {role}", None, "permission denied"),
    "a name that the encoding lacks": ("", HEADER + ",日\n" + "1," * 6 + "1\n", "LATIN1"),
}


@each("change, text, told", FAILURES)
def test_a_failure_before_the_swap_leaves_all_untouched(tmp_path, server, change, text, told):
    job = PostgresJob(tmp_path, server, "file")
    if "LATIN1" in told:
        server.sql(f'DROP DATABASE "{job.database}"')
        server.sql(f"CREATE DATABASE \"{job.database}\" ENCODING latin1 LOCALE 'C' TEMPLATE template0")
    job.push(WEATHER)
    job.annotate(WEATHER_WORDS)
    job.push(WEATHER)  # with the types that are asked for
    job.change(FURNISH)
    role = f"loader_{random.getrandbits(40)}"
    job.change(change.replace("{role}", role))
    datastore = job.cluster.uri(job.database, role if "{role}" in change else "postgres")
    before, rows = job.cluster.dump(job.database, "--schema", "public"), job.table()
    words = job.show()
    failed = job.push(WEATHER if text is None else job.file("other.csv", text), datastore=datastore, exits=(1, 2)).stderr
    assert re.search(told, failed), failed
    assert job.cluster.dump(job.database, "--schema", "public") == before and job.table() == rows and job.show() == words
    assert job.all_stashes() == [] and job.beside() == []


def test_a_time_limit_of_the_role_ends_no_load(tmp_path, server, long_csv):
    job = PostgresJob(tmp_path, server, "file")
    job.push(WEATHER)
    job.annotate(WEATHER_WORDS)
    job.push(WEATHER)
    job.change(FURNISH)
    shape = job.cluster.dump(job.database, "--schema-only", "--schema", "public")
    job.change("CREATE ROLE hurried LOGIN SUPERUSER; ALTER ROLE hurried SET statement_timeout = '20ms'")
    job.push(long_csv, datastore=job.cluster.uri(job.database, "hurried"))
    assert job.show().rows > 100_000
    assert job.cluster.dump(job.database, "--schema-only", "--schema", "public") == shape


def test_rows_that_people_load_into_a_half_built_table_are_not_dropped_by_recover(pg_annotated):
    infos = pg_annotated.show().infos
    strike(pg_annotated, "kill", "before-commit")
    pg_annotated.change("INSERT INTO weather (weather) VALUES ('typed by hand')")
    told = pg_annotated.run("recover", exits=3).stderr
    assert "the half-built table has 1 row that no reload has loaded" in told
    assert pg_annotated.table()[-1][-1] == "typed by hand" and len(pg_annotated.stashes()) == 1
    strike(pg_annotated, "fail", "before-commit")  # what the job is run for again replaces them
    assert pg_annotated.show().infos == infos and pg_annotated.table() == []


# Killed at random moments


@pytest.mark.parametrize("keep", ["everything", "words"])
@pytest.mark.parametrize("stash", ["file", "postgres"])
def test_a_push_that_is_killed_at_any_moment_loses_nothing(tmp_path, server, stash, keep):
    program()
    job = PostgresJob(tmp_path, server, stash)
    lines = [f"2012-01-01,{n}.5,12.8,5.0,{n},rain" for n in range(20_000)]
    rows = job.file("rows.csv", "date,precipitation,temp_max,temp_min,wind,weather\n" + "\n".join(lines) + "\n")
    job.push(rows)
    job.annotate(WEATHER_WORDS)
    job.push(rows)  # with the types that are asked for
    before = job.show()
    infos = before.infos
    if keep == "everything":
        job.change("CREATE INDEX by_wind ON weather (wind); CREATE VIEW wet AS SELECT date FROM weather;"
                   " GRANT SELECT ON weather TO PUBLIC; CREATE POLICY all_of_it ON weather USING (true)")
    shape = job.cluster.dump(job.database, "--schema-only")
    start = time.monotonic()
    job.push(rows, "--keep", keep)
    duration = time.monotonic() - start
    tried = lost = half_built = 0
    moments = random.Random(4711)
    for n in range(200 if IS_LONG else 9):
        process = job.start(job.command("push", "--keep", keep, rows), stderr=subprocess.DEVNULL)
        time.sleep(moments.uniform(0, duration))
        process.kill()
        process.wait()
        tried += 1
        if keep == "everything":
            lost += job.show() != before
        if n % 3 == 0:
            had_record = job.stashes() != []
            counted = job.recover()
            assert counted["failed"] == counted["busy"] == 0
            lost += job.show().infos != infos
            half_built += had_record and job.unfinished() != []
        if n % 3 < 2:
            job.push(rows, "--keep", keep)
            shown = job.show()
            lost += shown.infos != infos
            half_built += job.unfinished() != [] or shown.rows != 20_000
    job.push(rows)
    lost += job.show().infos != infos
    if keep == "everything":
        assert job.cluster.dump(job.database, "--schema-only") == shape
    note(f"pusher killed at random moments, --keep {keep}, the stash in {'a file' if stash == 'file' else 'PostgreSQL'}", tried,
         lost + half_built)
    assert (lost, half_built) == (0, 0)
    assert job.stashes() == []


# Servers that refuse


class Proxy:
    """Passes on what comes for a server, until `cut_after` bytes went to it: then all is cut."""

    def __init__(self, port, cut_after):
        self.port = port
        self.left = cut_after  # None: never
        self.open = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                far = socket.create_connection(("127.0.0.1", self.port))
                self.open += [near, far]
                threading.Thread(target=self.pump, args=(near, far, True), daemon=True).start()
                threading.Thread(target=self.pump, args=(far, near, False), daemon=True).start()

    def pump(self, source, target, counts):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if counts and self.left is not None:
                    self.left -= len(data)
                    if self.left < 0:
                        self.left = None  # once
                        for s in self.open:
                            s.shutdown(socket.SHUT_RDWR)
                        return
                target.sendall(data if counts else self.changed(data))
            target.shutdown(socket.SHUT_WR)

    def changed(self, data):
        return data

    def uri(self, database):
        return f"postgresql://postgres@127.0.0.1:{self.listener.getsockname()[1]}/{database}"


class Pooler(Proxy):
    """As a pooler does, it tells its clients another process id than that of the server that will work for them."""

    def __init__(self, port):
        super().__init__(port, None)

    def changed(self, data):
        key_data = b"K\x00\x00\x00\x0c"
        at = data.find(key_data)
        return data if at < 0 else data[:at + 5] + b"\x00\x00\x00\x01" + data[at + 9:]


def test_a_connection_that_is_cut_in_the_middle_of_a_load_loses_no_word(job, long_csv):
    job.push(WEATHER)
    job.annotate(WEATHER_WORDS)
    infos, rows = job.show().infos, job.table()
    for keep in ["everything", "words"]:
        proxy = Proxy(job.cluster.port, 2_000_000)
        told = job.push(long_csv, "--keep", keep, datastore=proxy.uri(job.database), exits=1).stderr
        assert "08006" in told and "restored" in told
        assert job.show().infos == infos and job.table() == (rows if keep == "everything" else [])
    job.push(WEATHER)
    assert_whole(job, infos)


@pytest.mark.parametrize("comes_back", [True, pytest.param(False, marks=pytest.mark.skipif(
    not IS_LONG, reason="waits for half a minute"))])
@pytest.mark.parametrize("keep", ["everything", "words"])
def test_a_server_that_goes_down_in_the_middle_of_a_load_loses_no_word(tmp_path, servers, long_csv, comes_back, keep):
    program()
    cluster = start_server(servers)
    try:
        job = PostgresJob(tmp_path, cluster, "postgres")
        job.push(WEATHER)
        job.annotate(WEATHER_WORDS)
        infos = job.show().infos
        if keep == "everything":
            job.push(WEATHER)  # with the types that are asked for
            job.change(FURNISH)
        shape = job.cluster.dump(job.database, "--schema-only", "--schema", "public")
        process = job.start(job.command("push", "--keep", keep, long_csv), stderr=subprocess.PIPE, text=True)
        while not job.is_loading():
            assert process.poll() is None
        cluster.stop(signal.SIGKILL)
        if comes_back:
            cluster.start()
        _, told = process.communicate(timeout=240)
        assert process.returncode == (1 if comes_back else 3), told
        assert "SQLSTATE 08006" in told
        if comes_back:
            assert job.show().infos == infos and len(job.table()) == (1461 if keep == "everything" else 0)
        else:
            cluster.start()
        assert keep == "words" or job.cluster.dump(job.database, "--schema-only", "--schema", "public") == shape
        job.push(WEATHER)
        assert_whole(job, infos)
        assert job.unfinished() == []
    finally:
        cluster.stop()


BAD_SERVERS = {
    "wrong password": ("with_password", ":wrong", "", "28P01"),
    "no such role": ("nobody_here", "", "", "28000"),
    "no such database": ("postgres", "", "/nowhere", "3D000"),
    "read only": ("postgres", "", "?options=-c%20default_transaction_read_only%3Don", "25006"),
    "too many connections": ("limited", "", "", "53300"),
    "nobody listens": ("postgres", "", None, "08001"),
}


@pytest.fixture(scope="session")
def roles(server):
    server.sql("CREATE ROLE with_password LOGIN SUPERUSER PASSWORD 'right'")
    server.sql("CREATE ROLE limited LOGIN CONNECTION LIMIT 0")


@pytest.mark.parametrize("option", ["datastore", "stash"] if IS_LONG else ["datastore"])
@each("user, password, rest, state", BAD_SERVERS)
def test_a_bad_server_is_told_with_its_sqlstate_and_touches_nothing(pg_annotated, roles, option, user, password, rest,
                                                                     state):
    port = 1 if rest is None else pg_annotated.cluster.port
    rest = rest or ""
    database = rest if rest.startswith("/") else f"/{pg_annotated.database}{rest}"
    uri = f"postgresql://{user}{password}@127.0.0.1:{port}{database}"
    before, rows = pg_annotated.show(), pg_annotated.table()
    told = pg_annotated.push(WEATHER, **{option: uri}, exits=1).stderr
    assert f"SQLSTATE {state}" in told
    assert "wrong" not in told
    assert pg_annotated.show() == before and pg_annotated.table() == rows
    assert pg_annotated.stashes() == [] or option == "datastore"
    pg_annotated.push(WEATHER)
    assert_whole(pg_annotated, before.infos)


@pytest.fixture
def small_disk(tmp_path, server):
    """A tablespace on a file system of 16 MB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    place = server.place / f"small-{tmp_path.name}"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m,mode=0777", "stash-test", place],
                             capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount: {mounted.stderr}")
    name = f"small_{random.getrandbits(40)}"
    try:
        for directory in (place,):
            os.chown(directory, 65534, 65534)
        server.sql(f"CREATE TABLESPACE {name} LOCATION '{place}'")
        yield name
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_under_the_table_loses_no_word(pg_annotated, small_disk, long_csv):
    infos = pg_annotated.show().infos
    pg_annotated.change(f'ALTER DATABASE "{pg_annotated.database}" SET default_tablespace = {small_disk}')
    wide = pg_annotated.file("wide.csv", "a,b\n" + f"{'x' * 1000},{'y' * 1000}\n" * 30_000)
    pg_annotated.resource = "wide"
    pg_annotated.push(pg_annotated.file("first.csv", "a,b\n1,2\n"))
    pg_annotated.annotate({"a": {"label": "typed"}})
    told = pg_annotated.push(wide, exits=1).stderr
    assert "53100" in told
    assert pg_annotated.table() == [("1", "2")] and pg_annotated.stashes() == [] == pg_annotated.beside()
    told = pg_annotated.push(wide, "--keep", "words", exits=1).stderr
    assert "53100" in told
    assert pg_annotated.show().infos == {"a": '{"label":"typed"}'}
    assert pg_annotated.stashes()[0].key == "wide"
    pg_annotated.resource = "weather"
    assert pg_annotated.show().infos == infos


def test_a_full_disk_under_the_stash_stops_the_push_before_the_drop(pg_annotated, small_disk):
    before, rows = pg_annotated.show(), pg_annotated.table()
    pg_annotated.push(WEATHER)
    pg_annotated.change(f"ALTER TABLE stash.stash SET TABLESPACE {small_disk}; CREATE TABLE fill (a text) TABLESPACE"
                        f" {small_disk}; ALTER TABLE fill ALTER a SET STORAGE EXTERNAL")
    with pytest.raises(RuntimeError, match="space"):
        while True:
            pg_annotated.change("INSERT INTO fill SELECT repeat('x', 8000) FROM generate_series(1, 100)")
    with contextlib.suppress(RuntimeError):
        while True:
            pg_annotated.change("INSERT INTO fill SELECT 'x'")
            pg_annotated.change("INSERT INTO fill SELECT repeat('x', 4000)")
    words = pg_annotated.file("long.json", json.dumps({"wind": {"notes": os.urandom(200_000).hex()}}))
    pg_annotated.annotate(words)
    before, rows = pg_annotated.show(), pg_annotated.table()
    told = pg_annotated.push(WEATHER, exits=1).stderr
    assert "53100" in told
    assert pg_annotated.show() == before and pg_annotated.table() == rows
    pg_annotated.change("DROP TABLE fill")
    pg_annotated.push(WEATHER)
    assert_whole(pg_annotated, before.infos)


# Another server takes over


def worker(*arguments, **how):
    path = os.environ.get("STASH_POSTGRES_WORKER")
    if not path:
        pytest.fail("STASH_POSTGRES_WORKER is not set: it must be the path of postgres_worker")
    return subprocess.Popen([path, *map(str, arguments)], stdout=subprocess.PIPE, text=True, **how)


def run_worker(*arguments):
    process = worker(*arguments)
    out, _ = process.communicate(timeout=90)
    assert process.returncode == 0, out
    return out


def acknowledged(out, what):
    return [int(n) for n in re.findall(rf"^{what} (\d+)$", out, re.M)]


def test_a_failover_loses_no_acknowledged_save_and_no_guard(tmp_path, servers):
    primary = start_server(servers, max_wal_senders=10, wal_level="replica", hot_standby="on")
    place = primary.place.parent
    standby = postgres_cluster.Cluster(place / "standby-0", hot_standby="on").follow(primary).start()
    resources = tmp_path / "resources"
    resources.mkdir()
    names = [f"g{n}" for n in range(3)]
    for name in names:
        (resources / name).write_text(f"words of {name}")
    rounds = 20 if IS_LONG else 2
    acks = commits = bad = 0
    started = []
    try:
        for turn in range(rounds):
            synchronous(primary)
            hosts = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
            both = f"postgresql://postgres@{hosts}/postgres?target_session_attrs=read-write"
            savers = {f"s{n}": worker("save", both, f"s{n}", stdin=subprocess.PIPE) for n in range(3)}
            guards = {name: worker("guard", both, name, resources, stdin=subprocess.PIPE) for name in names}
            started = [*savers.values(), *guards.values()]
            time.sleep(random.uniform(0.5, 1.5))
            primary.stop(signal.SIGKILL)
            standby.promote()
            time.sleep(1)
            outs = {}
            for name, process in (savers | guards).items():
                if name == "g2":
                    process.kill()  # its guard, if there is one, is left behind
                outs[name] = process.communicate(timeout=60)[0]
            here = standby.uri()
            found = dict(line.split("\t") for line in run_worker("list", here).splitlines())
            for name in savers:
                said = acknowledged(outs[name], "saved")
                acks += len(said)
                bad += not said or int(found.get(name, 0)) < said[-1]
            for name in names:
                commits += len(acknowledged(outs[name], "committed"))
                bad += "the words are lost" in outs[name]
            run_worker("recover", here, resources)
            for name in names:
                path = resources / name
                bad += not path.exists() or path.read_text() != f"words of {name}"
            primary = standby
            if turn + 1 < rounds:
                standby = postgres_cluster.Cluster(place / f"standby-{turn + 1}", hot_standby="on").follow(primary)
                standby.start()
    finally:
        for process in started:
            process.kill()
            process.communicate()
        for cluster in {primary, standby}:
            cluster.stop()
    assert acks > 20 * rounds and commits > rounds
    note(f"failovers ({acks} saves acknowledged, {commits} guards committed)", rounds, bad)
    assert bad == 0


def synchronous(primary):
    """From here on its commits wait for the standby."""
    primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
    primary.sql("SELECT pg_reload_conf()")
    deadline = time.monotonic() + TIMEOUT
    while primary.sql("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") != "1":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_standby_and_a_pooler_are_refused(tmp_path, servers):
    program()
    primary = start_server(servers, max_wal_senders=10, wal_level="replica")
    standby = postgres_cluster.Cluster(primary.place.parent / "standby").follow(primary).start()
    try:
        job = PostgresJob(tmp_path, primary, "postgres")
        told = job.run("stashes", stash=standby.uri(), exits=1).stderr
        assert "25006" in told and "standby" in told
        assert "25006" in job.run("show", datastore=standby.uri(), exits=1).stderr
        hosts = f"127.0.0.1:{standby.port},127.0.0.1:{primary.port}"
        job.run("stashes", stash=f"postgresql://postgres@{hosts}/postgres")
        pooler = Pooler(primary.port).uri("postgres")
        assert "pooler" in job.run("stashes", stash=pooler, exits=2).stderr
        assert "pooler" in job.run("show", datastore=pooler, exits=2).stderr
    finally:
        standby.stop()
        primary.stop()
