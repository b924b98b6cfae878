"""Event types: the stored name, version and codec of a Python class.

A stored event is (type name, version, JSON). The name belongs to the data, not to the class: give
it with `@event_type` before the class is renamed, keep former names as `aliases`. Old versions are
lifted to the current one by `@upcast` functions on the decoded JSON object, one version at a time.
Fields that the class does not know are ignored.

While nodes of two versions of a service run, the older ones cannot read what is newer. So new code can
go on writing the version before its own, made by a `@downcast` function, until no old node is left.

Classes may be `Event` structs (the fast way), dataclasses or Pydantic models.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, cast, dataclass_transform

import msgspec

from eventmill.errors import FAILURES, ConfigurationError, InvalidPayload, described
from eventmill.model import limits

C = TypeVar("C", bound=type)

_TYPES: dict[type, EventType] = {}

MISFITS = (msgspec.DecodeError, ValueError, TypeError, RecursionError)
"""What decoders raise for a payload that does not fit."""


# Tells type checkers that subclasses are frozen without saying so; msgspec inherits it.
@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
class Event(msgspec.Struct, frozen=True):
    """Base of event types: an immutable, typed, self-contained fact, named in the past tense."""


class EntityDeleted(Event, frozen=True):
    """Given to consumers and views whose handlers name it when an entity was deleted."""


class Upcaster(Protocol):
    """Turns the JSON object of one version into that of the next, or of the one before."""

    def __call__(self, data: dict[str, Any], /) -> dict[str, Any]: ...


class EventType:
    """How one Python class is stored. One per class; see `event_type_of`."""

    def __init__(
        self, cls: type, name: str, version: int = 1, aliases: tuple[str, ...] = ()
    ) -> None:
        if not 0 < len(name) <= limits.NAME_CHARACTERS_MAX or name.startswith("$"):
            raise ConfigurationError(
                f"{cls.__qualname__}: an event type's name has 1 to {limits.NAME_CHARACTERS_MAX} "
                f"characters and does not start with '$'; {name!r} does not fit"
            )
        self.cls = cls
        self.name = name
        self.version = version
        self.aliases = aliases
        self.upcasters: dict[int, Upcaster] = {}
        self.downcaster: Upcaster | None = None
        self.written = version
        """The version that is stored: one less where there is a `downcaster`."""
        self.encode, self._decode, self._convert = _codec_of(cls)

    def __repr__(self) -> str:
        return f"<EventType {self.name} v{self.version} [{self.cls.__qualname__}]>"

    def stored(self, event: Any) -> tuple[bytes, Any]:
        """Encode an event; return the payload and the event that it will be read back as.

        Raises `InvalidPayload` when a value does not fit its field, or a `@downcast` or `@upcast`
        fails: such a payload could be stored, but never be read again.
        """
        payload = self.encode(event)
        try:
            if self.downcaster is not None:
                data = self._cast(self.downcaster, msgspec.json.decode(payload), self.version)
                payload = msgspec.json.encode(data)
                return payload, self._convert(self._lifted(payload, self.written))
            return payload, self._decode(payload)
        except MISFITS as error:
            raise InvalidPayload(
                f"{self.cls.__qualname__} has a value that does not fit its field, so nobody could "
                f"read it again: {error}"
            ) from error

    def decode(self, payload: bytes, version: int) -> Any:
        """Decode a stored payload of `version`.

        Raises `InvalidPayload` when it does not fit the class, when an upcaster fails, or when it was
        written by a newer version of the type than this code knows.
        """
        try:
            if version == self.version:
                return self._decode(payload)
            if version > self.version:
                raise InvalidPayload(
                    f"event type {self.name!r}: stored version {version} is newer than this "
                    f"code's version {self.version}; deploy the newer code"
                )
            return self._convert(self._lifted(payload, version))
        except MISFITS as error:
            raise InvalidPayload(
                f"event type {self.name!r} version {version} does not decode: {error}"
            ) from error

    def _lifted(self, payload: bytes, version: int) -> dict[str, Any]:
        data = msgspec.json.decode(payload, type=dict[str, Any])
        for step in range(version, self.version):
            upcaster = self.upcasters.get(step)
            if upcaster is not None:
                data = self._cast(upcaster, data, step)
        return data

    def _cast(self, caster: Upcaster, data: dict[str, Any], version: int) -> dict[str, Any]:
        """Call an upcaster or downcaster, which is user code and may raise anything."""
        try:
            return caster(data)
        except FAILURES as error:
            name = getattr(caster, "__qualname__", repr(caster))
            raise InvalidPayload(
                f"event type {self.name!r} version {version}: {name} raised "
                f"{described(error)}; mend it"
            ) from error


def event_type(name: str, *, version: int = 1, aliases: tuple[str, ...] = ()) -> Callable[[C], C]:
    """Give a class its stored type name.

    Parameters: `name` is the storage key and never changes; `version` is raised by one with each
    incompatible change, together with an `@upcast`; `aliases` are names under which older events
    of this type were stored. Without this decorator the name is the class's name and the version 1.
    """

    def register(cls: C) -> C:
        _TYPES[cls] = EventType(cls, name, version, aliases)
        return cls

    return register


def upcast(cls: type, *, from_version: int) -> Callable[[Upcaster], Upcaster]:
    """Register the function that lifts a stored JSON object of `cls` by one version.

    Raises `ConfigurationError` if `from_version` is not below the type's current version.
    """

    def register(function: Upcaster) -> Upcaster:
        kind = event_type_of(cls)
        if not 0 < from_version < kind.version:
            raise ConfigurationError(
                f"@upcast({cls.__qualname__}, from_version={from_version}): the current version "
                f"is {kind.version}; raise it with @event_type(…, version=…) first"
            )
        kind.upcasters[from_version] = function
        return function

    return register


def downcast(cls: type) -> Callable[[Upcaster], Upcaster]:
    """Register the function that turns a JSON object of `cls` into that of the version before, which is
    then what is stored: for as long as nodes run that know no newer one.

    Raises `ConfigurationError` for a type of version 1.
    """

    def register(function: Upcaster) -> Upcaster:
        kind = event_type_of(cls)
        if kind.version < 2:
            raise ConfigurationError(
                f"@downcast({cls.__qualname__}): there is no version before 1; raise the version "
                "with @event_type(…, version=…) first"
            )
        kind.downcaster, kind.written = function, kind.version - 1
        return function

    return register


def event_type_of(cls: type) -> EventType:
    """Return the class's event type, made with defaults at first use.

    Raises `ConfigurationError` for a class that is neither a struct, a dataclass nor a Pydantic
    model.
    """
    kind = _TYPES.get(cls)
    if kind is None:
        kind = _TYPES[cls] = EventType(cls, cls.__name__)
    return kind


def is_event_class(candidate: object) -> bool:
    """Whether `event_type_of` accepts it."""
    return isinstance(candidate, type) and (
        (issubclass(candidate, msgspec.Struct) and candidate is not Event)
        or dataclasses.is_dataclass(candidate)
        or hasattr(candidate, "model_validate_json")
    )


_Codec = tuple[Callable[[Any], bytes], Callable[[bytes], Any], Callable[[Any], Any]]


def _codec_of(cls: type) -> _Codec:
    if hasattr(cls, "model_validate_json"):
        model = cast(Any, cls)
        return (
            lambda event: event.model_dump_json().encode(),
            model.model_validate_json,
            model.model_validate,
        )
    if not is_event_class(cls):
        raise ConfigurationError(
            f"{cls!r} is no event type: derive it from eventmill.Event, or make it a dataclass "
            "or a Pydantic model"
        )
    return (
        msgspec.json.Encoder().encode,
        msgspec.json.Decoder(cls).decode,
        lambda data: msgspec.convert(data, cls),
    )
