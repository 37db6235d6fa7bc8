"""A stand-in for a CKAN site's action API. Tests see what it has, and say where it fails.

It answers as CKAN 2.11.5 did in tests/data/ckan_api.json, and as CKAN's source says where nothing was recorded. It does
not guess types, and datastore_upsert only inserts.

As a program, it takes the arguments of CkanSite as JSON, prints its URL, and ends when its standard input does. Tests
steer it with JSON: POST /control/fault adds a fault (its members are those of Fault), /control/heal ends them all,
/control/reset makes it new, with other resources where it is sent {"resources": [ID...]}. Each of them, and
/control/state, answers with all that the site has.
"""
import contextlib
import copy
import hashlib
import json
import re
import select
import ssl
import sys
import threading
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

API = "/api/3/action/"
JSON, HTML = "application/json;charset=utf-8", "text/html"
RECORDED = json.loads((Path(__file__).parents[1] / "data" / "ckan_api.json").read_text(encoding="utf-8"))
STATUS, RESOURCE = (exchange["answer"]["result"] for exchange in RECORDED[:2])
KINDS_AFTER = {"cut_after", "cut_amid", "silent_after", "502_after", "html_after", "json_cut"}
KINDS_CLOSING = {"cut_before", "cut_after", "cut_amid", "silent", "silent_after"}
KINDS_BEFORE = {"cut_before", "silent", "html", "redirect", 401, 403, 404, 409, 413, 429, 500, 502, 503, 504}
PAGES = {"html": 200, "html_after": 200, "redirect": 302, "502_after": 502}  # these kinds' statuses
ERRORS = dict.fromkeys([401, 403], {"__type": "Authorization Error", "message": "Access denied"}) | {
    404: {"__type": "Not Found Error", "message": "Not found"}, 409: {"__type": "Validation Error"},
    500: {"__type": "Internal Server Error", "message": "Internal Server Error"},
}


@dataclass
class Fault:
    """What goes wrong at the nth request of an action from now on; at each of them where nth is None.

    KINDS_AFTER strike when the site has acted, KINDS_BEFORE in place of acting. A number is an HTTP status.
    A callable is called with the site, which then acts.
    """

    action: str
    nth: int | None
    kind: object
    retry_after: str | None = "1"  # with 429 and 503
    location: str = "/elsewhere"  # with "redirect"
    silence: float = 60  # seconds, unless the client hangs up
    seen: int = 0  # requests of the action

    def __post_init__(self):
        if not callable(self.kind) and self.kind not in KINDS_AFTER | KINDS_BEFORE:
            raise ValueError(f"no such fault: {self.kind}")


class Refusal(Exception):
    """An answer of CKAN's without a result."""

    def __init__(self, status, **members):
        self.status, self.error = status, ERRORS[status] | members


def invalid(member, message, **others):
    return Refusal(409, **{member: [message]}, **others)


def names(value):
    """CKAN takes a list, or names with commas between them."""
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value or []


def parsed(raw):
    try:
        return json.loads(raw or "{}")
    except ValueError:
        return raw.decode(errors="replace")


def now():
    return datetime.now(timezone.utc).replace(tzinfo=None).isoformat(timespec="microseconds")


def dumps(value):
    """As JSON. A Decimal keeps its digits, as in PostgreSQL's JSON."""
    text = json.dumps(value, default=lambda decimal: f"\0{decimal:f}\0")
    return re.sub(r'"\\u0000([-.\d]+)\\u0000"', r"\1", text)


TYPES = {"text": "text", "numeric": "numeric", "date": "date", "timestamp": "timestamp without time zone",
         "int4": "integer"}  # CKAN's names, and PostgreSQL's
NUMBERS = {"numeric": r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", "int4": r"[+-]?\d+"}


def stored(kind, value):
    """The value as a column of this type has it. ValueError, in PostgreSQL's words: it does not fit."""
    if value is None or (value == "" and kind != "text"):
        return None
    text = value if isinstance(value, str) else json.dumps(value)
    with contextlib.suppress(TypeError, ValueError):
        if kind == "text":
            return text
        if kind == "date":
            return datetime.fromisoformat(value).date().isoformat()
        if kind == "timestamp":
            return datetime.fromisoformat(value).replace(tzinfo=None).isoformat(timespec="seconds")
        if re.fullmatch(NUMBERS[kind], text):
            return Decimal(text) if kind == "numeric" else int(text)
    raise ValueError(f'invalid input syntax for type {TYPES[kind].split()[0]}: "{text}"')


@dataclass
class Table:
    id: str
    fields: dict = field(default_factory=dict)  # by name: type, and info where there is one
    rows: list = field(default_factory=list)
    primary_key: list = field(default_factory=list)
    indexes: list = field(default_factory=list)
    aliases: list = field(default_factory=list)
    counted: int | None = None  # the rows when a request last asked to count them; datastore_info always counts
    last_id: int = 0
    keeps_plugin_keys: bool = True

    def declare(self, fields):
        if not self.fields and len({sent["id"] for sent in fields}) < len(fields):
            raise invalid("field", "Duplicate column names are not supported")
        for sent in fields:
            name, kind = sent["id"], "int4" if sent.get("type") in ("int", "integer") else sent.get("type")
            if kind and kind not in TYPES:
                raise invalid("fields", f'"{kind}" is not a valid field type')
            if not name or name != name.strip() or name.startswith("_") or '"' in name:
                raise invalid("fields", f'"{name}" is not a valid field name')
            if name not in self.fields:
                if not kind:
                    raise invalid("fields", f'"{name}" type not guessable')
                self.fields[name] = {"type": kind}
                for row in self.rows:
                    row[name] = None
            if isinstance(sent.get("info"), dict):
                self.fields[name]["info"] = sent["info"]
            # What a plugin of the data dictionary's keeps (IDataDictionaryForm), here one that takes any key.
            if self.keeps_plugin_keys:
                self.fields[name] |= {key: sent[key] for key in sent if key not in ("id", "type", "info", "schema")}

    def insert(self, records):
        for number, record in enumerate(records, 1):
            if extra := record.keys() - self.fields.keys():
                raise invalid("records", f'row "{number}" has extra keys "{", ".join(sorted(extra))}"')
        try:
            rows = [{name: stored(known["type"], record.get(name)) for name, known in self.fields.items()}
                    for record in records]
            self.check_key(self.rows + rows)
        except ValueError as error:
            # CKAN names the last row of the request, whichever does not fit.
            raise invalid("records", str(error), records_row=len(records) - 1) from None
        self.rows += [{"_id": number} | row for number, row in enumerate(rows, self.last_id + 1)]
        self.last_id += len(rows)

    def check_key(self, rows):
        """ValueError: two rows have the same key. Null is unlike any other null."""
        keys = [tuple(row[name] for name in self.primary_key) for row in (rows if self.primary_key else [])]
        keys = [key for key in keys if None not in key]
        if len(set(keys)) < len(keys):
            raise ValueError(f'duplicate key value violates unique constraint "{self.index_name(self.primary_key)}"')

    def set_names(self, body):
        self.aliases = names(body.get("aliases", self.aliases))
        self.primary_key = names(body.get("primary_key", self.primary_key))
        self.indexes = [names(index) for index in names(body.get("indexes", self.indexes))]
        for index in [*self.indexes, self.primary_key]:
            if not set(index) <= self.fields.keys():
                raise invalid("index", f'The field "{", ".join(index)}" is not a valid column name.')

    def index_name(self, fields):
        return hashlib.sha1((self.id + ", ".join(f'"{name}"' for name in fields)).encode()).hexdigest()

    def described(self, name):
        return {"id": name} | self.fields.get(name, {"type": "int"})

    def schema(self, name):
        index = next((index for index in [self.primary_key, *self.indexes] if name in index), None)
        return {"native_type": TYPES[self.fields[name]["type"]], "notnull": False, "uniquekey": False,
                "index_name": index and self.index_name(index), "is_index": index is not None}

    def changed(self, body, *unsaid):
        """What CKAN answers to a change."""
        self.counted = len(self.rows) if body.get("calculate_record_count") else self.counted
        return {name: value for name, value in body.items() if name not in ("force", *unsaid)}


class CkanSite(ThreadingHTTPServer):
    """Serves while its `with` lasts. `requests`: the action of each, what was sent, and the status or kind of fault."""

    ACTIONS = {"status_show", "resource_show", "resource_patch", "datastore_info", "datastore_search",
               "datastore_create", "datastore_upsert", "datastore_delete", "datastore_records_delete"}

    def __init__(self, resources=("resource",), token="token", version="2.11.5", refuses_extra_keys=False,
                 max_body=100 << 20, tls=None, keeps_plugin_keys=True):
        super().__init__(("127.0.0.1", 0), Handler)
        self.token, self.version, self.refuses_extra_keys, self.max_body = token, version, refuses_extra_keys, max_body
        self.keeps_plugin_keys = keeps_plugin_keys
        self.is_211 = version is None or [int(part) for part in version.split(".")[:2]] >= [2, 11]
        self.lock = threading.RLock()
        self.reset(resources)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.server_port}"
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=[0.02], daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], OSError):  # a client that hung up
            super().handle_error(request, client_address)

    def reset(self, resources=None):
        with self.lock:
            self.resources = {resource_id: RESOURCE | {"id": resource_id, "created": now(), "metadata_modified": now()}
                              for resource_id in resources or self.resources}
            self.tables, self.faults, self.requests = {}, [], []

    def state(self):
        with self.lock:
            tables = {table.id: asdict(table) for table in self.tables.values()}
            faults = [vars(fault) | {"kind": str(fault.kind)} for fault in self.faults]
            return dumps({"resources": self.resources, "tables": tables, "faults": faults, "requests": self.requests})

    def next_fault(self, action):
        with self.lock:
            for fault in self.faults:
                fault.seen += fault.action == action
            return next((f for f in self.faults if f.action == action and f.nth in (None, f.seen)), None)

    def answer(self, action, body, may_edit):
        """Acts. The status, and a text of JSON."""
        if action not in self.ACTIONS or (action == "datastore_records_delete" and not self.is_211):
            return 400, dumps(f"Bad request - Action name not known: {action}")
        if not isinstance(body, dict):
            return 400, dumps("Bad request - JSON Error: Error decoding JSON data. Error: <BadRequest '400: Bad"
                              " Request'> JSON data extracted from the request: {}")
        whole = {"help": f"{STATUS['site_url']}/api/3/action/help_show?name={action}"}
        try:
            with self.lock:
                return 200, dumps(whole | {"success": True, "result": getattr(self, action)(body, may_edit)})
        except Refusal as refusal:
            return refusal.status, dumps(whole | {"success": False, "error": refusal.error})
        except Exception:
            self.handle_error(None, action)
            return 500, dumps(whole | {"success": False, "error": ERRORS[500]})

    def editable(self, body, may_edit, is_forced):
        resource = self.resource_show(body, may_edit)
        if not may_edit:
            raise Refusal(403, message=f"Access denied: User  not authorized to edit resource {resource['id']}")
        if not is_forced and resource["url_type"] != "datastore":
            raise invalid("read-only", "Cannot edit read-only resource because changes made may be lost. Use a resource"
                          ' created for editing e.g. with datastore_create or use "force=True" to ignore this warning.')
        return resource

    def table(self, name, what="Resource"):
        for table in self.tables.values():
            if name in [table.id, *table.aliases]:
                return table
        raise Refusal(404, message=f'Not found: {what} "{name}" was not found.')

    # The actions: what was sent, and whether the sender may edit.

    def status_show(self, _body, _may_edit):
        status = STATUS | {"ckan_version": self.version}
        return {name: value for name, value in status.items() if value or name != "ckan_version"}  # ckan.hide_version

    def resource_show(self, body, _may_edit):
        if (resource_id := body.get("resource_id") or body.get("id")) not in self.resources:
            raise Refusal(404)
        return self.resources[resource_id]

    def resource_patch(self, body, may_edit):
        resource = self.editable(body, may_edit, is_forced=True)
        for name in body.keys() - RESOURCE.keys() if self.refuses_extra_keys else []:
            raise invalid(name, f"The input field {name} was not expected.")
        resource.update(body, metadata_modified=now())
        return resource

    def datastore_info(self, body, _may_edit):
        table = self.table(body.get("resource_id") or body.get("id"), "Resource/Alias")
        return {"meta": {"id": table.id, "count": len(table.rows), "table_type": "BASE TABLE", "size": 8192,
                         "db_size": 126975335, "idx_size": 24576, "aliases": table.aliases},
                "fields": [table.described(name) | {"schema": table.schema(name)} for name in table.fields]}

    def datastore_search(self, body, _may_edit):
        table = self.table(body["resource_id"])
        for member, known in [("fields", ["_id", *table.fields]), ("sort", ["_id", "_id asc"]), ("filters", [])]:
            if unknown := [name for name in names(body.get(member)) if name not in known]:
                raise invalid(member, f'invalid value "{unknown[0]}"')
        fields = names(body.get("fields")) or ["_id", *table.fields]
        limit, offset = min(body.get("limit", 100), 32000), body.get("offset", 0)
        found = {"include_total": True, "records_format": "objects", "total_estimation_threshold": None} | body | {
            "limit": limit, "resource_id": table.id, "fields": [table.described(name) for name in fields],
            "records": [{name: row[name] for name in fields} for row in table.rows[offset:offset + limit]],
            "_links": {"start": f"{API}datastore_search", "next": f"{API}datastore_search?offset={offset + limit}"}}
        return found | ({"total": len(table.rows), "total_was_estimated": False} if found["include_total"] else {})

    def datastore_create(self, body, may_edit):
        if body["resource_id"] not in self.resources:
            raise invalid("resource_id", "Not found: Resource")
        resource = self.editable(body, may_edit, body.get("force"))
        fresh = Table(resource["id"], keeps_plugin_keys=self.keeps_plugin_keys)
        table = copy.deepcopy(self.tables.get(resource["id"], fresh))
        table.declare(body.get("fields", []))
        table.insert(body.get("records", []))
        table.set_names(body)
        self.tables[table.id] = table
        resource["datastore_active"] = True
        added = {"method": "insert"} | ({"delete_fields": False} if self.is_211 else {})
        return table.changed(body, "records") | added

    def datastore_upsert(self, body, may_edit):
        self.editable(body, may_edit, body.get("force"))
        table = self.table(body["resource_id"])
        assert body.get("method") == "insert", "datastore_upsert only inserts here"
        table.insert(body.get("records", []))
        return table.changed(body)

    def datastore_delete(self, body, may_edit):
        resource = self.editable(body, may_edit, body.get("force"))
        table = self.table(body["resource_id"])
        assert not body.get("filters"), "all rows are deleted here"
        table.rows = []
        if body.get("filters") is None:
            del self.tables[table.id]
            resource["datastore_active"] = False
        return table.changed(body)

    def datastore_records_delete(self, body, may_edit):
        return self.datastore_delete(body | {"filters": body["filters"] or {}}, may_edit)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        """Says nothing."""

    def do_POST(self):
        length = int(self.headers.get("Content-Length", 0))
        if length > self.server.max_body:  # nginx says so before it has read all
            self.note(None, 413)
            self.send_page(413, Connection="close")
            self.rfile.read(length)  # else the client might not get to read the answer
        elif self.path.startswith("/control/"):
            self.control(self.path.removeprefix("/control/"), parsed(self.rfile.read(length)))
        elif self.path.startswith(API):
            self.act(self.path.removeprefix(API), parsed(self.rfile.read(length)))
        else:  # as nginx says it, where no CKAN is
            self.note(parsed(self.rfile.read(length)), 404)
            self.send_page(404)

    do_GET = do_POST

    def control(self, what, sent):
        if what == "fault":
            self.server.faults.append(Fault(**sent))
        elif what == "heal":
            self.server.faults.clear()
        elif what == "reset":
            self.server.reset(**sent)
        self.send(200, JSON, self.server.state())

    def act(self, action, body):
        fault = self.server.next_fault(action)
        kind = fault and fault.kind
        if callable(kind):
            kind(self.server)
            kind = None
        if kind not in KINDS_BEFORE:
            status, text = self.server.answer(action, body, self.headers.get("Authorization") == self.server.token)
        self.note(body, kind or status)
        if not kind:
            self.send(status, JSON, text)
        elif kind in KINDS_CLOSING:
            self.close_connection = True
            if kind == "cut_amid":
                self.send(status, JSON, text, cut_at=len(text) // 2)
            elif kind in ("silent", "silent_after"):
                select.select([self.connection], [], [], fault.silence)
        elif kind == "json_cut":
            self.send(status, JSON, text[:len(text) // 2])
        elif kind in (401, 403, 404, 409):
            self.send(kind, JSON, dumps({"success": False, "error": ERRORS[kind]}))
        else:
            waiting = {"Retry-After": fault.retry_after} if fault.retry_after else {}
            headers = {"redirect": {"Location": fault.location}, 429: waiting, 503: waiting}.get(kind, {})
            self.send_page(PAGES.get(kind, kind), **headers)

    def note(self, sent, outcome):
        with self.server.lock:
            self.server.requests.append((self.path.removeprefix(API), sent, outcome))

    def send_page(self, status, **headers):
        title = f"{status} {self.responses[status][0]}"
        self.send(status, HTML, f"<html><head><title>{title}</title></head><body>{title}</body></html>\n", **headers)

    def send(self, status, content_type, text, cut_at=None, **headers):
        self.send_response(status)
        for name, value in {"Content-Type": content_type, "Content-Length": len(text.encode()), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode()[:cut_at])


def main():
    with CkanSite(**json.loads(sys.argv[1] if len(sys.argv) > 1 else "{}")) as site:
        print(site.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
