"""A service of timers: each alarm says when it was due and when it rang."""

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


class Rang(Event):
    name: str
    due: datetime
    at: datetime


@component("bell")
class Bell(EventSourcedEntity):
    rung: list[tuple[str, float]] = []
    """Name, and how many seconds after its time."""

    @command
    def set(
        self, prefix: str, count: int, first: float, step: float, *, action: bool
    ) -> Effect[int]:
        """Set alarms that ring one after the other; some call an action on the way."""
        effect = self.reply(count)
        for number in range(count):
            after = timedelta(seconds=first + step * number)
            name, due = f"{prefix}-{number}", self.now + after
            if action:
                effect = effect.schedule(name, after, pass_on, self.entity_id, name, due)
            else:
                effect = effect.schedule(name, after, Bell.ring, self.entity_id, name, due)
        return effect

    @command
    def ring(self, name: str, due: datetime) -> Effect[None]:
        return self.persist(Rang(name=name, due=due, at=self.now))

    @query
    def content(self) -> list[tuple[str, float]]:
        return self.rung

    @on(Rang)
    def rang(self, event: Rang) -> None:
        self.rung.append((event.name, (event.at - event.due).total_seconds()))


@timed("pass-on")
def pass_on(ctx: Context, bell: str, name: str, due: datetime) -> Effect[None]:
    return send(Bell.ring, bell, name, due)


@scheduled(timedelta(seconds=1), missed="all")
def every_second(ctx: Context, tick: datetime) -> Effect[None]:
    return send(Bell.ring, "seconds", tick.isoformat(), tick)


service = Service("alarms", components=[Bell, pass_on, every_second])
