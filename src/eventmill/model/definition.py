"""Component definitions: what the platform knows of a user's class or function. Plain data.

The sdk makes them when a service is put together; engine and runtime read nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from eventmill.errors import ConfigurationError
from eventmill.model import limits
from eventmill.model.events import EventType
from eventmill.model.handler import Handler
from eventmill.model.topic import Topic


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and when a failed reaction is tried again.

    Waits `initial` seconds after the first failure, then `factor` times as long each time, at most
    `maximum`, each wait varied by ± `jitter` of itself; after `attempts` in all, the event is dead.
    """

    attempts: int = 8
    initial: float = 0.1
    factor: float = 2.0
    maximum: float = 30.0
    jitter: float = 0.2

    def __post_init__(self) -> None:
        """Refuse what would retry without end.

        Raises `ConfigurationError` that names the bound.
        """
        bounds = {
            "attempts": (self.attempts, 1, 1_000),
            "initial": (self.initial, 0.0, 86_400.0),
            "factor": (self.factor, 1.0, 100.0),
            "maximum": (self.maximum, 0.0, 86_400.0),
            "jitter": (self.jitter, 0.0, 1.0),
        }
        for name, (value, least, most) in bounds.items():
            if not least <= value <= most:
                raise ConfigurationError(f"Retry: {name} must be {least:g}..{most:g}: {value!r}")


class Start(StrEnum):
    """Where a new subscription begins."""

    BEGINNING = "beginning"
    LATEST = "latest"


StartAt = Start | datetime | Mapping[int, int]
"""The same, or at a time, or at given positions of shards."""


@dataclass(slots=True)
class EntityDefinition:
    """An event-sourced or key-value entity."""

    id: str
    cls: type
    commands: dict[str, Handler[Any, Any]]
    queries: dict[str, Handler[Any, Any]]
    folds: dict[type, Callable[[Any, Any], None]]
    """Event class → fold; empty for a key-value entity."""
    event_types: dict[str, EventType]
    """Stored name or alias → type."""
    is_key_value: bool
    snapshot_every: int = limits.SNAPSHOT_EVERY
    retention: timedelta = timedelta(seconds=limits.RETENTION_DELETED_SECONDS)
    expire_after: timedelta | None = None
    schema: str = ""
    encode_state: Callable[[Any], bytes] = field(default=lambda state: b"")
    decode_state: Callable[[bytes], Any] = field(default=lambda state: None)
    handlers: dict[str, Handler[Any, Any]] = field(default_factory=dict)
    topics: Collection[str] | None = None
    """Topics of its service; None outside of one, where it may publish to any."""

    def __post_init__(self) -> None:
        self.handlers = {**self.queries, **self.commands}


@dataclass(slots=True)
class Route:
    """Which function reacts to which event classes of a source."""

    function: Callable[..., Any]
    types: tuple[type, ...]
    """Empty: every event."""
    takes_context: bool
    is_batch: bool = False


@dataclass(slots=True)
class Source:
    """An entity or a topic that a consumer or view follows."""

    id: str
    event_types: dict[str, EventType]
    """Stored name or alias → type."""
    state_class: type | None = None
    """The key-value entity's class: its entries are whole states."""
    decode_state: Callable[[bytes], Any] | None = None


@dataclass(slots=True)
class ConsumerDefinition:
    """A stateless reaction."""

    id: str
    source: Source
    route: Route
    group: str
    ignore_unknown: bool
    start: Start | datetime
    retry: Retry
    concurrency: int
    timeout: float
    batch_size: int
    is_async: bool
    place: str
    topics: Collection[str] | None = None
    """As an entity's."""
    stream: str = ""
    """The topic that it fills, if it is a stream's."""

    @property
    def subscription(self) -> str:
        """Key of its progress: another group starts anew."""
        return f"{self.id}.{self.group}" if self.group else self.id


@dataclass(slots=True)
class ViewTable:
    """One table of a view."""

    name: str
    row: type


@dataclass(slots=True)
class ViewHandler:
    """How one source changes one table of a view."""

    source: Source
    route: Route
    table: str


@dataclass(slots=True)
class ViewQuery:
    """A query of a view as declared."""

    handler: Handler[Any, Any]
    sql: str


@dataclass(slots=True)
class ViewDefinition:
    """Rows made of events, and queries on them."""

    id: str
    cls: type
    tables: dict[str, ViewTable]
    handlers: list[ViewHandler]
    queries: dict[str, ViewQuery]
    version: int
    ignore_unknown: bool
    retry: Retry


@dataclass(slots=True)
class ServiceDefinition:
    """Everything one service consists of; checked."""

    name: str
    entities: dict[str, EntityDefinition]
    topics: dict[str, Topic[Any]]
    consumers: dict[str, ConsumerDefinition]
    views: dict[str, ViewDefinition]
    foreign: dict[str, Topic[Any]] = field(default_factory=dict)
    """Topics of other services that are followed here."""

    @property
    def streams(self) -> dict[str, str]:
        """The topics that are service streams, and whose events each makes public."""
        return {c.stream: c.source.id for c in self.consumers.values() if c.stream}
