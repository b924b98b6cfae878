"""The contract of `ports.directory` as tests: what an adapter's author runs.

class TestMyDirectory(DirectoryContract):
    def make(self) -> tuple[Transport, Directory]: ...
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from eventmill.ports.directory import Counts, Directory, Endpoint, Instance
from eventmill.ports.transport import Transport

Node = tuple[Transport, Directory]


def instance(service: str, id: str) -> Instance:
    """An entry with everything in it."""
    return Instance(
        service,
        id,
        "1.2.3",
        {"url": "http://127.0.0.1:1", "topics": "a, b"},
        [
            Endpoint("stock.v2", service, {"commands": "reserve, free"}),
            Endpoint("describe", f"{service}/describe"),
        ],
    )


class DirectoryContract:
    """Everything a directory must do."""

    def make(self) -> Node:
        """Make a node's transport, not yet open, and its directory; all of a test meet."""
        raise NotImplementedError("override make() and return two of yours")

    @pytest.fixture
    async def nodes(self) -> AsyncIterator[list[Node]]:
        nodes = [self.make() for _ in range(3)]
        for transport, _ in nodes:
            await transport.open()
        yield nodes
        for transport, _ in nodes:
            await transport.close()

    async def test_what_was_announced_is_found_whole(self, nodes: list[Node]) -> None:
        entries = [
            instance("shop.eu", "shop.eu/a-1"),
            instance("shop.eu", "shop.eu/b-2"),
            instance("stock", "stock/a-3"),
        ]
        for (_, directory), entry in reversed(list(zip(nodes, entries, strict=True))):
            await directory.announce(entry, Counts)
        for _, directory in nodes:
            assert await directory.find() == entries
            assert await directory.find("shop.eu") == entries[:2]
            assert await directory.find("stock") == entries[2:]

    async def test_nobody_is_found_where_nobody_is(self, nodes: list[Node]) -> None:
        (_, a), (_, b), _ = nodes
        assert await a.find() == await a.find("shop") == []
        await b.announce(instance("stock", "stock/a-1"), Counts)
        assert await a.find("shop") == await a.find("stock.") == []

    async def test_who_withdraws_or_ends_is_found_no_more(self, nodes: list[Node]) -> None:
        (_, a), (_, b), (transport, c) = nodes
        await a.withdraw()  # never announced: fine
        for directory, id in ((a, "shop/a"), (b, "shop/b"), (c, "shop/c")):
            await directory.announce(instance("shop", id), Counts)
        await b.withdraw()
        await transport.close()
        assert [found.id for found in await a.find("shop")] == ["shop/a"]
        await a.withdraw()
        assert await b.find() == []
