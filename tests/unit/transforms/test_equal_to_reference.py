"""Any order, any cut of batches, any restart between them: what comes out is what the definition says."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from eventmill import Event, Topic
from eventmill.pipelines import Hopping, Pane, Session, Stream, Transform, Tumbling, fold
from eventmill.testing import TransformKit
from tests.unit.transforms import reference

MINUTE = timedelta(minutes=1)
EPOCH = datetime(2013, 1, 1, tzinfo=UTC)


class Seen(Event):
    key: str
    number: int
    """Of its key's events, from 0."""
    minute: int


class Gave(Event):
    key: str
    start: int
    end: int
    numbers: list[int]


class Met(Event):
    key: str
    left: int
    right: int | None


seen = Topic("seen", Seen, key="key")
others = Topic("others", Seen, key="key")
gave = Topic("gave", Gave, key="key")
met = Topic("met", Met, key="key")
late = Topic("late", Seen, key="key")

minutes = st.lists(st.integers(-50, 150), max_size=40)
cuts = st.lists(st.tuples(st.integers(1, 7), st.booleans()), min_size=1, max_size=8)
"""Sizes of batches, over and over, and whether all memory is lost after them."""
small = st.integers(1, 20)
lateness_ = st.integers(0, 30)
examples = settings(max_examples=150, deadline=None)


def at(event: Seen) -> datetime:
    return EPOCH + event.minute * MINUTE


def minute_of(moment: datetime) -> int:
    return (moment - EPOCH) // MINUTE


def gathered(window: Tumbling | Hopping | Session, lateness: int) -> Transform:
    def made(pane: Pane[Any]) -> Gave:
        return Gave(
            key=pane.key,
            start=minute_of(pane.start),
            end=minute_of(pane.end),
            numbers=sorted(pane.value),
        )

    numbers = fold(list, lambda kept, e: [*kept, e.number], merge=lambda a, b: a + b)
    return (
        Stream(seen)
        .window(window, time=at, lateness=lateness * MINUTE, late=late)
        .aggregate(numbers)
        .map(made)
        .to(gave, id="gathered")
    )


def fed(kit: TransformKit, batches: Iterator[tuple[list[Any], bool]]) -> None:
    for events, is_crash in batches:
        kit.feed(*events)
        if is_crash:
            kit.restart()


def batches_of(events: list[Any], cuts: list[tuple[int, bool]]) -> Iterator[tuple[list[Any], bool]]:
    turn = 0
    while events:
        size, is_crash = cuts[turn % len(cuts)]
        yield events[:size], is_crash
        events, turn = events[size:], turn + 1


def check(
    window: Tumbling | Hopping | Session,
    lateness: int,
    keys: list[tuple[str, int]],
    cuts: list[tuple[int, bool]],
    expect: Any,
) -> None:
    times: dict[str, list[int]] = {}
    events = []
    for key, minute in keys:
        own = times.setdefault(key, [])
        events.append(Seen(key=key, number=len(own), minute=minute))
        own.append(minute)
    kit = TransformKit(gathered(window, lateness))
    fed(kit, batches_of(events, cuts))
    for key, own in times.items():
        expected: reference.Expected = expect(own)
        panes = [(g.start, g.end, g.numbers) for g in kit.published if g.key == key]
        assert panes == expected.panes
        assert [e.number for e in kit.late if e.key == key] == expected.late


keyed = st.lists(st.tuples(st.sampled_from("abc"), st.integers(-50, 150)), max_size=60)


@examples
@given(size=small, offset=st.integers(-5, 25), lateness=lateness_, keys=keyed, cuts=cuts)
def test_tumbling(size: int, offset: int, lateness: int, keys: list[Any], cuts: list[Any]) -> None:
    check(
        Tumbling(size * MINUTE, offset=offset * MINUTE),
        lateness,
        keys,
        cuts,
        lambda times: reference.fixed(times, size, size, _of_epoch(offset, size), lateness),
    )


@examples
@given(hop=small, more=st.integers(0, 30), lateness=lateness_, keys=keyed, cuts=cuts)
def test_hopping(hop: int, more: int, lateness: int, keys: list[Any], cuts: list[Any]) -> None:
    check(
        Hopping((hop + more) * MINUTE, hop * MINUTE),
        lateness,
        keys,
        cuts,
        lambda times: reference.fixed(times, hop + more, hop, _of_epoch(0, hop), lateness),
    )


@examples
@given(gap=small, lateness=lateness_, keys=keyed, cuts=cuts)
def test_sessions(gap: int, lateness: int, keys: list[Any], cuts: list[Any]) -> None:
    check(
        Session(gap * MINUTE),
        lateness,
        keys,
        cuts,
        lambda times: reference.sessions(times, gap, lateness),
    )


def _of_epoch(offset: int, hop: int) -> int:
    """Windows are aligned to 1970; the reference counts from 2013."""
    return (offset - minute_of_1970()) % hop


def minute_of_1970() -> int:
    return (EPOCH - datetime(1970, 1, 1, tzinfo=UTC)) // MINUTE


sided = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(0, 1), st.integers(0, 60)), max_size=60
)


@examples
@given(within=st.integers(0, 15), lateness=lateness_, events=sided, cuts=cuts)
def test_joins(
    within: int, lateness: int, events: list[tuple[str, int, int]], cuts: list[Any]
) -> None:
    kit = TransformKit(
        Stream(seen)
        .join(
            Stream(others),
            within=within * MINUTE,
            time=(at, at),
            kind="left",
            lateness=lateness * MINUTE,
            idle=timedelta(hours=1),
            late=late,
        )
        .map(
            lambda pair: Met(
                key=pair.key, left=pair.left.number, right=pair.right and pair.right.number
            )
        )
        .to(met, id="joined")
    )
    of_key: dict[str, list[tuple[int, int]]] = {}
    for turn, (key, side, minute) in enumerate(events):
        own = of_key.setdefault(key, [])
        kit.feed(Seen(key=key, number=len(own), minute=minute), source=others if side else seen)
        own.append((side, minute))
        if cuts[turn % len(cuts)][1]:
            kit.restart()
    kit.advance(timedelta(hours=2))
    for key, own in of_key.items():
        expected, too_late, alone = reference.pairs(own, within, lateness)
        found = [(m.left, m.right) for m in kit.published if m.key == key]
        assert sorted(pair for pair in found if pair[1] is not None) == expected
        assert sorted(left for left, right in found if right is None) == alone
        assert [e.number for e in kit.late if e.key == key] == too_late
