"""The pusher against a stand-in for a CKAN site: what its actions hold after each of its ends, and where its token is."""

import json
import os
import re
import signal
import socket
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "examples"))
from ckan_site import CkanSite, Fault, Refusal  # noqa: E402
import job as job_module  # noqa: E402
from job import Job, program  # noqa: E402
from test_pusher import NO_WORDS, WEATHER, WEATHER_WORDS, assert_whole, each, each_step, long_csv  # noqa: E402,F401
from test_pusher import strike, weather_rows  # noqa: E402
from test_pusher import (  # noqa: E402,F401  (the same, with the fixtures of this file)
    test_a_file_that_changes_while_it_loads_costs_no_word,
    test_a_file_without_records_touches_nothing,
    test_a_retry_that_fails_before_the_drop_says_that_nothing_was_restored,
    test_a_second_push_and_recover_are_told_busy_while_the_first_loads,
    test_annotate_replaces_the_words_of_the_columns_that_it_names_only,
    test_newer_words_of_a_live_table_win_and_the_older_are_set_aside,
    test_only_a_live_resource_can_be_annotated,
    test_recover_finds_nothing_of_a_killed_first_upload,
    test_words_adopted_for_columns_that_the_file_lacks_are_set_aside,
)

job_module.TIMEOUT = 60  # seconds; a site that is not reached is asked again for some five, in each of several calls

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJqdGkiOiJ4In0.s3cr_t-S3cr"
VARIABLE = "CKAN_API_TOKEN"
CHANGING = {"resource_patch", "datastore_create", "datastore_delete", "datastore_records_delete"}
REFUSED = "a CKAN site wants an API token: --token-file FILE, or the environment variable CKAN_API_TOKEN"


class CkanJob(Job):
    def __init__(self, directory, site):
        super().__init__(directory)
        self.site, self.datastore = site, f"ckan+{site.url}"

    def command(self, name, *arguments, **changed):
        return super().command(name, *arguments, **({"datastore": self.datastore} | changed))

    def run_words(self, command, exits, preexec_fn=None):
        """As Job's, and looks whether the token is in what is printed."""
        done = super().run_words(command, exits, preexec_fn)
        assert "S3cr" not in done.stdout + done.stderr and "eyJ" not in done.stdout + done.stderr
        return done

    def table(self):
        """The rows as the site has them; None: there is no such table."""
        table = self.site.tables.get(self.resource)
        return table and [tuple(value if value is None or isinstance(value, str) else float(value)
                                for name, value in row.items() if name != "_id") for row in table.rows]

    def is_marked(self):
        return bool(self.site.resources[self.resource].get("stash_unfinished"))

    def is_loading(self):
        """Whether a batch is there: more than the weather's own rows, which a push may be about to remove."""
        table = self.site.tables.get(self.resource)
        return table is not None and len(table.rows) >= 5000 and self.is_marked()

    def everything(self):
        state = json.loads(self.site.state())
        return {str(p): p.is_file() and p.read_bytes() for p in self.directory.rglob("*")}, state["tables"]

    def changes(self):
        """The actions so far that change what the site has."""
        return [action for action, sent, _ in self.site.requests
                if action in CHANGING or (action == "datastore_upsert" and sent["records"])]


@pytest.fixture
def site(monkeypatch):
    for name in ["http_proxy", "all_proxy", "ALL_PROXY"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(VARIABLE, TOKEN)
    with CkanSite(resources=["weather", "other"], token=TOKEN) as site:
        yield site


@pytest.fixture
def job(tmp_path, site):
    program()
    return CkanJob(tmp_path, site)


@pytest.fixture
def annotated(job):
    """The weather, loaded, with its dictionary typed in, and with the types that are asked for."""
    job.push(WEATHER)
    job.annotate(WEATHER_WORDS)
    job.push(WEATHER)
    return job


# The subcommands


def test_a_file_is_loaded_and_its_words_are_typed_in_and_shown(job):
    assert not job.is_live()
    done = job.push(WEATHER)
    assert done.stdout == "" and "loaded 1461 rows" in done.stderr and "its rows alone" not in done.stderr
    assert_whole(job, NO_WORDS)
    job.annotate(WEATHER_WORDS)
    words = json.loads(WEATHER_WORDS.read_text())
    assert {name: json.loads(info) for name, info in job.show().infos.items()} == words
    job.push(WEATHER)
    types = job.show().types
    assert types == dict.fromkeys(types, "numeric") | {"date": "date", "weather": "text"}
    assert_whole(job, job.show().infos)


@each("options", {"without --keep": [], "with --keep words": ["--keep", "words"]})
def test_a_table_that_would_be_the_same_stays_and_its_rows_alone_are_replaced(annotated, options):
    infos = annotated.show().infos
    annotated.site.tables["weather"].aliases = ["the-weather"]
    annotated.site.requests.clear()
    other = annotated.file("other.csv", WEATHER.read_text().replace("drizzle", "rain"))
    assert "the table stayed, its rows alone were replaced" in annotated.push(other, *options).stderr
    assert "datastore_delete" not in annotated.changes() and "datastore_records_delete" in annotated.changes()
    assert annotated.show().infos == infos and annotated.site.tables["weather"].aliases == ["the-weather"]
    assert "drizzle" not in str(annotated.table()) and len(annotated.table()) == 1461


def test_other_columns_make_another_table_and_words_without_a_column_are_kept(annotated):
    annotated.site.tables["weather"].aliases = ["the-weather"]
    infos = annotated.show().infos
    told = annotated.push(annotated.file("narrow.csv", "weather,date\nrain,2012-01-01\n")).stderr
    assert "its rows alone" not in told and 'no column "wind"' in told
    assert annotated.show().infos == {name: infos[name] for name in ("weather", "date")}
    assert annotated.table() == [("rain", "2012-01-01")] and annotated.site.tables["weather"].aliases == ["the-weather"]
    ((_, path),) = annotated.set_aside()
    assert infos["wind"] in path.read_text()


def test_words_of_columns_that_there_are_not_are_an_input_error(annotated):
    before = annotated.everything()
    assert "it has no field" in annotated.run("annotate", annotated.file("no.json", '{"no": {}}'), exits=2).stderr
    (annotated.directory / "no.json").unlink()
    assert annotated.everything() == before


def test_finish_has_nothing_to_do(annotated):
    annotated.site.requests.clear()
    command = [program(), "finish", "--datastore", annotated.datastore, "--stash", annotated.stash, "--resource", "weather"]
    assert "there is nothing to finish" in annotated.run_words(command, 2).stderr
    assert annotated.site.requests == []


def test_keep_everything_is_refused_where_it_is_asked_for(annotated):
    annotated.site.requests.clear()
    told = annotated.push(WEATHER, "--keep", "everything", exits=2).stderr
    assert "--keep everything" in told and "no transaction" in told and annotated.site.requests == []


@each("scheme", {"https": "ckan+https", "http": "ckan+http"})
def test_a_site_is_no_stash(job, scheme):
    place = f"{scheme}://127.0.0.1:1"
    assert "--stash: expected" in job.push(WEATHER, stash=place, exits=2).stderr
    assert "--stash: expected" in job.run("stashes", stash=place, exits=2).stderr
    assert "--stash: expected" in job.run("recover", stash=place, exits=2).stderr
    assert list(job.directory.iterdir()) == [] and job.site.requests == []


@each("place, told", {
    "http for another host": ("ckan+http://db1.example", "http://"),
    "no host": ("ckan+https://", "not that of a site"),
    "a user": ("ckan+https://etl:S3cr@db1.example", "a user or a password"),
    "a query": ("ckan+https://db1.example?password=S3cr", "not that of a site"),
    "another scheme": ("ckan+ftp://db1.example", "or ckan+https://SITE"),
    "no scheme": ("ckan+db1.example", "or ckan+https://SITE"),
})
def test_an_address_of_no_site_is_an_input_error(job, place, told):
    assert told in job.push(WEATHER, datastore=place, exits=2).stderr
    assert told in job.run("show", datastore=place, exits=2).stderr
    assert list(job.directory.iterdir()) == []


# Jobs that end early, and their retries


@each_step
@each("faults", {"fail": ["fail"], "kill": ["kill"], "kill-fail": ["kill", "fail"], "kill-kill": ["kill", "kill"]})
@pytest.mark.parametrize("rows_only", [True, False], ids=["rows only", "another table"])
def test_a_push_that_ends_early_loses_no_word_and_a_retry_has_each_row_once(annotated, step, faults, rows_only):
    infos, rows = annotated.show().infos, annotated.table()
    if not rows_only:
        annotated.site.tables["weather"].fields["wind"]["type"] = "text"
    for fault in faults:
        strike(annotated, fault, step)
        if step == "before-drop":
            assert annotated.table() == rows and annotated.show().infos == infos
        elif fault == "fail":
            assert annotated.table() == [] and annotated.show().infos == infos and not annotated.is_marked()
        else:
            assert not annotated.is_live() and annotated.is_marked() == (annotated.table() is not None)
            assert [e.state for e in annotated.stashes()] == ["intact"]
    assert "loaded 1461 rows" in annotated.push(WEATHER).stderr
    assert_whole(annotated, infos)
    assert not annotated.is_marked()
    assert annotated.set_aside() == []


@each_step
def test_a_first_upload_that_ends_early_leaves_no_live_table(job, step):
    for fault in ["fail", "kill", "fail"]:
        strike(job, fault, step)
        assert not job.is_live() and job.stashes() == []
    job.push(WEATHER)
    assert_whole(job, NO_WORDS)


@each_step
def test_recover_brings_back_the_words_that_a_killed_push_left(annotated, step):
    infos = annotated.show().infos
    strike(annotated, "kill", step)
    counted = annotated.recover()
    is_whole = step == "before-drop"
    assert (counted["live"], counted["restored"], counted["failed"]) == (is_whole, not is_whole, 0)
    assert annotated.show().infos == infos and len(annotated.table()) == (1461 if is_whole else 0)
    assert len(annotated.stashes()) == is_whole and not annotated.is_marked()
    assert annotated.recover()["restored"] == 0
    annotated.push(WEATHER)
    assert_whole(annotated, infos)


def test_recover_does_not_bring_back_a_resource_that_was_deleted(annotated):
    strike(annotated, "kill", "mid-load")
    del annotated.site.tables["weather"], annotated.site.resources["weather"]
    assert annotated.recover(exits=3)["failed"] == 1
    assert annotated.site.tables == {} and annotated.stashes() == []
    assert len(annotated.set_aside()) == 1


def test_a_push_that_is_killed_amid_its_batches_leaves_rows_that_a_retry_replaces(annotated):
    infos = annotated.show().infos
    header, *lines = WEATHER.read_text().splitlines()
    long = annotated.file("long.csv", "\n".join([header, *(lines * 10)]) + "\n")
    annotated.push(long, "--crash-at", "before-commit", exits=-signal.SIGKILL)
    assert annotated.is_marked() and len(annotated.table()) == 14610 and not annotated.is_live()
    annotated.push(WEATHER)
    assert_whole(annotated, infos)


# What the site refuses, and where it fails


def test_rows_that_the_site_refuses_are_told_and_the_words_stay(annotated):
    infos = annotated.show().infos
    bad = annotated.file("bad.csv", WEATHER.read_text() + "2016-01-01,much,1,1,1,rain\n")
    told = annotated.push(bad, exits=1).stderr
    assert 'invalid input syntax for type numeric: \\"much\\"' in told and "409" in told
    assert "the dictionary is where it belongs; the rows may be gone" in told
    assert annotated.show().infos == infos and annotated.table() == []
    annotated.push(WEATHER)
    assert_whole(annotated, infos)


def test_names_that_the_site_would_refuse_are_an_input_error(annotated):
    before = annotated.everything()
    for name in ["_id", " a", 'a""b']:
        annotated.push(annotated.file("bad.csv", f'"{name}"\n1\n'), exits=2)
    (annotated.directory / "bad.csv").unlink()
    assert annotated.everything() == before


def test_a_resource_that_the_site_does_not_know_is_told_and_nothing_is_touched(job):
    job.resource = "unknown"
    told = job.push(WEATHER, exits=1).stderr
    assert "404" in told and "there is no such resource" in told
    assert "not live" in job.annotate(WEATHER_WORDS, exits=1).stderr
    assert not job.is_live() and job.changes() == [] and job.stashes() == []


def closed_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_a_site_that_is_down_costs_nothing(annotated):
    infos, down = annotated.show().infos, f"ckan+http://127.0.0.1:{closed_port()}"
    before = annotated.everything()
    for name, arguments in [("push", [WEATHER]), ("show", []), ("annotate", [WEATHER_WORDS])]:
        assert "host" in annotated.run(name, *arguments, datastore=down, exits=1).stderr.lower()
    assert annotated.everything() == before
    strike(annotated, "kill", "mid-load")
    assert annotated.recover(datastore=down, exits=3)["failed"] == 1
    annotated.push(WEATHER, datastore=down, exits=1)
    assert annotated.recover()["restored"] == 1 and annotated.show().infos == infos


@each("kind", {"500": 500, "404 of a proxy": "html", "an answer that was cut": "json_cut"})
def test_a_site_that_answers_no_more_is_no_input_error(annotated, kind):
    before = annotated.everything()
    annotated.site.faults.append(Fault("status_show", None, kind))
    assert "status_show" in annotated.push(WEATHER, exits=1).stderr
    assert annotated.everything() == before


def test_a_site_that_goes_down_amid_a_push_says_that_the_words_are_stashed(annotated):
    infos = annotated.show().infos

    def go_down(site):
        site.faults[:] = [Fault(action, None, 500) for action in site.ACTIONS]

    annotated.site.faults[:] = [Fault("datastore_records_delete", 1, go_down)]
    told = annotated.push(WEATHER, exits=3).stderr
    assert "is not in the table; the stash is kept: push again, or pusher recover" in told
    annotated.site.faults.clear()
    assert [e.state for e in annotated.stashes()] == ["intact"]
    annotated.push(WEATHER)
    assert_whole(annotated, infos)


def test_a_site_that_takes_no_mark_is_told_of(job):
    job.site.refuses_extra_keys = True
    assert re.search(r"^pusher: .*takes no mark", job.push(WEATHER).stderr, re.M)
    assert_whole(job, NO_WORDS)


# The token


@pytest.fixture
def without(monkeypatch, job):
    """Without the variable."""
    monkeypatch.delenv(VARIABLE)
    return job


def token_file(job, content, mode=0o600):
    path = job.file("token", content)
    path.chmod(mode)
    return path


def all_commands(job, *options, exits=0):
    """Each one that asks a site, with these options; what they said."""
    return [job.run(name, *options, *files, exits=exits).stderr for name, files in
            [("push", [WEATHER]), ("annotate", [WEATHER_WORDS]), ("show", []), ("recover", [])]]


@each("content", {"a line": TOKEN + "\n", "no line's end": TOKEN, "white space behind it": TOKEN + " \t\r\n",
                  "more lines": TOKEN + "\nS3cr\n"})
def test_the_token_is_the_first_line_of_the_file(without, content):
    for told in all_commands(without, "--token-file", token_file(without, content)):
        assert "can read" not in told
    assert len(without.table()) == 1461


def test_the_file_goes_before_the_variable(monkeypatch, job):
    monkeypatch.setenv(VARIABLE, "S3cr-of-the-variable")
    job.push(WEATHER, exits=1)
    job.push(WEATHER, "--token-file", token_file(job, TOKEN))
    job.push(WEATHER, "--token-file", token_file(job, "S3cr-of-the-file"), exits=1)


def test_white_space_at_the_end_of_the_variable_is_none_of_the_token(monkeypatch, job):
    monkeypatch.setenv(VARIABLE, f"{TOKEN}\r\n")
    job.push(WEATHER)


def test_a_file_that_others_can_read_is_told(without):
    for mode in [0o640, 0o604, 0o620]:
        path = token_file(without, TOKEN, mode)
        assert all(f"others can read {path}" in told for told in all_commands(without, "--token-file", path))


@each("content", {"empty": "", "an empty line": f"\n{TOKEN}\n", "white space": " \t\n"})
def test_a_file_without_a_token_is_an_input_error(job, content):
    path = token_file(job, content)
    for told in all_commands(job, "--token-file", path, exits=2):
        assert "--token-file: its first line has no token" in told
    assert job.site.requests == [] and list(job.directory.iterdir()) == [path]


@each("name, why", {"missing": ("no", "No such file"), "a directory": (".", "not a regular file"),
                    "a FIFO": ("fifo", "not a regular file"), "a device": ("/dev/zero", "not a regular file"),
                    "of no name": ("", "No such file"), "not to be read": ("/proc/self/mem", "cannot be read")})
def test_a_file_that_cannot_be_read_is_an_input_error(job, name, why):
    if name == "fifo":
        os.mkfifo(job.directory / name)
    for told in all_commands(job, "--token-file", name, exits=2):
        assert "--token-file: " in told and why in told
    assert job.site.requests == [] and not job.stash.exists()


@each("content", {"a space": "S3cr eyJ", "a character that is no ASCII": "S3cr-ü", "a NUL byte": "S3cr\0eyJ"})
def test_what_can_be_no_token_is_an_input_error(without, content):
    for told in all_commands(without, "--token-file", token_file(without, content), exits=2):
        assert "characters that no token has" in told
    assert without.site.requests == []


@each("value", {"none": None, "an empty one": "", "white space": " \n"})
def test_without_a_token_both_ways_to_give_it_are_told(monkeypatch, without, value):
    if value is not None:
        monkeypatch.setenv(VARIABLE, value)
    for told in all_commands(without, exits=2):
        assert REFUSED in told
    assert without.site.requests == [] and list(without.directory.iterdir()) == []


def test_another_datastore_takes_no_token_file(job):
    path = token_file(job, TOKEN)
    for datastore in ["sqlite:x", "postgresql://127.0.0.1:1/x"]:
        told = job.push(WEATHER, "--token-file", path, datastore=datastore, exits=2).stderr
        assert "--token-file: it is for a --datastore ckan+https://SITE alone" in told
    assert "ckan+https://SITE" in job.push(WEATHER, "--token-file", path, datastore="x", exits=2).stderr
    assert list(job.directory.iterdir()) == [path]


def test_a_wrong_token_is_told_and_nothing_is_touched(annotated):
    before = annotated.everything()
    path = token_file(annotated, "S3cr-of-somebody-else")
    annotated.site.requests.clear()
    for name, arguments in [("push", [WEATHER]), ("annotate", [WEATHER_WORDS])]:
        told = annotated.run(name, "--token-file", path, *arguments, exits=1).stderr
        assert "403" in told and "not authorized" in told
    path.unlink()
    assert annotated.everything() == before
    assert all(outcome == 403 for action, _, outcome in annotated.site.requests if action in CHANGING)


@pytest.mark.parametrize("source", ["variable", "file"])
def test_a_token_that_the_site_says_is_not_printed(monkeypatch, annotated, source):
    """CkanJob looks for it in all that is printed."""
    site, options = annotated.site, []
    if source == "file":
        monkeypatch.delenv(VARIABLE)
        options = ["--token-file", token_file(annotated, TOKEN)]

    def echo(*_):
        raise Refusal(409, records=[f"{TOKEN} is Authorization: {TOKEN}, or so"])

    # As the name of a column, which the program prints when its words have no place any more.
    site.tables["weather"].declare([{"id": TOKEN, "type": "text", "info": {"label": "x"}}])
    assert 'no column "***" any more' in annotated.push(WEATHER, *options).stderr
    site.tables["weather"].fields["wind"]["type"] = "text"  # so that the next push makes it anew
    for name in ["datastore_create", "resource_patch", "datastore_upsert", "datastore_info", "status_show"]:
        with monkeypatch.context() as patched:
            patched.setattr(site, name, echo)
            assert "or so" in annotated.push(WEATHER, *options, exits=(0, 1, 3)).stderr
            annotated.run("recover", *options, exits=(0, 3))
            annotated.run("annotate", *options, WEATHER_WORDS, exits=(0, 1))


@each("source", {"variable": True, "file": False})
def test_a_token_in_a_file_or_an_argument_is_not_printed(monkeypatch, job, source):
    options = [] if source else ["--token-file", token_file(job, TOKEN)]
    if not source:
        monkeypatch.delenv(VARIABLE)
    assert '"***"' in job.push(job.file("twice.csv", f"{TOKEN},{TOKEN}\n1,2\n"), *options, exits=2).stderr
    job.resource = TOKEN
    assert '"***" is not live' in job.run("show", *options, exits=1).stderr
    assert "***" in job.push(WEATHER, *options, exits=1).stderr


@each("words", {
    "for the file": ["show", "--resource", "weather", "--token-file", TOKEN],
    "for the file, with an equals sign": ["show", "--resource", "weather", f"--token-file={TOKEN}"],
    "for an option that there is not": ["show", "--resource", "weather", "--token", TOKEN],
    "for such a one, with an equals sign": ["show", "--resource", "weather", f"--api-token={TOKEN}"],
})
def test_a_token_that_is_given_in_place_of_its_file_is_not_printed(without, words):
    without.run_words([program(), *words, "--datastore", without.datastore], 2)
    without.run_words([program(), *words], 2)


def test_the_help_names_the_site_and_the_token(job):
    for name in ["push", "finish", "annotate", "show", "recover"]:
        told = job.run_words([program(), name, "--help"], 0).stdout
        assert "ckan+https://SITE" in told and re.search("^ +--token-file", told, re.M) and VARIABLE in told
    assert not re.search("^ +--token-file", job.run_words([program(), "stashes", "--help"], 0).stdout, re.M)
    assert VARIABLE in job.run_words([program(), "--help"], 0).stdout


def test_a_load_that_fails_costs_no_column_and_no_type(job):
    job.push(WEATHER)
    job.annotate({"temp_max": {"label": "Warmest", "type_override": "numeric"}})  # the others have no words
    job.push(WEATHER)
    before = job.show()
    job.push(WEATHER, "--fail-at", "mid-load", exits=1)
    after = job.show()
    assert (after.types, after.infos, after.rows) == (before.types, before.infos, 0)
    assert len(after.types) == 6 and after.types["temp_max"] == "numeric"
