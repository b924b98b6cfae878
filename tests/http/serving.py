"""A real node on free ports, and a service that has one of everything that HTTP can reach."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import aiohttp
from pydantic import BaseModel

from eventmill import (
    Context,
    Effect,
    Event,
    EventSourcedEntity,
    KeyValueEntity,
    Page,
    Record,
    Rejected,
    Service,
    Topic,
    View,
    command,
    component,
    event_type,
    on,
    query,
    upcast,
)
from eventmill.node.config import NodeConfig
from eventmill.node.node import Node


class Filled(Event):
    """Something was poured in."""

    litres: int


@dataclass
class Emptied:
    by: str


class Label(BaseModel):
    text: str
    size: Literal["s", "m"] = "s"


class Labelled(BaseModel):
    """A label was put on the barrel."""

    label: Label


@event_type("barrel.moved", version=3, aliases=("barrel.rolled",))
class Moved(Event):
    place: str


@upcast(Moved, from_version=1)
@upcast(Moved, from_version=2)
def unchanged(data: dict[str, Any], /) -> dict[str, Any]:
    return data


moves = Topic("moves", Moved, Emptied, Labelled, key=lambda event: getattr(event, "place", "-"))


@component("barrel")
class Barrel(EventSourcedEntity):
    litres: int = 0
    label: str = ""

    @command
    def fill(self, litres: int) -> Effect[int]:
        """Pour something in.

        A barrel holds a hundred litres.
        """
        if self.litres + litres > 100:
            left = 100 - self.litres
            raise Rejected("it would run over", code="barrel.full", details={"left": left})
        return self.persist(Filled(litres=litres)).reply(lambda barrel: barrel.litres)

    @command
    def empty(self, by: str = "nobody", notes: list[Any] | None = None) -> Effect[None]:
        return self.persist(Emptied(by=by))

    @command
    def put(self, label: Label) -> Effect[None]:
        return self.persist(Labelled(label=label))

    @command
    def burst(self) -> Effect[None]:
        raise ZeroDivisionError("by design")

    @command
    def burn(self) -> Effect[None]:
        return self.delete()

    @query
    def content(self, in_cups: bool = False) -> int:
        return self.litres * 4 if in_cups else self.litres

    @query
    def similar(self, to: list[int]) -> list[int]:
        return [litres for litres in to if litres == self.litres]

    @query
    def alike(self, labels: list[Label]) -> bool:
        return self.label in [label.text for label in labels]

    @on(Filled)
    def was_filled(self, event: Filled) -> None:
        self.litres += event.litres

    @on(Emptied)
    def was_emptied(self, event: Emptied) -> None:
        self.litres = 0

    @on(Labelled)
    def was_labelled(self, event: Labelled) -> None:
        self.label = event.label.text


@component("note")
class Note(KeyValueEntity):
    text: str = ""

    @command
    def write(self, text: str) -> Effect[None]:
        return self.update(text=text)

    @query
    def read(self) -> str:
        return self.text


@component("barrels")
class Barrels(View):
    class Row(Record):
        barrel: str
        litres: int = 0

    @on(Barrel)
    def filled(self, event: Filled, row: Row | None, ctx: Context) -> Row | None:
        return self.Row(barrel=ctx.subject, litres=(row.litres if row else 0) + event.litres)

    @query("SELECT * FROM barrels WHERE litres >= :minimum ORDER BY litres DESC")
    def fuller_than(self, minimum: int) -> list[Row]: ...

    @query("SELECT * FROM barrels ORDER BY barrel")
    def paged(self, page_token: str | None = None, page_size: int = 2) -> Page[Row]: ...

    @query("SELECT * FROM barrels WHERE barrel IN (:names) ORDER BY barrel")
    def some(self, names: list[str]) -> list[Row]: ...

    @query("SELECT * FROM barrels WHERE litres IN (:litres) ORDER BY barrel")
    def holding(self, litres: list[float] | None = None) -> list[Row]: ...


service = Service("cellar", components=[Barrel, Note, Barrels], topics=[moves])


@asynccontextmanager
async def serving(data: Path, of: Service = service) -> AsyncIterator[Node]:
    """Run a node; stop it at the end."""
    node = Node(of, NodeConfig(data=data, port=0))
    await node.start()
    try:
        yield node
    finally:
        await node.stop()


@asynccontextmanager
async def session(node: Node) -> AsyncIterator[aiohttp.ClientSession]:
    """Open a plain HTTP client on a node; it changes nothing of what is sent."""
    async with aiohttp.ClientSession(node.url, auto_decompress=False) as http:
        yield http
