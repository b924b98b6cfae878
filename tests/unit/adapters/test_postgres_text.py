"""Text that PostgreSQL cannot hold is stored in another form, which keeps its order."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from eventmill.adapters.postgres.statements import numbered
from eventmill.adapters.postgres.text import all_stored, json_loaded, loaded, stored

TEXTS = st.text("\0\x01\x02\\u01a☃")


@given(TEXTS)
def test_every_text_comes_back_and_holds_no_zero(text: str) -> None:
    assert "\0" not in stored(text)
    assert loaded(stored(text)) == text


@given(TEXTS, TEXTS)
def test_the_order_is_kept(one: str, other: str) -> None:
    assert (stored(one) < stored(other)) == (one < other)


@given(st.lists(TEXTS))
def test_many_are_stored_as_one_is(texts: list[str]) -> None:
    assert list(all_stored(texts)) == [stored(text) for text in texts]


@given(st.lists(TEXTS))
def test_json_of_stored_texts_becomes_json_of_the_texts(texts: list[str]) -> None:
    answer = json.dumps([stored(text) for text in texts], ensure_ascii=False).encode()
    assert json.loads(json_loaded(answer)) == texts


def test_names_become_numbers_outside_of_quotes() -> None:
    sql = "SELECT ':a', \":b\", :b::text, CAST(:a AS text), :b FROM t"
    expected = "SELECT ':a', \":b\", $1::text, CAST($2 AS text), $1 FROM t"
    assert numbered(sql) == (expected, ("b", "a"))
