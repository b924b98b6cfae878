"""The stream of a topic: made when it is missing, compared when it is there, never changed."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from eventmill.adapters.nats import api
from eventmill.adapters.nats.connection import Connection
from eventmill.adapters.nats.subjects import Subjects
from eventmill.errors import ConfigurationError
from eventmill.model import limits
from eventmill.ports.broker import Past, TopicLayout

_SECOND: Final = 1_000_000_000
RETENTION: Final = "eventmill.retention"
READ: Final = "read"
"""Of the metadata: messages are removed when the service itself has read them."""

_FIXED: Final = ("subjects", "allow_atomic", "retention", "storage", "metadata")
"""With other values of these, messages would be lost or lie in wrong partitions."""


class Established(NamedTuple):
    """A topic's stream as it is there."""

    layout: TopicLayout
    made: str
    """When; so it is told from one that was made anew."""
    drift: list[str]
    """How it differs from the settings, as sentences."""


async def establish(
    connection: Connection,
    subjects: Subjects,
    topic: str,
    shards: int,
    layout: TopicLayout,
    owner: str,
    past: Past,
) -> Established:
    """Make the topic's stream if it is missing.

    Raises `ConfigurationError` if it cannot hold the topic, or is not the one of before;
    `BrokerUnavailable`.
    """
    wanted = configuration(subjects, topic, shards, layout, owner)
    name = wanted["name"]
    try:
        return await _compared_with(connection, topic, wanted, past)
    except api.JetStreamError as error:
        if error.code != api.STREAM_NOT_FOUND:
            raise _refused(topic, error) from error
    if past.made:
        raise _other(topic, f"there is no stream {name!r} any more")
    # One before it may have been given up: what is stored here must not lie where that was read.
    begin = {"first_seq": past.read + 1} if past.read else {}
    try:
        await api.call(connection, f"STREAM.CREATE.{name}", wanted | begin)
    except api.JetStreamError as error:
        if error.code != api.STREAM_NAME_IN_USE:  # another node was faster, with other settings
            raise _refused(topic, error) from error
    return await _compared_with(connection, topic, wanted, past)


def configuration(
    subjects: Subjects, topic: str, shards: int, layout: TopicLayout, owner: str
) -> dict[str, Any]:
    """Return the stream that a topic wants."""
    return {
        "name": subjects.stream(topic),
        "description": f"Topic {topic} of Eventmill",
        "subjects": subjects.of_topic(topic),
        "retention": "limits",  # readers come and go: `interest` would remove what they have not read
        "storage": "file",
        "discard": "new",  # what was not read is never removed to make room
        "num_replicas": layout.replicas,
        "max_age": round(layout.age_seconds * _SECOND),
        "max_bytes": layout.bytes or -1,
        "max_consumers": -1,
        "max_msgs": -1,
        "duplicate_window": round(_window(layout) * _SECOND),
        "allow_atomic": True,
        "metadata": {
            "eventmill.shards": str(shards),
            "eventmill.topic": str(layout.number),
            "eventmill.store": owner,
            **({RETENTION: READ} if layout.when_read else {}),
        },
    }


def _window(layout: TopicLayout) -> float:
    """Ids are remembered no longer than messages live: JetStream refuses another window."""
    return min(limits.DUPLICATES_SECONDS, layout.age_seconds or limits.DUPLICATES_SECONDS)


async def _compared_with(
    connection: Connection, topic: str, wanted: dict[str, Any], past: Past
) -> Established:
    name = wanted["name"]
    stream = await api.call(connection, f"STREAM.INFO.{name}")
    made, last, found = stream["created"], stream["state"]["last_seq"], stream["config"]
    metadata = found.get("metadata") or {}
    found["metadata"] = {k: v for k, v in metadata.items() if k.startswith("eventmill.")}
    drift = _compared(topic, _apart(wanted), _apart(found))
    if past.made and past.made != made:
        raise _other(topic, f"stream {name!r} was made at {made}, that one at {past.made}")
    if last < past.read:
        raise ConfigurationError(
            f"topic {topic!r}: stream {name!r} ends at {last}, but its messages were read up to "
            f"{past.read}: the NATS server has lost some, or was restored. What is stored next would "
            f"be taken for read. Let it go on behind that, which removes all that is left in it: nats "
            f"stream purge {name} --seq={past.read + 1}",
            code="configuration.stream",
        )
    return Established(_layout(wanted, found), made, drift)


def _layout(wanted: dict[str, Any], found: dict[str, Any]) -> TopicLayout:
    return TopicLayout(
        int(wanted["metadata"]["eventmill.topic"]),
        replicas=found.get("num_replicas", 1),
        age_seconds=found.get("max_age", 0) / _SECOND,
        bytes=max(0, found.get("max_bytes", 0)),
        when_read=found["metadata"].get(RETENTION) == READ,
    )


def _apart(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration in which what of the metadata may change stands by itself."""
    metadata = dict(config["metadata"])
    return {**config, f"metadata {RETENTION}": metadata.pop(RETENTION, ""), "metadata": metadata}


def _compared(topic: str, wanted: dict[str, Any], found: dict[str, Any]) -> list[str]:
    different = {
        field: (found.get(field, 0), value)
        for field, value in wanted.items()
        if field != "description" and found.get(field, 0) != value
    }
    fatal = [field for field in _FIXED if field in different]
    if fatal:
        raise ConfigurationError(
            f"topic {topic!r}: stream {wanted['name']!r} has "
            + "; ".join(f"{f} {different[f][0]!r}, not {different[f][1]!r}" for f in fatal)
            + ". It belongs to another topic or to another store (perhaps one that was there before "
            "this one): use another NATS account or server, or remove the stream with the nats "
            "command",
            code="configuration.stream",
        )
    return [
        f"topic {topic!r}: stream {wanted['name']!r} has {field} {has!r}, the settings say "
        f"{says!r}; change one of them (nats stream edit)"
        for field, (has, says) in different.items()
    ]


def _other(topic: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"topic {topic!r}: this is not the stream that its messages were in: {why}. Connect to the "
        "NATS server of before; if the stream is gone for good, docs/cluster.md tells how to begin "
        "another one",
        code="configuration.stream",
    )


def _refused(topic: str, error: api.JetStreamError) -> ConfigurationError:
    return ConfigurationError(
        f"topic {topic!r}: JetStream does not keep its stream: {error}", code="configuration.stream"
    )
