"""Who an entity instance is: set by the engine at each turn, read by the user's handlers."""

from __future__ import annotations

from typing import Self


class Identity:
    """What an entity's handlers may know besides the state."""

    __slots__ = ("id", "metadata", "now", "sequence", "status")

    def __init__(self, id: str) -> None:
        self.id = id
        self.sequence = 0
        self.now = 0
        self.metadata: bytes | None = None
        self.status = "new"
        """Of a workflow (`model.progress`); empty if it is not known."""

    @classmethod
    def of_state(cls, id: str, sequence: int, now: int, metadata: bytes | None = None) -> Self:
        """Of a stored state that somebody follows: a workflow's status does not stand in it."""
        identity = cls(id)
        identity.sequence, identity.now, identity.metadata = sequence, now, metadata
        identity.status = ""
        return identity
