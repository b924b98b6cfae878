"""Filters of the CloudEvents Subscriptions API: exact, prefix, suffix, all, any, not. Pure.

Compiled once into one predicate over an event's attributes, all of them as text. An attribute that
the event does not have fits no comparison; `not` turns that around, as the specification says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from eventmill.errors import InvalidPayload, TooLarge
from eventmill.model import limits

Attributes = Mapping[str, str]
Predicate = Callable[[Attributes], bool]

_COMPARISONS: Final[dict[str, Callable[[str, str], bool]]] = {
    "exact": str.__eq__,
    "prefix": str.startswith,
    "suffix": str.endswith,
}
_DIALECTS: Final = (*_COMPARISONS, "all", "any", "not")


def compile_filters(filters: Sequence[Any]) -> Predicate:
    """Return the predicate that is true when all filters are; an empty list fits every event.

    Raises `InvalidPayload` that names the place, `TooLarge`.
    """
    budget = _Budget()
    return _all([budget.compile(one, f"filters[{i}]", 1) for i, one in enumerate(filters)])


class _Budget:
    def __init__(self) -> None:
        self._expressions = 0

    def compile(self, expression: Any, place: str, depth: int) -> Predicate:
        self._expressions += 1
        if self._expressions > limits.FILTER_EXPRESSIONS_MAX:
            raise TooLarge(f"filters: {limits.FILTER_EXPRESSIONS_MAX} expressions at most")
        if depth > limits.FILTER_DEPTH_MAX:
            raise TooLarge(f"{place}: filters nest at most {limits.FILTER_DEPTH_MAX} deep")
        if not isinstance(expression, dict) or len(expression) != 1:
            raise InvalidPayload(f"{place}: an object with one dialect, as {{'exact': {{…}}}}")
        ((dialect, value),) = expression.items()
        place = f"{place}.{dialect}"
        if dialect in _COMPARISONS:
            return _comparison(_COMPARISONS[dialect], value, place)
        if dialect == "not":
            inner = self.compile(value, place, depth + 1)
            return lambda attributes: not inner(attributes)
        if dialect not in ("all", "any"):
            raise InvalidPayload(f"{place}: unknown dialect; there is {', '.join(_DIALECTS)}")
        if not isinstance(value, list) or not value:
            raise InvalidPayload(f"{place}: a list of at least one filter expression")
        parts = [self.compile(one, f"{place}[{i}]", depth + 1) for i, one in enumerate(value)]
        return _all(parts) if dialect == "all" else _any(parts)


def _comparison(fits: Callable[[str, str], bool], value: Any, place: str) -> Predicate:
    if not isinstance(value, dict) or not value:
        raise InvalidPayload(f"{place}: an object of attribute names and texts")
    for name, text in value.items():
        if not name or not isinstance(text, str) or not text:
            raise InvalidPayload(f"{place}.{name}: attribute name and text must not be empty")
        if len(text) > limits.ATTRIBUTE_CHARACTERS_MAX:
            raise TooLarge(f"{place}.{name}: {limits.ATTRIBUTE_CHARACTERS_MAX} characters at most")
    wanted = list(value.items())
    return lambda attributes: all(
        name in attributes and fits(attributes[name], text) for name, text in wanted
    )


def _all(parts: list[Predicate]) -> Predicate:
    return lambda attributes: all(part(attributes) for part in parts)


def _any(parts: list[Predicate]) -> Predicate:
    return lambda attributes: any(part(attributes) for part in parts)
