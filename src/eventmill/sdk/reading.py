"""Reading an entity class: its handlers and folds, and every mistake that would show only later.

Called when a service or a test kit takes the class in; each message names the method.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from eventmill.errors import ConfigurationError
from eventmill.model import codec
from eventmill.model.definition import EntityDefinition
from eventmill.model.events import event_type_of
from eventmill.model.handler import CHANGES, Handler
from eventmill.model.orders import OF_ENTITIES, OF_WORKFLOWS
from eventmill.model.problems import Problems, refuse
from eventmill.sdk.component import id_of, place_of
from eventmill.sdk.entity import EventSourcedEntity, KeyValueEntity
from eventmill.sdk.handlers import Command, Query, SqlQuery
from eventmill.sdk.reaction import (
    CATCH_ALL,
    check_annotated,
    check_event_type,
    check_persisted,
    fields_need_defaults,
    hints_of,
    issubclass_of,
    members_of,
    names_of,
    read_folds,
)
from eventmill.sdk.replicated import ReplicatedEntity
from eventmill.sdk.steps import define_workflow
from eventmill.sdk.view import View
from eventmill.sdk.workflow import Step, Workflow

Handlers = dict[str, Handler[Any, Any]]

SETTINGS = frozenset(
    {
        "retention",
        "expire_after",
        "keep_history",
        "snapshot_every",
        "snapshot_version",
        "version",
        "write_consistency",
        "ignore_unknown",
        "timeout",
        "on_timeout",
        "waits_on",
    }
)
"""Class attributes of our bases that are made to be replaced."""

BASES = (EventSourcedEntity, Workflow, KeyValueEntity, ReplicatedEntity, View)
"""What components that are classes are derived from."""

SPAN_MAX = timedelta(days=36_525)
"""A hundred years: longer than any entity is kept, and a time that a store can write."""


def define_entity(cls: type) -> EntityDefinition:
    """Read an entity class.

    Raises `ConfigurationError` that tells every problem and names its method.
    """
    id, place, problems = id_of(cls), place_of(cls), Problems()
    with problems.noting(place):
        check_names(cls)
        check_spans(cls)  # not if a field has taken a name
    with problems.noting(place):
        _check_fields(cls)
    with problems.noting(place):
        check_annotated(cls, SETTINGS)
    commands, queries = handlers_of(cls, problems)
    is_key_value = issubclass_of(cls, KeyValueEntity)
    folds, wrong = read_folds(cls)
    if is_key_value and (folds or wrong):
        problems.found.append(f"{place}: a key-value entity has no @on; use self.update(…)")
    if not is_key_value:
        problems.found += wrong
        _check_folds(cls, folds, problems)
    workflow = None
    if issubclass_of(cls, Workflow):
        with problems.noting():
            workflow = define_workflow(cls)
    else:
        problems.found += [
            f"{value.place}: @step belongs into a Workflow"
            for value in vars(cls).values()
            if isinstance(value, Step)
        ]
    problems.refuse()
    return EntityDefinition(
        id=id,
        cls=cls,
        commands=commands,
        queries=queries,
        folds=folds,
        event_types=names_of(map(event_type_of, folds), place),
        is_key_value=is_key_value,
        snapshot_every=getattr(cls, "snapshot_every", 0),
        retention=cls.retention,  # type: ignore[attr-defined]  # both entity bases have it
        expire_after=cls.expire_after,  # type: ignore[attr-defined]  # the same
        keep_history=getattr(cls, "keep_history", None),
        schema=f"{getattr(cls, 'snapshot_version', 1)}|{codec.schema_fingerprint(cls)}",
        encode_state=codec.encode,
        decode_state=codec.decoder(cls).decode,
        workflow=workflow,
        built_in=OF_WORKFLOWS if workflow is not None else OF_ENTITIES,
    )


def handlers_of(cls: type, problems: Problems) -> tuple[Handlers, Handlers]:
    """Return the commands and the queries of an entity class; note what is wrong with them."""
    members = vars(cls)
    commands: Handlers = {n: v for n, v in members.items() if isinstance(v, Command)}
    queries: Handlers = {n: v for n, v in members.items() if isinstance(v, Query)}
    for name, function in members.items():
        with problems.noting():
            _check_unmarked(name, function)
    for handler in (*commands.values(), *queries.values()):
        with problems.noting(handler.place):
            _check_handler(handler)
    return commands, queries


def _check_fields(cls: type) -> None:
    required = fields_need_defaults(cls)
    if required:
        raise ConfigurationError(
            f"{place_of(cls)}: give {', '.join(required)} a default: it is the state of a new "
            "entity"
        )


def _check_folds(
    cls: type, folds: dict[type, Callable[[Any, Any], None]], problems: Problems
) -> None:
    for event_class, fold in folds.items():
        with problems.noting():
            check_event_type(event_type_of(event_class))
        with problems.noting(place_of(fold)):
            _check_fold(cls, event_class, fold)
    with problems.noting():
        names_of(map(event_type_of, folds), place_of(cls))
    with problems.noting():
        check_persisted(cls)


def check_names(cls: type) -> None:
    """Raise `ConfigurationError` for a member that would hide one of our base class's."""
    base = next(b for b in BASES if issubclass(cls, b))
    taken = {name for name in dir(base) if not name.startswith("_")}
    refuse(
        f"{place_of(cls)}: {name!r} is a name of {base.__name__} itself: give the method "
        f"or field another; also taken: {', '.join(sorted(taken - {name}))}"
        for name in _own_names(cls, base)
        if name in taken
    )


def _own_names(cls: type, base: type) -> Iterator[str]:
    for owner in cls.__mro__[: cls.__mro__.index(base)]:
        for name, value in vars(owner).items():
            is_field = name in getattr(cls, "__struct_fields__", ())
            is_handler = isinstance(value, Handler) and value.name == name
            if name not in SETTINGS or is_field or is_handler:
                yield name


def check_spans(cls: Any) -> None:
    """Raise `ConfigurationError` for a time that no entity is kept or no store can write."""
    spans = {"retention": cls.retention}
    for name in ("expire_after", "keep_history"):
        if getattr(cls, name, None) is not None:
            spans[name] = getattr(cls, name)
    if "keep_history" in spans and issubclass(cls, Workflow):
        raise ConfigurationError(f"{place_of(cls)}: a workflow keeps all: no keep_history")
    for name, span in spans.items():
        if not isinstance(span, timedelta) or not timedelta() <= span <= SPAN_MAX:
            raise ConfigurationError(
                f"{place_of(cls)}: {name} must be a timedelta of 0 to {SPAN_MAX.days} days, not "
                f"{span!r}"
            )


def _check_unmarked(name: str, function: Any) -> None:
    if name.startswith("_") or not inspect.isfunction(function):
        return
    if "Effect" in str(function.__annotations__.get("return")):
        raise ConfigurationError(f"{place_of(function)}: {name!r} needs @command above it")


def _check_handler(handler: Handler[Any, Any]) -> None:
    problems = Problems()
    if inspect.iscoroutinefunction(handler.function):
        problems.found.append(
            f"{handler.place}: commands and queries are not async, they only decide and read; "
            "calls to the outside belong into a consumer"
        )
    if isinstance(handler, SqlQuery):
        problems.found.append(f"{handler.place}: @query with SQL belongs into a View")
    if handler.name == CHANGES:
        problems.found.append(
            f"{handler.place}: {CHANGES!r} is the platform's name for an entity's changes over HTTP: "
            "give the method another"
        )
    with problems.noting():
        _check_self(handler.function)
    returns = str(handler.function.__annotations__.get("return", ""))
    if isinstance(handler, Query) and "Effect[" in returns:
        problems.found.append(
            f"{handler.place}: a query returns its answer itself; what returns an effect is a "
            "@command"
        )
    else:
        with problems.noting(handler.place):
            handler.resolve()
    problems.refuse()


def _check_fold(cls: type, event_class: type, fold: Callable[..., None]) -> None:
    place, problems = f"@on handler {place_of(fold)}", Problems()
    if inspect.iscoroutinefunction(fold):
        problems.found.append(f"{place}: it only changes the state: no async")
    with problems.noting():
        _check_self(fold)
    parameters = list(inspect.signature(fold).parameters)
    if len(parameters) == 2:
        with problems.noting():
            _check_event(cls, event_class, fold, parameters[1])
    else:
        problems.found.append(f"{place}: it takes (self, event)")
    problems.refuse()


def _check_event(cls: type, event_class: type, fold: Callable[..., None], parameter: str) -> None:
    try:
        annotation = hints_of(fold, cls).get(parameter, Any)
    except ConfigurationError:
        return  # made of names that only a type checker sees: then it checks this as well
    members = members_of(annotation)
    if not any(m in CATCH_ALL or issubclass_of(event_class, m) for m in members):
        raise ConfigurationError(
            f"@on handler {place_of(fold)}: it is marked @on({event_class.__name__}), but its "
            f"event is annotated {' | '.join(getattr(m, '__name__', str(m)) for m in members)}: "
            "make them agree"
        )


def _check_self(function: Callable[..., Any]) -> None:
    first = next(iter(inspect.signature(function).parameters), None)
    if first != "self":
        raise ConfigurationError(f"{place_of(function)}: its first parameter must be self")
