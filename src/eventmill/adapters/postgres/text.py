"""Text that PostgreSQL can hold: it refuses U+0000, which everything else here allows.

U+0000 is stored as U+0001 U+0001, U+0001 as U+0001 U+0002: reversible, and the order of texts stays
that of their code points.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_ESCAPES = re.compile(rb"\\u0001\\u000([12])|\\\\")


def stored(text: str) -> str:
    """Return a text as it is stored."""
    if "\0" in text or "\x01" in text:
        return text.replace("\x01", "\x01\x02").replace("\0", "\x01\x01")
    return text


def loaded(text: str) -> str:
    """Return a stored text as it was."""
    if "\x01" in text:
        return text.replace("\x01\x01", "\0").replace("\x01\x02", "\x01")
    return text


def all_stored(texts: Sequence[str]) -> Sequence[str]:
    """Return texts as they are stored; one look where nothing has to be changed."""
    joined = "".join(texts)
    if "\0" in joined or "\x01" in joined:
        return [stored(text) for text in texts]
    return texts


def json_loaded(text: bytes) -> bytes:
    """Return the JSON of stored texts as JSON of what they were."""
    if b"\\u0001" not in text:
        return text
    return _ESCAPES.sub(
        lambda m: b"\\u000" + (b"0" if m[1] == b"1" else b"1") if m[1] else m[0], text
    )
