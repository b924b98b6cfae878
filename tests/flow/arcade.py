"""An arcade whose players are on every node: the service that the tests of replicated entities run."""

from __future__ import annotations

from datetime import timedelta

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
    send,
)


class Scored(Event):
    player: str
    points: int


scored = Topic("scored", Scored, key="player")


@component("player")
class Player(ReplicatedEntity):
    """Somebody who plays."""

    retention = timedelta(days=1)

    points: PNCounter
    name: LWWRegister[str] = LWWRegister("nobody")
    badges: ORSet[str]
    games: CounterMap[str]

    @command
    def score(self, game: str, points: int) -> Effect[int]:
        """Add points that were made in a game."""
        if points > 1_000_000:
            raise Rejected("nobody scores so much", code="player.cheat")
        changes = (self.points.increment(points), self.games.increment(game))
        return self.update(*changes).reply(lambda player: player.points.value)

    @command
    def announce(self, points: int) -> Effect[None]:
        event = Scored(player=self.entity_id, points=points)
        return self.update(self.points.increment(points)).publish(scored, event)

    @command
    def rename(self, name: str) -> Effect[None]:
        return self.update(self.name.set(name))

    @command
    def award(self, *, badge: str) -> Effect[set[str]]:
        return self.update(self.badges.add(badge)).reply(lambda player: player.badges.value)

    @command
    def lose(self, badge: str) -> Effect[None]:
        return self.update(self.badges.remove(badge))

    @command
    def break_down(self) -> Effect[int]:
        return self.update(self.points.increment(7)).reply(lambda player: 1 // 0)

    @command
    def leave(self) -> Effect[None]:
        return self.delete()

    @query
    def content(self) -> tuple[str, int, set[str], dict[str, int]]:
        return self.name.value, self.points.value, self.badges.value, self.games.value


@consumer("referee", source=scored)
def give_bonus(event: Scored) -> Effect[None]:
    """A bonus for each announced score: a sent command, with its effect once."""
    return send(Player.score, f"bonus-{event.player}", "bonus", event.points)


@component("scores")
class Scores(View):
    """Players by their points, made of their states."""

    class Row(Record):
        player: str
        points: int = 0

    @on(Player)
    def changed(self, state: Player | EntityDeleted, row: Row | None, ctx: Context) -> Row | None:
        if isinstance(state, EntityDeleted):
            return None
        return self.Row(player=ctx.subject, points=state.points.value)

    @query("SELECT * FROM scores ORDER BY points DESC, player")
    def best(self) -> list[Row]: ...


arcade = Service("arcade", components=[Player, give_bonus, Scores], topics=[scored])
