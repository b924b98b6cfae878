"""Replicated entities: every node reads and changes them for itself, and they become equal everywhere.

    @component("player")
    class Player(ReplicatedEntity):
        points: PNCounter
        badges: ORSet[str]

        @command
        def score(self, points: int) -> Effect[int]:
            return self.update(self.points.increment(points)).reply(lambda player: player.points.value)

Each field is a replicated type (`eventmill.model.replicated`). As in every component a command
decides and changes nothing: an operation is a value that `update` takes.
"""

from __future__ import annotations

import inspect
from datetime import timedelta
from typing import Any, ClassVar, Self, get_origin, get_type_hints

from eventmill.errors import ConfigurationError
from eventmill.model import codec, limits
from eventmill.model.definition import Consistency
from eventmill.model.effect import EntityEffect
from eventmill.model.problems import Problems
from eventmill.model.replicated.causal import Causal, decode, encode
from eventmill.model.replicated.change import Change, deletion
from eventmill.model.replicated.value import Kind, Value, kind_of
from eventmill.sdk import guards
from eventmill.sdk.component import place_of
from eventmill.sdk.entity import Bound

_KINDS = "__eventmill_kinds__"
"""Where a class keeps the kinds of its fields, once it has been read."""


class ReplicatedEntity(Bound):
    """An entity that is on every node at once. Its fields are replicated values."""

    retention: ClassVar[timedelta] = timedelta(seconds=limits.RETENTION_DELETED_SECONDS)
    """How long a deleted entity is remembered before its id may be used anew."""
    keep_history: ClassVar[timedelta | None] = None
    """How long a stored state is kept after the next one has replaced it: so far back the entity can be
    asked as it was. None: it goes at once."""
    write_consistency: ClassVar[Consistency] = "local"
    """Which nodes have a change before its command is answered: `local` (it is durable), `majority`
    or `all` of the nodes that are alive."""

    def __init__(self) -> None:
        self.hold(Causal())

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(
            f"{type(self).__qualname__}.{name} cannot be set: a command changes nothing itself, it "
            f"returns self.update(…) of operations, as self.{name}.add(…)"
        )

    def hold(self, state: Causal) -> None:
        """Show a state from now on. Called by the engine and the test kit."""
        kinds = kinds_of(type(self))
        values = {name: kind.at(state, (name,)) for name, kind in kinds.items()}
        self.__dict__.update(values, _causal=state)

    def update(self, *changes: Change) -> EntityEffect[Self, None]:
        """Make changes, all or none: what operations of the fields return."""
        return guards.made(EntityEffect(merged=changes))

    def delete(self) -> EntityEffect[Self, None]:
        """Delete the entity: later commands are refused, on each node as soon as it knows."""
        return guards.made(EntityEffect(merged=(deletion(),), deleted=True))


def kinds_of(cls: type[ReplicatedEntity]) -> dict[str, Kind[Any]]:
    """Return the kinds of a class's fields, read once.

    Raises `ConfigurationError` that tells every problem.
    """
    kinds: dict[str, Kind[Any]] | None = vars(cls).get(_KINDS)
    if kinds is None:
        kinds = _read(cls)
        setattr(cls, _KINDS, kinds)
    return kinds


def _read(cls: type[ReplicatedEntity]) -> dict[str, Kind[Any]]:
    place, problems = place_of(cls), Problems()
    kinds: dict[str, Kind[Any]] = {}
    hints = hints_of_class(cls)
    for name, annotation in hints.items():
        if get_origin(annotation) is ClassVar or annotation is ClassVar:
            continue
        if hasattr(ReplicatedEntity, name):
            problems.found.append(f"{place}: {name!r} is a name of ReplicatedEntity itself")
            continue
        template = inspect.getattr_static(cls, name, None)
        try:
            kinds[name] = kind_of(annotation, template)
            _check_template(annotation, template)
        except ConfigurationError as error:
            problems.found.append(f"{place}: field {name!r}: {error.message}")
    problems.found += [
        f"{place}: {name!r} has no annotation, so it is no field: write `{name}: "
        f"{type(value).__name__}[…] = …`"
        for name, value in vars(cls).items()
        if isinstance(value, Value) and name not in hints
    ]
    if not kinds and not problems.found:
        problems.found.append(f"{place}: it has no fields: what is to be replicated?")
    problems.refuse()
    return kinds


def hints_of_class(cls: type) -> dict[str, Any]:
    """Return the annotations of a class.

    Raises `ConfigurationError` that names it.
    """
    try:
        return get_type_hints(cls, localns=dict(vars(cls)))
    except (NameError, TypeError) as error:
        raise ConfigurationError(f"{place_of(cls)}: annotation not understood: {error}") from error


def _check_template(annotation: Any, template: Any) -> None:
    wanted = get_origin(annotation) or annotation
    if template is not None and not isinstance(template, wanted):
        raise ConfigurationError(f"its default is no {wanted.__name__}: {template!r}")


def encode_state(entity: ReplicatedEntity) -> bytes:
    """Write what an entity holds."""
    return encode(entity.__dict__["_causal"])


def show_state(entity: ReplicatedEntity) -> bytes:
    """Write the values of an entity as plain JSON, for people."""
    names = kinds_of(type(entity))
    return codec.encode({name: _plain(getattr(entity, name).value) for name in names})


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value):
            return {key: _plain(one) for key, one in value.items()}
        return [[key, _plain(one)] for key, one in value.items()]
    return sorted(value, key=repr) if isinstance(value, set) else value


def state_decoder(cls: type[ReplicatedEntity]) -> Any:
    """Return what makes an entity of a stored state."""

    def decode_state(payload: bytes) -> ReplicatedEntity:
        entity = cls.__new__(cls)
        entity.hold(decode(payload))
        return entity

    return decode_state
