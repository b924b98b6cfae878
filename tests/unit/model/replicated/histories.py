"""Histories of three replicas, and what each type must show after them: a model without any lattice.

An operation of the model knows which operations its replica had seen. What a replica shows must
follow from the operations that it has seen, and from nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hypothesis import strategies as st

from eventmill import (
    CounterMap,
    Flag,
    GCounter,
    GSet,
    LWWRegister,
    MultiMap,
    MVRegister,
    ORMap,
    ORSet,
    PNCounter,
    RegisterMap,
    Vote,
)
from eventmill.model.replicated import Causal, Change, Kind, Writer, decode, encode, kind_of

FIELD = ("field",)
REPLICAS = (1, 2, 3)
NAMES = ("a", "b", "c")


class Step(NamedTuple):
    """One thing that happens: an operation if `source` is the replica itself, else a delivery."""

    replica: int
    source: int
    action: int
    argument: int


def history(data: bytes) -> list[Step]:
    """Read a history out of bytes, two for each step: quick to generate and to shrink."""
    return [
        Step(
            REPLICAS[first % 3],
            REPLICAS[first // 3 % 3],
            second % 4,
            second // 4 % 6,
        )
        for first, second in zip(data[::2], data[1::2], strict=False)
    ]


histories = st.binary(max_size=60)


@dataclass(frozen=True)
class Op:
    """An operation in the model: what it does, who did it, and what that replica had seen."""

    number: int
    actor: int
    name: str
    arguments: tuple[Any, ...]
    seen: frozenset[int]
    time: int


Ops = dict[int, Op]
Operations = tuple[Callable[[Any, int], tuple[Change, str, tuple[Any, ...]]], ...]


@dataclass
class Type:
    """A replicated type: its annotation, its operations, its meaning."""

    annotation: Any
    operations: Operations
    meaning: Callable[[Ops], Any]
    template: Any = None

    @property
    def kind(self) -> Kind[Any]:
        return kind_of(self.annotation, self.template)


@dataclass
class Replica:
    actor: int
    state: Causal = field(default_factory=Causal)
    seen: set[int] = field(default_factory=set)

    @property
    def writer(self) -> Writer:
        return Writer(self.state, self.actor)


class Play:
    """Replicas of one type that go through a history; every operation makes a delta."""

    def __init__(self, type: Type) -> None:
        self.type = type
        self.kind = type.kind
        self.replicas = {actor: Replica(actor) for actor in REPLICAS}
        self.ops: Ops = {}
        self.deltas: dict[int, bytes] = {}

    def value(self, actor: int) -> Any:
        return self.kind.at(self.replicas[actor].state, FIELD).value

    def expected(self, actor: int) -> Any:
        seen = self.replicas[actor].seen
        return self.type.meaning({number: self.ops[number] for number in sorted(seen)})

    def operate(self, step: Step) -> None:
        replica = self.replicas[step.replica]
        writer = replica.writer
        operation = self.type.operations[step.action % len(self.type.operations)]
        change, name, arguments = operation(self.kind.at(replica.state, FIELD), step.argument)
        number = len(self.ops) + 1
        # Clocks differ from node to node, and stand still.
        now = 10 * replica.actor + number // 3
        writer.apply([change], now)
        op = Op(number, replica.actor, name, arguments, frozenset(replica.seen), now)
        self.ops[number] = op
        replica.seen.add(number)
        self.deltas[number] = encode(writer.delta)

    def deliver(self, number: int, actor: int) -> None:
        """Let a delta arrive, before or after others, for the first time or again."""
        self.replicas[actor].state.join(decode(self.deltas[number], is_delta=True))
        self.replicas[actor].seen.add(number)

    def deliver_with_causes(self, number: int, actor: int) -> None:
        for cause in sorted(self.ops[number].seen | {number}):
            self.deliver(cause, actor)

    def deliver_state(self, source: int, actor: int) -> None:
        self.replicas[actor].state.join(decode(encode(self.replicas[source].state)))
        self.replicas[actor].seen |= self.replicas[source].seen


def _live(ops: Ops, adds: Iterable[Op], removes: Iterable[Op]) -> list[Op]:
    """Additions that no removal had seen."""
    gone = list(removes)
    return [add for add in adds if not any(add.number in one.seen for one in gone)]


def _named(ops: Ops, *names: str) -> Iterator[Op]:
    return (op for op in ops.values() if op.name in names)


# --- meanings ----------------------------------------------------------------------------------


def _sum(ops: Ops) -> int:
    return sum(op.arguments[-1] for op in ops.values())


def _count_of_key(ops: Ops, key: str) -> int:
    """The latest count of each node, unless a removal has seen it."""
    removes = [op for op in _named(ops, "remove") if key in op.arguments]
    total: dict[int, int] = {}
    latest: dict[int, Op] = {}
    for op in (op for op in _named(ops, "count") if op.arguments[0] == key):
        before = latest.get(op.actor)
        known = [r for r in removes if r.number in op.seen]
        goes_on = before is not None and not any(before.number in r.seen for r in known)
        total[op.actor] = op.arguments[1] + (total[op.actor] if goes_on else 0)
        latest[op.actor] = op
    return sum(total[op.actor] for op in _live(ops, latest.values(), removes))


def _counts(ops: Ops) -> dict[str, int]:
    found = {}
    for key in NAMES:
        removes = [op for op in _named(ops, "remove") if key in op.arguments]
        counts = (op for op in _named(ops, "count") if op.arguments[0] == key)
        latest = {op.actor: op for op in counts}
        if _live(ops, latest.values(), removes):
            found[key] = _count_of_key(ops, key)
    return found


def _written(ops: Ops, writes: Iterable[Op]) -> Any:
    """The write with the largest clock: the wall clock, or one more than what it had seen."""
    clocks: dict[int, int] = {}
    for op in writes:
        before = [clock for number, clock in clocks.items() if number in op.seen]
        clocks[op.number] = max([op.time, *(clock + 1 for clock in before)])
    if not clocks:
        return None
    best = max(clocks, key=lambda n: (clocks[n], ops[n].actor, n))
    return ops[best].arguments[-1]


def _first(ops: Ops) -> str:
    """Who has seen a write comes too late; of those who have not, the earliest."""
    counted: dict[int, Op] = {}
    for op in ops.values():
        if not any(number in op.seen for number in counted):
            counted[op.number] = op
    best = max(counted.values(), key=lambda op: (-op.time, op.actor), default=None)
    return str(best.arguments[0]) if best else ""


def _largest(ops: Ops) -> str:
    """With a clock that is the value itself."""
    return max((op.arguments[0] for op in ops.values()), default="")


def _concurrent(ops: Ops) -> list[str]:
    live = [op for op in ops.values() if not any(op.number in other.seen for other in ops.values())]
    return sorted({op.arguments[0] for op in live})


def _elements(ops: Ops) -> set[str]:
    found = set()
    for element in NAMES:
        adds = (op for op in _named(ops, "add") if element in op.arguments)
        removes = [op for op in _named(ops, "remove") if element in op.arguments]
        removes += _named(ops, "clear")
        if _live(ops, adds, removes):
            found.add(element)
    return found


def _flag(ops: Ops) -> bool:
    return bool(_live(ops, _named(ops, "enable"), _named(ops, "disable")))


def _registers(ops: Ops) -> dict[str, Any]:
    found = {}
    for key in NAMES:
        removes = [op for op in _named(ops, "remove") if key in op.arguments]
        writes = [op for op in _named(ops, "set") if op.arguments[0] == key]
        if live := _live(ops, writes, removes):
            found[key] = _after_removals(ops, live, removes)
    return found


def _after_removals(ops: Ops, live: list[Op], removes: list[Op]) -> Any:
    """The same as `_written`, but what its node had removed did not count for a write's clock."""
    clocks: dict[int, int] = {}
    key = live[0].arguments[0]
    for op in (op for op in _named(ops, "set") if op.arguments[0] == key):
        known = [r for r in removes if r.number in op.seen]
        before = [
            clock
            for number, clock in clocks.items()
            if number in op.seen and not any(number in r.seen for r in known)
        ]
        clocks[op.number] = max([op.time, *(clock + 1 for clock in before)])
    best = max((op.number for op in live), key=lambda n: (clocks[n], ops[n].actor, n))
    return ops[best].arguments[1]


def _multi(ops: Ops) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for key in NAMES:
        for element in NAMES:
            adds = (op for op in _named(ops, "add") if op.arguments == (key, element))
            removes = [op for op in _named(ops, "discard") if op.arguments == (key, element)]
            removes += [op for op in _named(ops, "remove") if key in op.arguments]
            if _live(ops, adds, removes):
                found.setdefault(key, set()).add(element)
    return found


# --- types -------------------------------------------------------------------------------------


def _name(number: int) -> str:
    return NAMES[number % len(NAMES)]


def _other(number: int) -> str:
    return NAMES[number // 2 % len(NAMES)]


_COUNT: Operations = (
    lambda c, n: (c.increment(n), "count", (n,)),
    lambda c, n: (c.decrement(n), "count", (-n,)),
)
_SET: Operations = (lambda r, n: (r.set(_name(n)), "set", (_name(n),)),)
_REMOVE_KEY: Operations = (lambda m, n: (m.remove(_name(n)), "remove", (_name(n),)),)

TYPES: dict[str, Type] = {
    "GCounter": Type(GCounter, _COUNT[:1], _sum),
    "PNCounter": Type(PNCounter, _COUNT, _sum),
    "LWWRegister": Type(
        LWWRegister[str], _SET, lambda ops: _written(ops, ops.values()) or "", LWWRegister("")
    ),
    "LWWRegister, reverse": Type(LWWRegister[str], _SET, _first, LWWRegister("", "reverse")),
    "LWWRegister, custom": Type(
        LWWRegister[str], _SET, _largest, LWWRegister("", lambda before, value: ord(value))
    ),
    "MVRegister": Type(MVRegister[str], _SET, _concurrent),
    "GSet": Type(GSet[str], (lambda s, n: (s.add(_name(n)), "add", (_name(n),)),), _elements),
    "ORSet": Type(
        ORSet[str],
        (
            lambda s, n: (s.add(_name(n)), "add", (_name(n),)),
            lambda s, n: (s.add(_name(n), _other(n)), "add", (_name(n), _other(n))),
            lambda s, n: (s.remove(_name(n)), "remove", (_name(n),)),
            lambda s, n: (s.clear(), "clear", ()),
        ),
        _elements,
    ),
    "Flag": Type(
        Flag,
        (lambda f, n: (f.enable(), "enable", ()), lambda f, n: (f.disable(), "disable", ())),
        _flag,
    ),
    "Vote": Type(
        Vote,
        (
            lambda v, n: (v.cast(_name(n)), "set", (_name(n), True)),
            lambda v, n: (v.cast(_name(n), False), "set", (_name(n), False)),
            lambda v, n: (v.withdraw(_name(n)), "remove", (_name(n),)),
        ),
        _registers,
    ),
    "CounterMap": Type(
        CounterMap[str],
        (
            lambda m, n: (m.increment(_name(n), 1 + n), "count", (_name(n), 1 + n)),
            lambda m, n: (m.decrement(_name(n), 1 + n), "count", (_name(n), -1 - n)),
            *_REMOVE_KEY,
        ),
        _counts,
    ),
    "RegisterMap": Type(
        RegisterMap[str, int],
        (lambda m, n: (m.set(_name(n), n), "set", (_name(n), n)), *_REMOVE_KEY),
        _registers,
    ),
    "MultiMap": Type(
        MultiMap[str, str],
        (
            lambda m, n: (m.add(_name(n), _other(n)), "add", (_name(n), _other(n))),
            lambda m, n: (m.discard(_name(n), _other(n)), "discard", (_name(n), _other(n))),
            *_REMOVE_KEY,
        ),
        _multi,
    ),
    "ORMap of counters": Type(
        ORMap[str, GCounter],
        (
            lambda m, n: (m[_name(n)].increment(1 + n), "count", (_name(n), 1 + n)),
            *_REMOVE_KEY,
        ),
        _counts,
    ),
    "ORMap of maps": Type(
        ORMap[str, ORMap[str, Flag]],
        (
            lambda m, n: (m[_name(n)][_other(n)].enable(), "add", (_name(n), _other(n))),
            lambda m, n: (m[_name(n)].remove(_other(n)), "discard", (_name(n), _other(n))),
            *_REMOVE_KEY,
        ),
        lambda ops: {key: dict.fromkeys(elements, True) for key, elements in _multi(ops).items()},
    ),
}
