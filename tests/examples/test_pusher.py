"""The pusher's contract, checked from outside: exit codes, what it prints, and what SQLite and the stash hold then."""

import csv
import json
import os
import pty
import re
import resource
import signal
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from job import TIMEOUT, Job, program

DATA = Path(__file__).resolve().parent.parent / "data"
WEATHER = DATA / "seattle-weather.csv"
WEATHER_WORDS = DATA / "seattle-weather.dictionary.json"

STEPS = ["before-drop", "after-drop", "after-create", "mid-load", "before-commit"]
FAULTS = [["fail"], ["kill"], ["fail", "fail"], ["kill", "kill"], ["kill", "fail"], ["fail", "kill"]]

each_step = pytest.mark.parametrize("step", STEPS)
each_run_of_faults = pytest.mark.parametrize("faults", FAULTS, ids="-".join)


def some(cases):
    """One of four, but for the long run: of what takes several steps each, and differs in the text alone."""
    return cases if "STASH_LONG" in os.environ else cases[::4]


def each(names, cases):
    """Parametrizes by a dict of id to value (one name) or values."""
    return pytest.mark.parametrize(names, cases.values(), ids=cases.keys())


def short(text):
    return ascii(text)[:40]


@pytest.fixture
def job(tmp_path):
    program()
    return Job(tmp_path)


@pytest.fixture
def annotated(job):
    """The weather, loaded, with its dictionary typed in."""
    job.push(WEATHER)
    job.annotate(WEATHER_WORDS)
    return job


@pytest.fixture(scope="session")
def long_csv(tmp_path_factory):
    """So long that it can be caught while it loads."""
    path = tmp_path_factory.mktemp("long") / "long.csv"
    lines = (f"2012-01-01,{n}.5,12.8,5.0,{n},rain\n" for n in range(200_000))
    path.write_text("date,precipitation,temp_max,temp_min,wind,weather\n" + "".join(lines))
    return path


def strike(job, fault, step, csv_file=WEATHER, keep="words", exits=1):
    if fault == "fail":
        return job.push(csv_file, "--keep", keep, "--fail-at", step, exits=exits)
    return job.push(csv_file, "--keep", keep, "--crash-at", step, exits=-signal.SIGKILL)


def weather_rows(infos):
    """The shipped file as Python reads it; columns with the type override `numeric` hold numbers."""
    with WEATHER.open(newline="") as file:
        header, *rows = csv.reader(file)
    types = [(json.loads(infos[name]) or {}).get("type_override") for name in header]
    return [tuple(float(v) if t == "numeric" else v for v, t in zip(row, types)) for row in rows]


def assert_whole(job, infos):
    """The weather is there, the words as they were typed, and nothing is stashed any more."""
    shown = job.show()
    assert shown.infos == infos
    assert shown.rows == 1461
    assert job.table() == weather_rows(infos)
    assert job.stashes() == []


NO_WORDS = dict.fromkeys(["date", "precipitation", "temp_max", "temp_min", "wind", "weather"], "null")


# Jobs that end early, and their retries


@each_step
@each_run_of_faults
def test_a_reload_that_ends_early_loses_nothing(annotated, step, faults):
    annotated.push(WEATHER)  # with the types that are asked for
    before, rows = annotated.show(), annotated.table()
    other = annotated.file("other.csv", WEATHER.read_text().replace("drizzle", "rain"))
    for fault in faults:
        strike(annotated, fault, step, other, "everything")
        assert annotated.show() == before
        is_new = step == "after-drop"
        assert annotated.table() == ([r[:-1] + (r[-1].replace("drizzle", "rain"),) for r in rows] if is_new else rows)
    assert annotated.recover()["restored"] == 0
    assert annotated.show() == before
    annotated.push(WEATHER)
    assert_whole(annotated, before.infos)
    assert annotated.set_aside() == [] and annotated.beside() == []


@each_step
@each_run_of_faults
def test_a_first_upload_beside_that_ends_early_leaves_no_half_built_table(job, step, faults):
    for fault in faults:
        strike(job, fault, step, keep="everything")
        assert job.is_live() == (step == "after-drop")
        assert (job.table() is None) == (step != "after-drop")
        assert job.stashes() == []
    job.push(WEATHER)
    assert_whole(job, NO_WORDS)
    assert job.beside() == []


@pytest.mark.parametrize("step", STEPS[2:])
def test_words_that_a_dropped_table_left_are_there_again_after_a_reload_beside_that_fails(annotated, step):
    infos = annotated.show().infos
    strike(annotated, "kill", "mid-load")
    strike(annotated, "fail", step, keep="everything")
    assert annotated.show().infos == infos and annotated.table() == []
    annotated.push(WEATHER)
    assert_whole(annotated, infos)


@each_step
@each_run_of_faults
def test_a_reload_that_ends_early_loses_no_word(annotated, step, faults):
    before, rows = annotated.show(), annotated.table()
    for fault in faults:
        strike(annotated, fault, step)
        if step == "before-drop":
            assert annotated.show() == before
            assert annotated.table() == rows
        elif fault == "fail":
            assert annotated.show().infos == before.infos
            assert annotated.show().rows == 0
            assert annotated.table() == []
        else:
            assert not annotated.is_live()
            assert [e.state for e in annotated.stashes()] == ["intact"]
    annotated.push(WEATHER)
    assert_whole(annotated, before.infos)
    assert annotated.set_aside() == []


@each_step
@each_run_of_faults
def test_a_first_upload_that_ends_early_leaves_no_live_table(job, step, faults):
    for fault in faults:
        strike(job, fault, step)
        assert not job.is_live()
        if fault == "fail" or step in ("before-drop", "after-drop"):
            assert job.table() is None
        assert job.stashes() == []
    job.push(WEATHER)
    assert_whole(job, NO_WORDS)


@pytest.mark.parametrize("step", STEPS[1:])
def test_a_retry_that_fails_before_the_drop_says_that_nothing_was_restored(annotated, step):
    infos = annotated.show().infos
    strike(annotated, "kill", step)
    strike(annotated, "fail", "before-drop", exits=3)
    assert [e.state for e in annotated.stashes()] == ["intact"]
    annotated.push(WEATHER)
    assert_whole(annotated, infos)


def test_a_push_writes_to_standard_error_only_and_stores_the_types_that_were_asked_for(annotated):
    done = annotated.push(WEATHER)
    assert done.stdout == "" and done.stderr != ""
    types = annotated.show().types
    assert types == dict.fromkeys(types, "numeric") | {"date": "date", "weather": "text"}


@pytest.mark.parametrize("scheme", ["", "journal:", "sqlite:"])
def test_a_daemon_without_standard_descriptors_writes_into_no_file_of_its_own(annotated, scheme):
    def close_all():
        for fd in range(3):
            os.close(fd)

    infos = annotated.show().infos
    place = f"{scheme}{annotated.directory / 'other'}"
    for options, exits in ((["--crash-at", "mid-load"], -signal.SIGKILL), ([], 0)):
        command = annotated.command("push", *options, WEATHER, stash=place)
        with annotated.start(command, preexec_fn=close_all) as process:
            assert process.wait(TIMEOUT) == exits
    assert annotated.show().infos == infos
    assert annotated.table() == weather_rows(infos)
    assert annotated.run("stashes", stash=place).stdout == ""


def test_an_orphan_is_listed_with_its_key_age_bytes_and_state(annotated):
    assert annotated.stashes() == []
    strike(annotated, "kill", "mid-load")
    (entry,) = annotated.stashes()
    assert (entry.key, entry.state) == ("weather", "intact")
    assert re.fullmatch(r"\d s", entry.age) and re.fullmatch(r"[1-9]\d+ bytes", entry.bytes)


def test_listing_makes_no_stash_directory(job):
    assert job.stashes() == []
    for stash in (job.stash, f"sqlite:{job.stash}", f"journal:{job.stash}"):
        assert "there is no stash" in job.run("stashes", stash=stash).stderr
    assert not job.stash.exists()


def test_a_live_table_without_words_does_not_beat_the_stash(annotated):
    infos = annotated.show().infos
    strike(annotated, "kill", "after-drop")
    annotated.push(WEATHER, stash=annotated.directory / "another")
    assert annotated.show().infos == NO_WORDS
    assert annotated.recover()["live"] == 1
    assert annotated.show().infos == NO_WORDS
    annotated.push(WEATHER)
    assert_whole(annotated, infos)


def test_newer_words_of_a_live_table_win_and_the_older_are_set_aside(annotated):
    old = annotated.show().infos
    strike(annotated, "kill", "before-drop")
    annotated.annotate({"wind": {"label": "typed later"}})
    annotated.push(WEATHER)
    assert_whole(annotated, old | {"wind": '{"label":"typed later"}'})
    ((_, path),) = annotated.set_aside()
    assert old["wind"] in path.read_text()


# recover


@each_step
def test_recover_brings_back_the_words_that_a_killed_reload_left(annotated, step):
    before, rows = annotated.show(), annotated.table()
    strike(annotated, "kill", step)
    counted = annotated.recover()
    if step == "before-drop":
        assert counted["live"] == 1 and counted["restored"] == 0
        assert annotated.show() == before and annotated.table() == rows
    else:
        assert counted["restored"] == 1 and counted["live"] == 0
        assert annotated.show().infos == before.infos and annotated.table() == []
        assert annotated.stashes() == []
    once = annotated.everything()
    assert annotated.recover()["restored"] == 0
    assert annotated.everything() == once
    annotated.push(WEATHER)
    assert_whole(annotated, before.infos)


@each_step
def test_recover_finds_nothing_of_a_killed_first_upload(job, step):
    strike(job, "kill", step)
    assert set(job.recover().values()) == {0}
    assert not job.is_live()


def test_recover_restores_each_of_several_orphans(job):
    names = ["one", "two", "three"]
    for name in names:
        job.resource = name
        job.push(WEATHER)
        job.annotate({"wind": {"label": name}})
        strike(job, "kill", "after-drop")
    assert job.recover()["restored"] == 3
    for job.resource in names:
        assert job.show().infos == {"wind": f'{{"label":"{job.resource}"}}'}


# Words that have no place any more


def test_words_of_columns_that_the_file_lacks_are_set_aside(annotated):
    infos = annotated.show().infos
    narrow = annotated.file("narrow.csv", "weather,date\nrain,2012-01-01\n")
    told = annotated.push(narrow).stderr
    assert annotated.show().infos == {name: infos[name] for name in ("weather", "date")}
    assert annotated.stashes() == []
    ((entry, path),) = annotated.set_aside()
    assert (entry.key, entry.state) == ("weather", "intact")
    for name in ("precipitation", "temp_max", "temp_min", "wind"):
        assert infos[name] in path.read_text()
        assert f'"{name}"' in told

    annotated.push(narrow)
    assert [p for _, p in annotated.set_aside()] == [path]


def test_words_adopted_for_columns_that_the_file_lacks_are_set_aside(annotated):
    infos = annotated.show().infos
    strike(annotated, "kill", "mid-load")
    annotated.push(annotated.file("narrow.csv", "date\n2012-01-01\n"))
    ((_, path),) = annotated.set_aside()
    assert all(info in path.read_text() for info in infos.values())


# Two at once


def test_a_second_push_and_recover_are_told_busy_while_the_first_loads(annotated, long_csv):
    infos = annotated.show().infos
    with annotated.stopped_push(long_csv) as first:
        told = annotated.push(WEATHER, exits=(1, 3)).stderr
        assert "busy" in told
        counted = annotated.recover()
        assert counted["busy"] == 1 and counted["restored"] == 0
        assert annotated.is_loading() and not annotated.is_live()
        first.send_signal(signal.SIGCONT)
        _, log = first.communicate(timeout=60)
        assert first.returncode == 0, log
    shown = annotated.show()
    assert shown.rows == 200_000 and shown.infos == infos
    assert annotated.stashes() == []


def test_two_first_uploads_at_once_exclude_each_other(job, long_csv):
    with job.stopped_push(long_csv) as first:
        assert "busy" in job.push(WEATHER, exits=(1, 3)).stderr
        first.send_signal(signal.SIGCONT)
        first.communicate(timeout=60)
        assert first.returncode == 0
    assert job.show().rows == 200_000


@pytest.mark.parametrize("then", ["push", "recover"])
def test_the_lock_of_a_killed_push_is_gone_at_once(annotated, long_csv, then):
    infos = annotated.show().infos
    with annotated.stopped_push(long_csv) as first:
        first.kill()
        first.wait()
        if then == "recover":
            assert annotated.recover()["restored"] == 1
            assert annotated.show().infos == infos and annotated.table() == []
        annotated.push(WEATHER)
    assert_whole(annotated, infos)


def cut(path):
    os.truncate(path, 1000)


def grow(path):
    with path.open("a") as file:
        file.write("2012-01-01,0.5,12.8,5.0,0,rain\n")


@pytest.mark.parametrize("change", [cut, grow])
def test_a_file_that_changes_while_it_loads_costs_no_word(annotated, long_csv, change):
    infos = annotated.show().infos
    copy = annotated.file("copy.csv", long_csv.read_bytes())
    with annotated.stopped_push(copy) as first:
        change(copy)
        first.send_signal(signal.SIGCONT)
        first.communicate(timeout=60)
        assert first.returncode == 1
    assert annotated.show().infos == infos and annotated.table() == []
    annotated.push(WEATHER)
    assert_whole(annotated, infos)


# Files that load


GOOD_FILES = {
    "lf": ("a,b\n1,2\n3,4\n", [("1", "2"), ("3", "4")]),
    "crlf": ("a,b\r\n1,2\r\n3,4\r\n", [("1", "2"), ("3", "4")]),
    "cr": ("a,b\r1,2\r3,4\r", [("1", "2"), ("3", "4")]),
    "mixed line ends": ("a,b\r\n1,2\n3,4\r5,6\r\n", [("1", "2"), ("3", "4"), ("5", "6")]),
    "no end of the last line": ("a,b\n1,2", [("1", "2")]),
    "bom": ("\ufeffa,b\n1,2\n", [("1", "2")]),
    "bom and quotes": ('\ufeff"a","b"\n1,2\n', [("1", "2")]),
    "bom and crlf": ("\ufeffa,b\r\n1,2\r\n", [("1", "2")]),
    "bom that is data": ("a,b\n\ufeff1,2\n", [("\ufeff1", "2")]),
    "quoted newlines": ('a,b\n"1\n1","2\r\n2"\n"\r",4\n', [("1\n1", "2\r\n2"), ("\r", "4")]),
    "quoted blank lines": ('a,b\n"1\n\n\n1",2\n', [("1\n\n\n1", "2")]),
    "quoted commas": ('a,b\n"1,1","2,2"\n', [("1,1", "2,2")]),
    "quoted quotes": ('a,b\n"""1""","2""2"\n"""",4\n', [('"1"', '2"2'), ('"', "4")]),
    "spaces": ("a,b\n 1 ,\t2\t\n  ,' '\n", [(" 1 ", "\t2\t"), ("  ", "' '")]),
    "quoted spaces": ('a,b\n" 1 ","  "\n', [(" 1 ", "  ")]),
    "empty": ("a,b\n,2\n1,\n,\n", [(None, "2"), ("1", None), (None, None)]),
    "quoted empty": ('a,b\n"",2\n1,""\n"",""\n', [("", "2"), ("1", ""), ("", "")]),
    "blank lines": ("\na,b\n\n1,2\n\r\n\n3,4\n\n", [("1", "2"), ("3", "4")]),
    "what looks like numbers": ("a,b\n007,1e3\n+1,0x10\n", [("007", "1e3"), ("+1", "0x10")]),
    "what looks like null": ("a,b\nNULL,null\n", [("NULL", "null")]),
    "what looks like sql": ("a,b\n'); DROP TABLE weather; --,?1\n", [("'); DROP TABLE weather; --", "?1")]),
    "letters of many scripts": ("a,b\nå,日本\n🎉,e\u0301\n", [("å", "日本"), ("🎉", "e\u0301")]),
    "line ends of Unicode are data": ("a,b\n1\u2028\u0085\x0b\x0c,2\n", [("1\u2028\u0085\x0b\x0c", "2")]),
    "long fields": (f'a,b\n{"1" * 200_000},"{"2" * 200_000}"\n', [("1" * 200_000, "2" * 200_000)]),
}


@each("text, rows", GOOD_FILES)
def test_a_file_loads_right(job, text, rows):
    job.push(job.file("good.csv", text))
    assert list(job.show().types) == ["a", "b"]
    assert job.table() == rows


@pytest.mark.parametrize("length", range((1 << 16) - 16, (1 << 16) + 1))
def test_a_file_loads_right_wherever_a_block_of_it_ends(job, length):
    pad = "x" * length
    job.push(job.file("blocks.csv", f'a,b\r\n{pad},🎉\r\n"{pad}""\r\n🎉",""\r\n'))
    assert job.table() == [(pad, "🎉"), (pad + '"\r\n🎉', "")]


ODD_NAMES = [
    "two words", "apo'strophe", "d.o.t", "100%", "%s", "comma,", "semi;colon", "new\nline", "[a]",
    "`b`", "select", "rowid", "oid", "?1", ":x", "$y", "\\", "x' TEXT); DROP TABLE weather; --", "日本", "é", "É",
    "e\u0301", "🎉", "a-b", "-", "1", "null", "label", "info", "constructor", "x" * 300,
]


def test_odd_column_names_keep_their_words(job):
    path = job.directory / "odd.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([ODD_NAMES, [f"value {n}" for n in range(len(ODD_NAMES))]])
    job.push(path)
    job.annotate({name: {"label": name, "notes": n} for n, name in enumerate(ODD_NAMES)})
    infos = job.show().infos
    assert [json.loads(info)["label"] for info in infos.values()] == ODD_NAMES == list(infos)
    strike(job, "kill", "mid-load", path)
    strike(job, "fail", "mid-load", path)
    assert job.show().infos == infos
    job.push(path)
    assert job.show().infos == infos
    assert job.table() == [tuple(f"value {n}" for n in range(len(ODD_NAMES)))]


def test_as_many_columns_as_sqlite_can_hold_keep_their_words(job):
    names = [f"c{n}" for n in range(1999)]
    path = job.file("wide.csv", ",".join(names) + "\n" + ",".join(names) + "\n")
    job.push(path)
    job.annotate({name: {"label": name} for name in names})
    infos = job.show().infos
    strike(job, "kill", "after-drop", path)
    job.push(path)
    assert job.show().infos == infos
    assert job.table() == [tuple(names)]


ODD_IDS = [
    "two words", 'quo"te', "apo'strophe", "d.o.t", ".hidden", "100%", "a%2fb", "%", "日本", "é", "e\u0301", "🎉",
    "select", "UPPER", "?1", ":memory:", "~", "$(id)", 'x"; DROP TABLE weather; --', "x" * 200,
]


@pytest.mark.parametrize("resource_id", some(ODD_IDS), ids=short)
def test_an_odd_resource_id_is_a_resource_like_any_other(annotated, resource_id):
    weather = annotated.show()
    annotated.resource = resource_id
    annotated.push(WEATHER)
    annotated.annotate(WEATHER_WORDS)
    strike(annotated, "kill", "mid-load")
    assert [e.key for e in annotated.stashes()] == [resource_id]
    assert annotated.recover()["restored"] == 1
    assert annotated.show().infos == weather.infos
    strike(annotated, "kill", "mid-load")
    annotated.push(WEATHER)
    assert_whole(annotated, weather.infos)
    annotated.resource = "weather"
    assert annotated.show() == weather


@pytest.mark.parametrize("orphan", [False, True])
def test_a_file_without_records_touches_nothing(annotated, orphan):
    infos = annotated.show().infos
    if orphan:
        strike(annotated, "kill", "mid-load")
    for n, text in enumerate(["date\n", "date,weather", "\ufeffdate\r\n\r\n"]):
        header = annotated.file(f"header{n}.csv", text)
        before = annotated.everything()
        assert "nothing to load" in annotated.push(header).stderr
        assert annotated.everything() == before
    annotated.push(WEATHER)
    assert_whole(annotated, infos)


ONE_COLUMN = {  # as Python's csv reads them, an empty line as a row of NULL
    "an empty line": ("a\n1\n\n3\n", [("1",), (None,), ("3",)]),
    "of crlf": ("a\r\n1\r\n\r\n3\r\n", [("1",), (None,), ("3",)]),
    "of cr": ("a\r1\r\r3", [("1",), (None,), ("3",)]),
    "at the end": ("a\n1\n\n", [("1",), (None,)]),
    "several": ("a\n\n\n1\n\n\n", [(None,), (None,), ("1",), (None,), (None,)]),
    "before the header": ("\n\na\n1\n", [("1",)]),
    "beside an empty text": ('a\n""\n\n', [("",), (None,)]),
    "in quotes": ('a\n"\n\n"\n', [("\n\n",)]),
    "spaces": ("a\n \n", [(" ",)]),
}


@each("text, rows", ONE_COLUMN)
def test_an_empty_line_of_a_file_of_one_column_is_a_row_of_null(job, text, rows):
    path = job.file("one.csv", text)
    with path.open(newline="") as file:
        read = [tuple(row) or (None,) for row in list(csv.reader(file))]
    assert read[read.index(("a",)) + 1:] == rows
    told = job.push(path).stderr
    assert job.table() == rows
    assert f"loaded {len(rows)} rows" in told


def test_a_file_that_something_else_separates_is_told(job):
    assert '"a;b": only commas' in job.push(job.file("semicolons.csv", "a;b\n1;2\n")).stderr


def test_a_line_that_ends_the_rows_for_postgres_is_a_row(job):
    job.push(job.file("one.csv", "a\n1\n\\.\n3\n"))
    assert job.table() == [("1",), ("\\.",), ("3",)]


NUMBERS_IN_TEXT = ["12345678901234567890", "0.12345678901234567", "1e400", "007", "1.5", "-12", "0x10", "9223372036854775807"]


def test_a_number_that_sqlite_would_change_stays_as_it_was(job):
    path = job.file("numbers.csv", "n\n" + "\n".join(NUMBERS_IN_TEXT) + "\n")
    job.push(path)
    job.annotate({"n": {"type_override": "numeric"}})
    job.push(path)
    assert job.show().types == {"n": "numeric"}
    kept = [value for (value,) in job.table()]
    assert kept == ["12345678901234567890", "0.12345678901234567", "1e400", 7, 1.5, -12, "0x10", 9223372036854775807]


def test_a_file_without_records_makes_nothing(job):
    header = job.file("header.csv", "a,b\n")
    job.push(header)
    assert list(job.directory.iterdir()) == [header]


# Files, names and options that are refused


BAD_FILES = {  # and the line that is named; None: there is none to name
    "too few fields": ("a,b\n1,2\n3\n", 3),
    "too many fields": ("a,b\n1,2,3\n", 2),
    "too few fields in the last line": ("a,b\n1,2\n3", 3),
    "ragged behind quoted newlines": ('a,b\n"1\n1\r\n1",2\n3\n', 5),
    "ragged behind crlf": ("a,b\r\n1,2\r\n3\r\n", 3),
    "ragged behind cr": ("a,b\r1,2\r3\r", 3),
    "ragged behind blank lines": ("a,b\n\n\r\n1,2\n3\n", 5),
    "ragged far behind": ("a,b\n" + "1,2\n" * 40_000 + "3\n", 40_002),
    "not utf-8": (b"a,b\n1,2\n3,\xff\n", 3),
    "latin-1": ("a,b\n1,caf\xe9\n".encode("latin-1"), 2),
    "latin-1 in the header": ("a,caf\xe9\n1,2\n".encode("latin-1"), 1),
    "half a letter": (b"a,b\n1,\xe6\x97\n", 2),
    "half a letter at the end": (b"a,b\n1,\xe6\x97", 2),
    "surrogate": (b"a,b\n1,\xed\xa0\x80\n", 2),
    "overlong": (b"a,b\n1,\xc0\x80\n", 2),
    "utf-16": ("a,b\n1,2\n".encode("utf-16"), 1),
    "nul": (b"a,b\n1,2\n3,\x00\n", 3),
    "nul in quotes": (b'a,b\n1,2\n"3\n\x00",4\n', 4),
    "nul in the header": (b"a,\x00b\n1,2\n", 1),
    "duplicate name": ("a,b,a\n1,2,3\n", 1),
    "duplicate name without records": ("a,a\n", 1),
    "duplicate name behind blank lines": ("\n\na,a\n1,2\n", 3),
    "empty name": ("a,,c\n1,2,3\n", 1),
    "empty last name": ("a,b,\n1,2,3\n", 1),
    "quoted empty name": ('a,""\n1,2\n', 1),
    "name again in another case": ("a,b,A\n1,2,3\n", None),
    "reserved name": ("a,_id\n1,2\n", None),
    "another reserved name": ("a,_b\n1,2\n", None),
    "a name with a quote, which CKAN refuses": ('a,"b""c"\n1,2\n', None),
    "a name with a space before it": ("a, b\n1,2\n", None),
    "a name with a space behind it": ("a ,b\n1,2\n", None),
    "a name with a no-break space behind it": ("a\u00a0,b\n1,2\n", None),
    "too many names": (",".join(f"c{n}" for n in range(2000)) + "\n" + "," * 1999 + "\n", None),
    "no end of quotes": ('a,b\n1,2\n"3,4\n5,6\n', 3),
    "no end of quotes of the last field": ('a,b\n1,2\n3,"4\n5,6\n', 3),
    "quotes in a field": ('a,b\n1,2\n3,4"4"\n', 3),
    "text behind quotes": ('a,b\n1,2\n"3" ,4\n', 3),
    "empty file": ("", None),
    "only a bom": ("\ufeff", None),
    "only blank lines": ("\n\r\n\n", None),
}


BAD_COLUMNS = {"not utf-8": 2, "latin-1 in the header": 2, "half a letter at the end": 2, "nul": 2, "nul in quotes": 1,
               "no end of quotes": 1, "no end of quotes of the last field": 2, "quotes in a field": 2, "text behind quotes": 1}


def refused_push(job, *words, **changed):
    """A push that must end with 2 and touch nothing; what it told."""
    before = job.everything()
    told = job.push(*words, exits=2, **changed).stderr
    assert job.everything() == before
    assert told.strip() != ""
    return told


@each("text, line", BAD_FILES)
def test_a_bad_file_is_refused_with_its_line_before_anything_is_touched(annotated, text, line):
    told = refused_push(annotated, annotated.file("bad.csv", text), "--keep", "words")
    assert line is None or re.search(rf"\bline {line}\b", told)


@each("text, line", BAD_FILES)
def test_a_bad_file_is_refused_with_its_line_and_the_table_is_as_it_was(annotated, text, line):
    before, rows = annotated.show(), annotated.table()
    told = annotated.push(annotated.file("bad.csv", text), exits=2).stderr
    assert line is None or re.search(rf"\bbad\.csv: line {line}\b", told)
    assert annotated.show() == before and annotated.table() == rows
    assert annotated.all_stashes() == [] and annotated.beside() == []


@each("column", BAD_COLUMNS)
def test_what_is_wrong_with_a_field_is_told_with_its_column(annotated, column, request):
    text, line = BAD_FILES[request.node.callspec.id]
    told = annotated.push(annotated.file("bad.csv", text), exits=2).stderr
    assert f"bad.csv: line {line}, column {column}: " in told


@each("text, line", BAD_FILES)
def test_a_bad_file_makes_nothing(job, text, line):
    refused_push(job, job.file("bad.csv", text), "--keep", "words")


@each("text, line", BAD_FILES)
def test_a_bad_file_makes_no_table(job, text, line):
    job.push(job.file("bad.csv", text), exits=2)
    assert not job.is_live() and job.table() is None and job.all_stashes() == []


@each("text, line", dict(some([*BAD_FILES.items()])))
def test_a_bad_file_leaves_an_orphan_to_the_next_push(annotated, text, line):
    infos = annotated.show().infos
    strike(annotated, "kill", "mid-load")
    refused_push(annotated, annotated.file("bad.csv", text), "--keep", "words")
    annotated.push(annotated.file("bad.csv", text), exits=(2, 3))
    annotated.push(WEATHER)
    assert_whole(annotated, infos)


NO_FILES = {
    "missing": lambda d: d / "missing.csv",
    "in a missing directory": lambda d: d / "missing" / "a.csv",
    "below a file": lambda d: WEATHER / "a.csv",
    "directory": lambda d: d,
    "empty name": lambda d: "",
    "name too long": lambda d: d / ("x" * 300),
    "device": lambda d: "/dev/null",
}


@each("path_in", NO_FILES)
def test_what_is_no_file_is_refused(annotated, path_in):
    refused_push(annotated, path_in(annotated.directory))


def test_a_fifo_is_refused_without_waiting_for_a_writer(annotated):
    os.mkfifo(annotated.directory / "fifo")
    refused_push(annotated, annotated.directory / "fifo")


def test_a_link_that_leads_to_itself_is_refused(annotated):
    (annotated.directory / "loop").symlink_to("loop")
    refused_push(annotated, annotated.directory / "loop")


BAD_IDS = {
    "slash": "a/b",
    "absolute": "/a",
    "backslash": "a\\b",
    "dot": ".",
    "dots": "..",
    "empty": "",
    "control": "a\nb",
    "not utf-8": os.fsdecode(b"a\xff"),
    "too long": "x" * 201,
    "too long as a file name": "A" * 100,
    "too long as a file name, not ASCII": "é" * 40,
    "of SQLite": "sqlite_a",
    "of the datastore": "_stash_field",
}


@each("resource_id", BAD_IDS)
def test_a_bad_resource_id_is_refused(annotated, resource_id):
    refused_push(annotated, WEATHER, resource=resource_id)


@each("resource_id", BAD_IDS)
def test_a_bad_resource_id_makes_nothing(job, resource_id):
    refused_push(job, WEATHER, resource=resource_id)
    assert list(job.directory.iterdir()) == []


def test_a_resource_id_that_differs_only_by_case_is_refused(annotated):
    refused_push(annotated, WEATHER, resource="Weather")


def test_a_table_that_is_not_the_programs_is_refused(annotated):
    annotated.change("CREATE TABLE mine (a); INSERT INTO mine VALUES (1)")
    refused_push(annotated, WEATHER, resource="mine")


def make_unsafe(stash, how):
    if how == "link":
        (stash.parent / "target").mkdir(mode=0o700)
        stash.symlink_to("target")
    else:
        stash.mkdir()
        stash.chmod(how)


@pytest.mark.parametrize("how", [0o777, 0o770, 0o702, "link"], ids=lambda how: how if how == "link" else oct(how))
@pytest.mark.parametrize("first_upload", [False, True])
def test_an_unsafe_stash_directory_is_refused(job, how, first_upload):
    if not first_upload:
        job.push(WEATHER, stash="another")
        job.annotate(WEATHER_WORDS)
    make_unsafe(job.stash, how)
    refused_push(job, WEATHER)
    job.run("stashes", exits=2)
    if not first_upload:
        job.run("recover", exits=2)


@pytest.mark.parametrize("first_upload", [False, True])
def test_a_stash_that_cannot_be_a_directory_stops_the_push_before_the_drop(job, first_upload):
    if not first_upload:
        job.push(WEATHER)
        job.annotate(WEATHER_WORDS)
        live = job.show(), job.table()
    blocked = job.file("file", "") / "stash"
    job.push(WEATHER, stash=blocked, exits=(1, 2))
    if first_upload:
        assert job.table() is None
    else:
        assert (job.show(), job.table()) == live


def test_a_full_disk_under_the_stash_stops_the_push_before_the_drop(annotated):
    def no_file_may_grow():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    before, rows = annotated.show(), annotated.table()
    with closing(sqlite3.connect(annotated.database)) as db:  # its side files have their size already then
        db.execute("SELECT count(*) FROM weather").fetchall()
        told = annotated.push(WEATHER, exits=1, preexec_fn=no_file_may_grow).stderr
    assert "File too large" in told
    assert annotated.show() == before and annotated.table() == rows
    annotated.push(WEATHER)
    assert_whole(annotated, before.infos)


BAD_DATASTORES = {
    "no scheme": "datastore.db",
    "no file": "sqlite:",
    "another scheme": "mysql:datastore.db",
    "missing directory": "sqlite:missing/datastore.db",
    "directory": "sqlite:.",
    "not a database": f"sqlite:{WEATHER_WORDS}",
}


@each("datastore", BAD_DATASTORES)
def test_a_bad_datastore_is_refused(job, datastore):
    words = WEATHER_WORDS.read_bytes()
    refused_push(job, WEATHER, datastore=datastore)
    assert WEATHER_WORDS.read_bytes() == words


@pytest.mark.parametrize("name, rest", [("annotate", [WEATHER_WORDS]), ("show", []), ("recover", [])])
def test_no_command_takes_a_datastore_of_another_scheme_or_makes_one(job, name, rest):
    job.run(name, *rest, datastore="mysql:datastore.db", exits=2)
    job.run(name, *rest, exits=2 if name == "recover" else 1)
    assert list(job.directory.iterdir()) == []


SECRET = "S3cr%et/1"
NO_PLACES = {  # where a password is, and no stash and no datastore
    "scheme misspelt": f"postgress://etl:{SECRET}@db1/etl",
    "scheme in capitals": f"POSTGRESQL://etl:{SECRET}@db1/etl",
    "of a driver": f"postgresql+psycopg2://etl:{SECRET}@db1/etl",
    "another server": f"mysql://etl:{SECRET}@db1/etl",
    "without a scheme": f"etl:{SECRET}@db1/etl",
    "without a scheme, with slashes": f"//etl:{SECRET}@db1/etl",
    "space before it": f" postgresql://etl:{SECRET}@db1/etl",
    "in quotes": f"'postgresql://etl:{SECRET}@db1/etl'",
    "settings": f"host=db1 user=etl password={SECRET}",
    "settings with spaces": f"user = etl password = '{SECRET}' host = db1",
    "password first": f"password={SECRET}",
    "in a query": f"postgress://db1/etl?user=etl&password={SECRET}&sslmode=require",
    "for a key": f"postgress://db1/etl?sslpassword={SECRET}",
    "escaped name": f"postgress://db1/etl?p%61ssword={SECRET}",
    "behind sqlite:": f"sqlite:postgresql://etl:{SECRET}@db1/etl",
    "behind journal:": f"journal:postgresql://etl:{SECRET}@db1/etl",
    "as a URL of SQLite": f"sqlite:///etl?password={SECRET}",
    "no host": f"postgresql://etl:{SECRET}",
    "of a server that is not there": "postgresql://etl:S3cret@127.0.0.1:1/etl",
    "with a wrong escape": f"postgresql://etl:{SECRET.replace('/', '%2F')}@127.0.0.1:1/etl",
    "with a parameter that there is not": f"postgresql://db1/etl?password={SECRET}&no=1",
}


def says_no_secret(done):
    return not re.search("S3|cr%|cr.?et", done.stdout + done.stderr)


@each("text", NO_PLACES)
@pytest.mark.parametrize("option", ["datastore", "stash"])
def test_an_address_is_never_a_directory_and_its_password_is_never_printed(job, option, text):
    path = job.file("one.csv", "a\n1\n")
    assert says_no_secret(job.push(path, **{option: text}, exits=(1, 2)))
    if option == "stash":
        assert says_no_secret(job.run("stashes", stash=text, exits=(1, 2)))
    assert says_no_secret(job.run("recover", **{option: text}, exits=(1, 2)))
    assert list(job.directory.iterdir()) == [path]


@each("words", {
    "as a command": lambda text: [text],
    "as a step": lambda text: ["push", "--fail-at", text],
    "too many": lambda text: ["stashes", "--stash", "x", text],
    "for an option that there is not": lambda text: ["stashes", f"--where={text}"],
    "as a resource": lambda text: ["show", "--datastore", "sqlite:no", "--resource", text],
    "as a file": lambda text: ["push", "--datastore", "sqlite:no", "--stash", "x", "--resource", "a", text],
})
def test_a_usage_error_prints_no_password(job, words):
    for text in NO_PLACES.values():
        assert says_no_secret(job.run_words([program(), *words(text)], exits=(1, 2)))
    assert list(job.directory.iterdir()) == []


def test_what_is_no_place_is_not_printed_for_a_password_may_be_in_it(job):
    for text in ["postgress://a:it@is", "host=db1 pass=S3cret", "Server=db1;Pwd=S3cret;", "password:S3cret host=db1",
                 "jdbc:postgresql://db1/etl?user=etl&pwd=S3cret", "etl;S3cret@db1:1/etl"]:
        for option in ["stash", "datastore"]:
            told = job.run("push", WEATHER, exits=2, **{option: text}).stderr
            assert f"--{option}: expected " in told and "S3cret" not in told and "it@is" not in told
    told = job.run("stashes", stash="postgress://a:it@is", exits=2).stderr
    assert "DIRECTORY, where it has" in told


def test_a_directory_with_a_colon_or_an_equals_sign_is_named_with_its_place(job):
    for name in ["a:b", "date=2026"]:
        job.run("stashes", stash=name, exits=2)
        job.push(WEATHER, stash=f"./{name}")
        job.push(WEATHER, stash=job.directory / name)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's stash, or a mount")


@needs_root
@pytest.mark.parametrize("scheme", ["", "journal:", "sqlite:"])
def test_root_sees_another_users_stash_and_is_told_whose_it_is(annotated, scheme):
    place = f"{scheme}{annotated.directory}/others{'/stash.sqlite' if scheme == 'sqlite:' else ''}"
    annotated.push(WEATHER, "--crash-at", "mid-load", stash=place, exits=-signal.SIGKILL)
    others = annotated.directory / "others"
    for path in [others, *others.rglob("*")]:
        os.chown(path, 65534, 65534)
    before = sorted(others.rglob("*"))
    done = annotated.run("stashes", stash=place)
    assert done.stdout.startswith("weather\t")
    assert "belongs to nobody" in done.stderr and "sudo -u nobody" in done.stderr
    assert sorted(others.rglob("*")) == before


READ_ONLY = """set -e
mount --bind "$1" "$1"
mount -o remount,ro,bind "$1"
shift
exec "$@"
"""


@needs_root
@pytest.mark.parametrize("scheme", ["", "journal:", "sqlite:"])
def test_on_a_read_only_mount_what_only_looks_works(annotated, scheme):
    place = f"{scheme}{annotated.directory}/rescued{'/stash.sqlite' if scheme == 'sqlite:' else ''}"
    annotated.push(WEATHER, resource="second")
    shown = annotated.run("show", resource="second").stdout
    annotated.push(WEATHER, "--crash-at", "mid-load", stash=place, exits=-signal.SIGKILL)

    def run(*command, exits=0):
        return annotated.run_words(["unshare", "--mount", "sh", "-c", READ_ONLY, "sh", annotated.directory, *command],
                                   exits)
    assert run(*annotated.command("stashes", stash=place)).stdout.startswith("weather\t")
    assert run(*annotated.command("show", resource="second")).stdout == shown
    told = run(*annotated.command("annotate", WEATHER_WORDS, resource="second"), exits=(1, 2)).stderr
    assert "readonly" in told


def push_without(option):
    def words(job):
        command = job.command("push", WEATHER)[1:]
        at = command.index(option)
        return command[:at] + command[at + 2:]
    return words


def push_with(*words):
    return lambda job: job.command("push", *words, WEATHER)[1:]


BAD_USES = {
    "nothing": lambda job: [],
    "unknown command": lambda job: ["pull"],
    "two commands": lambda job: job.command("push", WEATHER)[1:] + job.command("show")[1:],
    "no datastore": push_without("--datastore"),
    "no stash": push_without("--stash"),
    "no resource": push_without("--resource"),
    "no file": lambda job: job.command("push")[1:],
    "empty stash": lambda job: job.command("push", WEATHER, stash="")[1:],
    "empty stash to list": lambda job: job.command("stashes", stash="")[1:],
    "two files": push_with(WEATHER),
    "unknown option": push_with("--force"),
    "unknown step to fail at": push_with("--fail-at", "after-commit"),
    "unknown step to crash at": push_with("--crash-at", "after-commit"),
    "no step": lambda job: job.command("push", WEATHER, "--crash-at")[1:],
    "to fail and to crash": push_with("--fail-at", "mid-load", "--crash-at", "mid-load"),
    "annotate with a stash": lambda job: job.command("annotate", "--stash", job.stash, WEATHER_WORDS)[1:],
    "annotate without a file": lambda job: job.command("annotate")[1:],
    "show with a fault": lambda job: job.command("show", "--fail-at", "mid-load")[1:],
}


@each("words", BAD_USES)
def test_wrong_usage_is_refused(annotated, words):
    before = annotated.everything()
    assert annotated.run_words([program(), *words(annotated)], exits=2).stdout == ""
    assert annotated.everything() == before


def test_help_is_no_error(job):
    told = job.run_words([program(), "--help"], exits=0).stdout
    assert all(name in told for name in ("push", "annotate", "show", "stashes", "recover"))
    assert "PGPASSFILE" in told
    assert "empty line" in job.run_words([program(), "push", "--help"], exits=0).stdout


# annotate


BAD_DICTIONARIES = {
    "empty": "",
    "not json": "{label: 1}",
    "half": '{"wind": {"label": "x"}',
    "more behind it": '{"wind": {"label": "x"}} {}',
    "not utf-8": b'{"wind": {"label": "\xff"}}',
    "array": "[]",
    "text": '"wind"',
    "null": "null",
    "info is text": '{"wind": "x"}',
    "info is null": '{"wind": null}',
    "number out of range": '{"wind": {"label": 1e999}}',
    "too deep": '{"wind": {"label": ' + "[" * 70 + "]" * 70 + "}}",
    "unknown column": '{"wind": {"label": "changed"}, "gusts": {"label": "x"}}',
    "column in another case": '{"Wind": {"label": "x"}}',
    "own column of the table": '{"_id": {"label": "x"}}',
}


@each("text", BAD_DICTIONARIES)
def test_a_bad_dictionary_changes_nothing(annotated, text):
    path = annotated.file("bad.json", text)
    before = annotated.everything()
    assert annotated.annotate(path, exits=2).stderr != ""
    assert annotated.everything() == before


@each("path_in", {"missing": lambda d: d / "missing.json", "directory": lambda d: d})
def test_a_dictionary_that_is_no_file_is_refused(annotated, path_in):
    annotated.annotate(path_in(annotated.directory), exits=2)


def test_only_a_live_resource_can_be_annotated(annotated):
    assert "not live" in annotated.annotate(WEATHER_WORDS, resource="another", exits=1).stderr
    strike(annotated, "kill", "mid-load")
    assert "not live" in annotated.annotate(WEATHER_WORDS, exits=1).stderr


def test_annotate_replaces_the_words_of_the_columns_that_it_names_only(annotated):
    before = annotated.show()
    annotated.annotate({"wind": {"notes": "new"}, "date": {}})
    assert annotated.show().infos == before.infos | {"wind": '{"notes":"new"}', "date": "{}"}
    assert annotated.show().rows == before.rows


def nested(levels):
    return '{"a":' * levels + "1" + "}" * levels


VALUES = [
    "0.1", "1e22", "-0.0", "1.0", "0.30000000000000004", "5e-324", "2.2250738585072011e-308", "1.7976931348623157e308",
    "9007199254740993", "9223372036854775807", "-9223372036854775808", "9223372036854775808", "18446744073709551615",
    "123456789012345678901234567890.0", "0", "null", "true", "{}", "[]", '""', '{"": {"": []}}', '"</script>"',
    r'"\u0000"', r'"a\u0000b"', r'{"\u0000": 1}', r'"\"\\\/\b\f\n\r\t\u001f\u007f"', '"e\u0301 \u2028 \u0085 \u200d"',
    '"🎉"', r'"\ud83c\udf89"', '{"z": 1, "a": 2, "m": {"z": 1, "a": 2}}', '[[[]], [1, "1", 1.0, null]]',
    '"' + "long " * 50_000 + '"', nested(59), "[" * 59 + "]" * 59,
]


@pytest.mark.parametrize("text", some(VALUES), ids=short)
def test_a_value_survives_crash_and_retry_byte_for_byte(job, text):
    two = job.file("two.csv", "a,b\n1,2\n")
    job.push(two)
    job.annotate(f'{{"b": {{"label": "x", "notes": {text}}}}}')
    infos = job.show().infos
    assert repr(json.loads(infos["b"])["notes"]) == repr(json.loads(text))
    strike(job, "kill", "mid-load", two)
    strike(job, "fail", "mid-load", two)
    assert job.show().infos == {"b": infos["b"]}
    job.push(two)
    assert job.show().infos == infos


NUMBERS = ["12345678901234567890123", "18446744073709551616", "-0", "0.1000000000000000055511151231257827", "1.10",
           "[1e-7, 9007199254740993.0]", '{"}": 123456789012345678901234567890.0}', "1e400", "1e99999999999", "NaN"]


def signed(number):
    return number.startswith("-"), Decimal(number)


@pytest.mark.parametrize("number", NUMBERS, ids=short)
def test_a_number_that_is_annotated_comes_back_with_all_its_digits_or_is_refused(job, number):
    two = job.file("two.csv", "a,b\n1,2\n")
    job.push(two)
    job.annotate({"b": {"label": "before"}})
    before = job.everything()[1]
    refused = job.annotate(f'{{"b": {{"label": "Sum", "n": {number}}}}}', exits=(0, 2))
    if refused.returncode == 2:
        assert '"b"' in refused.stderr or "NaN" in number and "byte" in refused.stderr
        assert job.everything()[1] == before
        return

    def value(text):
        return json.loads(text, parse_int=signed, parse_float=signed)

    def shown():
        return value(job.show().infos["b"])["n"]
    assert shown() == value(number)
    job.push(two)
    assert shown() == value(number)
    strike(job, "kill", "mid-load", two)
    job.push(two)
    assert shown() == value(number)
    strike(job, "fail", "mid-load", two)
    assert shown() == value(number)


def test_very_many_columns_are_refused_in_words_and_at_once(job):
    wide = job.file("wide.csv", ",".join(f"c{n}" for n in range(100_000)) + "\n" + ",".join("1" * 100_000) + "\n")
    assert "more than" in job.push(wide, exits=2).stderr


EXTREME_INFOS = {f"{n} levels": nested(n) for n in range(60, 68)} | {
    "reserved key": '{"_beside": 1}',
    "reserved key with an object": '{"_beside": {"a": 1}}',
    "same key twice": '{"a": 1, "a": 2}',
}


@each("info", EXTREME_INFOS)
def test_what_annotate_takes_can_be_shown_and_outlives_a_reload(job, info):
    one = job.file("one.csv", "a\n1\n")
    job.push(one)
    if job.annotate(f'{{"a": {info}}}', exits=(0, 2)).returncode == 0:
        infos = job.show().infos
        assert json.loads(infos["a"]) == json.loads(info)
        strike(job, "kill", "mid-load", one)
        job.push(one)
        assert job.show().infos == infos


# A restore that fails, a stash that is damaged


REFUSALS = {
    "create": ([], "CREATE TRIGGER refuse BEFORE INSERT ON _stash_field BEGIN SELECT RAISE(ABORT, 'refused'); END"),
    "the second create": (["--fail-at", "mid-load"], """
        CREATE TABLE creates (n);
        CREATE TRIGGER refuse BEFORE INSERT ON _stash_resource WHEN EXISTS (SELECT 1 FROM creates)
            BEGIN SELECT RAISE(ABORT, 'refused'); END;
        CREATE TRIGGER count AFTER INSERT ON _stash_resource BEGIN INSERT INTO creates VALUES (1); END"""),
    "finish": (["--fail-at", "mid-load"], "CREATE TRIGGER refuse BEFORE UPDATE ON _stash_resource"
                                          " BEGIN SELECT RAISE(ABORT, 'refused'); END"),
}


@each("options, trigger", REFUSALS)
def test_a_restore_that_fails_keeps_the_stash_for_a_retry(annotated, options, trigger):
    infos = annotated.show().infos
    annotated.change(trigger)
    assert "refused" in annotated.push(WEATHER, "--keep", "words", *options, exits=3).stderr
    assert not annotated.is_live()
    assert annotated.recover(exits=3)["failed"] == 1
    assert [e.state for e in annotated.stashes()] == ["intact"]
    annotated.change("DROP TRIGGER refuse")
    annotated.push(WEATHER)
    assert_whole(annotated, infos)


def test_a_drop_that_fails_leaves_the_table_as_it_was(annotated):
    before, rows = annotated.show(), annotated.table()
    annotated.change("CREATE TRIGGER refuse BEFORE DELETE ON _stash_resource BEGIN SELECT RAISE(ABORT, 'refused'); END")
    told = annotated.push(WEATHER, exits=1).stderr
    assert "refused" in told and "restore_failed" not in told
    assert annotated.show() == before and annotated.table() == rows


def flipped(content):
    at = len(content) // 2
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1:]


DAMAGES = {
    "truncated": lambda content: content[:-10],
    "empty": lambda content: b"",
    "flipped": flipped,
    "longer": lambda content: content + b"x",
}


def damage(job, how):
    (path,) = job.stash.glob("*.stash")
    path.write_bytes(how(path.read_bytes()))
    assert [e.state for e in job.stashes()] == ["corrupt"]
    return path


@each("how", DAMAGES)
@pytest.mark.parametrize("step", ["before-drop", "after-drop", "mid-load"])
def test_a_damaged_stash_is_set_aside_by_the_next_push(annotated, step, how):
    infos = annotated.show().infos
    strike(annotated, "kill", step)
    path = damage(annotated, how)
    damaged = path.read_bytes()
    assert "corrupt" in annotated.push(WEATHER).stderr
    assert_whole(annotated, NO_WORDS if step == "after-drop" else infos)  # else they stand on a table, whole or not
    ((entry, aside),) = annotated.set_aside()
    assert (entry.key, entry.state) == ("weather", "corrupt")
    assert aside.read_bytes() == damaged and not path.exists()


@each("how", DAMAGES)
@pytest.mark.parametrize("step", ["before-drop", "mid-load"])
def test_recover_counts_a_damaged_stash_and_leaves_it(annotated, step, how):
    strike(annotated, "kill", step)
    damage(annotated, how)
    before = annotated.everything()
    assert annotated.recover(exits=3) == {"restored": 0, "live": 0, "busy": 0, "corrupt": 1, "failed": 0}
    assert annotated.everything() == before


def test_recover_restores_the_others_beside_a_damaged_stash(annotated):
    infos = annotated.show().infos
    strike(annotated, "kill", "mid-load")
    damage(annotated, flipped)
    annotated.resource = "another"
    annotated.push(WEATHER)
    annotated.annotate(WEATHER_WORDS)
    strike(annotated, "kill", "mid-load")
    counted = annotated.recover(exits=3)
    assert counted["restored"] == 1 and counted["corrupt"] == 1
    assert annotated.show().infos == infos


# The progress bar


BAR = re.compile(r"\*{50}")


def test_a_terminal_gets_a_progress_bar(job):
    try:
        ours, theirs = pty.openpty()
    except OSError as problem:
        pytest.skip(f"no pseudo terminal to be had: {problem}")
    process = job.start(job.command("push", WEATHER), stderr=theirs)
    os.close(theirs)
    seen = b""
    with open(ours, "rb", buffering=0) as screen:
        try:
            while block := screen.read(4096):
                seen += block
        except OSError:  # how Linux tells that the last writer is gone
            pass
    assert process.wait(TIMEOUT) == 0
    assert BAR.search(seen.decode()) and b"100%" in seen


def test_what_is_no_terminal_gets_no_bar(job):
    told = job.push(WEATHER).stderr
    assert not BAR.search(told) and "100%" not in told
