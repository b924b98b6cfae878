"""Replicated entities over HTTP, and what operators see of them: as every entity."""

from __future__ import annotations

import json
from pathlib import Path

import aiohttp
import pytest
from openapi_spec_validator import validate

from eventmill import Client, Rejected
from eventmill.node.config import NodeConfig
from eventmill.node.node import Node
from eventmill.runtime.operating.inspection import Inspection
from tests.flow.arcade import Player, arcade


async def test_commands_queries_keys_contracts_and_inspection(tmp_path: Path) -> None:
    node = Node(arcade, NodeConfig(data=tmp_path, port=0, admin_port=0))
    await node.start()
    try:
        async with aiohttp.ClientSession(node.url) as session:
            body = {"game": "go", "points": 5}
            for _ in range(2):
                headers = {"idempotency-key": "first"}
                url = "/components/player/ann/score"
                async with session.post(url, json=body, headers=headers) as answer:
                    assert (answer.status, await answer.json()) == (200, 5)
            async with session.get("/components/player/ann/content") as answer:
                assert await answer.json() == ["nobody", 5, [], {"go": 1}]
            inspection = Inspection(node.runtime)
            (stored,) = await inspection.events("player", "ann", wait_seconds=20)
            assert json.loads(stored.payload)["games"] == {"go": 1}, "values, not what is stored"
            async with session.get("/components/player/ann/content?as_of_sequence=1") as answer:
                assert await answer.json() == ["nobody", 5, [], {"go": 1}]
            async with session.get("/openapi.json") as answer:
                document = await answer.json()
            validate(document)
            assert "/components/player/{id}/score" in document["paths"]
            async with session.get("/asyncapi.json") as answer:
                assert "player" not in (await answer.json())["channels"]
            async with session.post("/components/player/ann/break_down", json={}) as answer:
                assert answer.status == 500
        async with Client(node.url) as client:
            assert await client.call(Player.award, "ann", badge="gold") == {"gold"}
            with pytest.raises(Rejected):
                await client.call(Player.score, "ann", "go", 2_000_000)
        assert inspection.components()[0].kind == "replicated entity"
        state = await inspection.state("player", "ann")
        assert bytes(state.state) == (
            b'{"points":5,"name":"nobody","badges":["gold"],"games":{"go":1}}'
        )
    finally:
        await node.stop()
