"""What is said in a topic is heard by an entity of its key, in order."""

from __future__ import annotations

from eventmill import (
    Effect,
    Event,
    EventSourcedEntity,
    Topic,
    command,
    component,
    consumer,
    on,
    query,
    send,
)


class Said(Event):
    key: str
    number: int


class Heard(Event):
    number: int


said = Topic("said", Said, key="key")


@component("ear")
class Ear(EventSourcedEntity):
    heard: list[int] = []

    @command
    def hear(self, number: int) -> Effect[None]:
        return self.persist(Heard(number))

    @query
    def everything(self) -> list[int]:
        return self.heard

    @on(Heard)
    def took(self, event: Heard) -> None:
        self.heard = [*self.heard, event.number]


@consumer("listener", source=said)
def listen(event: Said) -> Effect[None]:
    return send(Ear.hear, event.key, event.number)
