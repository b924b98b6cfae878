"""Keys and addresses become tokens that every server takes, and never the same for two texts."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st

from eventmill.adapters.nats.subjects import Subjects, text_of, token
from eventmill.model import limits

TEXT = st.text(st.characters(codec="utf-8"), max_size=limits.SUBJECT_CHARACTERS_MAX)
LONG = "x" * limits.SUBJECT_CHARACTERS_MAX


@given(TEXT)
@example("")
@example("%")
@example(".*> \r\n$")
@example(LONG + "ä")
def test_a_token_is_one_and_reads_back(text: str) -> None:
    encoded = token(text)
    assert re.fullmatch(r"[A-Za-z0-9_~%-]+", encoded)
    assert len(encoded) <= limits.SUBJECT_TOKEN_CHARACTERS_MAX
    assert text_of(encoded) in (text, None)
    if len(text.encode()) * 3 <= limits.SUBJECT_TOKEN_CHARACTERS_MAX:
        assert text_of(encoded) == text


@given(TEXT, TEXT)
@example(LONG + "ä", LONG + "ö")
@example("", "%")
@example("a%2E", "a.")
def test_different_texts_have_different_tokens(one: str, other: str) -> None:
    assert (token(one) == token(other)) == (one == other)


@given(TEXT, TEXT)
def test_subjects_of_different_kinds_never_meet(topic: str, key: str) -> None:
    subjects = Subjects("eventmill")
    plain, message = subjects.plain(topic), subjects.message(topic, 3, key)
    assert [s.count(".") for s in (plain, subjects.mark(topic), message)] == [1, 2, 3]
    assert message.startswith(subjects.partition(topic, 3).removesuffix("*"))
    assert not subjects.call(key).startswith("eventmill.")


def test_a_subject_fits_into_a_control_line() -> None:
    longest = token(LONG + "ä")
    subject = Subjects(longest).message(LONG + "ä", 1023, LONG + "ä")
    assert len(subject) < 4_096 - 512  # the reply subject and sizes come behind it
