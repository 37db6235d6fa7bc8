"""The examples are programs to copy: each is built and run with the line at its top, and prints what stands here."""
import pathlib
import re
import shlex
import shutil
import sys
import tempfile

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "compile"))
sys.path.insert(0, str(HERE.parent / "servers"))
import postgres_cluster  # noqa: E402
from compiling import COMPILERS, INCLUDE, TOP, WARNINGS, package_flags, run, succeed  # noqa: E402

PRINTED = {
    "custom_clock": """\
adopted "Orders, net", saved 45 min ago by the log
after a jump back the checkpoint is 0 us old: no age is negative
""",
    "custom_storage": """\
map_storage keeps what concepts.hpp promises
the reload failed: no rows today; label: Orders, net
the reload is done; label: Orders, net; records left: 0
""",
    "described_type": """\
the reload failed: orders.csv: no such file
the words are back
on disk: {"owner":"Ada","description":null,"columns":[{"name":"price","unit":"EUR","synonyms":["amount","sum"]},\
{"name":"day","unit":null,"synonyms":[]}]}
""",
    "directory": """\
503 Service Unavailable; there is still: day 1
""",
    "observer": """\
WARNING stash: superseded "orders", age 0 s, at HERE/orders.superseded-NAME
DEBUG stash: saved "orders", at HERE/orders.stash
ERROR stash: restore_failed "orders", at HERE/orders.stash: the database is down
WARNING stash: adopted "orders", age 0 s, at HERE/orders.stash
INFO stash: restored "orders", age 0 s
ERROR stash: corrupt "orders", at HERE/orders.corrupt-NAME: get "orders": HERE/orders.stash: cut off or damaged: \
corrupt: not a whole record [stash:3]
DEBUG stash: saved "orders", at HERE/orders.stash
DEBUG stash: committed "orders"
""",
    "parked_table": """\
failed; there is again: 1 in the view
loaded: 2 in the view
in EUR, without VAT
""",
    "recover_at_startup": """\
the job was killed; the table is gone
restored orders
restored 1, live 0, busy 0, corrupt 0, failed 0
the table is there again: typed by hand
restored 0, live 0, busy 0, corrupt 0, failed 0
""",
    "several_resources": """\
saved customers
saved orders
restored customers
restored orders
failed: items.csv: no such file; the words are back
saved customers
saved orders
committed customers
committed items
committed orders
""",
    "sql_table": """\
failed: no such column: oops; the words are back
loaded; records left: 0
""",
    "whole_schema": """\
failed: no such column: oops; Ada bought a lamp
rebuilt: Grace bought a clock; by_buyer is there
""",
}
each_example = pytest.mark.parametrize("name", PRINTED)


@pytest.fixture
def where_libpq_connects(request, monkeypatch):
    """A server of its own, for an example that needs one."""
    if "libpq-fe.h" not in source(request.getfixturevalue("name")).read_text(encoding="utf-8"):
        yield
        return
    if postgres_cluster.programs() is None:
        pytest.skip("there is no PostgreSQL")
    place = pathlib.Path(tempfile.mkdtemp(prefix="stash-example-"))
    place.chmod(0o755)  # the server is another user
    server = postgres_cluster.Cluster(place / "server").init().start()
    for name, value in {"PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGUSER": "postgres"}.items():
        monkeypatch.setenv(name, value)
    yield
    server.stop()
    shutil.rmtree(place)


def source(name):
    return HERE / f"{name}.cpp"


@each_example
@pytest.mark.usefixtures("where_libpq_connects")
def test_example_is_built_with_its_own_line_and_prints_what_it_should(name, tmp_path):
    text = source(name).read_text(encoding="utf-8").replace("\n// -", " -")  # the line may go on in the next
    build, program = re.search(r"^// g\+\+ (.*) -o job && \./job(.*)$", text, re.M).groups()
    succeed(COMPILERS[0], *WARNINGS, *shlex.split(build), "-o", tmp_path / "job", cwd=TOP)
    arguments = shlex.split(program)
    printed = succeed("./job", *arguments, cwd=tmp_path).replace(str(tmp_path / "at"), "HERE")
    printed = re.sub(r"(superseded|corrupt)-\d{8}T[0-9.]+Z-[0-9a-f]+", r"\1-NAME", printed)  # when, and a random number
    printed = re.sub(r"age \d+ s", "age 0 s", printed)  # a slow disk takes its time
    assert printed == PRINTED[name]
    if arguments:
        told = run("./job", cwd=tmp_path)
        assert (told.returncode, told.stderr) == (2, "usage: ./job DIRECTORY\n")


@each_example
@pytest.mark.parametrize("compiler", COMPILERS[1:])
def test_example_compiles_with_the_other_compiler(compiler, name):
    succeed(compiler, *WARNINGS, f"-I{INCLUDE}", *package_flags("--cflags"), "-fsyntax-only", source(name))


@each_example
def test_example_is_short(name):
    assert len(source(name).read_text(encoding="utf-8").splitlines()) <= 80


def test_every_example_is_tried():
    assert sorted(path.stem for path in HERE.glob("*.cpp") if path.stem != "pusher") == sorted(PRINTED)
