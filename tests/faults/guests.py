"""Guests come in by a service's own routes, and another service counts them: it follows the stream of
what is public of a guest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.websockets import WebSocket

from eventmill import (
    Context,
    Effect,
    Event,
    EventSourcedEntity,
    RequestContext,
    ServerSentEvent,
    Service,
    ServiceStream,
    command,
    component,
    consumer,
    endpoint,
    on,
    query,
    send,
    stream,
)


class Entered(Event):
    pass


class Visited(Event):
    pass


@component("guest")
class Guest(EventSourcedEntity):
    visits: int = 0

    @command
    def enter(self) -> Effect[int]:
        return self.persist(Entered()).reply(lambda guest: guest.visits)

    @query
    def count(self) -> int:
        return self.visits

    @on(Entered)
    def entered(self, event: Entered) -> None:
        self.visits += 1


@endpoint("/guests")
class Door:
    @endpoint.post("/{id}")
    async def enter(self, ctx: RequestContext, id: str) -> int:
        return await ctx.call(Guest.enter, id)

    @endpoint.get("/{id}/visits")
    async def live(self, ctx: RequestContext, id: str) -> AsyncIterator[ServerSentEvent]:
        """Tell of every visit, those to come too."""
        told = int(ctx.last_event_id or 0)
        while True:
            visits = await ctx.call(Guest.count, id)
            for number in range(told + 1, visits + 1):
                yield ServerSentEvent(number, id=str(number))
            told = visits
            await asyncio.sleep(0.05)

    @endpoint.websocket("/desk")
    async def desk(self, socket: WebSocket, ctx: RequestContext) -> None:
        await socket.accept()
        async for id in socket.iter_text():
            await socket.send_json(await ctx.call(Guest.enter, id))


@stream("visits", source=Guest)
def visits(event: Entered) -> Visited:
    return Visited()


service = Service("guests", components=[Guest, Door, visits])


class Counted(Event):
    pass


@component("tally")
class Tally(EventSourcedEntity):
    counted: int = 0

    @command
    def add(self) -> Effect[None]:
        return self.persist(Counted())

    @query
    def content(self) -> int:
        return self.counted

    @on(Counted)
    def was_counted(self, event: Counted) -> None:
        self.counted += 1


@consumer("counting", source=ServiceStream("everything", "visits"))
def counting(event: Visited, ctx: Context) -> Effect[None]:
    return send(Tally.add, ctx.subject)


tallies = Service("tallies", components=[Tally, counting])
