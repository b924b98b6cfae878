"""Numbers of nodes among the replicas: whose they are, and when they may be used."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from eventmill.adapters.memory.store import Store
from eventmill.errors import Conflict, Unavailable
from eventmill.model.commit import Commit
from eventmill.runtime.committer import Committer
from eventmill.runtime.replicated.actors import Actor
from eventmill.testing import VirtualClock


class Rig:
    """Actors of several nodes on one store."""

    def __init__(self) -> None:
        self.store = Store()
        self.committer = Committer(self.store)
        self.clock = VirtualClock()
        self.alive: set[str] = set()
        self.seen_before: list[str] = []

    def actor(self, node: str) -> Actor:
        async def others() -> set[str]:
            return self.alive - {node}

        async def catch_up() -> None:
            with pytest.raises(Unavailable):
                _ = actor.number
            self.seen_before.append(node)

        self.alive.add(node)
        actor = Actor(node, self.store, self.committer, self.clock, others, catch_up)
        return actor


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    async with asyncio.TaskGroup() as group:
        group.create_task(rig.committer.run())
        yield rig
        rig.committer.stop()


async def test_a_number_is_used_when_all_that_was_made_under_it_is_read(rig: Rig) -> None:
    actor = rig.actor("a")
    with pytest.raises(Unavailable):
        _ = actor.number
    await actor.take()
    assert actor.number == 1
    assert rig.seen_before == ["a"]


async def test_a_number_goes_to_the_next_node_and_fences_the_last_one(rig: Rig) -> None:
    first, second, third = (rig.actor(node) for node in "abc")
    for actor in (first, second):
        await actor.take()
    rig.alive.discard("a")
    await third.take()
    assert (second.number, third.number) == (2, 1)
    late, mine = Commit(), Commit()
    first.fence(late)
    third.fence(mine)
    with pytest.raises(Conflict):
        await rig.store.commit(late)
    await rig.store.commit(mine)


async def test_after_doubt_nothing_is_changed_under_the_number_until_it_is_taken_anew(
    rig: Rig,
) -> None:
    actor = rig.actor("a")
    await actor.take()
    given_up = Commit()
    actor.fence(given_up)
    actor.doubt()
    with pytest.raises(Unavailable):
        _ = actor.number
    await actor.take()
    assert actor.number == 1
    with pytest.raises(Conflict):
        await rig.store.commit(given_up)
