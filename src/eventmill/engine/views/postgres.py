"""Rendering for PostgreSQL."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

NAME_BYTES: Final = 63
"""PostgreSQL cuts longer names short without a word."""

_DIGEST_BYTES = 8


def identifier(name: str) -> str:
    """Return a name as PostgreSQL keeps it whole: a long one ends in its digest."""
    text = name.encode()
    if len(text) <= NAME_BYTES:
        return name
    digest = blake2b(text, digest_size=_DIGEST_BYTES).hexdigest()
    begin = text[: NAME_BYTES - 1 - len(digest)].decode(errors="ignore")
    return f"{begin}~{digest}"
