"""Topics: named streams of events of declared types, ordered per key."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from enum import Enum
from functools import cached_property
from operator import attrgetter
from typing import Any, Final, Generic, TypedDict, TypeVar, Unpack, overload

from eventmill.errors import FAILURES, ConfigurationError, InvalidPayload
from eventmill.model import limits
from eventmill.model.events import EventType, event_type_of
from eventmill.model.subject import check_subject, check_text

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")


Key = str | Callable[[Any], str]


class WhenRead(Enum):
    """Messages are removed when every subscription of the service has read them."""

    WHEN_READ = "when read"


WHEN_READ: Final = WhenRead.WHEN_READ
"""A `retention` of topics; the only one of its type."""


class Settings(TypedDict, total=False):
    """What may be said of a topic beside its id and types; see `Topic`."""

    key: Key
    retention: timedelta | WhenRead | None
    bytes_max: int | None
    replicas: int | None
    service: str


class Topic(Generic[E]):
    """A named stream of events: `Topic("orders", OrderPlaced)` is a `Topic[OrderPlaced]`.

    Parameters: `id` is the storage key and never changes; `types` are the event classes it
    carries; `key` names the field (or is a function of the event) by which order is kept and that
    becomes the CloudEvents subject; without it, all events share the empty key. `retention` is how
    long messages are kept, for ever without it, or `WHEN_READ`; `bytes_max` is what they may take
    together; `replicas` is how many of a broker's servers hold each (`docs/components.md` says what
    that means where). `service` names another service that the topic is of: it can be followed
    here, and is published to by that service alone; without `types` it carries those that its
    followers here name in their annotations.

    """

    # Several types make a union: without the overloads mypy takes their common base, `Event`.
    @overload
    def __init__(self: Topic[A], id: str, a: type[A], /, **settings: Unpack[Settings]) -> None: ...
    @overload
    def __init__(
        self: Topic[A | B], id: str, a: type[A], b: type[B], /, **settings: Unpack[Settings]
    ) -> None: ...
    @overload
    def __init__(
        self: Topic[A | B | C],
        id: str,
        a: type[A],
        b: type[B],
        c: type[C],
        /,
        **settings: Unpack[Settings],
    ) -> None: ...
    @overload
    def __init__(
        self: Topic[A | B | C | D],
        id: str,
        a: type[A],
        b: type[B],
        c: type[C],
        d: type[D],
        /,
        **settings: Unpack[Settings],
    ) -> None: ...
    @overload
    def __init__(self: Topic[Any], id: str, *types: type, **settings: Unpack[Settings]) -> None: ...
    def __init__(
        self,
        id: str,
        *types: type,
        key: Key = "",
        retention: timedelta | WhenRead | None = None,
        bytes_max: int | None = None,
        replicas: int | None = None,
        service: str = "",
    ) -> None:
        if not types and not service:
            raise ConfigurationError(f"topic {id!r}: name at least one event type")
        strangers = [t.__name__ for t in types if key and isinstance(key, str) and not _has(t, key)]
        if strangers:
            raise ConfigurationError(
                f"topic {id!r}: {', '.join(strangers)} has no field {key!r} to be its key"
            )
        _check_keeping(id, retention, bytes_max, replicas, service)
        self.name = id
        self.service = service
        self.id = f"{service}/{id}" if service else id
        """What it is called in the service that declares it: another's is `service/name`."""
        self.retention = retention
        self.bytes_max = bytes_max
        self.replicas = replicas
        self.types = types
        self.key = key
        self._key_of = _key_of(key)

    def __repr__(self) -> str:
        return f"<Topic {self.id} [{', '.join(t.__name__ for t in self.types)}]>"

    def subject_of(self, event: E, /) -> str:
        """Return the key of an event as text."""
        return str(self._key_of(event))

    def version_of(self, type: str) -> int:
        """Return the current version of a type; 1 of one that it does not carry."""
        kind = self._kinds.get(type)
        return 1 if kind is None else kind.version

    def key_of(self, type: str, version: int, payload: bytes) -> str:
        """Return the key that it makes of an event that came in without one.

        Empty for what it cannot read, or makes no valid key of: whoever follows the topic finds that
        out.
        """
        kind = self._kinds.get(type) if self.key else None
        if kind is None:
            return ""
        try:
            key = self.subject_of(kind.decode(payload, version))
            check_subject("a key", key, least=0)
            check_text("a key", key)
        except FAILURES:  # a key= may be any function, and the event is a stranger's
            return ""
        return key

    def event_types(self) -> list[EventType]:
        """Return the stored types that it carries."""
        return [event_type_of(cls) for cls in self.types]

    @cached_property
    def _kinds(self) -> dict[str, EventType]:
        return {name: kind for kind in self.event_types() for name in (kind.name, *kind.aliases)}

    def encode(self, event: Any) -> tuple[EventType, str, bytes]:
        """Return type, key and JSON of an event that is to be published.

        Raises `InvalidPayload` if the topic does not carry the event's type, or a value does not
        fit its field.
        """
        if self.types and type(event) not in self.types:
            raise InvalidPayload(
                f"topic {self.id!r} carries {', '.join(t.__name__ for t in self.types)}, "
                f"not {type(event).__qualname__}"
            )
        kind = event_type_of(type(event))
        payload, event = kind.stored(event)
        return kind, self.subject_of(event), payload


def _key_of(key: Key) -> Callable[[Any], Any]:
    """Return what makes the key of an event."""
    if callable(key):
        return key
    return attrgetter(key) if key else lambda event: ""


def is_foreign(id: str) -> bool:
    """Whether a topic is another service's, by what it is called here."""
    return "/" in id


def not_ours(topic: Topic[Any]) -> str:
    """Say that a topic of another service is published to."""
    return (
        f"topic {topic.name!r} is of service {topic.service!r}, which alone publishes to it: "
        "publish to a topic of your own, or call that service"
    )


def _check_keeping(
    id: str, retention: Any, bytes_max: int | None, replicas: int | None, service: str
) -> None:
    """Raise `ConfigurationError` if messages cannot be kept so."""
    if service and any(setting is not None for setting in (retention, bytes_max, replicas)):
        raise ConfigurationError(
            f"topic {id!r} of service {service!r}: how its messages are kept is for that service "
            "to say: leave retention=, bytes_max= and replicas= out"
        )
    if not isinstance(retention, timedelta | WhenRead | None):
        raise ConfigurationError(
            f"topic {id!r}: retention= is a timedelta or WHEN_READ, not {retention!r}"
        )
    if isinstance(retention, timedelta) and retention <= timedelta():
        raise ConfigurationError(f"topic {id!r}: retention={retention!r} is not above zero")
    if bytes_max is not None and bytes_max < limits.TOPIC_BYTES_MIN:
        raise ConfigurationError(
            f"topic {id!r}: bytes_max={bytes_max!r} is less than {limits.TOPIC_BYTES_MIN} "
            f"({limits.TOPIC_BYTES_MIN >> 20} << 20), in which some of the largest messages fit"
        )
    if replicas is not None and not 1 <= replicas <= limits.TOPIC_REPLICAS_MAX:
        raise ConfigurationError(
            f"topic {id!r}: replicas={replicas!r} is not in 1 to {limits.TOPIC_REPLICAS_MAX}"
        )


def _has(cls: type, path: str) -> bool:
    """Whether instances of a class have what the first part of a key's path names."""
    name = path.partition(".")[0]
    fields = {field for base in cls.__mro__ for field in getattr(base, "__annotations__", ())}
    return name in fields or hasattr(cls, name)
