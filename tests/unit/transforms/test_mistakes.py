"""Mistakes in a transform: each is one problem at start that says what to write instead."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from eventmill import ConfigurationError, Event, KeyValueEntity, Service, Topic, component
from eventmill.pipelines import Hopping, Session, Stream, Transform, Tumbling, count, fold

HOUR = timedelta(hours=1)


class Seen(Event):
    key: str


class Other(Event):
    key: str


class Gave(Event):
    key: str


seen = Topic("seen", Seen, key="key")
others = Topic("others", Other, key="key")
gave = Topic("gave", Gave, key="key")
theirs = Topic("theirs", Gave, service="elsewhere")
unlisted = Topic("unlisted", Gave)


@component("door")
class Door(KeyValueEntity):
    open: bool = False


def problems_of(*transforms: Transform, topics: Any = (seen, others, gave, theirs)) -> list[str]:
    return Service("s", components=[*transforms, Door], topics=topics).define()[1]


def made(pane: Any) -> Gave:
    return Gave(key=pane.key)


def test_all_problems_of_all_transforms_are_told_at_once() -> None:
    appending = fold(list, lambda kept, event: [*kept, event.key])
    found = problems_of(
        Stream(seen, Other)
        .window(Session(HOUR), lateness=-HOUR, idle=timedelta())
        .aggregate(appending)
        .map(made)
        .to(gave, id="windows"),
        Stream(seen)
        .window(Session(HOUR), idle=timedelta.max)
        .aggregate(count())
        .map(made)
        .to(gave, id="patient"),
        Stream(seen).join(Stream(seen), within=-HOUR).map(made).to(theirs, id="joined"),
        Stream(seen).to(seen, id="round"),
        Stream(unlisted).to(unlisted, id="nowhere"),
        Stream(Door).map(made).to(gave, id="states"),
        Stream(seen)
        .window(Hopping(HOUR, timedelta(seconds=1)))
        .aggregate(count())
        .map(made)
        .to(gave, id="many"),
        Stream(seen).map(made).to(gave, id="windows"),
    )
    for part in (
        "'windows' (", "'seen' has no events of type Other; it has EntityDeleted, Seen",
        "lateness=datetime.timedelta(days=-1, seconds=82800) is negative",
        "idle=datetime.timedelta(0) must be above 0",
        "must be above 0, and 3,660 days at most",
        "a session merges, and 'fold' has no merge=",
        "it joins a source with itself",
        "within=datetime.timedelta(days=-1, seconds=82800) is negative",
        "which alone publishes to it",
        "it publishes to 'seen', which it follows: it would never end",
        "its source 'unlisted' is not part of service 's'",
        "key-value entity 'door' has states, not events",
        "3,601 windows of one key may be open at once, 1,000 are possible",
        "the id 'windows' is already taken by transform 'windows'",
    ):  # fmt: skip
        assert any(part in problem for problem in found), (part, found)
    assert all("test_mistakes.py:" in problem for problem in found)


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: Tumbling(timedelta()),
        lambda: Hopping(HOUR, 2 * HOUR),
        lambda: Session(-HOUR),
        lambda: Stream(seen).to(gave, id="With Blanks"),
        lambda: Stream(seen).window(Tumbling(HOUR)).aggregate(),
        lambda: Stream(seen).join(others, within=HOUR),  # type: ignore[call-overload]
    ],
)
def test_what_can_be_seen_at_once_is_refused_at_once(mistake: Any) -> None:
    with pytest.raises(ConfigurationError):
        mistake()


def test_a_start_without_a_time_zone_is_refused() -> None:
    found = problems_of(
        Stream(seen).map(made).to(gave, id="early", start=datetime(2013, 1, 1)),  # noqa: DTZ001
        Stream(seen).map(made).to(gave, id="never", start="someday"),  # type: ignore[arg-type]
    )
    assert ["time zone" in found[0], "'someday'" in found[1]] == [True, True]
