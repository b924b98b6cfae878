"""What a caused entry inherits from its cause: correlation, causation and trace context. Pure."""

from __future__ import annotations

from typing import Any, Final

from eventmill.model.entry import Entry, metadata_of

INHERITED: Final[tuple[str, ...]] = ("correlation", "traceparent", "tracestate", "request_id")


def caused_by(entry: Entry) -> dict[str, Any]:
    """Return the metadata of whatever a reaction to `entry` causes."""
    if entry.metadata is None:
        return {"causation": entry.id, "correlation": entry.id}
    own = metadata_of(entry)
    metadata: dict[str, Any] = {name: own[name] for name in INHERITED if name in own}
    metadata["causation"] = entry.id
    metadata.setdefault("correlation", entry.id)
    return metadata
