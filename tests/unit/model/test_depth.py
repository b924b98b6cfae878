"""The nesting of JSON is told exactly."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmill.model import depth

values = st.recursive(
    st.text() | st.just('[{"\\') | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=60,
)


def levels(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(levels, value.values()), default=0)
    return 1 + max(map(levels, value), default=0) if isinstance(value, list) else 0


@given(values, st.integers(1, 6), st.booleans())
def test_it_agrees_with_a_decoded_value(value: Any, limit: int, ascii: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii).encode()
    assert depth.exceeds(text, limit) == (levels(value) > limit)


@pytest.mark.parametrize("text", [b'"' + b"[" * 500 + b'"', b"[" + b"[]," * 500 + b"1]"])
def test_many_brackets_are_not_deep(text: bytes) -> None:
    json.loads(text)
    assert not depth.exceeds(text)


def test_the_bound_itself_is_allowed() -> None:
    assert not depth.exceeds(b"[" * 64 + b"]" * 64, 64)
    assert depth.exceeds(b"[" * 65 + b"]" * 65, 64)
