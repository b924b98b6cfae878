"""The stream of a topic: made when it is missing, compared when it is there, never changed."""

from __future__ import annotations

from typing import Any, Final

from eventmill.adapters.nats import api
from eventmill.adapters.nats.connection import Connection
from eventmill.adapters.nats.subjects import Subjects
from eventmill.errors import ConfigurationError
from eventmill.model import limits
from eventmill.ports.broker import TopicLayout

_SECOND: Final = 1_000_000_000
RETENTION: Final = "eventmill.retention"
READ: Final = "read"
"""Of the metadata: messages are removed when the service itself has read them."""

_FIXED: Final = ("subjects", "allow_atomic", "retention", "storage", "metadata")
"""With other values of these, messages would be lost or lie in wrong partitions."""


async def establish(
    connection: Connection,
    subjects: Subjects,
    topic: str,
    shards: int,
    layout: TopicLayout,
    owner: str,
) -> tuple[TopicLayout, list[str]]:
    """Make the topic's stream if it is missing; return how it is kept, and how that differs from
    the settings, as sentences.

    Raises `ConfigurationError` if it cannot hold the topic, `BrokerUnavailable`.
    """
    wanted = configuration(subjects, topic, shards, layout, owner)
    name = wanted["name"]
    try:
        return _judged(topic, wanted, await _found(connection, name))
    except api.JetStreamError as error:
        if error.code != api.STREAM_NOT_FOUND:
            raise _refused(topic, error) from error
    try:
        await api.call(connection, f"STREAM.CREATE.{name}", wanted)
    except api.JetStreamError as error:
        if error.code != api.STREAM_NAME_IN_USE:  # another node was faster, with other settings
            raise _refused(topic, error) from error
        return _judged(topic, wanted, await _found(connection, name))
    return layout, []


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


async def _found(connection: Connection, name: str) -> dict[str, Any]:
    config: dict[str, Any] = (await api.call(connection, f"STREAM.INFO.{name}"))["config"]
    metadata = config.get("metadata") or {}
    config["metadata"] = {k: v for k, v in metadata.items() if k.startswith("eventmill.")}
    return config


def _judged(
    topic: str, wanted: dict[str, Any], found: dict[str, Any]
) -> tuple[TopicLayout, list[str]]:
    layout = TopicLayout(
        int(wanted["metadata"]["eventmill.topic"]),
        replicas=found.get("num_replicas", 1),
        age_seconds=found.get("max_age", 0) / _SECOND,
        bytes=max(0, found.get("max_bytes", 0)),
        when_read=found["metadata"].get(RETENTION) == READ,
    )
    return layout, _compared(topic, _apart(wanted), _apart(found))


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


def _refused(topic: str, error: api.JetStreamError) -> ConfigurationError:
    return ConfigurationError(
        f"topic {topic!r}: JetStream does not keep its stream: {error}", code="configuration.stream"
    )
