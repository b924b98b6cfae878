"""The relay: brings the messages of the outbox to the broker.

Place on the road: dispatch. Where topics live in a broker, their shards in the store are the
outbox: a message is committed there with what caused it, in the order of its key. The relay is a
subscription over it like any other, and its offset is its mark; the broker tells by the message's
id what it has already, and readers tell it for ever (`runtime.dispatch.marks`).

Invariant: what is relayed of a shard is relayed in order, and nothing is passed over, but for what
the broker can never take.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

import structlog

from eventmill.errors import TooLarge, Unavailable
from eventmill.model import limits
from eventmill.model.definition import Retry
from eventmill.model.entry import Entry
from eventmill.ports.broker import Broker, Receipt
from eventmill.runtime.dispatch.reaction import Reacted

log = structlog.get_logger()

NAME: Final = "$relay"


class Relay:
    """The reaction to what is in the outbox. Parameter: `stored` hears what the broker stored."""

    skipped: frozenset[tuple[str, str]] = frozenset()
    retry = Retry()
    batch = limits.BROKER_BATCH
    exclusive = True
    whole = False
    waits = False
    quiet = 0.0

    def __init__(
        self,
        topics: Collection[str],
        broker: Broker,
        stored: Callable[[Sequence[Entry], Sequence[Receipt]], None],
    ) -> None:
        self.sources = frozenset(topics)
        self._broker = broker
        self._stored = stored

    async def react(self, entries: list[Entry], attempt: int) -> Reacted:
        reacted = Reacted()
        try:
            await self._append(entries, reacted)
        except Unavailable:
            raise
        except Exception as error:
            # Parked and appended later, it would pass for a repetition: nothing passes it.
            log.exception("broker failed", exc_info=error)
            raise Unavailable(f"the broker failed: {error!r}") from error
        return reacted

    async def _append(self, entries: list[Entry], reacted: Reacted) -> None:
        try:
            receipts = await self._broker.append(entries)
        except TooLarge as error:
            # It would block all behind it for ever: it is kept for people, and told.
            (large,) = [entry for entry in entries if entry.id == error.details["entry"]]
            log.error("message too large for the broker", error=error.message)
            reacted.refused.append((large, error))
            await self._append([entry for entry in entries if entry is not large], reacted)
            return
        # crash here: the next holder of the shard appends them again, in vain.
        self._stored(entries, receipts)

    def committed(self) -> None:
        """Nothing is kept in memory between batches."""

    def taken(self, ends: Mapping[int, int]) -> None:
        """The same."""
