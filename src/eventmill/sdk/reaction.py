"""Reading a reaction's signature: which events of which source it takes, and how.

Shared by consumers and views. The first parameter's annotation names the event types: a class, a
union, `list[…]` of them for a batch, or `Event`, `object` or `Any` for every event.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable
from difflib import get_close_matches
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

from eventmill.errors import ConfigurationError
from eventmill.model import codec
from eventmill.model.definition import Route, Source
from eventmill.model.entry import STEP
from eventmill.model.events import EntityDeleted, Event, EventType, event_type_of, is_event_class
from eventmill.model.handler import Handler
from eventmill.model.problems import Problems, refuse
from eventmill.model.topic import Topic
from eventmill.sdk.component import id_of, place_of
from eventmill.sdk.context import Context
from eventmill.sdk.entity import EventSourcedEntity, KeyValueEntity
from eventmill.sdk.handlers import ON, Command
from eventmill.sdk.publications import persisted_events
from eventmill.sdk.replicated import ReplicatedEntity, state_decoder

CATCH_ALL = (Event, object, Any)
"""Annotations of whoever takes every event."""

_HISTORY = frozenset({STEP})
"""Of an entity that is a workflow, or was one: how it moved is nobody's event."""


def hints_of(function: Callable[..., Any], owner: type | None = None) -> dict[str, Any]:
    """Return a function's annotations; names may be those of its class `owner`.

    Raises `ConfigurationError` that names the function.
    """
    try:
        return get_type_hints(function, localns=dict(vars(owner or object)))
    except (NameError, TypeError) as error:
        raise ConfigurationError(
            f"{place_of(function)}: annotation not understood: {error}"
        ) from error


def members_of(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the annotation itself."""
    if get_origin(annotation) in (Union, UnionType):
        return get_args(annotation)
    return (annotation,)


def route_of(function: Callable[..., Any], owner: type | None = None) -> Route:
    """Read a reaction's signature; a method of `owner` has a leading `self`."""
    hints = hints_of(function, owner)
    names = list(inspect.signature(function).parameters)[owner is not None :]
    if not names or names[0] not in hints:
        raise ConfigurationError(
            f"{place_of(function)}: annotate the first parameter with the event types it takes"
        )
    annotation = hints[names[0]]
    is_batch = get_origin(annotation) is list
    if is_batch:
        (annotation,) = get_args(annotation)
    types = members_of(annotation)
    if any(t in CATCH_ALL for t in types):
        types = ()
    refuse(
        f"{place_of(function)}: {cls!r} is no event type"
        for cls in types
        if not (is_event_class(cls) or is_state(cls))
    )
    takes_context = any(issubclass_of(hints.get(name), Context) for name in names[1:])
    return Route(function, types, takes_context, is_batch)


def check_context(function: Callable[..., Any], expected: int, owner: type | None = None) -> None:
    """Raise `ConfigurationError` for a parameter after the `expected` ones that is no Context:
    nothing else is given to a reaction."""
    hints = hints_of(function, owner)
    parameters = list(inspect.signature(function).parameters.values())[expected:]
    refuse(
        f"{place_of(function)}: parameter {parameter.name!r} can only be the Context: write "
        f"`{parameter.name}: Context`, or leave it out"
        for parameter in parameters
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and not issubclass_of(hints.get(parameter.name), Context)
    )


def check_types(types: tuple[type, ...], source: Source, thing: Any, place: str) -> None:
    """Raise `ConfigurationError` for event types that the source, made of `thing`, does not have.

    If the entity forgot their folds, that is said, as the service says it of the entity.
    """
    known = {kind.cls for kind in source.event_types.values()} | {source.state_class, EntityDeleted}
    strangers = [t.__name__ for t in types if t not in known]
    if strangers:
        if issubclass_of(thing, EventSourcedEntity):
            check_persisted(thing)
        names = sorted(c.__name__ for c in known if c is not None)
        raise ConfigurationError(
            f"{place}: {source.id!r} has no events of type {', '.join(strangers)}; "
            f"it has {', '.join(names)}"
        )


def is_state(candidate: Any) -> bool:
    """Whether a class is that of an entity whose entries are whole states."""
    return issubclass_of(candidate, KeyValueEntity) or issubclass_of(candidate, ReplicatedEntity)


def issubclass_of(candidate: Any, base: type) -> bool:
    """`issubclass` for anything."""
    return isinstance(candidate, type) and issubclass(candidate, base)


def source_of(
    thing: Any,
    place: str,
    function: Callable[..., Any] | None = None,
    owner: type | None = None,
) -> Source:
    """Describe an entity class or topic as a source of events; for a function, or a method of
    `owner`, if that is known."""
    if isinstance(thing, Topic):
        return Source(thing.id, names_of(_carried(thing, place, function, owner), place))
    if issubclass_of(thing, KeyValueEntity) and id_of(thing):
        return Source(id_of(thing), {}, thing, codec.decoder(thing).decode, _HISTORY)
    if issubclass_of(thing, ReplicatedEntity) and id_of(thing):
        return Source(id_of(thing), {}, thing, state_decoder(thing), _HISTORY)
    if issubclass_of(thing, EventSourcedEntity) and id_of(thing):
        kinds = names_of(map(event_type_of, folds_of(thing)), place)
        return Source(id_of(thing), kinds, internal=_HISTORY)
    if is_state(thing) or issubclass_of(thing, EventSourcedEntity):
        # Said as the service says it of the class, which is then told once.
        raise ConfigurationError(no_component(thing))
    hint = ""
    if isinstance(getattr(thing, "topic", None), Topic):
        hint = ": what a stream publishes is followed by its topic, as source=NAME.topic"
    raise ConfigurationError(
        f"{place}: the source must be a topic or an entity class with @component, "
        f"not {thing!r}{hint}"
    )


def _carried(
    topic: Topic[Any], place: str, function: Callable[..., Any] | None, owner: type | None
) -> list[EventType]:
    """Return what a topic carries; of another service's that does not say it, what is taken."""
    if topic.types:
        return topic.event_types()
    taken = route_of(function, owner).types if function is not None else ()
    types = [cls for cls in taken if cls is not EntityDeleted]
    if not types:
        raise ConfigurationError(
            f"{place}: nothing says which events {topic.id!r} carries: name their types in the "
            "annotation, or where the source is declared"
        )
    return [event_type_of(cls) for cls in types]


def no_component(thing: Any) -> str:
    """Say that a class or function carries no mark."""
    return (
        f'{place_of(thing)}: a component needs @component("…") (a class) or @consumer (a function)'
    )


def folds_of(cls: type) -> dict[type, Callable[[Any, Any], None]]:
    """Return an entity's folds by event class."""
    folds, problems = read_folds(cls)
    refuse(problems)
    return folds


def read_folds(cls: type) -> tuple[dict[type, Callable[[Any, Any], None]], list[str]]:
    """Return the folds that were understood, and what is wrong with the others."""
    folds: dict[type, Callable[[Any, Any], None]] = {}
    problems = []
    for value in vars(cls).values():
        for event_class in getattr(value, ON, ((), ""))[0]:
            if not is_event_class(event_class):
                problems.append(f"{place_of(value)}: @on({event_class!r}) names no event class")
            elif event_class in folds:
                problems.append(
                    f"{place_of(value)}: {event_class.__name__} already has an @on handler"
                )
            else:
                folds[event_class] = value
    return folds, problems


def check_persisted(cls: type) -> None:
    """Raise `ConfigurationError` for events that a command persists and no `@on` folds."""
    known, _ = read_folds(cls)
    refuse(
        f"{handler.place} persists {event.__name__}, but {cls.__name__} has no "
        f"@on({event.__name__}) handler"
        for handler in vars(cls).values()
        if isinstance(handler, Command)
        for event in persisted_events(handler.function)
        if event not in known
    )


def names_of(kinds: Iterable[EventType], place: str) -> dict[str, EventType]:
    """Index event types by stored name and aliases; two types of one name are a mistake."""
    index: dict[str, EventType] = {}
    problems = []
    for kind in kinds:
        for name in (kind.name, *kind.aliases):
            other = index.setdefault(name, kind)
            if other is not kind:
                problems.append(
                    f"{place}: {kind.cls.__qualname__} and {other.cls.__qualname__} are both "
                    f"stored as {name!r}; give one another name with @event_type"
                )
    refuse(problems)
    return index


def fields_need_defaults(cls: type[msgspec.Struct]) -> list[str]:
    """Return names of a struct's required fields."""
    return [f.name for f in msgspec.structs.fields(cls) if f.required]


def check_annotated(cls: type, settings: Collection[str] = ()) -> None:
    """Raise `ConfigurationError` for a class attribute that was meant to be a field or a setting.

    Without an annotation it is no field: what a fold writes to it is in no snapshot, and an event
    does not store it. Names in upper case are constants or types, names with `_` nobody's business.

    Parameters: `settings` are names that a class gives another value without an annotation.
    """
    known = set(getattr(cls, "__struct_fields__", ())) | set(inspect.get_annotations(cls))
    for name, value in vars(cls).items():
        if name.startswith("_") or name[0].isupper() or name in known or _is_method(value):
            continue
        if any(name in vars(base) for base in cls.__mro__[1:]):
            continue
        if name in settings:
            raise ConfigurationError(
                f"{place_of(cls)}: {name!r} is a setting of other kinds of components, which "
                f"{cls.__mro__[1].__name__} does not have: remove it, or annotate it as a field"
            )
        near = get_close_matches(name, [s for s in settings if hasattr(cls, s)], n=1)
        hint = f", and no setting (did you mean {near[0]!r}?)" if near else ""
        kind = type(value).__name__
        raise ConfigurationError(
            f"{place_of(cls)}: {name!r} has no annotation, so it is no field and is not "
            f"stored{hint}: write `{name}: {kind} = {value!r}`, or "
            f"`{name}: ClassVar = …` for what is no state"
        )


def _is_method(value: Any) -> bool:
    """Whether an attribute is a method, a property or a class: nothing that holds a value."""
    return callable(value) or hasattr(value, "__get__") or isinstance(value, Handler)


def check_event_type(kind: EventType) -> None:
    """Raise `ConfigurationError` for an event class that could not be stored and read again."""
    problems = Problems()
    with problems.noting():
        check_annotated(kind.cls)
    missing = [v for v in range(1, kind.version) if v not in kind.upcasters]
    problems.found += [
        f"{place_of(kind.cls)}: {kind.name!r} is version {kind.version}, but nothing lifts "
        f"version {version}: add @upcast({kind.cls.__name__}, from_version={version})"
        for version in missing
    ]
    problems.refuse()
