"""Transforms as plain data: windows, aggregates, and what a transform makes of its source.

The sdk makes them from a `Stream`; engine and runtime read nothing else. All times of events are
microseconds since the epoch in here, and timestamps only where a user sees them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Generic, Literal, TypeVar

from eventmill.errors import ConfigurationError
from eventmill.model import limits
from eventmill.model.definition import SKIP, Retry, Source, Start
from eventmill.model.topic import Topic

A = TypeVar("A")
B = TypeVar("B")
E_contra = TypeVar("E_contra", contravariant=True)
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

IDLE: Final = "$idle"
"""Type of the built-in command that a timer sends to a transform whose key has been silent."""


@dataclass(frozen=True)
class Hopping:
    """Windows of one size that begin every `hop` and so overlap; aligned to 1970 in UTC, moved by
    `offset`."""

    size: timedelta
    hop: timedelta
    offset: timedelta = timedelta()

    def __post_init__(self) -> None:
        """Refuse windows between which events would fall through.

        Raises `ConfigurationError`.
        """
        if not timedelta() < self.hop <= self.size:
            raise ConfigurationError(f"{self}: its hop must be above 0 and at most its size")


@dataclass(frozen=True)
class Tumbling:
    """Windows of one size, one behind the other; aligned to 1970 in UTC, moved by `offset`."""

    size: timedelta
    offset: timedelta = timedelta()

    def __post_init__(self) -> None:
        """Refuse a window without time.

        Raises `ConfigurationError`.
        """
        if self.size <= timedelta():
            raise ConfigurationError(f"{self}: its size must be above 0")


@dataclass(frozen=True)
class Session:
    """Windows of activity: one ends when its key has no event for `gap`."""

    gap: timedelta

    def __post_init__(self) -> None:
        """Refuse a gap without time.

        Raises `ConfigurationError`.
        """
        if self.gap <= timedelta():
            raise ConfigurationError(f"{self}: its gap must be above 0")


Window = Tumbling | Hopping | Session


@dataclass(frozen=True, slots=True)
class Pane(Generic[R_co]):
    """The result of one window of one key, made once, when it is closed."""

    key: str
    start: datetime
    """Of a session, its first event."""
    end: datetime
    """Not part of the window; of a session, its last event and the gap."""
    value: R_co


@dataclass(frozen=True, slots=True)
class Pair(Generic[A, B]):
    """An event and one of the other topic with the same key and about the same time."""

    key: str
    left: A
    right: B


@dataclass(frozen=True, slots=True)
class Aggregate(Generic[E_contra, R_co]):
    """How the events of a window become one value. The state between is JSON in a row."""

    name: str
    """Says what state it keeps: what one wrote, another of the same name can read."""
    state: Any
    """Type of the state."""
    init: Callable[[], Any]
    add: Callable[[Any, E_contra, int], Any]
    """Takes state, event and its time; returns the new state."""
    merge: Callable[[Any, Any], Any] | None
    """Of an earlier and a later part of a session, which an event has connected."""
    result: Callable[[Any], R_co]


Step = tuple[bool, Callable[[Any], Any]]
"""Whether it is a filter, and the function."""


def composed(steps: tuple[Step, ...]) -> Callable[[Any], Any]:
    """Return the one function that steps are: it returns what they make of a value, or `SKIP`."""

    def all_of_them(value: Any) -> Any:
        for is_filter, function in steps:
            if not is_filter:
                value = function(value)
            elif not function(value):
                return SKIP
        return value

    match steps:
        case ((True, condition),):  # the usual cases, without a loop for every event
            return lambda value: value if condition(value) else SKIP
        case ((False, function),):
            return function
        case _:
            return all_of_them


@dataclass(frozen=True, slots=True)
class Input:
    """One source of a transform, and what is done with each event at once."""

    source: Source
    types: tuple[type, ...]
    """Event classes that it takes; empty: all."""
    steps: tuple[Step, ...]
    time: Callable[[Any], datetime] | None
    """When an event happened; None: when the platform took it."""


@dataclass(frozen=True, slots=True)
class Windowing:
    """Events of a key are collected by the windows that their times fall into."""

    window: Window
    aggregates: tuple[Aggregate[Any, Any], ...]
    lateness: timedelta

    @property
    def windows_max(self) -> int:
        """How many windows of one key may be open: none is that is further back than lateness."""
        match self.window:
            case Tumbling(size):
                return (size + self.lateness) // size + 1
            case Hopping(size, hop):
                return (size + self.lateness) // hop + 1
            case Session(gap):
                return self.lateness // gap + 2


@dataclass(frozen=True, slots=True)
class Joining:
    """Events of two sources meet if they have the same key and their times are close."""

    within: timedelta
    kind: Literal["inner", "left"]
    lateness: timedelta


@dataclass(slots=True)
class TransformDefinition:
    """Events of a source (two, for a join), turned into events of a topic."""

    id: str
    inputs: tuple[Input, ...]
    stage: Windowing | Joining | None
    idle: timedelta | None
    """How long a key is silent before what it has open is closed all the same."""
    late: Topic[Any] | None
    steps: tuple[Step, ...]
    """On what the stage gives."""
    target: Topic[Any]
    start: Start | datetime
    retry: Retry
    ignore_unknown: bool
    place: str
    topics: Collection[str] | None = None
    """Those of its service."""

    @property
    def published(self) -> list[Topic[Any]]:
        """Topics that it publishes to."""
        return [self.target] if self.late is None else [self.target, self.late]


def check_bounds(stage: Windowing | Joining | None, place: str) -> None:
    """Raise `ConfigurationError` for a stage that could hold too much for one key."""
    if isinstance(stage, Windowing) and stage.windows_max > limits.WINDOWS_OPEN_MAX:
        raise ConfigurationError(
            f"{place}: {stage.windows_max:,} windows of one key may be open at once, "
            f"{limits.WINDOWS_OPEN_MAX:,} are possible: take larger ones, or less lateness"
        )
