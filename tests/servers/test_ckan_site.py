"""The stand-in for a CKAN site against what a real one answered, and its faults."""
import http.client
import json
import shutil
import ssl
import subprocess
import sys

import pytest

import ckan_site
from ckan_site import API, HTML, JSON, KINDS_AFTER, KINDS_BEFORE, RECORDED, CkanSite, Fault

NOT_COMPARED = {  # and why; they are numbers, or the same wherever the recorded ones are the same
    "size": int, "db_size": int, "idx_size": int,  # of PostgreSQL's files
    "created": str, "metadata_modified": str, "index_name": str,  # times, and hashes of the resource's id
}
TOKENS = {"valid": "token", "wrong": "another", "none": None}
CREATE = {"resource_id": "resource", "force": True, "fields": []}
INSERT = {"resource_id": "resource", "method": "insert", "force": True, "records": [{"a": "x"}]}


def post(site, action, sent, token="token", connection=None):
    """The answer, and what it says."""
    connection = connection or http.client.HTTPConnection("127.0.0.1", site.server_port, timeout=5)
    body = sent if isinstance(sent, (str, bytes)) else json.dumps(sent)
    connection.request("POST", action if action.startswith("/") else API + action, body,
                       {"Content-Type": "application/json"} | ({"Authorization": token} if token else {}))
    answer = connection.getresponse()
    return answer, answer.read().decode()


def ask(site, action, sent, **how):
    """The status, and the result or the error."""
    answer, text = post(site, action, sent, **how)
    said = json.loads(text)
    return answer.status, said.get("result", said.get("error")) if isinstance(said, dict) else said


@pytest.fixture
def site():
    """With a table of one column of text and no rows."""
    with CkanSite() as site:
        ask(site, "datastore_create", CREATE | {"fields": [{"id": "a", "type": "text"}]})
        yield site


@pytest.fixture(scope="module")
def replayed():
    """The answers to all that was recorded, and what was found for what is not compared."""
    with CkanSite(resources=["RESOURCE-ID"]) as site:
        return [post(site, e["action"], e["request"], TOKENS[e["token"]]) for e in RECORDED], {}


def assert_alike(found, recorded, pairs, member=None):
    if isinstance(recorded, dict):
        assert found.keys() == recorded.keys()
        for name, value in recorded.items():
            assert_alike(found[name], value, pairs, name)
    elif isinstance(recorded, list):
        assert len(found) == len(recorded)
        for one, other in zip(found, recorded):
            assert_alike(one, other, pairs)
    elif member not in NOT_COMPARED or recorded is None:
        assert (type(found), found) == (type(recorded), recorded)
    else:
        assert type(found) is NOT_COMPARED[member]
        assert type(found) is int or pairs.setdefault((member, recorded), found) == found
        assert [name for (name, _), value in pairs.items() if value == found].count(member) <= 1


@pytest.mark.parametrize("number", range(len(RECORDED)), ids=lambda number: RECORDED[number]["why"])
def test_the_site_answers_as_a_real_one_did(number, replayed):
    (answer, text), recorded = replayed[0][number], RECORDED[number]
    assert (answer.status, answer.headers["Content-Type"]) == (recorded["status"], recorded["content_type"])
    assert_alike(json.loads(text), recorded["answer"], replayed[1])


def test_a_key_is_unique_and_a_request_is_refused_as_a_whole(site):
    ask(site, "datastore_create", CREATE | {"primary_key": ["a"]})
    assert ask(site, "datastore_upsert", INSERT | {"records": [{"a": "x"}, {}, {"a": None}]})[0] == 200
    status, error = ask(site, "datastore_upsert", INSERT | {"records": [{"a": "y"}, {"a": "x"}, {"a": "z"}]})
    assert status == 409 and "duplicate key" in error["records"][0] and error["records_row"] == 2
    assert [row["a"] for row in site.tables["resource"].rows] == ["x", None, None]


@pytest.mark.parametrize("kind, good, bad", [
    ("date", {"2026-01-02": "2026-01-02"}, ["2026-13-01", 20260102, True]),
    ("timestamp", {"2026-01-02 03:04": "2026-01-02T03:04:00"}, ["soon", 1.5]),
    ("numeric", {"12345678901234567890.10": "12345678901234567890.10", "1e3": "1000"}, ["1,5", True, "0x1"]),
    ("int", {"-7": "-7"}, ["1.5", "x"]), ("text", {"": ""}, []),
])
def test_values_are_held_to_their_types(site, kind, good, bad):
    ask(site, "datastore_create", CREATE | {"fields": [{"id": "b", "type": kind}]})
    assert [ask(site, "datastore_upsert", INSERT | {"records": [{"b": value}]})[0] for value in bad] == [409] * len(bad)
    assert ask(site, "datastore_upsert", INSERT | {"records": [{"b": value} for value in good]})[0] == 200
    found = json.loads(post(site, "datastore_search", {"resource_id": "resource", "fields": "b"})[1], parse_float=str)
    assert [str(row["b"]) for row in found["result"]["records"]] == list(good.values())


@pytest.mark.parametrize("name", ["", " a", "a ", "\ta", '"', 'a"b', "_id", "_a"])
def test_names_that_ckan_refuses_are_refused(site, name):
    status, error = ask(site, "datastore_create", CREATE | {"fields": [{"id": n, "type": "text"} for n in ["b", name]]})
    assert (status, error["fields"]) == (409, [f'"{name}" is not a valid field name'])
    assert list(site.tables["resource"].fields) == ["a"]


def test_a_search_pages_and_rows_are_counted_where_that_is_asked(site):
    ask(site, "datastore_upsert", INSERT | {"records": [{"a": "x"}] * 5, "calculate_record_count": True})
    found = ask(site, "datastore_search", CREATE | {"limit": 2, "offset": 3, "include_total": False})[1]
    assert [row["_id"] for row in found["records"]] == [4, 5] and "total" not in found
    assert site.tables["resource"].counted == 5
    ask(site, "datastore_records_delete", CREATE | {"filters": {}})
    assert site.tables["resource"].rows == []


def test_only_the_token_may_write_and_no_token_is_noted(site):
    for action in ["datastore_create", "datastore_upsert", "resource_patch", "datastore_records_delete"]:
        assert [ask(site, action, INSERT | {"filters": {}}, token=token)[0] for token in ["secret", None]] == [403, 403]
    assert ask(site, "datastore_info", {"id": "resource"}, token=None)[0] == 200 and "secret" not in site.state()


def test_an_older_site_knows_less():
    with CkanSite(version="2.10.4", refuses_extra_keys=True) as site:
        assert ask(site, "status_show", {})[1]["ckan_version"] == "2.10.4"
        assert "delete_fields" not in ask(site, "datastore_create", CREATE)[1]
        assert ask(site, "datastore_records_delete", INSERT | {"filters": {}})[0] == 400
        assert [ask(site, "resource_patch", {"id": "resource", key: ""})[0] for key in ["mine", "name"]] == [409, 200]


def test_a_request_that_is_too_long_is_refused_by_the_proxy():
    with CkanSite(max_body=1000) as site:
        answer, text = post(site, "datastore_upsert", b" " * 30_000_000)
        assert (answer.status, answer.headers["Content-Type"]) == (413, HTML) and "<html>" in text
        assert site.requests == [("datastore_upsert", None, 413)]


SEEN = {"cut_before": "RemoteDisconnected", "cut_after": "RemoteDisconnected", "cut_amid": "IncompleteRead",
        "silent": "TimeoutError", "silent_after": "TimeoutError", "json_cut": (200, JSON, None),
        "html": (200, HTML, None), "html_after": (200, HTML, None), "502_after": (502, HTML, None),
        "redirect": (302, HTML, "/elsewhere"), 429: (429, HTML, "1"), 503: (503, HTML, "1")} \
    | {n: (n, JSON if n in (401, 403, 404, 409) else HTML, None) for n in [401, 403, 404, 409, 413, 500, 502, 504]}


@pytest.mark.parametrize("kind", sorted(KINDS_BEFORE | KINDS_AFTER, key=str))
def test_a_fault_is_seen_by_the_client_as_it_says(site, kind):
    site.faults.append(Fault("datastore_upsert", 1, kind))
    connection = http.client.HTTPConnection("127.0.0.1", site.server_port, timeout=1 if "silent" in str(kind) else 5)
    try:
        found, text = post(site, "datastore_upsert", INSERT, connection=connection)
        seen = found.status, found.headers["Content-Type"], found.headers["Retry-After"] or found.headers["Location"]
        assert text.startswith("<html>" if seen[1] == HTML else '{"')
        assert text.endswith(("}", "</html>\n")) == (kind != "json_cut")
    except (http.client.HTTPException, OSError) as error:
        seen = type(error).__name__
    connection.close()
    assert seen == SEEN[kind] and len(site.tables["resource"].rows) == (kind in KINDS_AFTER)
    assert site.requests[-1] == ("datastore_upsert", INSERT, kind) and ask(site, "datastore_upsert", INSERT)[0] == 200


def test_a_fault_strikes_at_the_request_that_it_names(site):
    site.faults.append(Fault("status_show", 2, 500))
    ask(site, "datastore_info", {"id": "resource"})
    assert [post(site, "status_show", {})[0].status for _ in range(3)] == [200, 500, 200]
    site.faults.append(Fault("status_show", None, 503, retry_after=None))
    assert [post(site, "status_show", {})[0].headers["Retry-After"] for _ in range(3)] == [None] * 3


def test_a_fault_of_a_tests_own_is_called_before_the_site_acts(site):
    found = []
    site.faults.append(Fault("datastore_upsert", 1, lambda site: found.append(len(site.tables["resource"].rows))))
    assert ask(site, "datastore_upsert", INSERT)[0] == 200
    assert found == [0] and len(site.tables["resource"].rows) == 1


def test_the_program_is_steered_over_its_control_path():
    arguments = [sys.executable, ckan_site.__file__, '{"resources": ["resource", "other"]}']
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        connection = http.client.HTTPConnection(process.stdout.readline().strip().removeprefix("http://"), timeout=5)
        connection.request("GET", f"{API}status_show")
        assert json.load(connection.getresponse())["result"]["ckan_version"] == "2.11.5"
        post(None, "/control/fault", {"action": "datastore_info", "nth": 1, "kind": 502}, connection=connection)
        assert post(None, "datastore_info", {"id": "other"}, connection=connection)[0].status == 502
        state = json.loads(post(None, "/control/state", {}, connection=connection)[1])
        assert state["requests"][-1] == ["datastore_info", {"id": "other"}, 502] and len(state["resources"]) == 2
        assert json.loads(post(None, "/control/heal", {}, connection=connection)[1])["faults"] == []
        state = json.loads(post(None, "/control/reset", {"resources": ["new"]}, connection=connection)[1])
        assert list(state["resources"]) == ["new"] and state["requests"] == []
    assert process.returncode == 0


@pytest.mark.skipif(not shutil.which("openssl"), reason="there is no openssl to make a certificate")
def test_the_site_is_served_over_tls(tmp_path):
    files = [str(tmp_path / "certificate"), str(tmp_path / "key")]
    command = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 -out"
    subprocess.run([*command.split(), files[0], "-keyout", files[1]], check=True, capture_output=True)
    with CkanSite(tls=files) as site:
        trust = ssl.create_default_context(cafile=files[0])
        connection = http.client.HTTPSConnection("127.0.0.1", site.server_port, timeout=5, context=trust)
        assert site.url.startswith("https://") and ask(site, "status_show", {}, connection=connection)[0] == 200
