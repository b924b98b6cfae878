"""How deep JSON nests, told without decoding it.

The decoders of this platform recurse; a body that nests a thousand levels is an attack on the
stack. Every way in asks here before it accepts JSON from outside. The text must be well-formed
JSON (skipped over by msgspec before, which refuses some thousand levels by itself).
"""

from __future__ import annotations

from itertools import accumulate

from eventmill.model import limits

_STEPS = [0] * 256
for _opening, _closing in (b"[]", b"{}"):
    _STEPS[_opening], _STEPS[_closing] = 1, -1
_ALL_BUT_BRACKETS = bytes(byte for byte in range(256) if not _STEPS[byte])


def exceeds(json: bytes, limit: int = limits.JSON_DEPTH_MAX) -> bool:
    """Tell whether well-formed JSON nests arrays and objects deeper than `limit` levels.

    Costs next to nothing for text that is short or holds few brackets; otherwise some passes at
    the speed of memory and one step per bracket.
    """
    if len(json) <= 2 * limit or json.count(b"[") + json.count(b"{") <= limit:
        return False
    brackets = _without_strings(json).translate(None, delete=_ALL_BUT_BRACKETS)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > limit


def _without_strings(json: bytes) -> bytes:
    # Backslashes stand in strings only. With escaped backslashes gone, and escaped quotes after
    # them, each quote that is left opens or closes a string.
    if b"\\" in json:
        json = json.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(json.split(b'"')[::2])
