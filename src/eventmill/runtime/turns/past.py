"""Entities as they were: folded from the journal up to a sequence or a time.

Place on the road: beside it. Nothing here touches the entities in memory or enters the cache; the
fold is the one that loads an entity (`runtime.turns.restoring`). Of entities that store whole states
one is read: the last one by then.

Invariant: what was is known or refused, never guessed. An entity whose first state is not kept any
longer shows it by its sequences, which begin with 1.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from eventmill.engine.entity import Live
from eventmill.errors import FAILURES, Conflict, Deleted, EventmillError, NotFound
from eventmill.model import codec, limits
from eventmill.model.definition import EntityDefinition
from eventmill.model.entry import Entry
from eventmill.model.handler import Handler
from eventmill.model.schedule import written_span
from eventmill.ports.store import Journal
from eventmill.runtime.turns.restoring import fold
from eventmill.runtime.turns.turn import failure_of


async def restore(
    journal: Journal,
    definition: EntityDefinition,
    id: str,
    *,
    sequence: int | None,
    time: int | None,
) -> Live:
    """Fold an entity up to and with `sequence`, or up to and with `time` (microseconds).

    With both, up to whichever comes first; without events up to there it is in its initial state.

    Raises `Conflict` for a state that is not kept any longer, and `NotFound` for a sequence that the
    entity has not reached.
    """

    def is_wanted(entry: Entry) -> bool:
        is_later = time is not None and entry.time > time
        return not is_later and (sequence is None or entry.sequence <= sequence)

    live = Live(definition, id)
    if definition.is_whole:
        await _jump(journal, live, is_wanted)
    else:
        page = await journal.history(definition.id, id, limit=limits.SCAN_ROWS)
        await fold(journal, live, page, is_wanted)
    if sequence is not None and time is None and live.identity.sequence < sequence:
        count = live.identity.sequence
        raise NotFound(
            f"{definition.id}/{id} has no sequence {sequence}; its last is {count}"
            if count
            else f"{definition.id}/{id} has no events",
            code="entity.no_sequence",
        )
    return live


async def _jump(journal: Journal, live: Live, is_wanted: Callable[[Entry], bool]) -> None:
    """Take the last stored state that is wanted: sequences have no gaps, so it is found by halving what
    is left. Where a clock was set back, it is one of those that fit."""
    component, id = live.definition.id, live.id
    oldest = next(iter(await journal.history(component, id, limit=1)), None)
    if oldest is None:
        return
    if not is_wanted(oldest):
        if oldest.sequence > 1:
            raise _not_kept(live, oldest)
        return
    last = await journal.latest(component, id) or oldest
    found, high = oldest, last.sequence
    middle = high  # most ask for what is still so
    while found.sequence < high:
        page = await journal.history(component, id, after=middle - 1, limit=1)
        if not page or page[0].sequence > middle:  # it has just been removed, perhaps all of it
            await _jump(journal, live, is_wanted)
            return
        if is_wanted(page[0]):
            found = page[0]
        else:
            high = middle - 1
        middle = (found.sequence + high + 1) // 2
    live.apply(found)


def _not_kept(live: Live, oldest: Entry) -> Conflict:
    definition, span = live.definition, live.definition.keep_history
    since = datetime.fromtimestamp(oldest.time / 1e6, UTC).isoformat(timespec="microseconds")
    since = since.replace("+00:00", "Z")
    return Conflict(
        f"{definition.id}/{live.id} is known from sequence {oldest.sequence} on ({since}); "
        f"{definition.cls.__qualname__} "
        + (
            "keeps no older states: keep_history = timedelta(…) would keep them from then on"
            if span is None
            else f"keeps older states for {written_span(span // timedelta(microseconds=1))} (keep_history)"
        ),
        details={"sequence": oldest.sequence, "time": since},
        code="entity.not_kept",
    )


def answer(live: Live, handler: Handler[Any, Any], arguments: tuple[Any, ...]) -> bytes:
    """Run a query on a restored entity; return its encoded answer.

    Raises `Deleted` if it was deleted by then, and `HandlerFailed`.
    """
    if live.deleted:
        raise Deleted(f"{live.definition.id}/{live.id} was deleted by then")
    try:
        return codec.encode(handler.invoke(live.state, *arguments))
    except EventmillError:
        raise
    except FAILURES as error:  # user code may raise anything; the caller hears which handler
        raise failure_of(handler, error) from error


async def query(
    journal: Journal,
    definition: EntityDefinition,
    handler: Handler[Any, Any],
    id: str,
    arguments: tuple[Any, ...],
    *,
    sequence: int | None,
    time: int | None,
) -> bytes:
    """Run a query on an entity as it was.

    Raises what `restore` and `answer` raise.
    """
    live = await restore(journal, definition, id, sequence=sequence, time=time)
    return answer(live, handler, arguments)
