"""A service with timers, an action and a schedule, for the tests of the command line."""

from __future__ import annotations

from datetime import datetime, timedelta

from eventmill import (
    Context,
    Effect,
    Event,
    EventSourcedEntity,
    Service,
    command,
    component,
    on,
    query,
    scheduled,
    send,
    timed,
)


class Seen(Event):
    what: str


@component("guard")
class Guard(EventSourcedEntity):
    seen: list[str] = []

    @command
    def see(self, what: str) -> Effect[None]:
        return self.persist(Seen(what=what))

    @command
    def look_later(self, what: str) -> Effect[None]:
        effect = self.reply(None).schedule("see", timedelta(days=1), Guard.see, "g", what)
        return effect.schedule("look", timedelta(days=1), look, what)

    @query
    def content(self) -> list[str]:
        return self.seen

    @on(Seen)
    def saw(self, event: Seen) -> None:
        self.seen.append(event.what)


@timed("look")
def look(ctx: Context, what: str) -> Effect[None]:
    return send(Guard.see, "g", what)


@scheduled("0 3 * * *", id="round", timezone="Europe/Berlin")
async def go_round(ctx: Context, tick: datetime) -> Effect[None]:
    return send(Guard.see, "g", "all quiet")


service = Service("watch", components=[Guard, look, go_round])
