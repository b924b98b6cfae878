"""Aggregates: their values, out of order and merged, and states that could not be kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from eventmill import Event, Topic
from eventmill.errors import HandlerFailed
from eventmill.model import limits
from eventmill.pipelines import (
    Aggregate,
    Pane,
    Session,
    Stream,
    Transform,
    Tumbling,
    count,
    first_of,
    fold,
    last_of,
    max_of,
    mean_of,
    min_of,
    sum_of,
)
from eventmill.testing import TransformKit

MINUTE = timedelta(minutes=1)
NOON = datetime(2013, 1, 1, 12, tzinfo=UTC)


class Seen(Event):
    minute: int
    value: float = 0
    name: str = ""


class Gave(Event):
    value: Any


seen = Topic("seen", Seen)
gave = Topic("gave", Gave)


def at(event: Seen) -> datetime:
    return NOON + event.minute * MINUTE


def gathered(*aggregates: Aggregate[Any, Any], window: Any = Session(9 * MINUTE)) -> Transform:  # noqa: B008
    def made(pane: Pane[Any]) -> Gave:
        return Gave(value=pane.value)

    return (
        Stream(seen)
        .window(window, time=at, lateness=60 * MINUTE, idle=MINUTE)
        .aggregate(*aggregates)
        .map(made)
        .to(gave, id="gathered")
    )


def test_values_of_a_session_that_a_late_event_connects() -> None:
    kit = TransformKit(
        gathered(
            count(),
            sum_of("value"),
            mean_of(lambda event: event.value),
            min_of("value"),
            max_of("value"),
            first_of("name"),
            last_of("name"),
            fold(dict, lambda d, e: {**d, e.name: e.value}, merge=lambda a, b: {**a, **b}),
        )
    )
    kit.feed(Seen(10, 2, "c"), Seen(0, 1, "a"))
    kit.restart()
    kit.feed(Seen(5, 6, "b"))
    kit.advance(MINUTE)
    (result,) = kit.published
    assert result.value == [3, 9, 3.0, 1, 6, "a", "c", {"a": 1, "b": 6, "c": 2}]


def test_of_one_time_the_first_and_the_last_that_came() -> None:
    kit = TransformKit(gathered(first_of("name"), last_of("name"), window=Tumbling(9 * MINUTE)))
    kit.feed(Seen(1, name="x"), Seen(0, name="a"), Seen(0, name="b"), Seen(1, name="y"))
    kit.advance(MINUTE)
    assert [g.value for g in kit.published] == [["a", "y"]]


def test_the_value_may_be_another_than_the_state() -> None:
    distinct = fold(set[str], lambda kept, e: kept | {e.name}, result=len, merge=lambda a, b: a | b)
    kit = TransformKit(gathered(distinct))
    kit.feed(Seen(0, name="a"), Seen(1, name="b"))
    kit.restart()
    kit.feed(Seen(2, name="b"))
    kit.advance(MINUTE)
    assert [g.value for g in kit.published] == [2]


@pytest.mark.parametrize(
    "aggregate",
    [
        max_of(lambda event: Decimal(1)),
        sum_of(lambda event: float("nan")),
        fold(dict, lambda kept, event: {1: event.minute}),
        fold(list, lambda kept, event: [(1, 2)]),
        fold(list, lambda kept, event: [object()]),
        fold(str, lambda kept, event: "x" * (limits.VIEW_ROW_BYTES_MAX + 1)),
    ],
)
def test_a_state_that_would_be_another_after_a_restart_fails_its_event(
    aggregate: Aggregate[Any, Any],
) -> None:
    kit = TransformKit(gathered(aggregate, window=Tumbling(9 * MINUTE)))
    with pytest.raises(HandlerFailed, match=r"be kept|keep less"):
        kit.feed(Seen(0), Seen(1))


def test_a_time_without_a_zone_fails_its_event() -> None:
    transform = (
        Stream(seen)
        .window(Tumbling(MINUTE), time=lambda event: datetime(2013, 1, 1))  # noqa: DTZ001
        .aggregate(count())
        .map(lambda pane: Gave(value=pane.value))
        .to(gave, id="gathered")
    )
    with pytest.raises(HandlerFailed, match="time zone"):
        TransformKit(transform).feed(Seen(0))


def test_steps_filter_and_map_on_both_sides() -> None:
    kit = TransformKit(
        Stream(seen)
        .filter(lambda event: event.value > 0)
        .map(lambda event: event.value * 2)
        .filter(lambda value: value < 10)
        .map(lambda value: Gave(value=value))
        .to(gave, id="doubled")
    )
    kit.feed(Seen(0, 1), Seen(0, -1), Seen(0, 7), Seen(0, 3))
    assert [g.value for g in kit.published] == [2, 6]
