"""Transforms as declared: the plan that a stream made, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from eventmill.errors import ConfigurationError
from eventmill.model import limits
from eventmill.model.definition import Retry, Start
from eventmill.model.problems import Problems
from eventmill.model.topic import Topic
from eventmill.model.transform import (
    Input,
    Joining,
    Session,
    Step,
    TransformDefinition,
    Windowing,
    check_bounds,
)
from eventmill.sdk.reaction import check_types, source_of


@dataclass(frozen=True)
class Feed:
    """One source, and what is done with each of its events at once."""

    source: Any
    types: tuple[type, ...]
    steps: tuple[Step, ...] = ()
    time: Any = None


@dataclass(frozen=True)
class Plan:
    """What a transform does, as far as it is said."""

    feeds: tuple[Feed, ...]
    stage: Windowing | Joining | None = None
    idle: timedelta | None = None
    late: Topic[Any] | None = None
    steps: tuple[Step, ...] = ()

    def with_step(self, step: Step) -> Plan:
        """Return it with one more step on what it gives."""
        return replace(self, steps=(*self.steps, step))


class Transform:
    """A transform as declared; list it in the service's components."""

    def __init__(
        self,
        *,
        id: str,
        plan: Plan,
        target: Topic[Any],
        start: Any,
        retry: Retry,
        ignore_unknown: bool,
        place: str,
    ) -> None:
        self.id = id
        self.plan = plan
        self.target = target
        self.place = place
        self._start = start
        self._retry = retry
        self._ignore_unknown = ignore_unknown

    def __repr__(self) -> str:
        return f"<Transform {self.id}>"

    @property
    def sources(self) -> list[Any]:
        """Topics and entities that it follows."""
        return [feed.source for feed in self.plan.feeds]

    def define(self) -> TransformDefinition:
        """Read the plan.

        Raises `ConfigurationError` that tells every problem and names the place.
        """
        problems, plan, place = Problems(), self.plan, self.place
        inputs = []
        for feed in plan.feeds:
            with problems.noting(place):
                inputs.append(_input_of(feed, place))
        with problems.noting(place):
            _check_start(self._start, place)
        with problems.noting(place):
            check_bounds(plan.stage, place)
        problems.found += [f"{place}: {problem}" for problem in self._problems()]
        problems.refuse()
        start = self._start
        return TransformDefinition(
            id=self.id,
            inputs=tuple(inputs),
            stage=plan.stage,
            idle=plan.idle,
            late=plan.late,
            steps=plan.steps,
            target=self.target,
            start=start if isinstance(start, datetime) else Start(start),
            retry=self._retry,
            ignore_unknown=self._ignore_unknown,
            place=place,
        )

    def _problems(self) -> list[str]:
        plan, found = self.plan, []
        ends: list[Any] = [self.target] if plan.late is None else [self.target, plan.late]
        for topic in ends:
            if not isinstance(topic, Topic):
                found.append(f"it publishes to {topic!r}, which is no topic")
            elif topic in self.sources:
                found.append(f"it publishes to {topic.id!r}, which it follows: it would never end")
        if plan.idle is not None and not _NONE < plan.idle <= _IDLE_MAX:
            found.append(f"idle={plan.idle!r} must be above 0, and {_IDLE_MAX.days:,} days at most")
        match plan.stage:
            case Windowing(window, aggregates, lateness):
                spans = {"lateness": lateness}
                found += [
                    f"a session merges, and {aggregate.name!r} has no merge="
                    for aggregate in aggregates
                    if isinstance(window, Session) and aggregate.merge is None
                ]
            case Joining(within, _, lateness):
                spans = {"lateness": lateness, "within": within}
                if plan.feeds[0].source is plan.feeds[1].source:
                    found.append("it joins a source with itself: take two topics")
            case None:
                spans = {}
        found += [f"{name}={span!r} is negative" for name, span in spans.items() if span < _NONE]
        return found


_NONE = timedelta()
_IDLE_MAX = timedelta(seconds=limits.TRANSFORM_IDLE_SECONDS_MAX)


def _input_of(feed: Feed, place: str) -> Input:
    source = source_of(feed.source, place)
    if source.state_class is not None:
        raise ConfigurationError(
            f"{place}: key-value entity {source.id!r} has states, not events: follow it with a "
            "consumer that publishes what matters"
        )
    check_types(feed.types, source, feed.source, place)
    return Input(source, feed.types, feed.steps, feed.time)


def _check_start(start: Any, place: str) -> None:
    if isinstance(start, datetime):
        if start.tzinfo is None:
            raise ConfigurationError(f"{place}: start needs a time zone, as datetime.UTC")
    elif start not in tuple(Start):
        raise ConfigurationError(
            f"{place}: start is 'beginning', 'latest' or a datetime, not {start!r}"
        )
