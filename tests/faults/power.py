"""The power goes out at every sync of a working node: how many cuts lose something?

One round: a node works for a few clients on a `Disk`; before and after each sync an image of what
a disk could hold at that instant is set aside, with the operations acknowledged so far. Then every
image is opened as a restarted node would and held to account; some are worked on further.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec

from eventmill.adapters.sqlite.store import Store
from tests.faults import inprocess, ledger
from tests.faults.audit import audit
from tests.faults.disk import Disk, Loss

ACCOUNTS = 6
CLIENTS = 4
CHECKPOINT_PAGES = 20
"""Small, so that cuts fall into checkpoints and restarts of the write-ahead log as well."""
CONTINUED = 20
"""Every so many images, a node works on with one."""

Ack = tuple[str, str]
"""Account and operation."""


class Cut(NamedTuple):
    """One image of the disk."""

    folder: Path
    loss: Loss
    acknowledged: list[Ack]
    notes: dict[str, int]
    """Note → revision acknowledged."""


@dataclass
class Outcome:
    """What the rounds showed."""

    cuts: int = 0
    checkpoints: int = 0
    """Cuts while the database file itself had writes that were not synced."""
    acknowledged: int = 0
    lost: int = 0
    """Cuts after which something acknowledged was missing."""
    missing: list[Ack] = field(default_factory=list)
    continued: int = 0
    losses: dict[Loss, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return (
            f"{self.cuts} power cuts ({self.checkpoints} inside checkpoints), "
            f"{self.acknowledged} acknowledgements verified, {self.lost} cuts lost some "
            f"({len(self.missing)} operations), {self.continued} continued"
        )


async def round_of_cuts(
    folder: Path, disk: Disk, *, synchronous: str, cuts: int, seed: int, outcome: Outcome
) -> None:
    """Make that many cuts and judge them."""
    luck = random.Random(seed)
    taken = await _work(folder, disk, synchronous, cuts, luck, outcome)
    for number, cut in enumerate(taken):
        await _judge(cut, outcome)
        if synchronous == "FULL" and number % CONTINUED == 0:
            await _continue(cut, outcome)


async def _work(
    folder: Path, disk: Disk, synchronous: str, cuts: int, luck: random.Random, outcome: Outcome
) -> list[Cut]:
    taken: list[Cut] = []
    acknowledged: list[Ack] = []
    notes: dict[str, int] = {}
    kinds = _kinds(luck)

    def cut() -> None:
        if len(taken) < cuts:
            # Copied before the image is made: what is acknowledged later may be lost.
            kept, seen = list(acknowledged), dict(notes)
            loss = next(kinds)
            target = folder / f"cut-{len(taken)}"
            disk.image(target, loss, luck)
            taken.append(Cut(target, loss, kept, seen))
            outcome.checkpoints += any(
                p.pending for name, p in disk.platters.items() if name.endswith(".db")
            )

    store = Store(
        folder / "data",
        synchronous=synchronous,
        vfs=disk.vfs_name,
        checkpoint_pages=CHECKPOINT_PAGES,
        round_entries=200,
    )
    async with inprocess.running(ledger.service, store) as runtime:
        disk.at_sync = cut

        async def client(number: int) -> None:
            step = 0
            while len(taken) < cuts:
                step += 1
                account, op = f"a{luck.randrange(ACCOUNTS)}", f"{number}-{step}"
                await inprocess.run(runtime, "account", account, "transfer", op, step)
                acknowledged.append((account, op))
                note = f"n{number}"
                revision = await inprocess.run(runtime, "note", note, "write", "x" * (step % 97))
                notes[note] = msgspec.json.decode(revision, type=int)

        async with asyncio.TaskGroup() as clients:
            for number in range(CLIENTS):
                clients.create_task(client(number))
        disk.at_sync = lambda: None
    return taken


def _kinds(luck: random.Random) -> Iterator[Loss]:
    while True:
        yield luck.choice((Loss.DROPPED, Loss.TORN, Loss.SCATTERED, Loss.SCATTERED, Loss.KEPT))


async def _judge(cut: Cut, outcome: Outcome) -> None:
    facts = await audit(cut.folder)
    missing = [(a, op) for a, op in cut.acknowledged if op not in facts.ops.get(a, ())]
    stale = [n for n, revision in cut.notes.items() if facts.notes.get(n, (0, ""))[0] < revision]
    outcome.cuts += 1
    outcome.acknowledged += len(cut.acknowledged) + len(cut.notes)
    outcome.lost += bool(missing or stale)
    outcome.missing += missing
    outcome.losses[cut.loss] = outcome.losses.get(cut.loss, 0) + 1


async def _continue(cut: Cut, outcome: Outcome) -> None:
    """A node goes on after the cut: everything arrives at the totals, once."""
    async with inprocess.running(ledger.service, Store(cut.folder)) as runtime:
        for number in range(ACCOUNTS):
            await inprocess.run(runtime, "account", f"a{number}", "transfer", f"after-{number}", 1)
        await inprocess.drained(runtime)
    facts = await audit(cut.folder)
    assert sum(facts.counted.values()) == sum(map(len, facts.ops.values()))
    assert sum(map(len, facts.ops.values())) >= ACCOUNTS
    outcome.continued += 1
