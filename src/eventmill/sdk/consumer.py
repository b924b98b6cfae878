"""`@consumer`: a stateless reaction to the events of an entity or a topic."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Literal

from eventmill.errors import ConfigurationError
from eventmill.model import limits
from eventmill.model.definition import ConsumerDefinition, Retry, Start
from eventmill.model.effect import Effect
from eventmill.model.problems import Problems
from eventmill.sdk.component import check_name, check_timeout, place_of
from eventmill.sdk.reaction import check_context, check_types, route_of, source_of

Reaction = Callable[..., Awaitable[Effect[None] | None] | Effect[None] | None]


class Consumer:
    """A consumer as declared; list it in the service's components. Call it as the function."""

    mark = "@consumer"
    """What is written before the function, for messages."""

    def __init__(self, function: Reaction, **options: Any) -> None:
        self.function = function
        self.options = options
        self.id: str = options["id"]
        self.__wrapped__ = function
        self.__doc__ = function.__doc__

    def __repr__(self) -> str:
        return f"<Consumer {self.id}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def define(self) -> ConsumerDefinition:
        """Read source and signature.

        Raises `ConfigurationError` that tells every problem and names the function.
        """
        options, problems = self.options, Problems()
        place = f"{self.mark} {place_of(self.function)}"
        with problems.noting(place):
            if len(inspect.signature(self.function).parameters) > 2:
                raise ConfigurationError(f"{place}: it takes the event and, if it wants, a Context")
            check_context(self.function, 1)
        start = options["start"]
        route = source = None
        with problems.noting(place):
            route = route_of(self.function)
        with problems.noting(place):
            source = source_of(options["source"], place, self.function)
        if route is not None and source is not None:
            with problems.noting(place):
                check_types(route.types, source, options["source"], place)
        problems.refuse()
        assert route is not None
        assert source is not None
        return ConsumerDefinition(
            id=options["id"],
            source=source,
            route=route,
            group=options["group"],
            ignore_unknown=options["ignore_unknown"],
            start=start if isinstance(start, datetime) else Start(start),
            retry=options["retry"],
            concurrency=options["concurrency"],
            timeout=options["timeout"],
            batch_size=options["batch_size"],
            is_async=inspect.iscoroutinefunction(self.function),
            place=place,
        )


def consumer(
    id: str,
    *,
    source: Any,
    group: str = "",
    ignore_unknown: bool = False,
    start: Literal["beginning", "latest"] | datetime = "beginning",
    retry: Retry | None = None,
    concurrency: int = limits.CONCURRENCY,
    timeout: float = limits.HANDLER_SECONDS,
    batch_size: int = limits.DISPATCH_BATCH,
) -> Callable[[Reaction], Consumer]:
    """Declare a reaction: `async def place_order(event: CheckedOut, ctx: Context) -> Effect[None]`.

    The annotation of the first parameter selects the events. Events of other known types of the
    source are skipped; events of a type that the source does not declare are parked, unless
    `ignore_unknown`.

    Parameters: `source` is an entity class or a topic; `group` starts an independent progress;
    `start` is where a new subscription begins; `retry` is what happens on failure; `concurrency`
    bounds the keys handled at the same time; `timeout` is in seconds per asynchronous call;
    `batch_size` bounds the events handled in one commit, and the list given to a batch handler.

    Raises `ConfigurationError` for an option out of its bounds.
    """
    check_name("consumer", id)
    if group:
        check_name("consumer group", group)
    for name, value in (("batch_size", batch_size), ("concurrency", concurrency)):
        if not 1 <= value <= limits.DISPATCH_BATCH:
            raise ConfigurationError(f"consumer {id!r}: {name} must be 1..{limits.DISPATCH_BATCH}")
    check_timeout(f"consumer {id!r}", timeout)
    if not isinstance(start, datetime) and start not in tuple(Start):
        raise ConfigurationError(
            f"consumer {id!r}: start is 'beginning', 'latest' or a datetime, not {start!r}"
        )
    if isinstance(start, datetime) and start.tzinfo is None:
        raise ConfigurationError(f"consumer {id!r}: start needs a time zone, as datetime.UTC")

    def declare(function: Reaction) -> Consumer:
        return Consumer(
            function,
            id=id,
            source=source,
            group=group,
            ignore_unknown=ignore_unknown,
            start=start,
            retry=retry or Retry(),
            concurrency=concurrency,
            timeout=timeout,
            batch_size=batch_size,
        )

    return declare
