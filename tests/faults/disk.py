"""A disk that fails as real ones do: power cuts, I/O errors and no space, under real SQLite.

An apsw VFS over the system's. Every write goes to the real file, so that SQLite's locks and shared
memory work as always, and is also kept apart until the file is synced. `image` writes what a disk
could hold if the power went out now: everything that was synced, and of what was not, whatever the
caller's `luck` leaves of it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

import apsw

SECTOR = 512
PAGE = 4096


class Loss(Enum):
    """What a power cut leaves of the writes that were not synced."""

    DROPPED = "nothing"
    TORN = "the first ones, the last of them cut at a sector"
    SCATTERED = "any sectors, in no order"
    KEPT = "everything"


class Platter:
    """One file: what is safe, and what is not yet."""

    def __init__(self) -> None:
        self.synced = bytearray()
        self.pending: list[tuple[int, bytes] | int] = []
        """Writes as (offset, bytes), truncations as a size."""

    def sync(self) -> None:
        _apply(self.synced, self.pending)
        self.pending.clear()

    def after(self, loss: Loss, luck: random.Random) -> bytes:
        content = bytearray(self.synced)
        match loss:
            case Loss.TORN if self.pending:
                kept = self.pending[: luck.randrange(len(self.pending) + 1)]
                if kept and not isinstance(kept[-1], int):
                    offset, data = kept[-1]
                    size = luck.choice((SECTOR, PAGE))
                    kept[-1] = (offset, data[: luck.randrange(0, len(data) + size, size)])
                _apply(content, kept)
            case Loss.SCATTERED:
                _apply(
                    content, [part for change in self.pending for part in _sectors(change, luck)]
                )
            case Loss.KEPT:
                _apply(content, self.pending)
        return bytes(content)


class Disk(apsw.VFS):
    """The VFS; use its `vfs_name` when a store is opened.

    `fault` is asked before each operation ("read", "write", "sync") and may raise an apsw error;
    `quota` bounds the bytes of all files; `at_sync` is called before and after each sync, in the
    thread that syncs.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name, "")
        self.vfs_name = name
        self.platters: dict[str, Platter] = {}
        self.sizes: dict[str, int] = {}
        self.fault: Callable[[str], None] = healthy
        self.quota: int | None = None
        self.at_sync: Callable[[], None] = lambda: None
        self.syncs = 0
        self.full = 0
        """How often a write found no space."""

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return _File(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        super().xDelete(filename, syncdir)
        self.platters.pop(filename, None)
        self.sizes.pop(filename, None)

    def image(self, folder: Path, loss: Loss, luck: random.Random) -> None:
        """Write to `folder` what is left if the power goes out now."""
        folder.mkdir()
        for name, platter in list(self.platters.items()):
            (folder / os.path.basename(name)).write_bytes(platter.after(loss, luck))

    def forget(self) -> None:
        """Begin anew: nothing is on the disk."""
        self.platters.clear()
        self.sizes.clear()

    def claim(self, name: str, end: int) -> None:
        """Take space for a file that grows to `end`; raise when there is none."""
        growth = end - self.sizes.get(name, 0)
        if growth <= 0:
            return
        if self.quota is not None and sum(self.sizes.values()) + growth > self.quota:
            self.full += 1
            raise apsw.FullError("no space left")
        self.sizes[name] = end


def healthy(operation: str) -> None:
    """No fault."""


class Failing:
    """A fault: the `at`-th operation of its kind fails, and the next ones, `times` in all.

    `times` None means until it is taken away: a disk that stays broken.
    """

    def __init__(
        self, operation: str, *, at: int, times: int | None, error: type[apsw.Error]
    ) -> None:
        self.operation = operation
        self.at = at
        self.times = times
        self.error = error
        self.seen = 0
        self.fired = 0

    def __call__(self, operation: str) -> None:
        if operation != self.operation:
            return
        self.seen += 1
        if self.seen >= self.at and (self.times is None or self.fired < self.times):
            self.fired += 1
            raise self.error(f"{operation} {self.seen} failed on purpose")


@contextmanager
def disk(name: str) -> Iterator[Disk]:
    """A disk for one test."""
    made = Disk(name)
    try:
        yield made
    finally:
        made.unregister()


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._disk = disk
        self._name = name.filename() if isinstance(name, apsw.URIFilename) else name or ""
        kept = flags[0] & (apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_WAL)
        self._platter = disk.platters.setdefault(self._name, Platter()) if kept else None

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        self._disk.fault("read")
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._disk.fault("write")
        if self._platter is not None:
            self._disk.claim(self._name, offset + len(data))
            self._platter.pending.append((offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:  # noqa: N802
        super().xTruncate(size)
        if self._platter is not None:
            self._platter.pending.append(size)
            self._disk.sizes[self._name] = size

    def xSync(self, flags: int) -> None:  # noqa: N802
        # The real disk is not synced: only what this one promises counts here.
        self._disk.fault("sync")
        if self._platter is not None:
            self._disk.at_sync()
            self._platter.sync()
            self._disk.syncs += 1
            self._disk.at_sync()


def _apply(content: bytearray, changes: list[tuple[int, bytes] | int]) -> None:
    for change in changes:
        if isinstance(change, int):
            del content[change:]
            continue
        offset, data = change
        if len(content) < offset:
            content.extend(bytes(offset - len(content)))
        content[offset : offset + len(data)] = data


def _sectors(
    change: tuple[int, bytes] | int, luck: random.Random
) -> Iterator[tuple[int, bytes] | int]:
    if isinstance(change, int):
        if luck.random() < 0.5:
            yield change
        return
    offset, data = change
    start = 0
    while start < len(data):
        end = min(len(data), start + SECTOR - (offset + start) % SECTOR)
        if luck.random() < 0.5:
            yield offset + start, data[start:end]
        start = end
