"""A game's backend: scores that every node counts for itself, and a leaderboard that is always live.

A game server tells a shot at a time (`POST /components/player/ann/hit`) to whichever node is nearest:
no node owns a player, so a spike is spread over all of them, and a node that is cut off goes on
counting. A match that ends is a message; its prizes are sent to the players, each once.

    eventmill run examples.leaderboard.game:service
    curl -N -H 'accept: text/event-stream' 'http://127.0.0.1:8080/views/leaderboard/top?places=3'
"""

from __future__ import annotations

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
    Service,
    Topic,
    View,
    command,
    component,
    consumer,
    on,
    query,
)

HIT_MAX = 1_000
PRIZES = (500, 200, 100)


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


service = Service("game", components=[Player, give_prizes, Leaderboard], topics=[matches])
