"""Parked letters in SQLite. The entry is kept whole and encoded, in its original form."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import apsw
import msgspec

from eventmill.adapters.sqlite.connection import errors
from eventmill.adapters.sqlite.portion import take
from eventmill.adapters.sqlite.statements import SQL
from eventmill.model.commit import Letter, LetterStatus
from eventmill.model.entry import Entry
from eventmill.ports.store import Head

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Entry).decode

_ENTRY = 11
"""The column that a letter's size is made of."""


class Parking:
    """The reading half of the parked letters."""

    db: apsw.Connection | None = None

    @property
    def _reader(self) -> apsw.Connection:
        assert self.db is not None, "the store is not open"
        return self.db

    async def heads(self, shards: Collection[int]) -> list[Head]:
        with errors():
            return [
                Head(subscription, shard, key, LetterStatus(status), due)
                for subscription, shard, key, status, due in self._reader.execute(SQL["heads"])
            ]

    async def count(self, subscription: str, shards: Collection[int]) -> int:
        with errors():
            (count,) = next(self._reader.execute(SQL["count_letters"], (subscription,)))
            return int(count)

    async def queue(self, subscription: str, shard: int, key: str, *, limit: int) -> list[Letter]:
        with errors():
            rows = self._reader.execute(SQL["queue"], (subscription, key, limit))
            return letters_of(take(rows, _ENTRY)[0])

    async def letters(
        self,
        *,
        subscription: str | None = None,
        statuses: Sequence[LetterStatus] = (),
        after: tuple[str, int, int] = ("", 0, 0),
        limit: int,
    ) -> list[Letter]:
        bindings = {
            "subscription": subscription,
            "statuses": msgspec.json.encode(list(statuses)).decode(),
            "subscription_after": after[0],
            "shard_after": after[1],
            "position_after": after[2],
            "limit": limit,
        }
        with errors():
            rows = self._reader.execute(SQL["letters"], bindings)
            return letters_of(take(rows, _ENTRY)[0])


def letter_row(letter: Letter) -> tuple[object, ...]:
    """Return the columns of a letter, in the table's order."""
    entry = letter.entry
    return (
        letter.subscription,
        entry.shard,
        entry.position,
        letter.key,
        str(letter.status),
        letter.attempts,
        letter.due,
        letter.parked,
        letter.code,
        letter.error,
        letter.traceback,
        _encode(entry),
    )


def letters_of(rows: Iterable[tuple[object, ...]]) -> list[Letter]:
    """Return the letters of rows whose columns are in the table's order."""
    return [
        Letter(
            subscription=r[0],  # type: ignore[arg-type]
            key=r[3],  # type: ignore[arg-type]
            entry=_decode(r[11]),  # type: ignore[arg-type]
            status=LetterStatus(str(r[4])),
            attempts=r[5],  # type: ignore[arg-type]
            due=r[6],  # type: ignore[arg-type]
            parked=r[7],  # type: ignore[arg-type]
            code=r[8],  # type: ignore[arg-type]
            error=r[9],  # type: ignore[arg-type]
            traceback=r[10],  # type: ignore[arg-type]
        )
        for r in rows
    ]
