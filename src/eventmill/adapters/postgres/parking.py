"""Parked letters in PostgreSQL. The entry is kept whole and encoded, in its original form."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from eventmill.adapters.postgres.reader import Reader
from eventmill.adapters.postgres.text import loaded, stored
from eventmill.model import limits
from eventmill.model.commit import Letter, LetterStatus
from eventmill.model.entry import Entry
from eventmill.ports.store import Head

_decode = msgspec.msgpack.Decoder(Entry).decode


class Parking:
    """The reading half of the parked letters."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def heads(self, shards: Collection[int]) -> list[Head]:
        rows = await self._reader.fetch("heads", shards=list(shards))
        return [
            Head(subscription, shard, loaded(key), LetterStatus(status), due)
            for subscription, shard, key, status, due in rows
        ]

    async def count(self, subscription: str, shards: Collection[int]) -> int:
        rows = await self._reader.fetch(
            "count_letters", subscription=subscription, shards=list(shards)
        )
        return int(rows[0][0])

    async def queue(self, subscription: str, shard: int, key: str, *, limit: int) -> list[Letter]:
        rows = await self._reader.fetch(
            "queue",
            subscription=subscription,
            shard=shard,
            key=stored(key),
            limit=limit,
            bytes=limits.SCAN_BYTES_MAX,
        )
        return [letter_of(row) for row in rows]

    async def letters(
        self,
        *,
        subscription: str | None = None,
        statuses: Sequence[LetterStatus] = (),
        after: tuple[str, int, int] = ("", 0, 0),
        limit: int,
    ) -> list[Letter]:
        rows = await self._reader.fetch(
            "all_letters",
            subscription=subscription,
            statuses=[str(status) for status in statuses] or None,
            subscription_after=after[0],
            shard_after=after[1],
            position_after=after[2],
            limit=limit,
            bytes=limits.SCAN_BYTES_MAX,
        )
        return [letter_of(row) for row in rows]


def letter_of(r: Any) -> Letter:
    """Return the letter of a row."""
    return Letter(
        subscription=r["subscription"],
        key=loaded(r["key"]),
        entry=_decode(r["entry"]),
        status=LetterStatus(r["status"]),
        attempts=r["attempts"],
        due=r["due"],
        parked=r["parked"],
        code=loaded(r["code"]),
        error=loaded(r["error"]),
        traceback=loaded(r["traceback"]),
    )
