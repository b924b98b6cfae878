"""How much is read in one go, as in every store: not much more than a bound of bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from eventmill.model import limits
from eventmill.model.entry import Entry, size_of

T = TypeVar("T")


def take(items: Iterable[T], entry: Callable[[T], Entry]) -> tuple[list[T], bool]:
    """Take items until their entries have `SCAN_BYTES_MAX` bytes; say whether that was the end."""
    taken: list[T] = []
    left = limits.SCAN_BYTES_MAX
    for item in items:
        taken.append(item)
        left -= size_of(entry(item))
        if left <= 0:
            return taken, False
    return taken, True
