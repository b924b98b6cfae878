"""`@timed` and `@scheduled`: stateless functions that timers call, and that run by the clock."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, Concatenate, Literal, ParamSpec

from eventmill.errors import ConfigurationError
from eventmill.model import limits
from eventmill.model.action import CALLS, Action
from eventmill.model.definition import (
    PATIENT,
    ActionDefinition,
    ConsumerDefinition,
    Retry,
    Route,
    Source,
    Start,
)
from eventmill.model.effect import Effect
from eventmill.model.problems import Problems
from eventmill.model.schedule import Missed, Schedule
from eventmill.sdk.component import check_name, check_timeout, place_of
from eventmill.sdk.context import Context
from eventmill.sdk.reaction import hints_of

P = ParamSpec("P")

Outcome = Awaitable[Effect[None] | None] | Effect[None] | None


def timed(
    id: str,
    *,
    retry: Retry = PATIENT,
    concurrency: int = limits.CONCURRENCY,
    timeout: float = limits.HANDLER_SECONDS,
) -> Callable[[Callable[Concatenate[Context, P], Outcome]], Action[P]]:
    """Declare an action: `async def remind(ctx: Context, order_id: str) -> Effect[None]`.

    Timers call it: `schedule("remind-o1", timedelta(days=1), remind, "o1")`. It has no state; it
    returns effects, and may await the outside.

    Parameters: `id` is part of what is stored and never changes; `retry` is what happens on failure;
    `concurrency` bounds the timers handled at the same time, `timeout` is in seconds, both of
    asynchronous functions.

    Raises `ConfigurationError` if it is written without an id.
    """
    bare: Any = id
    if callable(bare):
        raise ConfigurationError(f'@timed names an id: write @timed("{_named(bare)}")')

    def declare(function: Callable[Concatenate[Context, P], Outcome]) -> Action[P]:
        return Action(function, id, retry=retry, concurrency=concurrency, timeout=timeout)

    return declare


def scheduled(
    when: str | timedelta,
    *,
    id: str = "",
    timezone: str = "UTC",
    missed: Literal["skip", "once", "all"] = "once",
    retry: Retry = PATIENT,
    timeout: float = limits.HANDLER_SECONDS,
) -> Callable[[Callable[Concatenate[Context, P], Outcome]], Action[P]]:
    """Run a function by the clock: `async def clean_up(ctx: Context) -> None`.

    Each tick has one run on all nodes together, and runs never overlap. A second parameter
    `tick: datetime` is told which tick it is.

    Parameters: `when` is a cron expression (minute, hour, day of month, month, day of week) in a
    `timezone`, or an interval, whose ticks are its multiples since 1970-01-01 UTC; `id` is the
    function's name unless it is given; `missed` says what becomes of ticks at which no node was
    there; `timeout` is in seconds per run of an asynchronous function.

    Raises `ConfigurationError` if it is written without saying when.
    """
    if callable(when):
        raise ConfigurationError('@scheduled says when: write @scheduled("0 3 * * *")')

    def declare(function: Callable[Concatenate[Context, P], Outcome]) -> Action[P]:
        plan = {"when": when, "timezone": timezone, "missed": missed}
        return Action(
            function, id or _named(function), retry=retry, concurrency=1, timeout=timeout, plan=plan
        )

    return declare


def define_action(action: Action[Any]) -> ActionDefinition:
    """Read an action's signature and schedule.

    Raises `ConfigurationError` that tells every problem and names the function.
    """
    function, options, problems = action.handler.function, action.options, Problems()
    decorator = "@scheduled" if "plan" in options else "@timed"
    place = f"{decorator} {place_of(function)}"
    schedule = None
    with problems.noting(place):
        check_name("action", action.id)
    with problems.noting(place):
        _check_bounds(place, options)
    with problems.noting(place):
        action.handler.resolve()
        _check_parameters(place, function, is_scheduled="plan" in options)
    if "plan" in options:
        with problems.noting(place):
            schedule = _schedule_of(place, **options["plan"])
    problems.refuse()
    return ActionDefinition(action.handler, _reaction_of(action, place), schedule)


def _named(function: Callable[..., Any]) -> str:
    """clean_up → clean-up."""
    return function.__name__.replace("_", "-").strip("-").lower()


def _reaction_of(action: Action[Any], place: str) -> ConsumerDefinition:
    handler, options = action.handler, action.options

    return ConsumerDefinition(
        id=action.id,
        source=Source(CALLS + action.id, {}),
        route=Route(handler.invoke, (), takes_context=True),
        group="",
        ignore_unknown=True,
        start=Start.BEGINNING,
        retry=options["retry"],
        concurrency=options["concurrency"],
        timeout=options["timeout"],
        batch_size=limits.DISPATCH_BATCH,
        is_async=inspect.iscoroutinefunction(handler.function),
        place=place,
    )


def _check_bounds(place: str, options: dict[str, Any]) -> None:
    if not 1 <= options["concurrency"] <= limits.DISPATCH_BATCH:
        raise ConfigurationError(f"{place}: concurrency must be 1..{limits.DISPATCH_BATCH}")
    check_timeout(place, options["timeout"])


def _check_parameters(place: str, function: Callable[..., Any], *, is_scheduled: bool) -> None:
    hints = hints_of(function)
    first, *rest = [*inspect.signature(function).parameters, ""]
    if hints.get(first) is not Context:
        raise ConfigurationError(
            f"{place}: its first parameter is its context: write `ctx: Context`"
        )
    rest = rest[:-1]
    if is_scheduled and rest and (rest != ["tick"] or hints.get("tick") is not datetime):
        raise ConfigurationError(
            f"{place}: besides its context it can take `tick: datetime` and nothing else, not "
            f"{', '.join(rest)}"
        )


def _schedule_of(place: str, when: Any, timezone: str, missed: str) -> Schedule:
    if missed not in tuple(Missed):
        raise ConfigurationError(
            f"{place}: missed is {', '.join(map(repr, map(str, Missed)))}, not {missed!r}"
        )
    if isinstance(when, timedelta):
        if timezone != "UTC":
            raise ConfigurationError(f"{place}: an interval has no time zone: leave timezone= out")
        schedule = Schedule(every=when // timedelta(microseconds=1), missed=Missed(missed))
        if not schedule.every:
            raise ConfigurationError(f"{place}: an interval is above 0 seconds")
    elif isinstance(when, str):
        schedule = Schedule(cron=when, timezone=timezone, missed=Missed(missed))
    else:
        raise ConfigurationError(
            f"{place}: it runs by a cron expression, as '0 3 * * *', or by an interval, as "
            f"timedelta(minutes=5), not by {when!r}"
        )
    try:
        schedule.check()
    except ConfigurationError as error:
        raise ConfigurationError(f"{place}: {error.message}") from error
    return schedule
