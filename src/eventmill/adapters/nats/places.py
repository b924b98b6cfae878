"""Where a message shard lies in JetStream: in which stream, on which subjects, read as what.

A shard of this service's own topic is one partition of its stream. One of another service's topic
is what of that stream has its home here: one partition if both stores have as many shards, several
or a part of one if they have not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from eventmill.adapters.nats import api
from eventmill.adapters.nats.connection import Connection
from eventmill.adapters.nats.reading import Stored
from eventmill.adapters.nats.streams import READ, RETENTION
from eventmill.adapters.nats.subjects import Subjects, token
from eventmill.engine import messages
from eventmill.engine.adopting import adopter
from eventmill.model.entry import Entry
from eventmill.model.placement import Placement, overlapping
from eventmill.ports.broker import Neighbour


class Place(NamedTuple):
    """Where a shard lies."""

    stream: str
    filters: Sequence[str]
    """Subjects of its messages, and perhaps of others."""
    made_of: Callable[[Stored], Entry | None]
    """Returns a message as entry, or None for one of another shard."""


def place_of_own(
    subjects: Subjects, topic: str, shard: int, partition: int, partition_of: Callable[[str], int]
) -> Place:
    """Return the place of a shard of this service."""

    def belongs(key: str) -> bool:
        return partition_of(key) == partition

    def made_of(stored: Stored) -> Entry:
        return messages.entry_of(stored.arrived(topic, shard), belongs)

    return Place(subjects.stream(topic), [subjects.partition(topic, partition)], made_of)


async def find_neighbour(connection: Connection, service: str, topic: str) -> Neighbour | None:
    """Look for a topic of another service.

    Raises `BrokerUnavailable`.
    """
    name = Subjects(token(service)).stream(topic)
    try:
        stream = await api.call(connection, f"STREAM.INFO.{name}")
    except api.JetStreamError as error:
        if error.code == api.STREAM_NOT_FOUND:
            return None
        raise api.unavailable(error) from error
    told = stream["config"].get("metadata") or {}
    if "eventmill.shards" not in told:
        return None  # somebody else's stream
    return Neighbour(
        told.get("eventmill.store", ""),
        int(told["eventmill.shards"]),
        int(told["eventmill.topic"]),
        stream["created"],
        told.get(RETENTION) == READ,
    )


def place_of_neighbour(
    service: str, topic: str, there: Neighbour, shard: int, shards: int
) -> Place:
    """Return the place of a shard of another service's topic; `shards` are the home shards here."""
    subjects, home_of = Subjects(token(service)), Placement(there.shards).entity
    adopt = adopter(service, shard, shards, there.shards)

    def made_of(stored: Stored) -> Entry | None:
        partition = subjects.partition_of(stored.subject)
        arrived = stored.arrived(topic, there.number * there.shards + partition)
        return adopt(messages.entry_of(arrived, lambda key: home_of(key) == partition))

    partitions = overlapping(shard % shards, shards, there.shards)
    filters = [subjects.partition(topic, partition) for partition in partitions]
    return Place(subjects.stream(topic), filters, made_of)
