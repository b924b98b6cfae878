"""What the rule machines stand on: a loop of their own and SQLite in a directory of its own."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine

from eventmill import Service
from eventmill.adapters.sqlite.store import Store as SqliteStore
from eventmill.testing import FaultyStore, Host

T = TypeVar("T")

MACHINES = settings.get_profile("machines")


class LoopMachine(RuleBasedStateMachine):
    """Runs coroutines in rules; everything it opened is closed when the example ends."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory(prefix="eventmill-machine-")

    @property
    def directory(self) -> Path:
        return Path(self.folder.name)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    async def close(self) -> None:
        """Close what the machine opened."""

    def teardown(self) -> None:
        self.run(self.close())
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()
        self.folder.cleanup()


class HostMachine(LoopMachine):
    """A service on SQLite, whose commits can be made to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.store = FaultyStore(SqliteStore(self.directory, round_entries=3))
        self.host = Host(self.service(), store=self.store)
        self.run(self.host.start())

    def service(self) -> Service:
        raise NotImplementedError

    async def close(self) -> None:
        await self.host.stop()
