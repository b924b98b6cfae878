"""Where a key belongs: (component, id) → slice → shard. Stable for ever, equal on every node."""

from __future__ import annotations

from zlib import crc32

from eventmill.model import limits


def slice_of(source: str, subject: str) -> int:
    """Slice of a subject, 0 to `limits.SLICES - 1`."""
    return crc32(f"{source}\0{subject}".encode()) % limits.SLICES


def shard_of(slice_number: int, shards: int) -> int:
    """Shard that holds a slice: shards are contiguous, equally long ranges of slices."""
    return slice_number * shards // limits.SLICES
