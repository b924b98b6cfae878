"""Partitions of the journal: one for all home shards, one for each topic's shards.

What a topic's retention removes leaves room in a table of the topic's own, which is vacuumed by its
own size: events that stay for ever are neither scanned for it nor scattered over.
"""

from __future__ import annotations

from collections.abc import Iterable

from eventmill.adapters.postgres.connection import Connection

_HOME = """
CREATE TABLE entry_home PARTITION OF entry FOR VALUES FROM (MINVALUE) TO ({shards});
-- The second wall against a stale writer.
CREATE UNIQUE INDEX entry_subject ON entry_home (source, subject, sequence) WHERE sequence > 0;
"""

_TOPIC = """
CREATE TABLE entry_topic_{number} PARTITION OF entry FOR VALUES FROM ({first}) TO ({end})
    WITH (autovacuum_vacuum_scale_factor = 0.1)
"""


async def make_home(connection: Connection, shards: int) -> None:
    """Make the partition of the home shards: once, with the store."""
    await connection.execute(_HOME.format(shards=shards))


async def make_topics(connection: Connection, numbers: Iterable[int], shards: int) -> None:
    """Make the partitions of topics with these numbers."""
    for number in numbers:
        first = number * shards
        await connection.execute(_TOPIC.format(number=number, first=first, end=first + shards))
