"""`@command`, `@query` and `@on`: what marks a component's methods.

A marked method is a descriptor: on the class it is the typed `Handler` that calls are made with,
on an instance it is the bound method.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, get_origin, overload

from eventmill.errors import ConfigurationError
from eventmill.model.effect import Effect
from eventmill.model.handler import Handler, effect_result

C = TypeVar("C")
P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])

ON = "__eventmill_on__"


class Command(Handler[P, R], Generic[C, P, R]):
    """A method that decides: it returns an `Effect` and changes nothing itself."""

    @overload
    def __get__(self, instance: None, owner: type) -> Command[C, P, R]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Callable[P, Effect[R]]: ...
    def __get__(self, instance: object, owner: type) -> Any:
        return self if instance is None else self.function.__get__(instance, owner)

    def _result_of(self, annotation: Any) -> Any:
        if annotation is not Any and not _is_effect(annotation):
            shown = inspect.formatannotation(None if annotation is type(None) else annotation)
            raise ConfigurationError(
                f"{self.place}: a command returns an Effect[…], not {shown}: "
                "return self.persist(…), self.update(…) or self.reply(…); what only reads is a "
                "@query"
            )
        return effect_result(annotation)


class Query(Handler[P, R], Generic[C, P, R]):
    """A method that reads: it returns its answer."""

    writes = False

    @overload
    def __get__(self, instance: None, owner: type) -> Query[C, P, R]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Callable[P, R]: ...
    def __get__(self, instance: object, owner: type) -> Any:
        return self if instance is None else self.function.__get__(instance, owner)


class SqlQuery(Query[C, P, R], Generic[C, P, R]):
    """A view's query: the method's signature types it, the SQL answers it."""

    def __init__(self, function: Callable[..., Any], sql: str) -> None:
        super().__init__(function)
        self.sql = sql


_NONE: Any = None


def command(method: Callable[Concatenate[C, P], Effect[R]] = _NONE) -> Command[C, P, R]:
    """Mark a method that decides what a command causes.

    It sees the state, never changes it, does no I/O, and returns an effect or raises `Rejected`.

    Raises `ConfigurationError` if it is written with parentheses.
    """
    if method is _NONE:
        raise ConfigurationError("write @command without parentheses")
    return Command(method)


@overload
def query(method_or_sql: str) -> Callable[[Callable[Concatenate[C, P], R]], SqlQuery[C, P, R]]: ...
@overload
def query(method_or_sql: Callable[Concatenate[C, P], R]) -> Query[C, P, R]: ...
def query(method_or_sql: Any = _NONE) -> Any:
    """Mark a method that reads: bare on an entity's method, with SQL on a view's.

    In a view the SQL names the view's tables, its `:parameters` are the method's parameters, and
    the method's return type is what the rows are decoded into; the body stays `...`.

    Raises `ConfigurationError` if it is written with empty parentheses.
    """
    if method_or_sql is _NONE:
        raise ConfigurationError(
            'write @query without parentheses, or in a view with its SQL: @query("SELECT …")'
        )
    if isinstance(method_or_sql, str):
        return lambda method: SqlQuery(method, method_or_sql)
    return Query(method_or_sql)


def on(*sources: Any, table: str = "") -> Callable[[F], F]:
    """Mark a fold (`@on(EventClass)` in an entity) or a view's handler (`@on(Cart)`, `@on(topic)`).

    Parameters: `sources` are event classes in an entity; in a view an entity class or a topic, and
    `table` names the table it changes if the view has several and the row type does not tell.

    Raises `ConfigurationError` if it names no source, as when it is written without parentheses.
    """
    if not sources or inspect.isfunction(sources[0]):
        raise ConfigurationError("@on names what it reacts to: @on(ItemAdded), @on(Cart)")

    def mark(function: F) -> F:
        setattr(function, ON, (sources, table))
        return function

    return mark


def _is_effect(annotation: Any) -> bool:
    origin = get_origin(annotation) or annotation
    return isinstance(origin, type) and issubclass(origin, Effect)
