"""A subscription against a plain pointer: pauses, resets, restarts, failed commits."""

from __future__ import annotations

from typing import Literal

from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from eventmill import Effect, Event, Service, Topic, consumer, publish
from eventmill.runtime.dispatch.consumer import event_of
from eventmill.sdk.reaction import source_of
from tests.machines.rig import MACHINES, HostMachine


class Said(Event):
    number: int


class Repeated(Event):
    number: int


said = Topic("said", Said)
repeated = Topic("repeated", Repeated)


@consumer("echo", source=said, batch_size=3)
def echo(event: Said) -> Effect[None]:
    return publish(repeated, Repeated(number=event.number))


class SubscriptionMachine(HostMachine):
    """The model: all that was said, how far it was repeated, and whether it is paused."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.next = 0
        self.paused = False
        self.expected: list[int] = []

    def service(self) -> Service:
        return Service("room", components=[echo], topics=[said, repeated])

    @rule(count=st.integers(1, 7))
    def say(self, count: int) -> None:
        if self.store.to_come:
            self.settle()  # what is said behind a commit that fails would fail with it
        events = [Said(number=n) for n in range(self.count, self.count + count)]
        self.count += count
        self.run(self.host.publish(said, *events))

    @rule()
    def pause(self) -> None:
        self.settle()
        self.run(self.host.operations.pause("echo"))
        self.paused = True

    @rule()
    def resume(self) -> None:
        self.settle()
        self.run(self.host.operations.resume("echo"))
        self.paused = False

    @rule(to=st.sampled_from(["beginning", "latest"]))
    def reset(self, to: Literal["beginning", "latest"]) -> None:
        self.settle()
        self.run(self.host.operations.reset("echo", to))
        self.next = 0 if to == "beginning" else self.count
        self.settle()

    @rule(data=st.data())
    def reset_to_a_position(self, data: st.DataObject) -> None:
        self.settle()
        positions = self.positions()
        index = data.draw(st.integers(0, len(positions)))
        after = 0 if index == 0 else positions[index - 1]
        self.run(self.host.operations.reset("echo", after))
        self.next = index
        self.settle()

    @rule(crash=st.booleans())
    def restart(self, crash: bool) -> None:
        self.run(self.host.restart(crash=crash))

    @rule(when=st.sampled_from(["before", "after"]))
    def fail_a_commit_of_the_echo(self, when: str) -> None:
        self.store.fail(
            when=when,  # type: ignore[arg-type]
            matching=lambda commit: any(e.source == "repeated" for e in commit.entries),
        )

    @rule()
    def settle(self) -> None:
        self.run(self.host.settle())
        if not self.paused:
            self.expected += range(self.next, self.count)
            self.next = self.count
        assert self.echoes() == self.expected

    @invariant()
    def it_is_paused_as_told(self) -> None:
        assert self.host.runtime.subscription("echo").paused == self.paused
        assert self.host.runtime.supervisor.failures == {}

    def positions(self) -> list[int]:
        read = self.store.journal.read(0, 0, limit=99_999, sources=frozenset({"said"}))
        return [entry.position for entry in self.run(read).entries]

    def echoes(self) -> list[int]:
        read = self.store.journal.read(0, 0, limit=99_999, sources=frozenset({"repeated"}))
        source = source_of(repeated, "")
        return [event_of(source, e, (), False).number for e in self.run(read).entries]


TestSubscriptions = SubscriptionMachine.TestCase
TestSubscriptions.settings = MACHINES
