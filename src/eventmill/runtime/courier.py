"""The courier: delivers sent commands to their entities, exactly once in effect.

A sent command is an entry of source `$commands` with subject `component/id`. The entity remembers
the position of the last one that had an effect, together with that effect, so a second delivery
after a crash does nothing. A rejection is an answer nobody waits for: it is kept as a `refused`
letter and blocks nobody.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec

from eventmill.engine.outgoing import EXPIRE, PURGE
from eventmill.errors import Deleted, Rejected, Unavailable
from eventmill.model import limits
from eventmill.model.definition import Retry
from eventmill.model.entry import COMMANDS, Entry, metadata_of
from eventmill.model.envelope import Envelope
from eventmill.ports.store import Journal
from eventmill.runtime.reaction import Reacted
from eventmill.runtime.turn import Entities, repeat

NAME: Final = "$courier"


class Courier:
    """The reaction to `$commands`."""

    sources = frozenset({COMMANDS})
    skipped: frozenset[tuple[str, str]] = frozenset()
    retry = Retry()
    batch = limits.DISPATCH_BATCH
    exclusive = False

    def __init__(self, entities: Entities, journal: Journal, doubtful: int) -> None:
        self._entities = entities
        self._journal = journal
        self._doubtful = doubtful
        """Up to this position a command may have been delivered before: in another life of the
        node, or by an attempt whose commit failed."""

    async def react(self, entries: list[Entry], attempt: int) -> Reacted:
        reacted = Reacted()
        doubtful = self._doubtful
        self._doubtful = max(doubtful, entries[-1].position)
        failed: set[str] = set()
        waiting: list[asyncio.Future[bytes]] = []
        latest: dict[str, asyncio.Future[bytes]] = {}
        """Of each entity, its latest command that waits for its commit."""
        for entry in entries:
            if entry.subject in failed:
                reacted.behind.append(entry)
                continue
            try:
                envelope = self._envelope(entry)
                if entry.position <= doubtful and await self._is_done(envelope):
                    continue
                before = latest.get(entry.subject)
                if before is not None and (
                    before.done() or (envelope.component, envelope.id) not in self._entities.cells
                ):
                    # If the earlier one failed, this one must not pass it: its mark, once
                    # committed, says that everything up to it was done.
                    await before
                answer = await self._entities.submit(envelope)
            except Unavailable:
                await _ends(waiting)
                raise
            except (Rejected, Deleted) as error:
                reacted.refused.append((entry, error))
            except Exception as error:  # the handler's defect, whatever it is: the entry is parked
                failed.add(entry.subject)
                reacted.failed.append((entry, error))
            else:
                if not isinstance(answer, bytes):
                    waiting.append(answer)
                    latest[entry.subject] = answer
        for end in await _ends(waiting):
            if isinstance(end, BaseException):
                # One failed commit fails the whole batch; what did commit is known by its marks.
                raise end
        return reacted

    async def _is_done(self, envelope: Envelope) -> bool:
        """Whether it had an effect that left no entry of the entity, and so no mark.

        Raises `Rejected` again for one that was refused.
        """
        assert envelope.origin is not None
        key = envelope.origin.encode()
        outcomes = await self._journal.outcomes(envelope.component, envelope.id, [key])
        for outcome in outcomes:
            repeat(outcome)
        return bool(outcomes)

    def committed(self) -> None:
        """Nothing is kept in memory between batches."""

    def _envelope(self, entry: Entry) -> Envelope:
        component, _, id = entry.subject.partition("/")
        arguments: tuple[Any, ...]
        if entry.type == EXPIRE:
            arguments = (msgspec.json.decode(entry.payload)["sequence"],)
        elif entry.type == PURGE:
            arguments = ()
        else:
            handler = self._entities.handler(component, entry.type)
            arguments = handler.decode_arguments(entry.payload)
        metadata = metadata_of(entry)
        metadata["causation"] = metadata.get("causation", entry.id)
        return Envelope(component, id, entry.type, arguments, None, None, metadata, entry.id)


async def _ends(waiting: list[asyncio.Future[bytes]]) -> list[bytes | BaseException]:
    """Wait for every answer, or what it failed with: a batch that is repeated must find the marks
    of its first try, not overlap it."""
    return await asyncio.gather(*waiting, return_exceptions=True)
