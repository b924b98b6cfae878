"""A game's backend: scores that every node counts for itself, and a leaderboard that is always live.

A game server tells a shot at a time (`POST /components/player/ann/hit`) to whichever node is nearest:
no node owns a player, so a spike is spread over all of them, and a node that is cut off goes on
counting. A match that ends is a message; its prizes are sent to the players, each once.

A player's program talks over a WebSocket (`/game/play/ann`), and a page at http://127.0.0.1:8080/
shows the scores as they come.

    eventmill run examples.leaderboard.game:service
    curl --json '{"weapon": "bow", "points": 7}' http://127.0.0.1:8080/components/player/ann/hit
    curl -N 'http://127.0.0.1:8080/game/live?places=3'
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

from msgspec import Meta, convert
from starlette.websockets import WebSocket

from eventmill import (
    Context,
    CounterMap,
    Effect,
    EntityDeleted,
    Event,
    LWWRegister,
    ORSet,
    PNCounter,
    Record,
    Rejected,
    ReplicatedEntity,
    RequestContext,
    Service,
    Topic,
    View,
    command,
    component,
    consumer,
    endpoint,
    on,
    query,
)

HIT_MAX = 1_000
PRIZES = (500, 200, 100)

LOOK_SECONDS = 0.2
"""How often those who watch see something new."""


class MatchEnded(Event):
    """A match is over; players from the first place on."""

    match_id: str
    ranking: list[str]


matches = Topic("matches", MatchEnded, key="match_id")


@component("player")
class Player(ReplicatedEntity):
    """Somebody who plays, on all nodes at once."""

    points: PNCounter
    weapons: CounterMap[str]
    trophies: ORSet[str]
    nickname: LWWRegister[str] = LWWRegister("")

    @command
    def hit(self, weapon: str, points: int) -> Effect[int]:
        """Count a hit; the answer is the score as far as this node knows."""
        if not 0 < points <= HIT_MAX:
            raise Rejected(f"a hit is worth 1 to {HIT_MAX} points", code="player.no_hit")
        changes = self.points.increment(points), self.weapons.increment(weapon)
        return self.update(*changes).reply(lambda player: player.points.value)

    @command
    def penalize(self, points: int) -> Effect[None]:
        """Take points away."""
        return self.update(self.points.decrement(points))

    @command
    def win(self, match_id: str, points: int) -> Effect[None]:
        """Take a prize."""
        return self.update(self.points.increment(points), self.trophies.add(match_id))

    @command
    def rename(self, nickname: str) -> Effect[None]:
        """Choose a name; of two at the same time the last one counts."""
        return self.update(self.nickname.set(nickname))

    @command
    def leave(self) -> Effect[None]:
        """Delete the account."""
        return self.delete()

    @query
    def score(self) -> int:
        """Points, as far as this node knows."""
        return self.points.value

    @query
    def card(self) -> dict[str, int]:
        """Hits by weapon."""
        return self.weapons.value


@consumer("prize-giver", source=matches)
def give_prizes(event: MatchEnded) -> Effect[None]:
    """Send the first three their prizes, exactly once in effect."""
    effect: Effect[None] = Effect()
    for id, points in zip(event.ranking, PRIZES, strict=False):
        effect = effect.send(Player.win, id, event.match_id, points)
    return effect


@component("leaderboard")
class Leaderboard(View):
    """Players by their points."""

    class Row(Record):
        player: str
        name: str = ""
        points: int = 0
        trophies: int = 0

    @on(Player)
    def changed(self, state: Player | EntityDeleted, row: Row | None, ctx: Context) -> Row | None:
        """A player's latest state: some changes ago, all in one."""
        if isinstance(state, EntityDeleted):
            return None
        return self.Row(
            player=ctx.subject,
            name=state.nickname.value or ctx.subject,
            points=state.points.value,
            trophies=len(state.trophies),
        )

    @query("SELECT * FROM leaderboard ORDER BY points DESC, player LIMIT :places")
    def top(self, places: int) -> list[Row]: ...


class Hit(Record):
    """What a player's program says."""

    weapon: str
    points: int


@endpoint("/game")
class Game:
    """What players and their audience are served."""

    @endpoint.get("/live")
    async def live(
        self, ctx: RequestContext, places: Annotated[int, Meta(ge=1, le=100)] = 10
    ) -> AsyncIterator[list[Leaderboard.Row]]:
        """The best players, again whenever something has changed."""
        shown = None
        while True:
            best = await ctx.query(Leaderboard.top, places)
            if best != shown:
                yield best
            shown = best
            await asyncio.sleep(LOOK_SECONDS)

    @endpoint.websocket("/play/{id}")
    async def play(self, socket: WebSocket, ctx: RequestContext, id: str) -> None:
        """Take hits, tell the score: one connection for a whole match."""
        await socket.accept()
        while True:
            hit = convert(await socket.receive_json(), Hit)
            try:
                score = await ctx.call(Player.hit, id, hit.weapon, hit.points)
            except Rejected as refused:
                await socket.send_json({"refused": refused.code})
            else:
                await socket.send_json({"score": score})


page = endpoint.files("/", Path(__file__).parent / "page")

service = Service(
    "game", components=[Player, give_prizes, Leaderboard, Game, page], topics=[matches]
)
