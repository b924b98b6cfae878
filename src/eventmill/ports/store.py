"""The store port: the journal and everything that is committed with it.

Place on the road: the commit. An embedded store is opened by one node, a shared one by many; all
writes of a node go through `commit`, one at a time; reads may run at any time and see only what was
committed.

Invariants every adapter keeps (tested by `eventmill.testing.contract`):
- `commit` is all or nothing and durable when it returns; entries get positions without gaps, in
  list order, larger than every earlier one of the shard.
- (source, subject, sequence) is unique for sequences above 0: a stale writer gets `Conflict`.
- Each entry says which shard it goes to; the store gives it its position there.
- What lives in a home shard (`model.placement`) is written only while the epoch that this node was
  given (`hold`) is the stored one, which is checked in the same transaction; otherwise the whole
  commit is refused with `NotOwner`. Home shards of a commit: those of its entries, offsets and
  letters, of timers' commands, and of the subjects of snapshots, outcomes, compactions and purges.
  Messages and the outcomes of their topics need no epoch: any node may append them.
- In a shared store an outcome whose key another node stored first refuses the commit with
  `Conflict`, unless that one had expired `limits.IDEMPOTENCY_SECONDS` before the new one expires.
- A fact of `Commit.expected` that is not as expected refuses the whole commit with `Conflict`, code
  `conflict.fact`, also if it is changed at the same moment.
- An `Offset` whose `expected` is not the stored position refuses the whole commit with `Conflict`.
- After `StoreUnavailable` or `StoreFull` nothing of the commit may be relied on; the caller reloads
  what it holds in memory. The adapter reopens by itself when the cause is gone.
Driver errors never leave an adapter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from eventmill.model import limits
from eventmill.model.commit import Commit, Letter, LetterStatus, Outcome, Snapshot, Timer
from eventmill.model.entry import Entry, size_of_all
from eventmill.model.placement import Placement
from eventmill.model.table import PhysicalTable

Dialect = Literal["sqlite", "postgres"]


class Scan(NamedTuple):
    """A stretch of the journal."""

    entries: list[Entry]
    """Those that were asked for, in order of position."""
    position: int
    """The last position that was looked at: continue after it."""


def is_last(page: list[Entry], limit: int) -> bool:
    """Whether a page of `Journal.history` that was read with `limit` is an entity's last."""
    return len(page) < limit and size_of_all(page) < limits.SCAN_BYTES_MAX


class Journal(Protocol):
    """Entries and the entities made of them."""

    async def load(self, source: str, subject: str) -> tuple[Snapshot | None, list[Entry]]:
        """Return an entity's newest snapshot and the first entries after it: what `history` returns
        for a limit of `SCAN_ROWS`."""
        ...

    async def history(
        self, source: str, subject: str, *, after: int = 0, limit: int
    ) -> list[Entry]:
        """Return an entity's entries with a sequence above `after`, in order.

        It returns fewer than `limit` where the entity ends, and as soon as those that it has bring
        `SCAN_BYTES_MAX` bytes: see `is_last`.
        """
        ...

    async def latest(self, source: str, subject: str) -> Entry | None:
        """Return an entity's last entry."""
        ...

    async def read(
        self, shard: int, after: int, *, limit: int, sources: frozenset[str] | None = None
    ) -> Scan:
        """Look at up to `limit` positions above `after`; return the entries of `sources`.

        It may look at fewer, and stops when it has read `SCAN_BYTES_MAX` bytes: the
        scan's `position` says how far it looked.
        """
        ...

    def has_room_for(self, types: Iterable[str]) -> bool:
        """Whether entries of these types would keep the number of names, those of sources
        included, within `limits.NAMES_MAX`. Types that are stored already need no room."""
        ...

    async def end(self, shard: int) -> int:
        """Return the last committed position."""
        ...

    async def ends(self) -> dict[int, int]:
        """Return the last committed position of every shard; empty shards may be missing."""
        ...

    async def position_at(self, shard: int, time: int, *, after: int = 0) -> int:
        """Return the position before the first entry of `time` (microseconds) or later above
        `after`. Clocks are set back, so times need not grow: entries behind it may be earlier, none
        before it is later. It looks at one entry after the other."""
        ...

    async def subjects(self, source: str, *, after: str = "", limit: int) -> list[tuple[str, int]]:
        """List subjects of a source above `after`, in order, with their last sequence."""
        ...

    async def outcomes(self, source: str, subject: str, keys: Sequence[bytes]) -> list[Outcome]:
        """Return the stored outcomes among `keys`."""
        ...


class Head(NamedTuple):
    """What is known of the first letter of a blocked key."""

    subscription: str
    shard: int
    key: str
    status: LetterStatus
    due: int


class Parking(Protocol):
    """Parked letters."""

    async def heads(self, shards: Collection[int]) -> list[Head]:
        """Return the first letter of every key that is blocked in one of the shards."""
        ...

    async def count(self, subscription: str, shards: Collection[int]) -> int:
        """Return how many blocking letters a subscription has in the shards."""
        ...

    async def queue(self, subscription: str, shard: int, key: str, *, limit: int) -> list[Letter]:
        """Return a key's blocking letters of a shard in order of position: up to `limit`, and no
        more when those that it has bring `SCAN_BYTES_MAX` bytes."""
        ...

    async def letters(
        self,
        *,
        subscription: str | None = None,
        statuses: Sequence[LetterStatus] = (),
        after: tuple[str, int, int] = ("", 0, 0),
        limit: int,
    ) -> list[Letter]:
        """List letters above (subscription, shard, position), in that order: up to `limit`, and no
        more when those that it has bring `SCAN_BYTES_MAX` bytes. Only an empty page is the last."""
        ...


class Found(NamedTuple):
    """Rows of a view's table."""

    rows: list[tuple[Any, ...]]
    looked: int
    """At how many of the keys, from the first on."""


class ViewTables(Protocol):
    """Tables of views. Their rows change only in `Store.commit`."""

    dialect: Dialect
    """What its queries are rendered in."""

    async def prepare(self, tables: Sequence[PhysicalTable]) -> None:
        """Create the tables that are missing; make their indexes those that are asked for."""
        ...

    async def drop(self, names: Sequence[str]) -> None:
        """Remove tables with their rows; unknown names are fine."""
        ...

    async def rows(self, table: str, keys: Sequence[str]) -> Found:
        """Return the stored rows of `keys`, which are all different, in their order: key first,
        then the columns in order. It looks at no more keys when the rows that it has bring
        `SCAN_BYTES_MAX` bytes."""
        ...

    async def query(self, sql: str, parameters: dict[str, Any], *, seconds: float) -> bytes:
        """Run a read-only query that answers one JSON value; interrupt it after `seconds`.

        Raises `DeadlineExceeded` when interrupted, `RequestError` when it cannot run.
        """
        ...


class Store(Protocol):
    """Everything durable."""

    @property
    def placement(self) -> Placement:
        """Its shards; known while it is open."""
        ...

    @property
    def journal(self) -> Journal: ...
    @property
    def parking(self) -> Parking: ...
    @property
    def views(self) -> ViewTables: ...

    async def open(self) -> None:
        """Take the store: an embedded one alone, a shared one beside other nodes.

        Raises `ConfigurationError` when another process has it or its data cannot be used.
        """
        ...

    async def close(self) -> None:
        """Give the store back; committed data stays."""
        ...

    async def place(self, topics: Collection[str]) -> Placement:
        """Number the topics that have no number yet, durably; return the new placement.

        An embedded store numbers those of other services only: its own are among its entries.
        """
        ...

    def hold(self, shard: int, epoch: int) -> None:
        """Write this home shard under that epoch from now on. Embedded stores hold theirs."""
        ...

    def let_go(self, shard: int) -> None:
        """Write this home shard no more."""
        ...

    async def commit(self, commit: Commit) -> None:
        """Write everything or nothing; return when it is durable. Stamps the entries' positions.

        Raises `Conflict`, `NotOwner`, `StoreUnavailable` or `StoreFull`.
        """
        ...

    async def offsets(self) -> dict[tuple[str, int], int]:
        """Return position by (subscription, shard)."""
        ...

    async def registry(self) -> dict[str, bytes]:
        """Return all durable facts by name."""
        ...

    async def due_timers(self, until: int, shards: Collection[int], *, limit: int) -> list[Timer]:
        """Return the shards' timers due at `until` (microseconds) or before, earliest first: up to
        `limit`, and no more when those that it has bring `SCAN_BYTES_MAX` bytes.

        A timer belongs to the shard of its command.
        """
        ...

    async def timers(self, *, after: str = "", limit: int) -> list[Timer]:
        """List timers by name: up to `limit`, and no more when those that it has bring
        `SCAN_BYTES_MAX` bytes. Only an empty page is the last."""
        ...

    async def trim(self, sources: Sequence[str], shard: int, after: int, until: int) -> int:
        """Remove the messages of topics at a shard's positions above `after` up to `until`; return
        how many.

        Positions are not used again, also if the last one is removed.
        """
        ...

    async def sweep(self, now: int, *, limit: int) -> int:
        """Remove up to `limit` expired outcomes and refused letters; return how many there were.

        All outcomes live equally long: it may stop at the first that was stored and has not
        expired. A refused letter goes when it is due, or sooner, earliest due first, if there are
        more than `limits.REFUSED_MAX`.
        """
        ...
