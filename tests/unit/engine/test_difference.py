"""Differences of JSON values: found where they are, and enough to make one of the other."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill.engine.difference import Difference, differences

values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab/~", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("a/~", max_size=2), inner),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, [Difference("/a", 1, 2)]),
        ({"a": 1}, {}, [Difference("/a", 1)]),
        ({}, {"a": None}, [Difference("/a", after=None)]),
        (
            {"a": {"b": [1, 2]}},
            {"a": {"b": [1, 3, 4]}},
            [Difference("/a/b/1", 2, 3), Difference("/a/b/2", after=4)],
        ),
        ({"a/b~": 1}, {"a/b~": True}, [Difference("/a~1b~0", 1, True)]),
        (1, "1", [Difference("", 1, "1")]),
    ],
)
def test_each_place_is_told(before: Any, after: Any, expected: list[Difference]) -> None:
    assert list(differences(before, after)) == expected


def test_a_missing_side_is_left_out_of_json() -> None:
    assert msgspec.json.encode(Difference("/a", after=None)) == b'{"path":"/a","after":null}'


@given(values, values)
def test_the_second_is_the_first_with_its_differences(before: Any, after: Any) -> None:
    found = list(differences(before, after))
    changed = msgspec.json.decode(msgspec.json.encode(before))
    for one in sorted(found, key=lambda one: one.after is msgspec.UNSET):
        changed = _changed(changed, one)
    assert msgspec.json.encode(
        _without_gaps(changed), order="deterministic"
    ) == msgspec.json.encode(after, order="deterministic")
    assert bool(found) == (
        msgspec.json.encode(before, order="deterministic")
        != msgspec.json.encode(after, order="deterministic")
    )


_GONE = "gone"


def _changed(value: Any, one: Difference) -> Any:
    if not one.path:
        return one.after
    *above, last = [p.replace("~1", "/").replace("~0", "~") for p in one.path.split("/")[1:]]
    holder = value
    for part in above:
        holder = holder[int(part) if isinstance(holder, list) else part]
    if isinstance(holder, list):
        if one.after is msgspec.UNSET:
            holder[int(last)] = _GONE
        elif int(last) == len(holder):
            holder.append(one.after)
        else:
            holder[int(last)] = one.after
    elif one.after is msgspec.UNSET:
        del holder[last]
    else:
        holder[last] = one.after
    return value


def _without_gaps(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_gaps(item) for item in value if item != _GONE]
    if isinstance(value, dict):
        return {name: _without_gaps(item) for name, item in value.items()}
    return value
