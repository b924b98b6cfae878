"""The past of an entity that keeps its states for two days, against a list of all that it ever was."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from eventmill import Conflict, Effect, KeyValueEntity, Service, command, component, query
from eventmill.errors import StoreUnavailable
from tests.machines.rig import MACHINES, HostMachine

IDS = st.sampled_from(["p", "q"])

HOUR = 3_600_000_000
SWEPT = 15_000_000
"""So long after it may go, a state is gone."""


@component("dial")
class Dial(KeyValueEntity):
    keep_history = timedelta(days=2)

    value: int = 0

    @command
    def turn(self, value: int) -> Effect[None]:
        return self.update(value=value)

    @query
    def read(self) -> int:
        return self.value


KEPT = 48 * HOUR


class PastMachine(HostMachine):
    """The model: id → (time, value), in order."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: dict[str, list[tuple[int, int]]] = {"p": [], "q": []}
        self.moments = {self.host.clock.now()}

    def service(self) -> Service:
        return Service("dials", components=[Dial])

    @rule(id=IDS, values=st.lists(st.integers(1, 9), min_size=1, max_size=3), fails=st.booleans())
    def turn(self, id: str, values: list[int], fails: bool) -> None:
        if fails:
            self.store.fail(matching=lambda commit: bool(commit.entries))
        for value in values:
            try:
                self.run(self.host.call(Dial.turn, id, value))
            except StoreUnavailable:
                continue
            self.changes[id].append((self.host.clock.now(), value))

    @rule(hours=st.integers(1, 40))
    def wait(self, hours: int) -> None:
        self.run(self.host.advance(timedelta(hours=hours)))
        self.moments |= {self.host.clock.now(), self.host.clock.now() - HOUR // 2}

    @rule(crash=st.booleans())
    def restart(self, crash: bool) -> None:
        self.run(self.host.restart(crash=crash))

    @invariant()
    def what_was_is_known_or_refused(self) -> None:
        oldest = self.host.clock.now() - KEPT
        for id, changes in self.changes.items():
            for moment in self.moments:
                was = next((value for at, value in reversed(changes) if at <= moment), 0)
                ask = self.host.runtime.ask_past(Dial.read, id, (), sequence=None, time=moment)
                try:
                    assert int(self.run(ask)) == was
                except Conflict:
                    assert moment < oldest

    @invariant()
    def what_is_too_old_is_gone(self) -> None:
        self.run(self.host.advance(timedelta(seconds=11)))
        cut = self.host.clock.now() - KEPT - SWEPT
        for id, changes in self.changes.items():
            stored = self.run(self.store.journal.history("dial", id, limit=999))
            for entry in stored[:-1]:
                replaced, _ = changes[entry.sequence]
                assert replaced > cut


TestPast = PastMachine.TestCase
TestPast.settings = MACHINES
