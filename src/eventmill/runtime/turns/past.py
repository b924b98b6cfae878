"""Entities as they were: folded from the journal up to a sequence or a time.

Place on the road: beside it. Nothing here touches the entities in memory or enters the cache; the
fold is the one that loads an entity (`runtime.turns.restoring`).
"""

from __future__ import annotations

from typing import Any

from eventmill.engine.entity import Live
from eventmill.errors import FAILURES, Conflict, Deleted, EventmillError, NotFound
from eventmill.model import codec, limits
from eventmill.model.definition import EntityDefinition
from eventmill.model.entry import Entry
from eventmill.model.handler import Handler
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

    Raises `Conflict` for a key-value entity, which keeps no history, and `NotFound` for a sequence
    that it has not reached.
    """
    if not definition.has_history:
        raise Conflict(f"{definition.id!r} is a {definition.kind}: it keeps no history")
    live = Live(definition, id)
    page = await journal.history(definition.id, id, limit=limits.SCAN_ROWS)

    def is_wanted(entry: Entry) -> bool:
        is_later = time is not None and entry.time > time
        return not is_later and (sequence is None or entry.sequence <= sequence)

    await fold(journal, live, page, is_wanted)
    if sequence is not None and time is None and live.identity.sequence < sequence:
        count = live.identity.sequence
        raise NotFound(
            f"{definition.id}/{id} has no event {sequence}; its last is {count}"
            if count
            else f"{definition.id}/{id} has no events",
            code="entity.no_sequence",
        )
    return live


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
