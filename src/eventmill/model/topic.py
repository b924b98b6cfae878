"""Topics: named streams of events of declared types, ordered per key."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from operator import attrgetter
from typing import Any, Generic, TypeVar, overload

from eventmill.errors import ConfigurationError, InvalidPayload
from eventmill.model.events import EventType, event_type_of

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")


Key = str | Callable[[Any], str]


class Topic(Generic[E]):
    """A named stream of events: `Topic("orders", OrderPlaced)` is a `Topic[OrderPlaced]`.

    Parameters: `id` is the storage key and never changes; `types` are the event classes it
    carries; `key` names the field (or is a function of the event) by which order is kept and that
    becomes the CloudEvents subject; without it, all events share the empty key. `retention` is how
    long messages are kept, for ever without it; a message that a subscription has still to read is
    kept longer. `service` names another service that the topic is of: it can be followed here, and
    is published to by that service alone.
    """

    # Several types make a union: without the overloads mypy takes their common base, `Event`.
    @overload
    def __init__(
        self: Topic[A],
        id: str,
        a: type[A],
        /,
        *,
        key: Key = "",
        retention: timedelta | None = None,
        service: str = "",
    ) -> None: ...
    @overload
    def __init__(
        self: Topic[A | B],
        id: str,
        a: type[A],
        b: type[B],
        /,
        *,
        key: Key = "",
        retention: timedelta | None = None,
        service: str = "",
    ) -> None: ...
    @overload
    def __init__(
        self: Topic[A | B | C],
        id: str,
        a: type[A],
        b: type[B],
        c: type[C],
        /,
        *,
        key: Key = "",
        retention: timedelta | None = None,
        service: str = "",
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
        *,
        key: Key = "",
        retention: timedelta | None = None,
        service: str = "",
    ) -> None: ...
    @overload
    def __init__(
        self: Topic[Any],
        id: str,
        *types: type,
        key: Key = "",
        retention: timedelta | None = None,
        service: str = "",
    ) -> None: ...
    def __init__(
        self,
        id: str,
        *types: type,
        key: Key = "",
        retention: timedelta | None = None,
        service: str = "",
    ) -> None:
        if not types:
            raise ConfigurationError(f"topic {id!r}: name at least one event type")
        strangers = [t.__name__ for t in types if key and isinstance(key, str) and not _has(t, key)]
        if strangers:
            raise ConfigurationError(
                f"topic {id!r}: {', '.join(strangers)} has no field {key!r} to be its key"
            )
        if retention is not None and retention <= timedelta():
            raise ConfigurationError(f"topic {id!r}: retention={retention!r} is not above zero")
        if service and retention is not None:
            raise ConfigurationError(
                f"topic {id!r} of service {service!r}: how long its messages are kept is for that "
                "service to say: leave retention= out"
            )
        self.name = id
        self.service = service
        self.id = f"{service}/{id}" if service else id
        """What it is called in the service that declares it: another's is `service/name`."""
        self.retention = retention
        self.types = types
        self.key = key
        self._key_of = attrgetter(key) if isinstance(key, str) and key else key

    def __repr__(self) -> str:
        return f"<Topic {self.id} [{', '.join(t.__name__ for t in self.types)}]>"

    def subject_of(self, event: Any) -> str:
        """Return the key of an event as text."""
        return str(self._key_of(event)) if callable(self._key_of) else ""

    def event_types(self) -> list[EventType]:
        """Return the stored types that it carries."""
        return [event_type_of(cls) for cls in self.types]

    def encode(self, event: Any) -> tuple[EventType, str, bytes]:
        """Return type, key and JSON of an event that is to be published.

        Raises `InvalidPayload` if the topic does not carry the event's type, or a value does not
        fit its field.
        """
        if type(event) not in self.types:
            raise InvalidPayload(
                f"topic {self.id!r} carries {', '.join(t.__name__ for t in self.types)}, "
                f"not {type(event).__qualname__}"
            )
        kind = event_type_of(type(event))
        payload, event = kind.stored(event)
        return kind, self.subject_of(event), payload


def not_ours(topic: Topic[Any]) -> str:
    """Say that a topic of another service is published to."""
    return (
        f"topic {topic.name!r} is of service {topic.service!r}, which alone publishes to it: "
        "publish to a topic of your own, or call that service"
    )


def _has(cls: type, path: str) -> bool:
    """Whether instances of a class have what the first part of a key's path names."""
    name = path.partition(".")[0]
    fields = {field for base in cls.__mro__ for field in getattr(base, "__annotations__", ())}
    return name in fields or hasattr(cls, name)
