"""A key-value entity on SQLite against a plain dict: changes, deletion, crashes, failed commits."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from eventmill import Deleted, Service
from eventmill.errors import StoreUnavailable
from tests.flow.bank import Profile
from tests.machines.rig import MACHINES, HostMachine

IDS = st.sampled_from(["p", "q"])
State = tuple[str, list[str], int]


class KeyValueMachine(HostMachine):
    """The model: id → state, or the time of its deletion."""

    def __init__(self) -> None:
        super().__init__()
        self.states: dict[str, State] = {}
        self.deleted: dict[str, int] = {}

    def service(self) -> Service:
        return Service("people", components=[Profile])

    @rule(id=IDS, name=st.text(max_size=5), doubtful=st.sampled_from([None, "before", "after"]))
    def rename(self, id: str, name: str, doubtful: str | None) -> None:
        if doubtful is not None:
            self.store.fail(when=doubtful, matching=lambda c: bool(c.entries))  # type: ignore[arg-type]
        _, tags, revision = self.states.get(id, ("", [], 0))
        try:
            assert self.run(self.host.call(Profile.rename, id, name)) == revision + 1
        except Deleted:
            assert id in self.deleted
            self.store.forget_faults()
            return
        except StoreUnavailable:
            assert doubtful is not None
            if doubtful == "before":
                return
        assert id not in self.deleted
        self.states[id] = (name, tags, revision + 1)

    @rule(id=IDS, tags=st.lists(st.text(max_size=2), min_size=1, max_size=3))
    def tag_one_after_the_other(self, id: str, tags: list[str]) -> None:
        if id in self.deleted:
            return
        name, before, revision = self.states.get(id, ("", [], 0))
        for tag in tags:
            before = [*before, tag]
            assert self.run(self.host.call(Profile.tag, id, tag)) == before
        self.states[id] = (name, before, revision + len(tags))

    @rule(id=IDS)
    def remove(self, id: str) -> None:
        if id not in self.deleted:
            self.run(self.host.call(Profile.remove, id))
            self.deleted[id] = self.host.clock.now()
            self.states.pop(id, None)

    @rule(days=st.integers(1, 5))
    def wait(self, days: int) -> None:
        self.run(self.host.advance(timedelta(days=days)))
        retention = round(Profile.retention.total_seconds() * 1e6)
        gone = [id for id, at in self.deleted.items() if at + retention <= self.host.clock.now()]
        for id in gone:
            del self.deleted[id]

    @rule(crash=st.booleans())
    def restart(self, crash: bool) -> None:
        self.run(self.host.restart(crash=crash))

    @invariant()
    def states_are_those_of_the_model(self) -> None:
        for id in ("p", "q"):
            try:
                assert self.run(self.host.call(Profile.show, id)) == self.states.get(
                    id, ("", [], 0)
                )
            except Deleted:
                assert id in self.deleted
            else:
                assert id not in self.deleted

    @invariant()
    def only_the_latest_change_is_stored(self) -> None:
        for id, (_, _, revision) in self.states.items():
            stored = self.run(self.store.journal.history("profile", id, limit=9))
            assert [entry.sequence for entry in stored] == [revision]


TestKeyValue = KeyValueMachine.TestCase
TestKeyValue.settings = MACHINES
