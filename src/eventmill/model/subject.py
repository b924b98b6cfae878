"""Subjects: entity ids, message keys and timer names are stored text with a bound."""

from __future__ import annotations

from eventmill.errors import InvalidPayload, TooLarge
from eventmill.model import limits


def check_subject(what: str, text: str, *, least: int = 1) -> None:
    """Raise `TooLarge` or `InvalidPayload` unless a text can be part of a stored key.

    Checked where a subject enters the road: one that no store can write would otherwise fail the
    commit that it shares with others.
    """
    if not least <= len(text) <= limits.SUBJECT_CHARACTERS_MAX:
        raise TooLarge(
            f"{what} has {least} to {limits.SUBJECT_CHARACTERS_MAX} characters, "
            f"this one {len(text)}"
        )
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidPayload(f"{what} {text!r} is not valid Unicode text") from error


def check_text(what: str, text: str) -> None:
    """Raise `InvalidPayload` if a text from outside holds control characters: it ends up in headers
    and logs."""
    if any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in text):
        raise InvalidPayload(f"{what} must not hold control characters")
