"""Streams: what a transform does with a source, built step by step and ended by `to`.

    daily = (
        Stream(readings)
        .filter(lambda reading: reading.temperature is not None)
        .window(Tumbling(timedelta(days=1)), time=lambda reading: reading.at, late=late_readings)
        .aggregate(count(), max_of("temperature"))
        .map(lambda pane: Day(station=pane.key, day=pane.start, warmest=pane.value[1]))
        .to(days, id="daily-weather")
    )

Nothing runs here. Streams are values: each step returns a new one, so one may begin several
transforms. Functions in them are pure: they know nothing but their arguments.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Generic, Literal, Protocol, TypeVar, cast, overload

from eventmill.errors import ConfigurationError
from eventmill.model.definition import Retry
from eventmill.model.topic import Topic
from eventmill.model.transform import Aggregate, Joining, Pair, Pane, Step, Window, Windowing
from eventmill.sdk.component import check_name
from eventmill.sdk.transform import Feed, Plan, Transform

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
E_contra = TypeVar("E_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S")


class Takes(Protocol[E_contra]):
    """A topic that carries at least these events."""

    def subject_of(self, event: E_contra, /) -> str: ...


class Results(Generic[R_co]):
    """What a transform publishes, before it says where."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._plan}>"

    def filter(self, keep: Callable[[R_co], Any]) -> Results[R_co]:
        """Go on with those of which a function says yes."""
        return Results(self._plan.with_step((True, keep)))

    def map(self, change: Callable[[R_co], S]) -> Results[S]:
        """Go on with what a function makes of each."""
        return Results(self._plan.with_step((False, change)))

    def to(
        self,
        topic: Takes[R_co],
        *,
        id: str,
        start: Literal["beginning", "latest"] | datetime = "beginning",
        retry: Retry | None = None,
        ignore_unknown: bool = False,
    ) -> Transform:
        """Publish them to a topic: the transform, to be listed in the service's components.

        Parameters: `id` is the storage key of its progress and state and never changes; the others
        are those of `@consumer`.

        Raises `ConfigurationError` for an id or start that is none.
        """
        check_name("transform", id)
        place = sys._getframe(1)
        return Transform(
            id=id,
            plan=self._plan,
            target=cast(Topic[Any], topic),
            start=start,
            retry=retry or Retry(),
            ignore_unknown=ignore_unknown,
            place=f"transform {id!r} ({place.f_code.co_filename}:{place.f_lineno})",
        )


class Stream(Results[E]):
    """The events of a topic or an entity.

    Parameters: `source` is a topic or an entity class; `types` are the event classes that are taken,
    all without them.
    """

    @overload
    def __init__(self: Stream[A], source: Topic[A], /) -> None: ...
    @overload
    def __init__(self: Stream[A], source: Any, a: type[A], /) -> None: ...
    @overload
    def __init__(self: Stream[A | B], source: Any, a: type[A], b: type[B], /) -> None: ...
    @overload
    def __init__(self: Stream[Any], source: Any, /, *types: type) -> None: ...
    def __init__(self, source: Any, /, *types: type) -> None:
        super().__init__(Plan((Feed(source, types),)))

    def filter(self, keep: Callable[[E], Any]) -> Stream[E]:
        return self._then((True, keep))

    def map(self, change: Callable[[E], S]) -> Stream[S]:
        return self._then((False, change))

    def window(
        self,
        window: Window,
        *,
        time: Callable[[E], datetime] | None = None,
        lateness: timedelta = timedelta(),
        idle: timedelta | None = None,
        late: Takes[E] | None = None,
    ) -> Windowed[E]:
        """Collect the events of each key by when they happened.

        A window gives its result once, when it closes: when an event of its key has come that is
        newer than the window's end by `lateness`, or when its key has been silent for `idle`.

        Parameters: `time` says when an event happened, else it is when the platform took it;
        `lateness` is how much older than the newest one of its key an event may be; `idle` is how long
        a key may be silent, for ever without it; `late` takes the events that come too late, which are
        kept as refused letters without it.
        """
        return Windowed(self._plan, window, time, lateness, idle, cast(Topic[E], late))

    @overload
    def join(
        self,
        other: Stream[B],
        *,
        within: timedelta,
        time: tuple[Callable[[E], datetime], Callable[[B], datetime]] | None = None,
        kind: Literal["inner"] = "inner",
        lateness: timedelta = timedelta(),
        idle: timedelta | None = None,
        late: Topic[Any] | None = None,
    ) -> Results[Pair[E, B]]: ...
    @overload
    def join(
        self,
        other: Stream[B],
        *,
        within: timedelta,
        time: tuple[Callable[[E], datetime], Callable[[B], datetime]] | None = None,
        kind: Literal["left"],
        lateness: timedelta = timedelta(),
        idle: timedelta | None = None,
        late: Topic[Any] | None = None,
    ) -> Results[Pair[E, B | None]]: ...
    def join(
        self,
        other: Stream[Any],
        *,
        within: timedelta,
        time: tuple[Callable[[Any], datetime], Callable[[Any], datetime]] | None = None,
        kind: Literal["inner", "left"] = "inner",
        lateness: timedelta = timedelta(),
        idle: timedelta | None = None,
        late: Topic[Any] | None = None,
    ) -> Results[Any]:
        """Pair events of two streams that have the same key and happened within a time of each other.

        Every pair is given once. `kind="left"` also gives events of this stream that met none, paired
        with None, when none can come any more. The other parameters are those of `window`; `time` has a
        function for each stream.
        """
        if not isinstance(other, Stream):
            raise ConfigurationError(f"join() takes a stream, as Stream(payments), not {other!r}")
        left, right = time or (None, None)
        feeds = (
            replace(self._plan.feeds[0], time=left),
            replace(other._plan.feeds[0], time=right),
        )
        return Results(Plan(feeds, Joining(within, kind, lateness), idle, late))

    def _then(self, step: Step) -> Stream[Any]:
        changed = Stream[Any].__new__(Stream)
        feed = self._plan.feeds[0]
        changed._plan = replace(self._plan, feeds=(replace(feed, steps=(*feed.steps, step)),))
        return changed


@dataclass(frozen=True)
class Windowed(Generic[E]):
    """Events by window, before it is said what is made of them."""

    _plan: Plan
    _window: Window
    _time: Callable[[E], datetime] | None
    _lateness: timedelta
    _idle: timedelta | None
    _late: Topic[E] | None

    @overload
    def aggregate(self, a: Aggregate[E, A], /) -> Results[Pane[A]]: ...
    @overload
    def aggregate(
        self, a: Aggregate[E, A], b: Aggregate[E, B], /
    ) -> Results[Pane[tuple[A, B]]]: ...
    @overload
    def aggregate(
        self, a: Aggregate[E, A], b: Aggregate[E, B], c: Aggregate[E, C], /
    ) -> Results[Pane[tuple[A, B, C]]]: ...
    @overload
    def aggregate(
        self, a: Aggregate[E, A], b: Aggregate[E, B], c: Aggregate[E, C], d: Aggregate[E, D], /
    ) -> Results[Pane[tuple[A, B, C, D]]]: ...
    @overload
    def aggregate(self, *aggregates: Aggregate[E, Any]) -> Results[Pane[Any]]: ...
    def aggregate(self, *aggregates: Aggregate[Any, Any]) -> Results[Any]:
        """Make one value of each window's events, a tuple if there are several aggregates.

        Raises `ConfigurationError` without an aggregate.
        """
        if not aggregates:
            raise ConfigurationError(
                f"aggregate() of {self._window}: name at least one, as count()"
            )
        feed = replace(self._plan.feeds[0], time=self._time)
        windowing = Windowing(self._window, aggregates, self._lateness)
        return Results(Plan((feed,), windowing, self._idle, self._late))
