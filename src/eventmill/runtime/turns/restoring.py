"""Entities from the journal: a snapshot and what follows it become a state, page by page.

Place on the road: the way into memory (`runtime.turns.cells`), and what operators look at. Between two
pages the loop does other work: an entity may have a million events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from eventmill.engine.entity import Live
from eventmill.errors import HandlerFailed
from eventmill.model import limits
from eventmill.model.entry import Entry
from eventmill.ports.store import Journal, is_last


async def restore(journal: Journal, live: Live) -> None:
    """Bring a new entity to its newest state. A snapshot that is of no use is passed over."""
    component, id = live.definition.id, live.id
    snapshot, page = await journal.load(component, id)
    if snapshot is not None and not live.begin_at(snapshot):
        page = await journal.history(component, id, limit=limits.SCAN_ROWS)
    await fold(journal, live, page)


async def fold(
    journal: Journal,
    live: Live,
    page: list[Entry],
    is_wanted: Callable[[Entry], bool] | None = None,
) -> None:
    """Fold a page of an entity's entries and all that follow, up to the first not wanted."""
    while True:
        for entry in page:
            if is_wanted is not None and not is_wanted(entry):
                return
            try:
                live.apply(entry)
            except (
                SystemExit
            ) as error:  # of a fold; whoever asked may be a task, which would end all
                raise HandlerFailed(f"a fold of {live!r} raised SystemExit: {error}") from error
        if is_last(page, limits.SCAN_ROWS):
            return
        await asyncio.sleep(0)
        page = await journal.history(
            live.definition.id, live.id, after=live.identity.sequence, limit=limits.SCAN_ROWS
        )
