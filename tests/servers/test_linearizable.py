"""The judge of histories finds the guilty ones guilty, and no other."""

import itertools
import random

import pytest

from linearizable import NEVER, Operation, edn, judge, read


def history(text):
    """A line an operation: what, value, begin, end (`?`: nobody saw it), and how it ended, where it is not `ok`."""
    operations = []
    for n, line in enumerate(text.strip().splitlines()):
        what, value, begin, end, *outcome = line.split()
        how = outcome[0] if outcome else "info" if end == "?" else "ok"
        operations.append(Operation(n, what, "k", value, how, int(begin), NEVER if end == "?" else int(end)))
    return operations


INNOCENT = {
    "nothing happened": "",
    "one after another": "load - 0 1\nsave 1 2 3\nload 1 4 5\nclear true 6 7\nclear false 8 9\nload - 10 11",
    "concurrent saves in one order": "save 1 0 5\nsave 2 1 4\nload 1 6 7",
    "concurrent saves in the other order": "save 1 0 5\nsave 2 1 4\nload 2 6 7",
    "a load amid a save sees the old value, and then the new one":
        "save 1 0 1\nsave 2 2 9\nload 1 3 4\nload 2 5 6\nload 2 7 8",
    "a save that nobody saw the end of takes effect late": "save 1 0 1\nsave 2 2 ?\nload 1 3 4\nsave 3 5 6\nload 2 7 8",
    "a save that nobody saw the end of never takes effect": "save 1 0 1\nsave 2 2 ?\nload 1 3 4\nload 1 9 10",
    "a clear that nobody saw the end of takes effect late": "save 1 0 1\nclear - 2 ?\nload 1 3 4\nload - 5 6\nclear false 7 8",
    "a clear removes what a save left that nobody saw the end of": "save 1 0 ?\nclear true 1 2\nload - 3 4",
    "a failed save does nothing": "save 1 0 1\nsave 2 2 3 fail\nload 1 4 5",
    "a failed load says nothing": "save 1 0 1\nload - 2 3 fail\nload 1 4 5",
    "a save that another passed": "save 1 0 1\nsave 2 2 9 passed\nload 2 3 4\nsave 3 5 6\nload 3 10 11",
    "a save that another passed, and nobody saw": "save 1 0 1\nsave 2 2 9 passed\nload 1 3 4\nload 1 10 11",
    "each of two clears takes one of two values": "save 1 0 9\nsave 2 0 9\nclear true 1 5\nclear true 2 6\nload - 10 11",
}
GUILTY = {
    "a load that sees an old value": ("save 1 0 1\nsave 2 2 3\nload 1 4 5", "no order"),
    "a load that sees nothing, though an acknowledged save is there": ("save 1 0 1\nload - 2 3", "no order"),
    "an acknowledged save that was lost, and an older one is back": ("save 1 0 1\nsave 2 2 3\nload 2 4 5\nload 1 6 7", "no order"),
    "a failed save that took effect": ("save 1 0 1\nsave 2 2 3 fail\nload 2 4 5", "whose save failed"),
    "a failed clear that took effect": ("save 1 0 1\nclear - 2 3 fail\nload - 4 5", "no order"),
    "a value that nobody saved": ("save 1 0 1\nload 7 2 3", "nobody saved"),
    "a value that is saved later": ("load 1 0 1\nsave 1 2 3", "before it was saved"),
    "a cleared value that comes back": ("save 1 0 1\nclear true 2 3\nload - 4 5\nload 1 6 7", "no order"),
    "a save in doubt that takes effect twice": ("save 1 0 ?\nload 1 1 2\nclear true 3 4\nload 1 5 6", "no order"),
    "a clear that says that it removed something, though nothing was there": ("save 1 0 1\nclear true 2 3\nclear true 4 5", "no order"),
    "a clear that says that nothing was there, though something was": ("save 1 0 1\nclear false 2 3", "no order"),
    "two clears that removed the same value at once": ("save 1 0 1\nclear true 2 9\nclear true 3 8", "no order"),
    "two loads that saw two saves in different orders":
        ("save 1 0 9\nsave 2 0 9\nload 1 1 2\nload 2 3 4\nload 1 5 6", "no order"),
    "a save that another passed and that takes effect behind its end":
        ("save 1 0 1\nsave 2 2 5 passed\nsave 3 3 4\nload 3 6 7\nload 2 8 9", "no order"),
    "a save in doubt that cannot help twice": ("save 1 0 ?\nclear true 1 2\nclear true 3 4", "no order"),
}


@pytest.mark.parametrize("text", INNOCENT.values(), ids=INNOCENT)
def test_a_history_that_can_be_explained_is_innocent(text):
    assert judge(history(text)) == []


@pytest.mark.parametrize("text, why", GUILTY.values(), ids=GUILTY)
def test_a_history_that_cannot_be_explained_is_guilty(text, why):
    (verdict,) = judge(history(text))
    assert why in verdict.problem and verdict.operations


def test_each_key_is_judged_by_itself():
    guilty = history("save 1 0 1\nload - 2 3")
    innocent = [Operation(9, "save", "other", "5", "ok", 0, 1)]
    assert [v.key for v in judge(guilty + innocent)] == ["k"]


def test_a_verdict_shows_only_what_matters():
    ordinary = [one for n in range(500) for one in (Operation(1, "save", "k", f"{n}", "ok", 10 * n, 10 * n + 3),
                                                    Operation(2, "load", "k", f"{n}", "ok", 10 * n + 5, 10 * n + 8))]
    late = [Operation(50 + n, "save", "k", f"{900 + n}", "info", 10 * n) for n in range(20)]
    lost = [Operation(3, "load", "k", "250", "ok", 2600, 2601)]
    (verdict,) = judge(ordinary + late + lost)
    assert [f"{o.what} {o.value}" for o in verdict.operations] == ["save 250", "save 259", "load 259", "load 250"]
    assert "2600" not in str(verdict) and "load -> 250" in str(verdict)


def by_every_order(operations):
    """The same, by trying each order of each choice: for a few operations only."""
    certain = [o for o in operations if o.outcome == "ok"]
    late = [o for o in operations if o.outcome in ("info", "passed") and o.what != "load"]
    return any(is_explained_by(order) for count in range(len(late) + 1) for some in itertools.combinations(late, count)
               for order in itertools.permutations(certain + list(some)))


def is_explained_by(order):
    state, latest_begin = "-", -1
    for one in order:
        latest_begin = max(latest_begin, one.begin)
        if one.end < latest_begin:
            return False
        if one.what == "load" and state != one.value:
            return False
        if one.what == "clear" and one.outcome == "ok" and one.value != ("false" if state == "-" else "true"):
            return False
        state = {"load": state, "clear": "-", "save": one.value}[one.what]
    return True


def any_history(rng):
    operations = []
    for n in range(rng.randint(2, 6)):
        what = rng.choice(["save", "load", "load", "clear"])
        value = {"save": str(n), "load": rng.choice("-012345"), "clear": rng.choice(["true", "false"])}[what]
        begin = rng.randint(0, 12)
        outcome = rng.choice(["ok"] * 4 + ["info", "passed", "fail"])
        operations.append(Operation(n, what, "k", value, outcome, begin,
                                    NEVER if outcome == "info" else begin + rng.randint(1, 6)))
    return operations


def test_it_says_of_small_histories_what_trying_every_order_says():
    rng = random.Random(4711)
    said = []
    for _ in range(4000):
        operations = any_history(rng)
        said.append(judge(operations) == [])
        assert said[-1] == by_every_order(operations), "\n".join(o.shown() for o in operations)
    assert 400 < sum(said) < 3600


def register(rng, count, processes):
    """What a real register would show, with ends that nobody saw."""
    free = {p: 0 for p in range(processes)}
    planned = []
    for n in range(count):
        process = min(free, key=free.get)
        begin = free.pop(process) + rng.randint(1, 10)
        end = begin + rng.randint(2, 60)
        if rng.random() < 0.02:
            planned.append((rng.randint(begin, end + 2000), Operation(process, "save", "k", str(n), "info", begin)))
            process += 1000
        else:
            what = rng.choice(["save", "load", "clear"])
            planned.append((rng.uniform(begin + 0.1, end - 0.1), Operation(process, what, "k", str(n), "ok", begin, end)))
        free[process] = end
    state, operations = "-", []
    for _, one in sorted(planned, key=lambda each: each[0]):
        seen = {"load": state, "clear": "false" if state == "-" else "true", "save": one.value}[one.what]
        operations.append(Operation(one.process, one.what, "k", seen, one.outcome, one.begin, one.end))
        state = {"load": state, "clear": "-", "save": one.value}[one.what]
    return sorted(operations, key=lambda o: o.begin)


def test_thousands_of_operations_of_a_true_register_are_innocent():
    for seed in range(3):
        assert judge(register(random.Random(seed), 2000, 6)) == []


def test_one_wrong_load_among_thousands_is_found():
    for seed in range(3):
        rng = random.Random(seed)
        operations = register(rng, 2000, 6)
        wrong = rng.choice([n for n, o in enumerate(operations) if o.what == "load" and n > 1000])
        old = rng.choice([o for o in operations[:500] if o.what == "save" and o.outcome == "ok"])
        operations[wrong] = Operation(5000, "load", "k", old.value, "ok", operations[wrong].begin, operations[wrong].end)
        (verdict,) = judge(operations)
        assert old.value in str(verdict) and len(verdict.operations) < 100


LINES = """10\t1\tinvoke\tsave\tk0\t1\t
20\t2\tinvoke\tload\tk0\t-\t
30\t1\tinfo\tsave\tk0\t1\tnobody knows
40\t2\tok\tload\tk0\t1\t
50\t2\tinvoke\tclear\tk0\t-\t
60\t2\tok\tclear\tk0\ttrue\t
70\t2\tinvoke\tsave\tk0\t2\t
80\t2\tok\tsave\tk"""


def test_what_a_killed_worker_printed_is_read_and_written_for_other_judges():
    operations = read(LINES.splitlines(True))
    assert [(o.what, o.value, o.outcome) for o in operations] \
        == [("save", "1", "info"), ("load", "1", "ok"), ("clear", "true", "ok"), ("save", "2", "info")]
    assert judge(operations) == []
    assert edn(operations).splitlines()[:4] == [
        '{:type :invoke, :process 1, :f :write, :key "k0", :value 1, :time 10}',
        '{:type :invoke, :process 2, :f :read, :key "k0", :value nil, :time 20}',
        '{:type :ok, :process 2, :f :read, :key "k0", :value 1, :time 40}',
        '{:type :invoke, :process 2, :f :write, :key "k0", :value nil, :time 50}']
