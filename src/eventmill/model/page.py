"""A page of a view query's result, and the token that asks for the next one."""

from __future__ import annotations

from typing import Any, Generic, TypeVar, get_origin

import msgspec

T = TypeVar("T")


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Some rows of a result, in its order.

    A query whose method returns `Page[Row]` takes an argument `page_token: str | None` and, if it
    likes, `page_size: int`. Pass the token of one page to get the next.
    """

    items: list[T]
    next_page_token: str | None = None
    """None on the last page. Opaque, and good for the same query with the same arguments alone."""


def is_page(answer: Any) -> bool:
    """Tell whether a query that is annotated so answers page by page."""
    return answer is Page or get_origin(answer) is Page
