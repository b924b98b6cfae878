"""Pairs of types as releases make them, and values of the older one."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, Union
from uuid import UUID

import msgspec
from hypothesis import strategies as st
from msgspec import Meta

NAMES = ("a", "b", "c")


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Shade(enum.Enum):
    RED = "red"
    BLUE = "blue"
    PINK = "pink"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Pair(NamedTuple):
    """A type of the older release, that of the newer one, and values of the older."""

    old: Any
    new: Any
    values: st.SearchStrategy[Any]


@dataclass(frozen=True)
class Leaf:
    kind: Any
    values: st.SearchStrategy[Any]


def ints(low: int | None, high: int | None) -> Leaf:
    whole = st.integers(max(low or -(2**40), -(2**63)), high if high is not None else 2**40)
    return Leaf(Annotated[int, Meta(ge=low, le=high)] if low or high else int, whole)


def texts(low: int, high: int | None) -> Leaf:
    bound = Meta(min_length=low or None, max_length=high)
    kind = Annotated[str, bound] if low or high else str
    return Leaf(kind, st.text(min_size=low, max_size=high if high is not None else 8))


def blobs(low: int, high: int | None) -> Leaf:
    bound = Meta(min_length=low or None, max_length=high)
    kind = Annotated[bytes, bound] if low or high else bytes
    return Leaf(kind, st.binary(min_size=low, max_size=high if high is not None else 8))


aware = st.datetimes(timezones=st.timezones()).map(lambda t: t.replace(microsecond=0))
naive = st.datetimes().map(lambda t: t.replace(microsecond=0))
zoneless = st.times()

LEAVES = [
    ints(None, None),
    ints(0, None),
    ints(1, 10),
    ints(1, 9),
    ints(None, 10),
    Leaf(Annotated[int, Meta(gt=0)], st.integers(1, 99)),
    Leaf(Annotated[int, Meta(multiple_of=4)], st.integers(-9, 9).map(lambda n: n * 4)),
    Leaf(Annotated[int, Meta(multiple_of=2)], st.integers(-9, 9).map(lambda n: n * 2)),
    Leaf(float, st.floats(allow_nan=False, allow_infinity=False)),
    Leaf(Annotated[float, Meta(ge=0)], st.floats(0, 1e9)),
    Leaf(Annotated[float, Meta(gt=0, lt=1)], st.floats(0.25, 0.75)),
    Leaf(bool, st.booleans()),
    Leaf(None, st.none()),
    texts(0, None),
    texts(1, None),
    texts(2, 5),
    texts(0, 4),
    Leaf(Annotated[str, Meta(pattern="^x+$")], st.sampled_from(["x", "xxx"])),
    blobs(0, None),
    blobs(1, 5),
    blobs(2, 4),
    Leaf(datetime, st.one_of(aware, naive)),
    Leaf(Annotated[datetime, Meta(tz=True)], aware),
    Leaf(Annotated[datetime, Meta(tz=False)], naive),
    Leaf(time, zoneless),
    Leaf(Annotated[time, Meta(tz=False)], zoneless),
    Leaf(date, st.dates()),
    Leaf(timedelta, st.timedeltas(timedelta(0), timedelta(9))),
    Leaf(UUID, st.uuids()),
    Leaf(Decimal, st.decimals(allow_nan=False, allow_infinity=False, places=2)),
    Leaf(Literal["red"], st.just("red")),
    Leaf(Literal["blue", "red"], st.sampled_from(["red", "blue"])),
    Leaf(Literal[1, 2], st.sampled_from([1, 2])),
    Leaf(Literal["x", 1, None], st.sampled_from(["x", 1, None])),
    Leaf(Color, st.sampled_from(Color)),
    Leaf(Shade, st.sampled_from(Shade)),
    Leaf(Level, st.sampled_from(Level)),
    Leaf(Any, st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text(max_size=3))),
]

KEYS = [
    Leaf(str, st.text(max_size=4)),
    Leaf(Annotated[str, Meta(min_length=2)], st.text(min_size=2, max_size=4)),
    Leaf(int, st.integers(-99, 99)),
    Leaf(date, st.dates()),
    Leaf(UUID, st.uuids()),
    Leaf(Color, st.sampled_from(Color)),
    Leaf(Shade, st.sampled_from(Shade)),
    Leaf(Literal["a", "b"], st.sampled_from(["a", "b"])),
]

MEMBERS = [
    [ints(None, None), texts(0, None)],
    [ints(1, 10), Leaf(float, st.floats(-5, 5))],
    [ints(1, 10), texts(0, 4)],
    [Leaf(datetime, naive), ints(None, None)],
    [Leaf(bool, st.booleans()), Leaf(float, st.floats(-5, 5))],
]


@st.composite
def leaves(draw: st.DrawFn) -> Pair:
    old = draw(st.sampled_from(LEAVES))
    new = old if draw(st.booleans()) else draw(st.sampled_from(LEAVES))
    return Pair(old.kind, new.kind, old.values)


@st.composite
def unions(draw: st.DrawFn) -> Pair:
    old, new = draw(st.sampled_from(MEMBERS)), draw(st.sampled_from(MEMBERS))
    ours, theirs = ([one.kind for one in members] for members in (old, new))
    if draw(st.booleans()):
        theirs = [*theirs, None]
    if draw(st.booleans()):
        ours = ours[:1]
        old = old[:1]
    return Pair(_union(ours), _union(theirs), st.one_of(*(one.values for one in old)))


def _union(kinds: list[Any]) -> Any:
    return Union[tuple(kinds)]  # noqa: UP007 - None | None is no union


@st.composite
def optional(draw: st.DrawFn, inner: st.SearchStrategy[Pair]) -> Pair:
    old, new, values = draw(inner)
    was, now = draw(st.sampled_from([(True, True), (False, True), (True, False)]))
    if was:
        values = st.one_of(st.none(), values)
    ours, theirs = _union([old, None]) if was else old, _union([new, None]) if now else new
    return Pair(ours, theirs, values)


@st.composite
def lists(draw: st.DrawFn, inner: st.SearchStrategy[Pair]) -> Pair:
    old, new, values = draw(inner)
    low, high = draw(st.sampled_from([(0, None), (1, None), (1, 2), (0, 3)]))
    floor, roof = draw(st.sampled_from([(0, None), (1, None), (1, 2), (0, 3)]))
    ours = Annotated[list[old], Meta(min_length=low, max_length=high)]
    theirs = Annotated[list[new], Meta(min_length=floor, max_length=roof)]
    return Pair(ours, theirs, st.lists(values, min_size=low, max_size=high or 3))


@st.composite
def tuples(draw: st.DrawFn, inner: st.SearchStrategy[Pair]) -> Pair:
    first, second = draw(inner), draw(inner)
    values = st.tuples(first.values, second.values)
    ours = tuple[first.old, second.old]  # type: ignore[name-defined]
    theirs = draw(
        st.sampled_from(
            [
                tuple[first.new, second.new],  # type: ignore[name-defined]
                tuple[first.new],  # type: ignore[name-defined]
                list[first.new],  # type: ignore[name-defined]
                tuple[first.new, ...],  # type: ignore[name-defined]
            ]
        )
    )
    return Pair(ours, theirs, values)


@st.composite
def maps(draw: st.DrawFn, inner: st.SearchStrategy[Pair]) -> Pair:
    old, new, values = draw(inner)
    ours = draw(st.sampled_from(KEYS))
    theirs = ours if draw(st.booleans()) else draw(st.sampled_from(KEYS))
    return Pair(
        dict[ours.kind, old],  # type: ignore[name-defined]
        dict[theirs.kind, new],  # type: ignore[name-defined]
        st.dictionaries(ours.values, values, max_size=2),
    )


@st.composite
def structs(draw: st.DrawFn, inner: st.SearchStrategy[Pair], tag: str | None = None) -> Pair:
    """A class and its next release: fields come, go, change and get defaults."""
    array_like = tag is None and draw(st.booleans()) and draw(st.booleans())
    ours: list[Any] = []
    theirs: list[Any] = []
    values: dict[str, st.SearchStrategy[Any]] = {}
    for name in NAMES:
        was, now, had, has = (draw(st.booleans()) for _ in range(4))
        pair = draw(inner)
        if was:
            ours.append((name, pair.old, None) if had else (name, pair.old))
            values[name] = pair.values
        if now or (array_like and was):
            theirs.append((name, pair.new, None) if has else (name, pair.new))
    options: dict[str, Any] = {"array_like": array_like, "kw_only": True}
    if tag is not None:
        options |= {"tag": tag, "tag_field": "kind"}
    strict = draw(st.booleans()) and draw(st.booleans())
    old = msgspec.defstruct("Thing", ours, omit_defaults=draw(st.booleans()), **options)
    new = msgspec.defstruct("Thing", theirs, forbid_unknown_fields=strict, **options)
    return Pair(old, new, st.builds(old, **values))


@st.composite
def tagged(draw: st.DrawFn, inner: st.SearchStrategy[Pair]) -> Pair:
    """A union of classes, of which the next release may know more or fewer."""
    members = [draw(structs(inner, tag)) for tag in ("x", "y", "z")]
    was, now = (draw(st.integers(2, 3)) for _ in range(2))
    first = draw(st.integers(0, 1)) if now == 2 else 0
    ours, theirs = members[:was], members[first : first + now]
    return Pair(
        _union([one.old for one in ours]),
        _union([one.new for one in theirs]),
        st.one_of(*(one.values for one in ours)),
    )


@st.composite
def kept(draw: st.DrawFn) -> Pair:
    """A type that stays as it is."""
    leaf = draw(st.sampled_from(LEAVES))
    return Pair(leaf.kind, leaf.kind, leaf.values)


def pairs() -> st.SearchStrategy[Pair]:
    """Return pairs of types of any shape."""
    return st.recursive(
        st.one_of(kept(), leaves(), unions()),
        lambda inner: st.one_of(
            optional(inner),
            lists(inner),
            tuples(inner),
            maps(inner),
            structs(inner),
            tagged(inner),
        ),
        max_leaves=6,
    )
