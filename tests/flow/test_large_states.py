"""A state of any size is read again after a restart, and is in a backup."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from eventmill import Effect, Event, EventSourcedEntity, Service, command, component, on
from eventmill.adapters.sqlite import archive
from eventmill.adapters.sqlite.store import Store
from eventmill.model import limits
from eventmill.model.commit import Commit, Snapshot
from eventmill.model.entry import Entry
from eventmill.testing import FaultyStore, Host


class Kept(Event):
    text: str


@component("keeper")
class Keeper(EventSourcedEntity):
    snapshot_every = 2
    texts: list[str] = []

    @command
    def add(self, text: str) -> Effect[int]:
        return self.persist(Kept(text=text)).reply(lambda keeper: len(keeper.texts))

    @on(Kept)
    def kept(self, event: Kept) -> None:
        self.texts.append(event.text)


service = Service("attic", components=[Keeper])


async def test_too_large_a_state_gets_no_snapshot_and_the_log_names_it(
    store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SNAPSHOT_BYTES_MAX", 1_000)
    with capture_logs() as logs:
        async with Host(service, store=store) as host:
            for size in (10, 10, 1_000, 10, 10):
                await host.call(Keeper.add, "k", "x" * size)
            snapshot, after = await store.journal.load("keeper", "k")
            assert snapshot is not None
            assert (snapshot.sequence, [e.sequence for e in after]) == (2, [3, 4, 5])
            await host.restart()
            assert await host.call(Keeper.add, "k", "x") == 6
    warned = [line for line in logs if line["event"].startswith("no snapshot")]
    assert [line["entity"] for line in warned] == ["keeper/k", "keeper/k"]


async def test_a_snapshot_beyond_what_a_query_may_answer_is_read_and_exported(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path)
    await store.open()
    state = b'"%b"' % (b"x" * limits.VIEW_ANSWER_BYTES_MAX)
    entry = Entry("keeper", "k", 1, "Kept", 1, 0, b"{}")
    snapshot = Snapshot("keeper", "k", 1, 0, "", state)
    await store.commit(Commit(entries=[entry], snapshots=[snapshot]))
    found, _ = await store.journal.load("keeper", "k")
    assert found is not None
    assert found.state == state
    await store.close()
    end = archive.export(tmp_path, io.BytesIO(), lambda *_: None)
    assert end.lines > 1
