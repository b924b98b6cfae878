"""Views on nodes that die, join, part and change their definition, in any order: all agree in the end."""

from __future__ import annotations

import random
from typing import Any

import pytest

from eventmill.errors import EventmillError
from tests.cluster.nodes import Nodes
from tests.cluster.test_view_versions import IDS, UNUSED, rows, states, tables
from tests.flow.sums import RenamedSums, Sum, Sums, TenfoldSums, service

NAMES = "abc"
TURNS = 20
DEFINITIONS: dict[Any, tuple[Any, int]] = {
    Sums: (Sums.all, 1),
    TenfoldSums: (TenfoldSums.from_, 10),
    RenamedSums: (RenamedSums.all, 1),
}


class Storm:
    """One order of events."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.nodes = Nodes(service(Sums))
        self.sums = dict.fromkeys(IDS, 0)
        self.rebuilds = 0
        self.done: list[str] = []

    async def turn(self) -> None:
        """Let one thing happen, and some time pass."""
        up = list(self.nodes.running)
        what = self.random.choice(
            ["add", "add", "join", "join", "leave", "die", "rebuild", "part", "heal", "deploy"]
        )
        node = self.random.choice(up) if up else ""
        self.done.append(f"{what} {node}")
        match what:
            case "add" if up:
                await self.add(node)
            case "join" if len(up) < len(NAMES):
                await self.nodes.start(next(name for name in NAMES if name not in up))
            case "leave" if len(up) > 1:
                await self.nodes.stop(node)
            case "die" if len(up) > 1:
                await self.nodes.crash(node)
            case "rebuild" if up:
                await self.rebuild(node)
            case "part":
                self.nodes.part({"a"}, {"b", "c"})
            case "heal":
                self.nodes.network.heal()
            case "deploy":
                self.nodes.service = service(self.random.choice(list(DEFINITIONS)))
        await self.nodes.advance(self.random.choice([0.1, 1, 5, 15]), step=0.1)

    async def add(self, node: str) -> None:
        for id in self.random.sample(IDS, 5):
            try:
                await self.nodes.call(node, Sum.add, id, 1)
            except EventmillError:
                continue
            self.sums[id] += 1

    async def rebuild(self, node: str) -> None:
        try:
            await self.nodes.while_time_passes(self.nodes.operations(node).rebuild("sums"))
            self.rebuilds += 1
        except EventmillError:
            pass

    async def calm(self, definition: Any) -> None:
        """Heal everything, and give every node the same definition."""
        self.nodes.network.heal()
        await self.nodes.advance(15, step=0.1)
        self.nodes.service = service(definition)
        for name in NAMES:
            if name in self.nodes.running:
                await self.nodes.stop(name)
            await self.nodes.start(name)
        await self.nodes.advance(2 * UNUSED, step=0.5)


SEEDS = [*range(2), *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 40))]


@pytest.mark.parametrize("seed", SEEDS)
async def test_in_the_end_all_nodes_answer_from_one_version(seed: int) -> None:
    storm = Storm(seed)
    nodes = storm.nodes
    await nodes.start("a", "b")
    await storm.add("a")
    nodes.service = service(storm.random.choice([TenfoldSums, RenamedSums]))
    for _ in range(TURNS):
        await storm.turn()
    definition = storm.random.choice(list(DEFINITIONS))
    await storm.calm(definition)
    query, factor = DEFINITIONS[definition]
    expected = {id: total * factor for id, total in storm.sums.items() if total}
    (number,) = await tables(nodes)
    assert states(nodes) == [{"state": "live", "live": number}] * len(NAMES), storm.done
    for node in NAMES:
        found = await rows(nodes, node, query)
        # A command whose answer was lost may have been done.
        assert found.keys() >= expected.keys(), storm.done
        content = [await nodes.call(node, Sum.total_now, id) for id in found]
        assert [total // factor for total in found.values()] == content, storm.done
    assert {n for n, _ in await nodes.store.offsets() if "sums" in n} == {f"sums@{number}"}
    failures = [runtime.supervisor.failures for runtime in nodes.running.values()]
    assert failures == [{}] * len(NAMES)
    await nodes.close()
