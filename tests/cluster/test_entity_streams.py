"""Entities of other nodes: followed and looked at in their past from any node."""

from __future__ import annotations

from contextlib import aclosing

from eventmill import Service
from eventmill.testing.web import Web
from tests.cluster.nodes import Nodes
from tests.flow.bank import Account, Profile, ledger

bank = Service("bank", components=[Account, Profile], topics=[ledger])


async def test_changes_of_an_entity_come_from_whoever_holds_it() -> None:
    nodes = Nodes(bank)
    await nodes.start("one", "two")
    id = nodes.id_at("two")
    await nodes.call("two", Account.deposit, id, 1)
    following = nodes.running["one"].changes.follow("account", id, 0, lambda: 1_000)
    async with aclosing(following) as pages:
        assert [entry.sequence for entry in await anext(pages)] == [1]
        await nodes.call("two", Account.deposit, id, 2)
        assert [e.sequence for e in await nodes.while_time_passes(anext(pages))] == [2]
        await nodes.stop("two")
        await nodes.call("one", Account.deposit, id, 3)
        assert [e.sequence for e in await nodes.while_time_passes(anext(pages))] == [3]
        await nodes.start("three")
        await nodes.call("three", Account.deposit, id, 4)
        assert [e.sequence for e in await nodes.while_time_passes(anext(pages))] == [4]
    await nodes.close()


async def test_a_query_follows_an_entity_of_another_node() -> None:
    nodes = Nodes(bank)
    await nodes.start("one", "two")
    id = nodes.id_at("two")
    web = Web(nodes.front("one"))
    async with web.events(f"/components/account/{id}/content") as answers:
        assert (await nodes.while_time_passes(answers.next())).data == 0
        await nodes.call("two", Account.deposit, id, 2)
        assert (await nodes.while_time_passes(answers.next())).data == 2
    await nodes.close()


async def test_the_past_is_the_same_everywhere() -> None:
    nodes = Nodes(bank)
    await nodes.start("one", "two")
    id = nodes.id_at("two")
    await nodes.call("two", Account.move, id, [1, 2, 3])
    for name in ("one", "two"):
        web = Web(nodes.front(name))
        answer = await web.get(f"/components/account/{id}/content?as_of_sequence=2")
        assert answer.json() == 3
    await nodes.close()
