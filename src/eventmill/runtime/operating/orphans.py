"""Orphans: entities in the store whose component the service does not have (any more).

Place on the road: beside it, once at start. A component that was renamed in code takes its entities
out of everybody's sight, and nothing else would say so. Only the oldest and the newest entries of a
few shards are looked at, which costs milliseconds; `eventmill check --data` looks at all of them.
"""

from __future__ import annotations

import contextlib
from typing import Final

import structlog

from eventmill.errors import Unavailable
from eventmill.model import limits
from eventmill.runtime.runtime import Runtime

log = structlog.get_logger()

SHARDS_MAX: Final = 4
"""Shards that are looked at: ids are spread over all of them."""


async def tell(runtime: Runtime) -> None:
    """Note the components of such entities in the log."""
    found: set[str] = set()
    with contextlib.suppress(Unavailable):  # whoever needs the store hears of it soon enough
        found = await _orphans(runtime)
    for component in sorted(found):
        log.warning(
            "entities of a component that the service does not have: nobody can read them; if it "
            "was renamed, give it back its id",
            component=component,
        )


async def _orphans(runtime: Runtime) -> set[str]:
    found: set[str] = set()
    for shard in sorted(runtime.held)[:SHARDS_MAX]:
        newest = max(0, runtime.tails.end(shard) - limits.SCAN_ROWS)
        for after in sorted({0, newest}):
            scan = await runtime.store.journal.read(shard, after, limit=limits.SCAN_ROWS)
            found |= {entry.source for entry in scan.entries if entry.sequence > 0}
    return found - runtime.service.entities.keys()
