"""Aggregates: how the events of a window become one value.

The ready ones keep numbers and texts; `fold` makes one of any state that is JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, TypeVar

from eventmill.model.transform import Aggregate

E = TypeVar("E")
N = TypeVar("N", int, float)
R = TypeVar("R")
S = TypeVar("S")
V = TypeVar("V", int, float, str)

Of = str | Callable[[Any], Any]
"""A field's name, or a function of the event."""

_Scalar = int | float | str | bool | None


def fold(
    init: Callable[[], S],
    add: Callable[[S, E], S],
    *,
    merge: Callable[[S, S], S] | None = None,
    result: Callable[[S], Any] | None = None,
    state: Any = None,
) -> Aggregate[E, Any]:
    """Make an aggregate of your own functions, which depend on nothing but their arguments.

    Parameters: `init` returns the state of an empty window, `add` that of a window with one event
    more; `merge` connects an earlier and a later part of a session, which alone needs it; `result`
    makes the value of the last state, which else is that itself; `state` is the state's type, where
    `init` does not show it.
    """
    kind = state if state is not None else _kind_of(init())
    return Aggregate(
        name="fold",
        state=kind,
        init=init,
        add=lambda state, event, time: add(state, event),
        merge=merge,
        result=result or _itself,
    )


def count() -> Aggregate[object, int]:
    """The number of events."""
    return Aggregate("count", int, int, lambda n, event, time: n + 1, lambda a, b: a + b, _itself)


def sum_of(of: str | Callable[[E], N]) -> Aggregate[E, N]:
    """The sum of a field, or of what a function makes of each event."""
    get = _getter(of)
    return Aggregate(
        "sum", int | float, int, lambda n, event, time: n + get(event), lambda a, b: a + b, _itself
    )


def mean_of(of: str | Callable[[E], float]) -> Aggregate[E, float]:
    """The arithmetic mean of numbers."""
    get = _getter(of)

    def add(state: tuple[int, Any], event: Any, time: int) -> tuple[int, Any]:
        number, total = state
        return number + 1, total + get(event)

    def merge(a: tuple[int, Any], b: tuple[int, Any]) -> tuple[int, Any]:
        return a[0] + b[0], a[1] + b[1]

    return Aggregate(
        "mean",
        tuple[int, int | float],
        lambda: (0, 0),
        add,
        merge,
        lambda state: state[1] / state[0],
    )


def min_of(of: str | Callable[[E], V]) -> Aggregate[E, V]:
    """The smallest number, or the first text in order."""
    get = _getter(of)

    def add(state: Any, event: Any, time: int) -> Any:
        value = get(event)
        return value if state is None or value < state else state

    return Aggregate("min", _Scalar, _none, add, min, _itself)


def max_of(of: str | Callable[[E], V]) -> Aggregate[E, V]:
    """The largest number, or the last text in order."""
    get = _getter(of)

    def add(state: Any, event: Any, time: int) -> Any:
        value = get(event)
        return value if state is None or value > state else state

    return Aggregate("max", _Scalar, _none, add, max, _itself)


def first_of(of: str | Callable[[E], V]) -> Aggregate[E, V]:
    """The value of the event that happened first; of several at one time, that which came first."""
    return _timed("first", of, lambda new, old: new < old)


def last_of(of: str | Callable[[E], V]) -> Aggregate[E, V]:
    """The value of the event that happened last; of several at one time, that which came last."""
    return _timed("last", of, lambda new, old: new >= old)


def _itself(state: Any) -> Any:
    return state


def _getter(of: Of) -> Callable[[Any], Any]:
    return attrgetter(of) if isinstance(of, str) else of


def _kind_of(value: Any) -> Any:
    """The type that a state is read back as. A number or None may become another one."""
    kind = type(value)
    return Any if kind in (int, bool, str, type(None)) else kind


def _timed(name: str, of: Of, wins: Callable[[int, int], bool]) -> Aggregate[Any, Any]:
    get = _getter(of)

    def add(state: Any, event: Any, time: int) -> Any:
        return (time, get(event)) if state is None or wins(time, state[0]) else state

    def merge(a: Any, b: Any) -> Any:
        return b if wins(b[0], a[0]) else a

    kind = tuple[int, _Scalar] | None
    return Aggregate(name, kind, _none, add, merge, lambda state: state[1])


def _none() -> None:
    return None
