"""How deep JSON nests, told without decoding it.

The decoders of this platform recurse; a body that nests a thousand levels is an attack on the
stack. Every way in asks here before it accepts JSON from outside. The text must be well-formed
JSON (skipped over by msgspec before, which refuses some thousand levels by itself).
"""

from __future__ import annotations

from itertools import accumulate, product
from typing import Final

from eventmill.model import limits

_AS_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_ALL_BUT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_WORD: Final = "Q"
"""Brackets are walked eight at a time, as one machine word."""


def exceeds(json: bytes, limit: int = limits.JSON_DEPTH_MAX) -> bool:
    """Tell whether well-formed JSON nests arrays and objects deeper than `limit` levels.

    Costs next to nothing for text that is short or holds few brackets; otherwise some passes at
    the speed of memory and one step for eight brackets.
    """
    if len(json) <= 2 * limit or json.count(b"[") + json.count(b"{") <= limit:
        return False
    brackets = _without_strings(json).translate(_AS_ONE_KIND, delete=_ALL_BUT_BRACKETS)
    level = 0
    for word in memoryview(brackets + b"]" * (-len(brackets) % 8)).cast(_WORD):
        highest, rise = _WALKS[word]
        if level + highest > limit:
            return True
        level += rise
    return False


def _without_strings(json: bytes) -> bytes:
    # Backslashes stand in strings only. With escaped backslashes gone, and escaped quotes after
    # them, each quote that is left opens or closes a string.
    if b"\\" in json:
        json = json.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(json.split(b'"')[::2])


def _walks() -> dict[int, tuple[int, int]]:
    """Return, for each word of eight brackets, how high it goes and where it ends."""
    walks = {}
    for steps in product((1, -1), repeat=8):
        (word,) = memoryview(bytes(b"["[0] if s == 1 else b"]"[0] for s in steps)).cast(_WORD)
        walks[word] = (max(accumulate(steps)), sum(steps))
    return walks


_WALKS = _walks()
