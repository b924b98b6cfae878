"""Bounds in annotations, `Annotated[int, Meta(ge=1)]`, hold wherever a handler is reached."""

from __future__ import annotations

from typing import Annotated

import pytest
from msgspec import Meta

from eventmill import (
    Effect,
    InvalidPayload,
    KeyValueEntity,
    Record,
    RequestContext,
    Service,
    View,
    command,
    component,
    endpoint,
    on,
    query,
)
from eventmill.http import openapi
from eventmill.node.checking import checked
from eventmill.testing import EntityKit, Host

Count = Annotated[int, Meta(ge=1, le=10)]
Names = Annotated[list[str], Meta(max_length=2)]


@component("shelf")
class Shelf(KeyValueEntity):
    count: int = 0

    @command
    def put(self, count: Count) -> Effect[Count]:
        return self.update(count=count).reply(lambda shelf: shelf.count)

    @query
    def more_than(self, least: Count, names: Names = []) -> bool:  # noqa: B006 - copied
        return self.count > least


@component("shelves")
class Shelves(View):
    class Row(Record):
        shelf: str
        count: int

    @on(Shelf)
    def changed(self, event: Shelf, row: Row | None) -> Row:
        return self.Row(shelf=event.entity_id, count=event.count)

    @query("SELECT * FROM shelves LIMIT :places")
    def some(self, places: Count) -> list[Row]: ...


@endpoint.get("/double")
async def double(ctx: RequestContext, number: Count) -> int:
    return number * 2


service = Service("library", components=[Shelf, Shelves, double])


def test_a_call_in_python() -> None:
    assert EntityKit(Shelf).run(Shelf.put, count=10).reply == 10
    with pytest.raises(InvalidPayload, match="<= 10"):
        EntityKit(Shelf).run(Shelf.put, count=11)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/components/shelf/s/more_than?least=1&names=a&names=b", 200),
        ("/components/shelf/s/more_than?least=0", 400),
        ("/components/shelf/s/more_than?least=1&names=a&names=b&names=c", 400),
        ("/views/shelves/some?places=10", 200),
        ("/views/shelves/some?places=11", 400),
        ("/double?number=10", 200),
        ("/double?number=11", 400),
    ],
)
async def test_a_request(path: str, status: int) -> None:
    async with Host(service) as host:
        answer = await host.web.get(path)
        assert answer.status == status, answer.text


async def test_a_body_and_the_contract() -> None:
    async with Host(service) as host:
        assert (await host.web.post("/components/shelf/s/put", {"count": 0})).status == 400
        assert (await host.web.post("/components/shelf/s/put", {"count": 1})).json() == 1
    paths = openapi.document(checked(service))["paths"]
    least, *_ = paths["/components/shelf/{id}/more_than"]["get"]["parameters"]
    assert least["schema"] == {"type": "integer", "minimum": 1, "maximum": 10}
