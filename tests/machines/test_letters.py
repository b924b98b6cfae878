"""Parked letters against plain queues: order per key is kept, other keys go on, whatever happens."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from eventmill import Effect, Event, Retry, Service, Topic, consumer, publish
from eventmill.model.commit import LetterStatus
from eventmill.runtime.dispatch.consumer import event_of
from eventmill.sdk.reaction import source_of
from tests.machines.rig import MACHINES, HostMachine

KEYS = st.sampled_from(["a", "b", "c"])
Message = tuple[str, int]


class Asked(Event):
    key: str
    number: int


class Answered(Event):
    key: str
    number: int


asked = Topic("asked", Asked, key="key")
answered = Topic("answered", Answered, key="key")


class LetterMachine(HostMachine):
    """The model: per key a queue that moves on until its head fails; then the key is dead."""

    def __init__(self) -> None:
        self.failing: set[Message] = set()
        self.queues: dict[str, list[int]] = {"a": [], "b": [], "c": []}
        self.dead: set[str] = set()
        self.handled: dict[str, list[int]] = {"a": [], "b": [], "c": []}
        self.count = 0
        super().__init__()

    def service(self) -> Service:
        @consumer("worker", source=asked, retry=Retry(attempts=2, initial=5.0))
        def worker(event: Asked) -> Effect[None]:
            if (event.key, event.number) in self.failing:
                raise ValueError("as told")
            return publish(answered, Answered(key=event.key, number=event.number))

        return Service("office", components=[worker], topics=[asked, answered])

    @rule(keys=st.lists(st.tuples(KEYS, st.booleans()), min_size=1, max_size=6))
    def ask(self, keys: list[tuple[str, bool]]) -> None:
        if self.store.to_come:
            self.settle()  # what is asked behind a commit that fails would fail with it
        events = []
        for key, fails in keys:
            self.count += 1
            events.append(Asked(key=key, number=self.count))
            self.queues[key].append(self.count)
            if fails and self.count % 2:
                self.failing.add((key, self.count))
        self.run(self.host.publish(asked, *events))

    @rule()
    def settle(self) -> None:
        self.run(self.host.settle(retries=True))
        for key in self.queues:
            self.drain(key)
        self.compare()

    @rule(key=KEYS)
    def mend(self, key: str) -> None:
        self.settle()
        self.failing = {message for message in self.failing if message[0] != key}

    @rule(key=KEYS)
    def redrive(self, key: str) -> None:
        self.settle()
        redriven = self.run(self.host.operations.redrive("worker", key=f"asked/{key}"))
        assert redriven == (key in self.dead)
        self.dead.discard(key)
        self.settle()

    @rule()
    def redrive_all(self) -> None:
        self.settle()
        assert self.run(self.host.operations.redrive("worker")) == len(self.dead)
        self.dead.clear()
        self.settle()

    @precondition(lambda self: self.dead)
    @rule(key=KEYS)
    def discard(self, key: str) -> None:
        self.settle()
        discarded = self.run(self.host.operations.discard("worker", key=f"asked/{key}"))
        assert discarded == (key in self.dead)
        if key in self.dead:
            self.dead.discard(key)
            self.queues[key].pop(0)
        self.settle()

    @rule(crash=st.booleans())
    def restart(self, crash: bool) -> None:
        self.run(self.host.restart(crash=crash))

    @rule(nth=st.integers(1, 3), when=st.sampled_from(["before", "after"]))
    def fail_a_commit_of_the_worker(self, nth: int, when: str) -> None:
        self.settle()
        self.store.fail(
            nth,
            when=when,  # type: ignore[arg-type]
            matching=lambda commit: any(o.subscription == "worker" for o in commit.offsets),
        )

    @invariant()
    def no_loop_ended(self) -> None:
        assert self.host.runtime.supervisor.failures == {}

    def drain(self, key: str) -> None:
        queue = self.queues[key]
        while queue and key not in self.dead:
            if (key, queue[0]) in self.failing:
                self.dead.add(key)
            else:
                self.handled[key].append(queue.pop(0))

    def compare(self) -> None:
        scan = self.run(self.store.journal.read(0, 0, limit=9_999, sources=frozenset({"answered"})))
        source = source_of(answered, "")
        found: dict[str, list[int]] = {"a": [], "b": [], "c": []}
        for entry in scan.entries:
            event = event_of(source, entry, (), False)
            found[event.key].append(event.number)
        assert found == self.handled
        for key, queue in self.queues.items():
            letters = self.run(self.store.parking.queue("worker", 0, f"asked/{key}", limit=999))
            assert len(letters) == len(queue)
            expected = [LetterStatus.DEAD, *[LetterStatus.WAITING] * (len(queue) - 1)]
            assert [letter.status for letter in letters] == expected[: len(queue)]


TestLetters = LetterMachine.TestCase
TestLetters.settings = MACHINES
