"""The one lattice that all replicated types are made of: dot stores under a causal context.

A *dot* names one event of one actor: (actor, number). What is there is a tree: maps by name, and at
the ends leaves, whose entries are named by the dots that made them. The *context* is the set of all
dots ever seen; a dot that was seen and is not in the tree was removed. So a removal leaves no
tombstone: all that is kept of it is a number in the context, and because the dots of an actor have
no gaps, that is one number per actor (Almeida, Shoker, Baquero: *Delta state replicated data types*,
J. Parallel Distrib. Comput. 111, 2018, section 7; Bieniusa et al.: *An optimized conflict-free
replicated set*, INRIA RR-8083, 2012).

A *delta* is a value of the same lattice that holds only what changed. It names the place of every
dot of its context, empty where it removes, so that joining it looks at nothing else: the cost is
that of the change, however large the state is.

Invariants: `join` is associative, commutative and idempotent; a dot has one place for ever; the
value of a dot only grows, and only as long as nobody but its actor has seen it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from eventmill.errors import DataMisfit

if TYPE_CHECKING:
    from eventmill.model.replicated.change import Change

Dot = tuple[int, int]
"""Actor and number, from 1."""

Path = tuple[str, ...]
"""Names from the root to a node."""


class Leaf(dict[Dot, tuple[Any, ...]]):
    """What is there, by the dot that made it. Values of one dot are comparable: the larger is later."""

    __slots__ = ()


class Map(dict[str, "Leaf | Map"]):
    """Nodes by name."""

    __slots__ = ()


Node = Leaf | Map
Place = tuple[Leaf, Leaf, Dot]
"""Of a value that is being written: its leaf in a state, its leaf in a delta, and its dot."""


class Context:
    """A set of dots: by actor the number up to which all are in, and those beyond a gap."""

    __slots__ = ("clock", "cloud")

    def __init__(self) -> None:
        self.clock: dict[int, int] = {}
        self.cloud: set[Dot] = set()

    def __repr__(self) -> str:
        return f"<Context {self.clock} {sorted(self.cloud)}>"

    def __contains__(self, dot: Dot) -> bool:
        return dot[1] <= self.clock.get(dot[0], 0) or dot in self.cloud

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Context) and self.runs() == other.runs()

    __hash__ = None  # type: ignore[assignment]  # it changes

    def last(self, actor: int) -> int:
        """Return the largest number of an actor."""
        last = self.clock.get(actor, 0)
        if self.cloud:
            last = max([last, *(number for one, number in self.cloud if one == actor)])
        return last

    def add(self, dot: Dot) -> None:
        """Put a dot in."""
        actor, number = dot
        last = self.clock.get(actor, 0)
        if number == last + 1:
            self.clock[actor] = number
            if self.cloud:
                self._close_gaps()
        elif number > last:
            self.cloud.add(dot)

    def take(self, actor: int) -> Dot:
        """Put the next dot of an actor in; return it."""
        if self.cloud:
            dot = (actor, self.last(actor) + 1)
            self.add(dot)
            return dot
        number = self.clock.get(actor, 0) + 1
        self.clock[actor] = number
        return actor, number

    def join(self, other: Context) -> None:
        """Put all dots of another one in."""
        for actor, number in other.clock.items():
            if number > self.clock.get(actor, 0):
                self.clock[actor] = number
        if self.cloud:
            self._close_gaps()
        for dot in sorted(other.cloud) if len(other.cloud) > 1 else other.cloud:
            self.add(dot)

    def runs(self) -> list[list[int]]:
        """Return it as stretches without gaps: actor, first, last."""
        found = [[actor, 1, last] for actor, last in self.clock.items()]
        run = [0, 0, 0]
        for actor, number in sorted(self.cloud):
            if number == run[2] + 1 and actor == run[0]:
                run[2] = number
            else:
                run = [actor, number, number]
                found.append(run)
        return sorted(found) if len(found) > 1 else found

    def _close_gaps(self) -> None:
        for dot in sorted(self.cloud):
            actor, number = dot
            last = self.clock.get(actor, 0)
            if number <= last + 1:
                self.cloud.discard(dot)
                self.clock[actor] = max(last, number)


class Causal:
    """A tree and its context: a state or, if `is_delta`, a change of one."""

    __slots__ = ("context", "is_delta", "root")

    def __init__(self, *, is_delta: bool = False) -> None:
        self.root = Map()
        self.context = Context()
        self.is_delta = is_delta

    def __repr__(self) -> str:
        return f"<{'Delta' if self.is_delta else 'Causal'} {self.root} {self.context}>"

    def is_empty(self) -> bool:
        """Whether it knows of nothing."""
        return not (self.context.clock or self.context.cloud)

    def find(self, path: Path) -> Node | None:
        """Return what is at a path."""
        node: Any = self.root
        for name in path:
            node = node.get(name)
            if node is None:
                return None
        return node  # type: ignore[no-any-return]  # a path ends at a node, or at nothing

    def leaf(self, path: Path) -> Leaf:
        """Return the leaf at a path, an empty one if there is none."""
        node: Any = self.root
        for name in path:
            node = node.get(name)
            if node is None:
                return Leaf()
        return node if type(node) is Leaf else Leaf()

    def join(self, other: Causal) -> None:
        """Take another value of the lattice in: the least one that knows what both know.

        Raises `DataMisfit` where one has a leaf and the other a map.
        """
        _join(self, self.root, other, other.root)
        self.context.join(other.context)
        self.is_delta &= other.is_delta


def _join(mine: Causal, map: Map, other: Causal, theirs: Map) -> None:
    names: Iterable[str] = theirs
    if not other.is_delta:  # a state: what it does not have, it may have removed
        names = theirs.keys() | map.keys()
    keeps = mine.is_delta and other.is_delta
    for name in [*names]:
        node, its = map.get(name), theirs.get(name)
        if node is None:
            node = _empty_as(its)
        if its is None:
            its = _empty_as(node)
        if type(node) is not type(its):
            raise DataMisfit(
                f"{name!r} is stored as another kind of replicated type: a field keeps its kind for "
                "ever; give the new one another name"
            )
        if isinstance(node, Map):
            assert isinstance(its, Map)
            _join(mine, node, other, its)
        else:
            assert isinstance(its, Leaf)
            _join_leaf(mine.context, node, other.context, its)
        if node or keeps:
            map[name] = node
        else:
            map.pop(name, None)


def _empty_as(node: Node | None) -> Node:
    return Leaf() if isinstance(node, Leaf) else Map()


def _join_leaf(context: Context, leaf: Leaf, seen: Context, theirs: Leaf) -> None:
    for dot in [dot for dot in leaf if dot not in theirs and dot in seen]:
        del leaf[dot]
    for dot, value in theirs.items():
        if dot in leaf:
            leaf[dot] = max(leaf[dot], value)
        elif dot not in context:
            leaf[dot] = value


# --- changing ----------------------------------------------------------------------------------


class Writer:
    """Changes a state as one actor, and notes what changed in a delta.

    Invariant: what was written since `apply` began can be taken out of the delta again.
    """

    __slots__ = ("_counts", "_sealed", "_undo", "actor", "delta", "now", "state")

    def __init__(self, state: Causal, actor: int = 0) -> None:
        self.state = state
        self.now = 0
        """Microseconds since the epoch."""
        self._undo: list[tuple[Leaf, Dot, tuple[Any, ...] | None]] = []
        """What dots were in the delta before; None of those that it did not know."""
        self._counts: dict[Path, Place] = {}
        """Where this actor counts in this delta."""
        self.seal(actor)

    def seal(self, actor: int) -> None:
        """Begin a new delta, as an actor: others may see the last one, its dots stay as they are."""
        self.actor = actor
        self._sealed = self.state.context.last(actor)
        self.delta = Causal(is_delta=True)
        self._undo.clear()
        self._counts.clear()

    def apply(self, changes: Iterable[Change], now: int) -> None:
        """Make changes at a time. They belong together, and what was written before them stays."""
        self._undo.clear()
        self.now = now
        for one in changes:
            one.function(self, one.path, *one.arguments)

    def undo(self) -> None:
        """Take what was written since `apply` began out of the delta. The state is of no use any
        more."""
        for told, dot, before in reversed(self._undo):
            if before is None:
                told.pop(dot, None)
                self.delta.context.cloud.discard(dot)
            else:
                told[dot] = before
        self._undo.clear()

    def put(
        self, path: Path, value: tuple[Any, ...], over: Iterable[Dot] = (), *, grows: bool = True
    ) -> Place:
        """Put a value into a leaf, in the place of what these dots have made; return where it is.

        If one of them is of this actor, and nobody has seen it, it stands for both, unless the value
        is not larger (`grows`): a counter that is changed a thousand times in one commit is one event.
        """
        mine, told = _reach(self.state.root, path), _reach(self.delta.root, path)
        dot = None
        for old in over:
            if grows and dot is None and old[0] == self.actor and old[1] > self._sealed:
                dot = old
            else:
                self._remove(mine, told, old)
        if dot is None:
            dot = self.state.context.take(self.actor)
        self._note(told, dot)
        mine[dot] = told[dot] = value
        return mine, told, dot

    def count(self, path: Path, up: int, down: int) -> None:
        """Add to what this actor has counted in a leaf: one entry, under its latest dot."""
        place = self._counts.get(path)
        if place is None:
            if up or down:
                self._counts[path] = self._begin_count(path, up, down)
            return
        mine, told, dot = place
        before = mine[dot]
        self._undo.append((told, dot, before))
        mine[dot] = told[dot] = (before[0] + up, before[1] + down)

    def _begin_count(self, path: Path, up: int, down: int) -> Place:
        for dot, total in self.state.leaf(path).items():
            if dot[0] == self.actor:
                return self.put(path, (total[0] + up, total[1] + down), (dot,))
        return self.put(path, (up, down))

    def drop(self, path: Path) -> None:
        """Remove all that is under a path."""
        self._counts.clear()
        node = self.state.find(path)
        for below, leaf in _leaves(node, path):
            told = _reach(self.delta.root, below)
            for dot in [*leaf]:
                self._remove(leaf, told, dot)
        if node is not None:
            _prune(self.state.root, path)

    def _remove(self, mine: Leaf, told: Leaf, dot: Dot) -> None:
        self._note(told, dot)
        del mine[dot]
        told.pop(dot, None)

    def _note(self, told: Leaf, dot: Dot) -> None:
        """Put a dot into the delta's context; it is a plain set there, without a clock."""
        self._undo.append((told, dot, told.get(dot)))
        self.delta.context.cloud.add(dot)


def _reach(root: Map, path: Path) -> Leaf:
    node = root
    if len(path) > 1:
        for name in path[:-1]:
            node = node.setdefault(name, Map())  # type: ignore[assignment]  # ends only are leaves
    leaf = node.get(path[-1])
    if leaf is None:
        leaf = node[path[-1]] = Leaf()
    return leaf  # type: ignore[return-value]  # a field keeps its kind


def _leaves(node: Node | None, path: Path) -> Iterator[tuple[Path, Leaf]]:
    if isinstance(node, Leaf):
        yield path, node
    elif node is not None:
        for name, below in node.items():
            yield from _leaves(below, (*path, name))


def _prune(map: Map, path: Path) -> None:
    """Take away what is at a path, and the maps around it that are empty then."""
    below = map.get(path[0])
    if len(path) > 1 and isinstance(below, Map):
        _prune(below, path[1:])
        if below:
            return
    map.pop(path[0], None)


# --- the one encoding --------------------------------------------------------------------------

_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def encode(value: Causal) -> bytes:
    """Write a state or a delta as JSON: equal ones are the same bytes."""
    return _encode({"dots": value.context.runs(), "tree": _plain(value.root)})


def decode(payload: bytes, *, is_delta: bool = False) -> Causal:
    """Read what `encode` wrote.

    Raises `DataMisfit`.
    """
    try:
        read = _decode(payload)
        value = Causal(is_delta=is_delta)
        value.root = Map({name: _node(below) for name, below in read["tree"].items()})
        for actor, first, last in read["dots"]:
            if first == 1:
                value.context.clock[actor] = last
            else:
                value.context.cloud.update([(actor, n) for n in range(first, last + 1)])
    except (msgspec.DecodeError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise DataMisfit(f"no replicated state: {error}", code="journal.payload") from error
    return value


def _plain(node: Node) -> Any:
    if isinstance(node, Leaf):
        return [dot + value for dot, value in sorted(node.items())]
    return {name: _plain(below) for name, below in node.items()}


def _node(plain: Any) -> Node:
    if isinstance(plain, list):
        return Leaf({(actor, number): tuple(value) for actor, number, *value in plain})
    return Map({name: _node(below) for name, below in plain.items()})
