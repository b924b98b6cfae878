"""A service with one of every kind of endpoint."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.websockets import WebSocket

from eventmill import (
    Effect,
    Event,
    EventSourcedEntity,
    Record,
    Rejected,
    RequestContext,
    ServerSentEvent,
    Service,
    Topic,
    command,
    component,
    endpoint,
    on,
    query,
)
from eventmill.errors import NotFound

SITE = Path(__file__).parent / "site"


STORY = 20_000
"""Parts of 1 KiB: more than the system holds for one who does not read."""

TOLD: list[int] = []
"""How many parts of each story were made."""


class ItemAdded(Event):
    sku: str
    quantity: int


class Wished(Event):
    who: str
    sku: str


wishes = Topic("wishes", Wished, key="who")


@component("cart")
class Cart(EventSourcedEntity):
    items: dict[str, int] = {}

    @command
    def add_item(self, sku: str, quantity: int) -> Effect[dict[str, int]]:
        if quantity <= 0:
            raise Rejected("add something", code="cart.quantity")
        return self.persist(ItemAdded(sku=sku, quantity=quantity)).reply(lambda cart: cart.items)

    @query
    def content(self) -> dict[str, int]:
        return self.items

    @on(ItemAdded)
    def item_added(self, event: ItemAdded) -> None:
        self.items[event.sku] = self.items.get(event.sku, 0) + event.quantity


class Wish(Record):
    who: str
    sku: str


async def story() -> AsyncIterator[bytes]:
    told = 0
    try:
        while told < STORY:
            told += 1
            yield b"x" * 1_024
    finally:
        TOLD.append(told)


@endpoint("/shop")
class Shop:
    """Carts as a web page wants them."""

    def __init__(self) -> None:
        self.visits = 0

    @endpoint.get("/carts/{id}")
    async def cart(self, ctx: RequestContext, id: str, only: list[str] | None = None) -> Any:
        """Show a cart."""
        items = await ctx.call(Cart.content, id)
        return {sku: n for sku, n in items.items() if not only or sku in only}

    @endpoint.get("/carts/latest")
    async def latest(self) -> str:
        return "the latest"

    @endpoint.post("/carts/{id}/items", status=201)
    async def add(
        self, ctx: RequestContext, id: str, sku: str, quantity: int = 1
    ) -> dict[str, int]:
        return await ctx.call(Cart.add_item, id, sku=sku, quantity=quantity)

    @endpoint.put("/wishes/{who}")
    async def wish(self, ctx: RequestContext, who: str, body: Wish, loud: bool = False) -> None:
        await ctx.publish(wishes, Wished(who=who, sku=body.sku.upper() if loud else body.sku))

    @endpoint.post("/raw", body_bytes=10)
    async def raw(self, body: bytes) -> int:
        return len(body)

    @endpoint.get("/visits")
    async def count(self) -> int:
        self.visits += 1
        return self.visits

    @endpoint.get("/numbers/{begin}")
    async def numbers(self, ctx: RequestContext, begin: int) -> AsyncIterator[ServerSentEvent]:
        number = int(ctx.last_event_id or begin)
        while True:
            number += 1
            yield ServerSentEvent({"number": number}, id=str(number), event="number")

    @endpoint.get("/long")
    async def long(self) -> AsyncIterator[str]:
        async for part in story():
            yield part.decode()

    @endpoint.get("/live/{id}")
    async def live(self, ctx: RequestContext, id: str) -> AsyncIterator[dict[str, int]]:
        for _ in range(3):
            yield await ctx.call(Cart.content, id)
        raise ZeroDivisionError("by design")

    @endpoint.websocket("/talk/{room}", origins=["https://friend.example"])
    async def talk(self, socket: WebSocket, ctx: RequestContext, room: str) -> None:
        await socket.accept()
        while (word := await socket.receive_json()) != "bye":
            if word == "fail":
                raise ZeroDivisionError("by design")
            items = await ctx.call(Cart.add_item, room, sku=word, quantity=1)
            await socket.send_json(items)

    @endpoint.websocket("/odd")
    async def odd(self, socket: WebSocket, how: str) -> None:
        match how:
            case "denial":
                await socket.send_denial_response(PlainTextResponse("no", status_code=99))
            case "subprotocol":
                await socket.accept(subprotocol="ch\u00e4t")
            case "header":
                await socket.accept(headers=[(b"x-own", b"a\r\nx-other: b")])

    @endpoint.websocket("/flood")
    async def flood(self, socket: WebSocket) -> None:
        await socket.accept()
        while True:
            await socket.send_bytes(b"x" * 100_000)


@endpoint.get("/fail/{how}")
async def fail(how: str) -> None:
    match how:
        case "rejected":
            raise Rejected("not today", code="shop.closed", details={"until": 9})
        case "missing":
            raise NotFound("no such thing", code="shop.missing")
        case "details":
            raise Rejected("not today", details={"until": object()})
        case "status":
            raise HTTPException(418, "short and stout")
        case "slow":
            await asyncio.Event().wait()
        case "exit":
            sys.exit("by design")
    raise ZeroDivisionError("by design")


@endpoint.get("/odd")
async def odd(status: int, header: str = "") -> Response:
    if header:
        return PlainTextResponse("odd", headers={"x-own": header})
    if status % 2:
        raise HTTPException(status, "odd")
    return PlainTextResponse("odd", status_code=status)


@endpoint.get("/slow", timeout=0.05)
async def slow() -> None:
    await asyncio.Event().wait()


@endpoint.get("/blocking")
def blocking() -> str:
    time.sleep(0.01)
    return "done"


@endpoint.post("/echo/{rest:path}")
@endpoint.get("/echo/{rest:path}")
async def echo(request: Request) -> Response:
    body = await request.body()
    text = f"{request.path_params['rest']} {request.query_params.get('q')} {body.decode()}"
    return PlainTextResponse(text, headers={"x-own": "1"})


@endpoint.get("/endless")
async def endless() -> StreamingResponse:
    async def content() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 10_000

    return StreamingResponse(content())


@endpoint.get("/long")
async def long() -> StreamingResponse:
    return StreamingResponse(story())


@endpoint.get("/stubborn")
async def stubborn(seconds: float) -> None:
    await asyncio.sleep(0)
    time.sleep(seconds)  # noqa: ASYNC251 - what must not be


@endpoint.get("/broken")
async def broken(after: int) -> StreamingResponse:
    async def content() -> AsyncIterator[bytes]:
        for _ in range(after):
            yield b"x" * 10
        raise ZeroDivisionError("by design")

    return StreamingResponse(content(), headers={"content-length": "100"})


@endpoint.get("/exit/function")
def leave() -> None:
    sys.exit("by design")


@endpoint.get("/exit/events")
async def leave_events() -> AsyncIterator[int]:
    yield 1
    sys.exit("by design")


@endpoint.get("/exit/content")
async def leave_content() -> StreamingResponse:
    async def content() -> AsyncIterator[bytes]:
        yield b"x"
        sys.exit("by design")

    return StreamingResponse(content())


@endpoint.websocket("/exit/talk")
async def leave_talk(socket: WebSocket) -> None:
    await socket.accept()
    sys.exit("by design")


site = endpoint.files("/site", SITE)

service = Service(
    "web-shop",
    components=[Cart, Shop, fail, odd, slow, blocking, echo, endless, long, broken, stubborn, site],
    topics=[wishes],
)
