"""Keeping: what a topic's settings mean where its messages live.

Place on the road: the start. In a broker they are its stream's; in the store the node itself acts on
them (`runtime.topics.retention`), and the copies are the database's business.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import msgspec
import structlog

from eventmill.errors import ConfigurationError
from eventmill.model.topic import WHEN_READ, Topic
from eventmill.ports.broker import TopicLayout

log = structlog.get_logger()


class Keeping(msgspec.Struct, frozen=True):
    """A topic's settings, for people and programs."""

    retention: str = ""
    """`7 days`, `when read`; empty: for ever, or a node of an earlier version tells."""
    bytes_max: int | None = None
    replicas: int | None = None


def keeping_of(topic: Topic[Any]) -> Keeping:
    """Return what a topic is declared with."""
    kept = topic.retention
    text = "" if kept is None else kept.value if kept is WHEN_READ else _told(kept)
    return Keeping(text, topic.bytes_max, topic.replicas)


def layout_of(topic: Topic[Any], number: int, replicas: int) -> TopicLayout:
    """Return how a broker shall keep a topic, with `replicas` copies if it does not say."""
    kept = topic.retention
    return TopicLayout(
        number,
        replicas=topic.replicas or replicas,
        age_seconds=kept.total_seconds() if isinstance(kept, timedelta) else 0.0,
        bytes=topic.bytes_max or 0,
        when_read=kept is WHEN_READ,
    )


def check_in_store(topics: Iterable[Topic[Any]], *, is_alone: bool) -> None:
    """Tell what of the settings has no effect in the store. Parameter: `is_alone`: it is embedded.

    Raises `ConfigurationError` for one that would promise what is not kept.
    """
    for topic in topics:
        if topic.bytes_max is not None and not is_alone:
            raise ConfigurationError(
                f"topic {topic.id!r}: bytes_max= cannot be kept where several nodes have topics in "
                "their store: start with --broker nats://… and without --topics store, or leave "
                "it out",
                code="configuration.topics",
            )
        if (topic.replicas or 1) > 1:
            log.info(
                "replicas= has no effect: the topic is in the store, whose copies are its own",
                topic=topic.id,
            )


def _told(age: timedelta) -> str:
    return str(age).removesuffix(", 0:00:00")
