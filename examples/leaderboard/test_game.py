"""The game, tested as its users would: players on nodes that part and meet, prizes, a spike, live scores."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp

from eventmill import Rejected
from eventmill.node.config import NodeConfig
from eventmill.node.node import Node
from eventmill.testing import ConsumerKit, EndpointKit, Host, ReplicasKit
from examples.leaderboard.game import (
    PRIZES,
    Game,
    Leaderboard,
    MatchEnded,
    Player,
    give_prizes,
    matches,
    service,
)


def test_nodes_that_are_cut_off_go_on_and_no_hit_is_lost() -> None:
    kit = ReplicasKit(Player, "ann", nodes=("paris", "tokyo"))
    kit.part({"paris"}, {"tokyo"})
    assert kit.run("paris", Player.hit, "bow", 10).reply == 10
    assert kit.run("tokyo", Player.hit, "sword", 5).reply == 5
    kit.run("tokyo", Player.penalize, 2)
    kit.heal()
    assert kit.converged
    assert kit.run("paris", Player.score).reply == 13
    assert kit.run("tokyo", Player.card).reply == {"bow": 1, "sword": 1}


def test_a_hit_has_a_limit() -> None:
    refused = ReplicasKit(Player).run("a", Player.hit, "bow", 1_001)
    assert isinstance(refused.rejected, Rejected)
    assert refused.rejected.code == "player.no_hit"


async def test_the_first_three_get_prizes() -> None:
    ended = MatchEnded(match_id="m1", ranking=["ann", "bob", "cid", "dan"])
    effects = await ConsumerKit(give_prizes).run(ended)
    assert [(one.id, one.arguments["points"]) for one in effects.sent] == [
        ("ann", 500),
        ("bob", 200),
        ("cid", 100),
    ]


async def test_a_spike_and_a_match_end_on_the_board() -> None:
    async with Host(service) as host:
        await asyncio.gather(
            *(host.call(Player.hit, f"p{n % 3}", weapon="bow", points=1) for n in range(1_500))
        )
        await host.publish(matches, MatchEnded(match_id="m1", ranking=["p2", "p1"]))
        await host.restart(crash=True)
        await host.settle()
        rows = await host.query(Leaderboard.top, places=2)
        assert [(row.player, row.points, row.trophies) for row in rows] == [
            ("p2", 500 + PRIZES[0], 1),
            ("p1", 500 + PRIZES[1], 1),
        ]
        await host.call(Player.leave, "p2")
        await host.settle()
        assert [row.player for row in await host.query(Leaderboard.top, places=9)] == ["p1", "p0"]


async def test_scores_are_live_over_http(tmp_path: Path) -> None:
    node = Node(service, NodeConfig(data=tmp_path, port=0, admin_port=0))
    await node.start()
    try:
        async with aiohttp.ClientSession(node.url) as session:
            headers = {"accept": "text/event-stream"}
            async with session.get("/views/leaderboard/top?places=3", headers=headers) as scores:
                for points in (5, 7):
                    body = {"weapon": "bow", "points": points}
                    async with session.post("/components/player/ann/hit", json=body) as answer:
                        assert answer.status == 200
                async for line in scores.content:
                    if line.startswith(b"data:") and b'"points":12' in line:
                        break
            async with session.get("/components/player/ann/score") as answer:
                assert await answer.json() == 12
    finally:
        await node.stop()


async def test_players_play_over_a_websocket_and_the_audience_watches() -> None:
    async with Host(service) as host:
        async with host.web.websocket("/game/play/ann") as ann:
            await ann.send({"weapon": "bow", "points": 7})
            assert await ann.next() == {"score": 7}
            await ann.send({"weapon": "bow", "points": 7_000})
            assert await ann.next() == {"refused": "player.no_hit"}
        await host.call(Player.hit, "bob", "sword", 9)
        await host.settle()
        async with host.web.events("/game/live?places=1") as live:
            assert [row["name"] for row in (await live.next()).data] == ["bob"]
            await host.call(Player.hit, "ann", "bow", 3)
            await host.settle()
            assert [row["points"] for row in (await live.next()).data] == [10]
        assert (await host.web.get("/game/live?places=0")).status == 400
        assert "EventSource" in (await host.web.get("/")).text


async def test_a_match_is_played_through_the_kit() -> None:
    kit = EndpointKit(Game).answer(Player.hit, 12)
    async with kit.web.websocket("/game/play/ann") as ann:
        await ann.send({"weapon": "bow", "points": 12})
        assert await ann.next() == {"score": 12}
    assert kit.calls[0].arguments == {"weapon": "bow", "points": 12}
