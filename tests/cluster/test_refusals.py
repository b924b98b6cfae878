"""Sent commands that an entity of another node refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from eventmill import (
    Effect,
    Event,
    EventSourcedEntity,
    Rejected,
    Service,
    Topic,
    command,
    component,
    consumer,
    on,
    query,
    send,
)
from eventmill.errors import Unavailable
from eventmill.model.commit import LetterStatus
from tests.cluster.nodes import Nodes


class Asked(Event):
    shop: str
    account: str


class Took(Event):
    pass


asked = Topic("asked", Asked, key="shop")


@component("account")
class Account(EventSourcedEntity):
    taken: int = 0

    @command
    def take(self) -> Effect[None]:
        if self.taken:
            raise Rejected("nothing is left")
        return self.persist(Took())

    @query
    def content(self) -> int:
        return self.taken

    @on(Took)
    def took(self, event: Took) -> None:
        self.taken += 1


@consumer("taker", source=asked)
def take(event: Asked) -> Effect[None]:
    return send(Account.take, event.account)


service = Service("shops", components=[Account, take], topics=[asked])


@pytest.fixture
async def nodes() -> AsyncIterator[Nodes]:
    nodes = Nodes(service)
    await nodes.start("a", "b")
    yield nodes
    await nodes.close()


async def send_from_a_to_b(nodes: Nodes) -> None:
    """Let node a send a command to an entity of node b."""
    event = Asked(shop=nodes.id_at("a"), account=nodes.id_at("b"))
    await nodes.while_time_passes(nodes.running["a"].publish(asked, (event,)))
    await nodes.advance(2)


async def test_only_what_became_true_refuses_a_command_of_another_node(nodes: Nodes) -> None:
    account, gate = nodes.id_at("b"), asyncio.Event()
    nodes.stores["b"].fail(matching=lambda commit: bool(commit.entries), until=gate)
    taking = asyncio.ensure_future(nodes.running["b"].call(Account.take, account, ()))
    await send_from_a_to_b(nodes)
    gate.set()
    with pytest.raises(Unavailable):
        await nodes.while_time_passes(taking)
    await nodes.advance(5)
    assert await nodes.operations("a").letters() == []
    assert await nodes.call("a", Account.content, account) == 1
    await send_from_a_to_b(nodes)
    (letter,) = await nodes.operations("a").letters()
    assert (letter.status, letter.code) == (LetterStatus.REFUSED, "rejected")
