"""Who an entity instance is: set by the engine at each turn, read by the user's handlers."""

from __future__ import annotations


class Identity:
    """What an entity's handlers may know besides the state."""

    __slots__ = ("id", "metadata", "now", "sequence", "status")

    def __init__(self, id: str) -> None:
        self.id = id
        self.sequence = 0
        self.now = 0
        self.metadata: bytes | None = None
        self.status = "new"
        """Of a workflow (`model.progress`)."""
