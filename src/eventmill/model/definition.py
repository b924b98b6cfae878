"""Component definitions: what the platform knows of a user's class or function. Plain data.

The sdk makes them when a service is put together; engine and runtime read nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Literal

from eventmill.errors import ConfigurationError
from eventmill.model import limits
from eventmill.model.endpoint import Endpoints
from eventmill.model.entry import DELETED, STATE, STEP
from eventmill.model.events import EventType
from eventmill.model.handler import Handler
from eventmill.model.orders import OF_ENTITIES
from eventmill.model.replicated.value import Kind
from eventmill.model.schedule import Schedule
from eventmill.model.topic import Topic

if TYPE_CHECKING:
    from eventmill.model.transform import TransformDefinition


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


PATIENT = Retry(initial=3.0, maximum=30.0)
"""Of what timers and schedules lead to: nobody waits for it."""


class Start(StrEnum):
    """Where a new subscription begins."""

    BEGINNING = "beginning"
    LATEST = "latest"


StartAt = Start | datetime | Mapping[int, int]
"""The same, or at a time, or at given positions of shards."""


Consistency = Literal["local", "majority", "all"]
"""Which nodes must have a replicated entity's change before its reply: this one (and the store), more
than half of those that are alive, or all of them."""


@dataclass(slots=True)
class Replicated:
    """What every node changes for itself."""

    fields: dict[str, Kind[Any]]
    consistency: Consistency
    show: Callable[[Any], bytes]
    """Encodes a state as plain values, for people."""


@dataclass(slots=True)
class StepDefinition:
    """A step of a workflow."""

    handler: Handler[Any, Any]
    retry: Retry
    timeout: float
    """Seconds for one attempt."""
    failover: str = ""
    """Step that runs when this one has failed."""
    compensate: str = ""
    """Step that undoes this one."""


@dataclass(slots=True)
class WorkflowDefinition:
    """What a workflow has besides an entity."""

    steps: dict[str, StepDefinition]
    sources: dict[str, Source]
    """Topics, entities and workflows whose events it may wait for."""
    timeout: timedelta | None = None
    """How long the whole of it may take."""
    on_timeout: str = ""
    """Step that runs then."""


@dataclass(slots=True)
class EntityDefinition:
    """An entity: event-sourced, key-value or replicated; or a workflow."""

    id: str
    cls: type
    commands: dict[str, Handler[Any, Any]]
    queries: dict[str, Handler[Any, Any]]
    folds: dict[type, Callable[[Any, Any], None]]
    """Event class → fold; empty for a key-value entity."""
    event_types: dict[str, EventType]
    """Stored name or alias → type."""
    is_key_value: bool
    """Whether its entries are whole states."""
    snapshot_every: int = limits.SNAPSHOT_EVERY
    retention: timedelta = timedelta(seconds=limits.RETENTION_DELETED_SECONDS)
    expire_after: timedelta | None = None
    keep_history: timedelta | None = None
    """How long a whole state is kept after the next one has replaced it; None: it goes at once."""
    schema: str = ""
    encode_state: Callable[[Any], bytes] = field(default=lambda state: b"")
    decode_state: Callable[[bytes], Any] = field(default=lambda state: None)
    handlers: dict[str, Handler[Any, Any]] = field(default_factory=dict)
    topics: Collection[str] | None = None
    """Topics of its service; None outside of one, where it may publish to any."""
    workflow: WorkflowDefinition | None = None
    built_in: dict[str, Handler[Any, Any]] = field(default_factory=lambda: OF_ENTITIES)
    """Commands of the platform that others may send, by names that begin with `$`."""
    replicated: Replicated | None = None
    """What makes it a replicated one; its entries are whole states, as a key-value entity's."""
    is_whole: bool = field(init=False)
    """Whether its last entry alone is its state; a workflow's is beside its steps."""

    def __post_init__(self) -> None:
        self.handlers = {**self.queries, **self.commands}
        self.is_whole = self.is_key_value and self.workflow is None

    @property
    def kind(self) -> str:
        """What it is, for people."""
        if self.workflow is not None:
            return "workflow"
        if self.replicated is not None:
            return "replicated entity"
        return "key-value entity" if self.is_key_value else "event-sourced entity"

    @property
    def own_types(self) -> list[str]:
        """Types of the platform that it stores, beside its events."""
        states = [STATE] if self.is_key_value else []
        history = [STEP] if self.workflow is not None else []
        return [DELETED, *states, *history]

    @property
    def show_state(self) -> Callable[[Any], bytes]:
        """What encodes a state for people."""
        return self.encode_state if self.replicated is None else self.replicated.show


SKIP: Final = object()
"""What is left of an event that a reaction does not take."""


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
    internal: frozenset[str] = frozenset()
    """Stored types of the platform's own that nobody takes."""


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
class ActionDefinition:
    """A stateless function that timers call, or that runs by a schedule."""

    handler: Handler[Any, Any]
    reaction: ConsumerDefinition
    """How its calls are handled: as events of a source of its own."""
    schedule: Schedule | None = None


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
    transforms: dict[str, TransformDefinition] = field(default_factory=dict)
    foreign: dict[str, Topic[Any]] = field(default_factory=dict)
    """Topics of other services that are followed here."""
    actions: dict[str, ActionDefinition] = field(default_factory=dict)
    endpoints: Endpoints = field(default_factory=Endpoints)
    """Its own HTTP routes."""

    @property
    def streams(self) -> dict[str, str]:
        """The topics that are service streams, and whose events each makes public."""
        return {c.stream: c.source.id for c in self.consumers.values() if c.stream}
