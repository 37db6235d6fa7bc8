"""Whether what several processes saw of registers can be explained by one operation at a time, each at some moment between
its begin and its end. It shares nothing with what it judges.

    linearizable.py FILE...    judges the lines that workers printed (`postgres_worker history`), all files together

A line has, with tabs between: the time in ns, the process, what (`invoke`, or how it ended), the operation, the key, the
value or `-`, and why. An operation saves a value that no other one saves, loads what is there (`-`: nothing), or clears and
says whether there was something. It ends as

    ok       it was done, at a moment in its time
    fail     it was not done, and never will be
    info     it may be done at any moment from its begin on, or never; as one whose end nobody saw
    passed   it was done in its time, or never will be

For each key the judge goes through the ends of operations in their order, and keeps every state that the register may be in,
with the operations that had their effect already although they go on (Gavin Lowe, Testing for linearizability, 2017: the
search just in time). Where none is left the history cannot be explained.
"""
import bisect
import dataclasses
import sys
from collections import defaultdict
from pathlib import Path

NOTHING = "-"
NEVER = float("inf")
UNKNOWN = "?"  # a state: whatever stood there before a part of a history


@dataclasses.dataclass(frozen=True)
class Operation:
    process: int
    what: str  # save, load, clear
    key: str
    value: str  # what was saved or seen; of a clear, "true": there was something
    outcome: str
    begin: int
    end: float = NEVER
    why: str = ""

    def shown(self, origin=0):
        begin, end = ((t - origin) / 1e6 for t in (self.begin, self.end))
        until = f"{end:.3f}" if self.end < NEVER else "?"
        said = {"ok": f" -> {self.value}", "fail": " failed"}.get(self.outcome, " may have been done")
        words = f"{self.what} {self.value}" if self.what == "save" else self.what
        if self.what == "save" and self.outcome == "ok":
            said = ""
        return f"{begin:12.3f} .. {until:>12} ms  process {self.process:<5} {words}{said}{f' ({self.why[:150]})' if self.why else ''}"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What is wrong with a key's history, in words, and the operations that show it."""
    key: str
    problem: str
    operations: tuple

    def __str__(self):
        origin = min((o.begin for o in self.operations), default=0)
        lines = [f"key {self.key}: {self.problem}", *(o.shown(origin) for o in self.operations)]
        return "\n  ".join(lines)


def read(lines):
    """The operations in what workers printed. A last line that was cut off does not count."""
    operations, running = [], {}
    for line in lines:
        if not line.endswith("\n"):
            continue
        time, process, how, what, key, value, why = line[:-1].split("\t")
        if how == "invoke":
            running[process] = Operation(int(process), what, key, value, "info", int(time))
        else:
            begun = running.pop(process)
            ended = NEVER if how == "info" else int(time)
            operations.append(dataclasses.replace(begun, value=value, outcome=how, end=ended, why=why))
    return sorted([*operations, *running.values()], key=lambda o: o.begin)


def judge(operations):
    """A verdict for each key whose history cannot be explained."""
    of_key = defaultdict(list)
    for one in sorted(operations, key=lambda o: o.begin):
        of_key[one.key].append(one)
    return [verdict for key in sorted(of_key) if (verdict := judge_key(key, of_key[key]))]


def judge_key(key, operations):
    if plain := seen_but_not_saved(key, operations):
        return plain
    end = Search(operations, NOTHING).unexplained()
    if end is None:
        return None
    return Verdict(key, "no order of these explains what they saw", tuple(shortened(operations, end)))


def seen_but_not_saved(key, operations):
    saves = {o.value: o for o in operations if o.what == "save"}
    for seen in loads(operations):
        if seen.value == NOTHING:
            continue
        save = saves.get(seen.value)
        if save is None:
            return Verdict(key, "a value was loaded that nobody saved", (seen,))
        if save.outcome == "fail":
            return Verdict(key, "a value was loaded whose save failed", (save, seen))
        if save.begin > seen.end:
            return Verdict(key, "a value was loaded before it was saved", (seen, save))
    return None


def loads(operations):
    return [o for o in operations if o.what == "load" and o.outcome == "ok"]


# The search. A possibility is a state of the register, the running operations that have had their effect (by their index), and
# of those that may have one at any time, or none, the ones that had it: the saves of a value that somebody loaded, by index, and
# how many of the other saves and of the clears, which are all alike.


@dataclasses.dataclass(frozen=True)
class Possibility:
    state: str
    done: frozenset = frozenset()
    used: frozenset = frozenset()
    unseen: int = 0
    clears: int = 0

    def is_covered_by(self, other):
        """Whether whatever may follow here may follow there: what has not been used can be used later, or never."""
        return other.used <= self.used and other.unseen <= self.unseen and other.clears <= self.clears


class Search:
    def __init__(self, operations, state):
        self.operations = [o for o in operations if matters(o)]
        self.seen = {o.value for o in loads(self.operations)}
        self.saved = {o.value for o in self.operations if o.what == "save" and o.outcome != "passed"}
        self.running = set()  # indices
        self.late = {"seen": {}, "unseen": 0, "clears": 0}  # what may have its effect at any time; "seen" by its value
        self.possible = {Possibility(state)}

    def unexplained(self):
        """The first end of an operation that cannot be explained; None: all can."""
        events = sorted([(o.begin, 0, i) for i, o in enumerate(self.operations)]
                        + [(o.end, 1, i) for i, o in enumerate(self.operations) if o.end < NEVER])
        for _, is_end, i in events:
            if not is_end:
                self.begin(i)
            elif not self.end(i):
                return self.operations[i].end
        return None

    def begin(self, i):
        one = self.operations[i]
        if one.outcome != "info":
            self.running.add(i)
        elif one.what == "clear":
            self.late["clears"] += 1
        elif one.value in self.seen:
            self.late["seen"][one.value] = i
        else:
            self.late["unseen"] += 1

    def end(self, i):
        """Keeps what is possible with this one done; of one that may have been done, without it, too."""
        is_optional = self.operations[i].outcome == "passed"
        found, reached = set(), set(self.possible)
        waiting = list(self.possible)
        while waiting:
            now = waiting.pop()
            if i in now.done:
                found.add(dataclasses.replace(now, done=now.done - {i}))
                continue
            if is_optional:
                found.add(now)
            for after in self.steps(now):
                if after not in reached:
                    reached.add(after)
                    waiting.append(after)
        self.running.discard(i)
        self.possible = least(found)
        return bool(found)

    def steps(self, now):
        """What may come next: one more of the running operations is done, behind one of the late ones where it needs that.
        A late one that none needs would change nothing but what can follow, and only for the worse."""
        for i in self.running - now.done:
            one = self.operations[i]
            done = now.done | {i}
            if one.what == "save":
                yield dataclasses.replace(now, state=one.value, done=done)
            elif one.what == "load":
                yield from (dataclasses.replace(at, state=one.value, done=done) for at in self.at_value(now, one.value))
            elif one.outcome == "passed":  # it saw nothing
                yield dataclasses.replace(now, state=NOTHING, done=done)
            else:
                ats = self.at_some_value(now) if one.value == "true" else self.at_value(now, NOTHING)
                yield from (dataclasses.replace(at, state=NOTHING, done=done) for at in ats)

    def at_value(self, now, value):
        if now.state == value or (now.state == UNKNOWN and value not in self.saved):
            yield now
        elif value == NOTHING:
            if now.clears < self.late["clears"]:
                yield dataclasses.replace(now, clears=now.clears + 1)
        elif (late := self.late["seen"].get(value)) is not None and late not in now.used:
            yield dataclasses.replace(now, used=now.used | {late})

    def at_some_value(self, now):
        """A late save of a value that somebody loads has its effect before that load, and can stand for no other one."""
        if now.state != NOTHING:
            yield now
        elif now.unseen < self.late["unseen"]:
            yield dataclasses.replace(now, unseen=now.unseen + 1)


def matters(one):
    return one.outcome != "fail" and not (one.what == "load" and one.outcome != "ok")


def least(possibilities):
    """Without those that another covers."""
    alike = defaultdict(list)
    for one in possibilities:
        alike[one.state, one.done].append(one)
    kept = set()
    for group in alike.values():
        kept |= {a for a in group if not any(a is not b and a.is_covered_by(b) for b in group)}
    return kept


def is_explained(operations, state):
    return Search(operations, state).unexplained() is None


# What to show of a history that cannot be explained


def shortened(operations, end):
    """As few as still cannot be explained, whatever stood there before: since as late a moment as possible, without those that
    saw something and changed nothing, and without late ones that would help no other. (If the whole could be explained, so
    could such a part.)"""
    part, state = begun_by(end, operations), NOTHING
    begins = [o.begin for o in part]
    too_late = bisect.bisect_left(begins, True, key=lambda begin: is_explained(since(begin, part), UNKNOWN))
    if too_late > 0:
        part, state = since(begins[too_late - 1], part), UNKNOWN
    for one in part:
        less = [o for o in part if o is not one]
        if saw_only(one) and not is_explained(less, state):
            part = less
    part = [o for o in part if o.outcome == "ok" or any(helps(o, other) for other in part)]
    shown = {(o.process, o.begin) for o in part}
    seen = {o.value for o in loads(part)}  # whose saves say where they came from
    return [o for o in operations if (o.process, o.begin) in shown or (o.what == "save" and o.value in seen)]


def saw_only(one):
    return one.what == "load" or (one.what, one.value, one.outcome) == ("clear", "false", "ok")


def helps(late, other):
    if other.outcome != "ok" or other.what == "save":
        return False
    if late.what == "clear":
        return other.value in (NOTHING, "false")
    return other.value in (late.value, "true")


def since(moment, operations):
    """Those that may have their effect from then on; what began before may have had it."""
    rest = [o for o in operations if o.end >= moment]
    return [o if o.begin >= moment or o.outcome == "info" else dataclasses.replace(o, outcome="passed")
            for o in rest if o.begin >= moment or o.what != "load"]


def begun_by(time, operations):
    """What began until then; of what goes on, nobody knows whether it will be done."""
    begun = [o for o in operations if matters(o) and o.begin <= time]
    ended = [o if o.end <= time else dataclasses.replace(o, end=NEVER, outcome="info") for o in begun]
    return [o for o in ended if matters(o)]


def edn(operations):
    """As Knossos and Elle read it; a clear writes nil there."""
    def shown(o, time, how):
        value = "nil" if o.what == "clear" or o.value == NOTHING else o.value
        function = "read" if o.what == "load" else "write"
        return time, f'{{:type :{how}, :process {o.process}, :f :{function}, :key "{o.key}", :value {value}, :time {time}}}\n'

    events = [shown(dataclasses.replace(o, value=NOTHING) if o.what == "load" else o, o.begin, "invoke") for o in operations]
    events += [shown(o, o.end, "info" if o.outcome == "passed" else o.outcome) for o in operations if o.end < NEVER]
    return "".join(line for _, line in sorted(events))


def main():
    operations = read(line for name in sys.argv[1:] for line in Path(name).read_text().splitlines(True))
    verdicts = judge(operations)
    print("\n".join(map(str, verdicts)) or f"{len(operations)} operations can be explained")
    return 1 if verdicts or not operations else 0


if __name__ == "__main__":
    sys.exit(main())
