"""What is different between two JSON values, place by place. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec


class Difference(msgspec.Struct, frozen=True, omit_defaults=True):
    """One place that is not the same. A side that is left out has nothing there."""

    path: str
    """A JSON Pointer (RFC 6901); empty for the whole value."""
    before: Any = msgspec.UNSET
    after: Any = msgspec.UNSET


def differences(before: Any, after: Any, path: str = "") -> Iterator[Difference]:
    """Compare objects by their members, arrays by their items' numbers, all else as it is."""
    if isinstance(before, dict) and isinstance(after, dict):
        sides: tuple[Any, Any] = before, after
        keys = list(dict.fromkeys((*before, *after)))
    elif isinstance(before, list) and isinstance(after, list):
        sides = dict(enumerate(before)), dict(enumerate(after))
        keys = list(range(max(len(before), len(after))))
    else:
        # 1 and True are equal in Python, not in JSON.
        if type(before) is not type(after) or before != after:
            yield Difference(path, before, after)
        return
    for key in keys:
        old, new = (side.get(key, msgspec.UNSET) for side in sides)
        yield from differences(old, new, f"{path}/{_escaped(key)}")


def _escaped(key: str | int) -> str:
    return str(key).replace("~", "~0").replace("/", "~1")
