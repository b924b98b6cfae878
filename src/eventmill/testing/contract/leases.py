"""The contract of `ports.cluster.Leases`, with the store whose commits its claims fence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from eventmill.errors import Conflict, NotOwner
from eventmill.ports.cluster import Claim, Leases, Member
from eventmill.ports.store import Store
from eventmill.testing.contract.harness import entry, put

LONG = 60.0
SHORT = 0.05
HERE = "host:1"


class LeaseContract:
    """Override `make`, and `until_ended` if the store's clock is in your hand."""

    async def make(self) -> tuple[Store, Leases]:
        """Return an open store of 16 shards, of which none is held, and its open leases."""
        raise NotImplementedError("override make() and return your store and leases")

    async def close(self, store: Store, leases: Leases) -> None:
        """Close both."""
        await store.close()

    async def until_ended(self, leases: Leases, node: str) -> None:
        """Wait until a lease of `SHORT` seconds has ended by the store's clock."""
        async with asyncio.timeout(10):
            while node in {member.node for member in await leases.members()}:  # noqa: ASYNC110
                await asyncio.sleep(SHORT / 2)

    @pytest.fixture
    async def cluster(self) -> AsyncIterator[tuple[Store, Leases]]:
        store, leases = await self.make()
        yield store, leases
        await self.close(store, leases)

    @pytest.fixture
    def leases(self, cluster: tuple[Store, Leases]) -> Leases:
        return cluster[1]

    @pytest.fixture
    def store(self, cluster: tuple[Store, Leases]) -> Store:
        return cluster[0]

    async def test_members_are_those_who_joined_and_did_not_leave(self, leases: Leases) -> None:
        await leases.join("b", HERE, seconds=LONG)
        await leases.join("a", HERE, seconds=LONG)
        assert await leases.members() == [Member("a", HERE), Member("b", HERE)]
        await leases.leave("a", HERE)
        await leases.leave("unknown", HERE)
        assert await leases.members() == [Member("b", HERE)]

    async def test_a_name_is_taken_while_its_lease_lasts(self, leases: Leases) -> None:
        await leases.join("a", "one", seconds=LONG)
        with pytest.raises(Conflict):
            await leases.join("a", "two", seconds=LONG)
        assert await leases.members() == [Member("a", "one")]

    async def test_an_ended_lease_cannot_be_renewed_but_its_name_can_join_anew(
        self, leases: Leases
    ) -> None:
        await leases.join("a", HERE, seconds=SHORT)
        await self.until_ended(leases, "a")
        assert not await leases.renew("a", HERE, seconds=LONG)
        assert await leases.members() == []
        await leases.join("a", "two", seconds=LONG)
        assert await leases.members() == [Member("a", "two")]

    async def test_who_has_joined_under_a_name_since_is_somebody_else(self, leases: Leases) -> None:
        await leases.join("a", "one", seconds=SHORT)
        await self.until_ended(leases, "a")
        await leases.join("a", "two", seconds=LONG)
        assert not await leases.renew("a", "one", seconds=LONG)
        await leases.leave("a", "one")
        assert await leases.members() == [Member("a", "two")]
        assert await leases.renew("a", "two", seconds=LONG)

    async def test_a_renewed_lease_lasts(self, leases: Leases) -> None:
        await leases.join("a", HERE, seconds=LONG)
        await leases.join("b", HERE, seconds=LONG)
        assert await leases.renew("a", HERE, seconds=SHORT)
        await self.until_ended(leases, "a")
        assert await leases.renew("b", HERE, seconds=LONG)
        assert [member.node for member in await leases.members()] == ["b"]
        assert not await leases.renew("nobody", HERE, seconds=LONG)

    async def test_a_store_has_a_name_of_its_own_that_stays(self, leases: Leases) -> None:
        name = await leases.cluster()
        await leases.join("a", "address", seconds=5)
        assert await leases.cluster() == name != ""

    async def test_at_first_nobody_holds_a_shard(self, leases: Leases) -> None:
        assert await leases.claims() == [Claim(shard, None, 0) for shard in range(16)]

    async def test_a_claim_raises_the_epoch_and_is_seen(self, leases: Leases) -> None:
        await leases.join("a", HERE, seconds=LONG)
        assert await leases.claim(3, "a", 0) == 1
        assert (await leases.claims())[3] == Claim(3, "a", 1)

    async def test_a_shard_of_a_living_node_cannot_be_claimed(self, leases: Leases) -> None:
        await leases.join("a", HERE, seconds=LONG)
        await leases.join("b", HERE, seconds=LONG)
        await leases.claim(3, "a", 0)
        assert await leases.claim(3, "b", 1) is None
        assert await leases.claim(3, "a", 1) is None
        assert (await leases.claims())[3] == Claim(3, "a", 1)

    async def test_a_claim_under_an_epoch_of_yesterday_fails(self, leases: Leases) -> None:
        await leases.join("a", HERE, seconds=LONG)
        await leases.join("b", HERE, seconds=LONG)
        await leases.claim(3, "a", 0)
        assert await leases.release(3, "a", 1)
        assert await leases.claim(3, "b", 0) is None
        assert await leases.claim(3, "b", 1) == 2

    async def test_who_is_not_alive_claims_nothing(self, leases: Leases) -> None:
        assert await leases.claim(3, "nobody", 0) is None
        await leases.join("a", HERE, seconds=SHORT)
        await self.until_ended(leases, "a")
        assert await leases.claim(3, "a", 0) is None

    async def test_shards_of_a_dead_node_and_of_one_that_left_are_free(
        self, leases: Leases
    ) -> None:
        await leases.join("a", HERE, seconds=LONG)
        await leases.join("b", HERE, seconds=LONG)
        await leases.join("c", HERE, seconds=LONG)
        await leases.claim(1, "a", 0)
        await leases.claim(2, "b", 0)
        assert await leases.renew("a", HERE, seconds=SHORT)
        await self.until_ended(leases, "a")
        await leases.leave("b", HERE)
        assert [await leases.claim(shard, "c", 1) for shard in (1, 2)] == [2, 2]

    async def test_of_many_who_claim_at_once_one_wins(self, leases: Leases) -> None:
        nodes = [f"n{n}" for n in range(8)]
        for node in nodes:
            await leases.join(node, HERE, seconds=LONG)
        won = await asyncio.gather(*(leases.claim(5, node, 0) for node in nodes))
        assert sorted(map(str, won)) == ["1", *["None"] * 7]
        assert (await leases.claims())[5].owner == nodes[won.index(1)]

    async def test_only_the_holder_releases_and_the_epoch_stays(self, leases: Leases) -> None:
        await leases.join("a", HERE, seconds=LONG)
        await leases.claim(3, "a", 0)
        assert not await leases.release(3, "b", 1)
        assert not await leases.release(3, "a", 0)
        assert await leases.release(3, "a", 1)
        assert (await leases.claims())[3] == Claim(3, None, 1)
        assert not await leases.release(3, "a", 1)

    async def test_a_claim_refuses_the_commits_of_the_owner_before(
        self, store: Store, leases: Leases
    ) -> None:
        await leases.join("a", HERE, seconds=LONG)
        await leases.join("b", HERE, seconds=LONG)
        epoch = await leases.claim(3, "a", 0)
        assert epoch is not None
        store.hold(3, epoch)
        await put(store, entry(shard=3))
        await leases.leave("a", HERE)
        later = await leases.claim(3, "b", epoch)
        with pytest.raises(NotOwner):
            await put(store, entry(sequence=2, shard=3))
        assert await store.journal.end(3) == 1
        assert later == 2
        store.hold(3, later)
        await put(store, entry(sequence=2, shard=3))
        assert await store.journal.end(3) == 2
