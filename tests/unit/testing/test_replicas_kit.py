"""The kit of replicated entities, as an author uses it."""

from __future__ import annotations

import pytest

from eventmill import (
    Effect,
    LWWRegister,
    ORSet,
    PNCounter,
    ReplicatedEntity,
    command,
    component,
    query,
)
from eventmill.errors import HandlerFailed
from eventmill.testing import ReplicasKit, ViewKit
from tests.flow.arcade import Player, Scored, Scores, scored


def test_nodes_that_are_parted_agree_when_they_meet_again() -> None:
    kit = ReplicasKit(Player, "p", nodes=("a", "b"))
    kit.run("a", Player.award, badge="gold")
    kit.exchange()
    kit.part({"a"}, {"b"})
    kit.run("a", Player.lose, "gold")
    assert kit.run("b", Player.award, badge="gold").reply == {"gold"}
    kit.run("b", Player.score, "go", 5)
    kit.exchange()
    assert kit.state("a").badges.value == set()
    assert not kit.converged
    kit.heal()
    assert kit.converged
    assert kit.state("a").badges.value == {"gold"}
    assert kit.run("a", Player.content).reply == ("nobody", 5, {"gold"}, {"go": 1})


def test_refusals_publications_and_deletion() -> None:
    kit = ReplicasKit(Player, "p")
    refused = kit.run("a", Player.score, "go", 2_000_000)
    assert refused.rejected is not None
    assert refused.rejected.code == "player.cheat"
    told = kit.run("b", Player.announce, 5)
    assert told.published == [(scored, Scored(player="p", points=5))]
    kit.run("a", Player.leave)
    kit.exchange("a", "b")
    assert kit.run("b", Player.content).rejected is not None
    assert kit.run("c", Player.content).rejected is None


def test_a_state_feeds_a_view() -> None:
    kit = ReplicasKit(Player, "p")
    kit.run("a", Player.score, "go", 5)
    view = ViewKit(Scores)
    view.feed(kit.state("a"), subject="p")
    assert [(row.player, row.points) for row in view.rows()] == [("p", 5)]


@component("careless")
class Careless(ReplicatedEntity):
    count: PNCounter
    names: ORSet[str]

    @command
    def forget(self) -> Effect[None]:
        self.names.add("x")
        return self.update(self.count.increment())

    @command
    def put(self) -> Effect[None]:
        self.count = PNCounter()
        return self.update()

    @command
    def mistype(self, name: str) -> Effect[None]:
        return self.update(self.names.add(len(name)))  # type: ignore[arg-type]

    @command
    def nothing(self) -> Effect[int]:
        return self.update(self.count.increment()).reply(lambda careless: 1 // 0)

    @query
    def total(self) -> int:
        return self.count.value


@pytest.mark.parametrize(
    ("handler", "told"),
    [
        (Careless.forget, r"did not return.*self\.update"),
        (Careless.put, r"count cannot be set.*self\.update"),
        (Careless.nothing, "ZeroDivisionError"),
    ],
)
def test_guards_find_what_would_be_lost(handler: object, told: str) -> None:
    kit = ReplicasKit(Careless)
    with pytest.raises(HandlerFailed, match=told):
        kit.run("a", handler)  # type: ignore[arg-type]
    assert kit.run("a", Careless.total).reply == 0


def test_a_value_of_another_type_is_refused() -> None:
    with pytest.raises(HandlerFailed, match="is no"):
        ReplicasKit(Careless).run("a", Careless.mistype, "x")


def test_a_register_has_its_value_before_the_first_write() -> None:
    @component("named")
    class Named(ReplicatedEntity):
        name: LWWRegister[str] = LWWRegister("nobody")

        @query
        def show(self) -> str:
            return self.name.value

    assert ReplicasKit(Named).run("a", Named.show).reply == "nobody"
