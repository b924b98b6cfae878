"""A command or query on its way to an entity: made at the ingress, consumed by the turn.

Whatever the way in (HTTP, client, a consumer's call, a sent command, a due timer), the road sees
only this. `arguments` are already decoded and validated against the handler's parameters.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Envelope(msgspec.Struct, gc=False):
    """One request to one entity."""

    component: str
    id: str
    name: str
    arguments: tuple[Any, ...]
    """Positional arguments of the handler, in its parameters' order."""
    idempotency_key: str | None = None
    deadline: float | None = None
    """Monotonic clock, seconds: after it the caller no longer waits."""
    metadata: bytes | None = None
    """JSON object, copied into the metadata of every entry this request causes."""
    origin: str | None = None
    """`shard:position` of the entry that sent it, for dedupe by high-water mark."""
    keeps_rejection: bool = True
    """Whether a rejection is an outcome of the key. Not for a reaction's call: a rejection has no
    effect, so when the reaction is tried again, or redriven later, it may ask again."""
