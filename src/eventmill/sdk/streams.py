"""Service streams: what a service tells others, apart from the events that are its own business.

`@stream` maps private events to public ones and publishes these to a topic of the service;
`ServiceStream` names such a topic where another service follows it. Nothing else is beneath: a
stream is a topic, its mapping a consumer, and its progress is committed with what it publishes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from types import NoneType
from typing import Any, Final, Literal

from eventmill.errors import ConfigurationError, InvalidPayload
from eventmill.model.definition import ConsumerDefinition, Retry
from eventmill.model.effect import Effect, Publication
from eventmill.model.events import is_event_class
from eventmill.model.topic import Key, Topic
from eventmill.sdk import guards
from eventmill.sdk.component import check_name, place_of
from eventmill.sdk.consumer import Consumer, consumer
from eventmill.sdk.context import Context
from eventmill.sdk.reaction import hints_of, members_of

SUFFIX: Final = "-stream"
"""Behind a stream's id, the id of the consumer that fills it."""


class ServiceStream(Topic[Any]):
    """A stream of another service: `@consumer("watch", source=ServiceStream("inventory", "stock"))`.

    Parameters: `types` are the event classes that it carries; left out, those that the handlers of
    this service name in their annotations, all together.
    """

    def __init__(self, service: str, id: str, *types: type) -> None:
        check_name("service", service)
        super().__init__(id, *types, service=service)


class Stream(Consumer):
    """A stream as declared; list it in the service's components. Call it as the function."""

    mark = "@stream"

    def __init__(self, function: Callable[..., Any], declared: Consumer, topic: Any) -> None:
        super().__init__(function, **declared.options)
        self._make = topic

    def __repr__(self) -> str:
        return f"<Stream {self.id.removesuffix(SUFFIX)}>"

    @functools.cached_property
    def topic(self) -> Topic[Any]:
        """The topic that it fills.

        Raises `ConfigurationError` if the function does not say which events it makes.
        """
        place = f"{self.mark} {place_of(self.function)}"
        returned = hints_of(self.function).get("return")
        types = [kind for kind in members_of(returned) if kind not in (None, NoneType)]
        if not types or not all(map(is_event_class, types)):
            raise ConfigurationError(
                f"{place}: annotate what it returns with the public event types, as "
                "`-> StockChanged | None`"
            )
        made: Topic[Any] = self._make(types)
        return made

    def define(self) -> ConsumerDefinition:
        definition, topic = super().define(), self.topic
        place = definition.place
        if definition.source.id == topic.id:
            raise ConfigurationError(
                f"{place}: it would read what it publishes, for ever: give it another id than its "
                "source"
            )
        if definition.is_async or definition.route.is_batch:
            raise ConfigurationError(
                f"{place}: it only makes a public event of a private one: no async, no list; what "
                "does more is a @consumer that publishes to a topic"
            )
        route = replace(
            definition.route,
            function=_published(self.function, place, definition.route.takes_context, topic),
            takes_context=True,
        )
        return replace(definition, route=route, stream=topic.id)


def stream(
    id: str,
    *,
    source: Any,
    key: Key = "",
    retention: timedelta | None = None,
    bytes_max: int | None = None,
    replicas: int | None = None,
    ignore_unknown: bool = False,
    start: Literal["beginning", "latest"] | datetime = "beginning",
    retry: Retry | None = None,
) -> Callable[[Callable[..., Any]], Stream]:
    """Declare a stream: `def public(event: Reserved | Sold) -> StockChanged | None`.

    The function makes a public event of a private one, or None: then nothing is told. What it
    returns becomes a message of the topic `id`, in one commit with the stream's progress; order is
    kept per entity, whose id is the message's key, unless `key` names another.

    Parameters: `source` is an entity class, or a topic; `key`, `retention`, `bytes_max` and
    `replicas` are the topic's; the others those of a consumer.
    """
    check_name("stream", id)
    filled = consumer(
        id + SUFFIX, source=source, ignore_unknown=ignore_unknown, start=start, retry=retry
    )

    def topic(types: list[type]) -> Topic[Any]:
        return Topic(
            id, *types, key=key, retention=retention, bytes_max=bytes_max, replicas=replicas
        )

    return lambda function: Stream(function, filled(function), topic)


def _published(
    function: Callable[..., Any], place: str, takes_context: bool, topic: Topic[Any]
) -> Callable[[Any, Context], Effect[None] | None]:
    @functools.wraps(function)
    def mapped(event: Any, ctx: Context) -> Effect[None] | None:
        public = function(event, ctx) if takes_context else function(event)
        if public is None:
            return None
        if type(public) not in topic.types:
            named = ", ".join(kind.__name__ for kind in topic.types)
            raise InvalidPayload(
                f"{place} returned {type(public).__name__}: return {named}, as it is annotated, "
                "or None, which tells nothing"
            )
        key = None if topic.key else ctx.subject
        return guards.made(Effect(outgoing=(Publication(topic, (public,), None, key),)))

    return mapped
