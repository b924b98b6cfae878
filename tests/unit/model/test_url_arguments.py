"""Arguments as a URL's query tells them: what is written is read again as it was."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from eventmill.errors import InvalidPayload
from eventmill.model.handler import Handler, Texts


def handler_of(kind: Any) -> Handler[Any, Any]:
    def find(self: object, wanted: Any = None) -> None: ...

    find.__annotations__ = {"wanted": kind, "return": None}
    handler: Handler[Any, Any] = Handler(find)
    handler.resolve()
    return handler


def texts_of(handler: Handler[Any, Any], value: Any) -> Texts:
    texts: Texts = {}
    for name, text in handler.write_arguments((value,)):
        texts.setdefault(name, []).append(text)
    return texts


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (list[str], ["a", "", "true", "ü&="]),
        (list[str], []),
        (list[int], [1, -7, 0]),
        (list[float], [0.1, 1e300, 2.0]),
        (list[bool], [True, False]),
        (list[Decimal], [Decimal("1.10")]),
        (list[datetime], [datetime(2026, 1, 1, tzinfo=UTC)]),
        (list[date] | None, [date(2026, 1, 1)]),
        (list[date] | None, None),
        (set[int], {1, 2}),
        (frozenset[bytes], frozenset({b"\x00"})),
        (tuple[UUID, ...], (UUID(int=1),)),
        (str, "[1]"),
        (bool, False),
    ],
)
def test_what_is_written_is_read_again(kind: Any, value: Any) -> None:
    handler = handler_of(kind)
    assert handler.parse_arguments(texts_of(handler, value)) == (value,)


@pytest.mark.parametrize(
    ("kind", "value"),
    [(list[str], [""]), (list[int | None], [None]), (list[list[int]], [[1]]), (dict[str, int], {})],
)
def test_what_no_text_tells_is_refused(kind: Any, value: Any) -> None:
    with pytest.raises(InvalidPayload, match="wanted"):
        handler_of(kind).write_arguments((value,))


@pytest.mark.parametrize("kind", [str, int, str | list[str]])
def test_one_value_is_not_given_twice(kind: Any) -> None:
    with pytest.raises(InvalidPayload, match="wanted is given 2 times"):
        handler_of(kind).parse_arguments({"wanted": ["1", "2"]})
