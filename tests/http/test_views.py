"""Queries of views over HTTP: whole, line by line, and kept up to date."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from eventmill.node.node import Node
from tests.http.serving import serving, session

PATH = "/views/barrels/fuller_than?minimum=2"


async def fill(node: Node, http: aiohttp.ClientSession, **litres: int) -> None:
    for barrel, amount in litres.items():
        await http.post(f"/components/barrel/{barrel}/fill", json={"litres": amount})
    async with asyncio.timeout(10):
        view = next(s for name, s in node.runtime.subscriptions.items() if "barrels" in name)
        while view.lag:
            await node.runtime.tails.wait(view.positions)
            await asyncio.sleep(0)


def row(barrel: str, litres: int) -> dict[str, Any]:
    return {"barrel": barrel, "litres": litres}


async def test_rows_as_an_array_and_line_by_line(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, session(node) as http:
        await fill(node, http, a=1, b=2, c=3)
        answer = await http.get(PATH)
        assert answer.headers["content-type"] == "application/json"
        assert await answer.json() == [row("c", 3), row("b", 2)]
        answer = await http.get(PATH, headers={"accept": "application/x-ndjson"})
        assert answer.headers["content-type"] == "application/x-ndjson"
        lines = (await answer.text()).splitlines()
        assert [json.loads(line) for line in lines] == [row("c", 3), row("b", 2)]


async def test_pages_are_told_with_their_token_or_not_at_all(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, session(node) as http:
        await fill(node, http, a=1, b=2, c=3)
        path = "/views/barrels/paged"
        first = await (await http.get(path)).json()
        assert first["items"] == [row("a", 1), row("b", 2)]
        token = {"page_token": first["next_page_token"]}
        last = await (await http.get(path, params=token)).json()
        assert last == {"items": [row("c", 3)], "next_page_token": None}
        refused = await http.get(path, headers={"accept": "application/x-ndjson"})
        assert refused.status == 406
        assert (await refused.json(content_type=None))["code"] == "request.not_acceptable"
        contract = await (await http.get("/openapi.json")).json()
        told = contract["paths"][path]["get"]["responses"]["200"]["content"]
        assert told.keys() == {"application/json", "text/event-stream"}


async def test_a_list_is_a_parameter_that_is_repeated(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, session(node) as http:
        await fill(node, http, a=1, b=2, c=3)
        for path, names in (
            ("some?names=a", "a"),
            ("some?names=a&names=c&names=none", "ac"),
            ("some?names=", ""),
            ("holding?litres=2&litres=3.0", "bc"),
            ("holding", ""),
        ):
            answer = await http.get(f"/views/barrels/{path}")
            assert answer.status == 200, await answer.text()
            assert [row["barrel"] for row in await answer.json()] == list(names), path
        path = "/views/barrels/some?" + "&".join(f"names={n:036}" for n in range(1_000))
        assert (await http.get(path)).status == 200
        assert (await http.get(path + "&names=a")).status == 413
        answer = await http.get("/views/barrels/holding?litres=2&litres=many")
        assert answer.status == 400
        assert "litres" in await answer.text()


async def test_changed_rows_are_sent_as_they_come(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, session(node) as http:
        await fill(node, http, a=2)
        async with (
            asyncio.timeout(20),
            http.get(PATH, headers={"accept": "text/event-stream"}) as stream,
        ):
            assert stream.headers["content-type"] == "text/event-stream"
            assert await rows_of(stream) == [row("a", 2)]
            await fill(node, http, b=1)  # too little to be seen
            await fill(node, http, a=3)
            assert await rows_of(stream) == [row("a", 5)]


async def rows_of(stream: aiohttp.ClientResponse) -> Any:
    event = ""
    async for raw in stream.content:
        name, _, value = raw.decode().rstrip("\n").partition(": ")
        if name == "event":
            event = value
        elif name == "data":
            assert event == "rows"
            return json.loads(value)
    raise AssertionError("the stream ended")


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/views/nothing/fuller_than?minimum=2", 404),
        ("/views/barrels/nothing?minimum=2", 404),
        ("/views/barrels/fuller_than", 400),
        ("/views/barrels/fuller_than?minimum=many", 400),
        ("/views/barrels/fuller_than?minimum=1&minimum=2", 400),
        ("/views/barrels/fuller_than?minimum=1&other=2", 400),
    ],
)
async def test_queries_that_cannot_be_run(
    tmp_path: Path, path: str, status: int, accept: str
) -> None:
    async with serving(tmp_path) as node, session(node) as http:
        answer = await http.get(path, headers={"accept": accept})
        assert answer.status == status, await answer.text()
        assert answer.headers["content-type"] == "application/problem+json"


async def test_a_type_that_cannot_be_made_is_406(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, session(node) as http:
        assert (await http.get(PATH, headers={"accept": "text/html"})).status == 406
        answer = await http.get(PATH, headers={"accept": "text/html, */*;q=0.8"})
        assert answer.headers["content-type"] == "application/json"
