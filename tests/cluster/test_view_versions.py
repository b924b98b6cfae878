# mypy: disable-error-code="empty-body"
"""Versions of a view on several nodes: all build, one change-over, nobody's tables go too soon."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from eventmill import View
from eventmill.errors import Conflict, RequestError
from eventmill.model.commit import Commit
from eventmill.runtime.runtime import Runtime
from tests.cluster.nodes import Nodes
from tests.flow.sums import RenamedSums, Sum, Sums, TenfoldSums, service

IDS = [f"s{number}" for number in range(40)]
UNUSED = 70
"""Seconds after which an unused version is gone."""

REPLACING = {"state": "replacing", "live": 1, "building": 2}


@pytest.fixture
async def nodes() -> AsyncIterator[Nodes]:
    nodes = Nodes(service(Sums))
    yield nodes
    failures = [r.supervisor.failures for r in nodes.running.values()]
    await nodes.close()
    assert failures == [{}] * len(failures)


async def start(nodes: Nodes, *names: str) -> None:
    """Start nodes and add something for their view."""
    await nodes.start(*names)
    await add(nodes)


async def start_rebuilding(nodes: Nodes, *names: str) -> None:
    """The same, and begin version 2 of the view, which gets no further until it is resumed."""
    await start(nodes, *names)
    await hold(nodes, 2)
    assert await rebuild(nodes, "a") == 2


async def deploy(nodes: Nodes, view: type[View], node: str) -> None:
    """Start a node again with a definition of the view."""
    nodes.service = service(view)
    await nodes.stop(node)
    await nodes.start(node)


async def add(nodes: Nodes) -> None:
    """Add one to every sum, through one node after the other."""
    names = list(nodes.running)
    for number, id in enumerate(IDS):
        await nodes.call(names[number % len(names)], Sum.add, id, 1)
    await nodes.advance(1)


async def rows(nodes: Nodes, node: str, query: Any = Sums.all) -> dict[str, int]:
    """What the view answers on a node."""
    found = await nodes.running[node].query(query, query.arguments((), {}))
    return {row.id: row.m if hasattr(row, "m") else row.n for row in found}


def state(runtime: Runtime) -> dict[str, Any]:
    """How the view is doing on a node: its state, and the numbers of its versions."""
    (view,) = runtime.views.status()
    roles = {role: view[role]["version"] for role in ("live", "frozen", "building") if view[role]}
    return {"state": view["state"], **roles}


def states(nodes: Nodes) -> list[dict[str, Any]]:
    return [state(runtime) for runtime in nodes.running.values()]


def live(number: int, nodes: int) -> list[dict[str, Any]]:
    return [{"state": "live", "live": number}] * nodes


async def tables(nodes: Nodes) -> list[int]:
    """Versions that have a table."""
    found = []
    for number in range(1, 9):
        try:
            sql = f'SELECT CAST(count(*) AS TEXT) FROM "v_sums@{number}:sums"'
            await nodes.store.views.query(sql, {}, seconds=10)
            found.append(number)
        except RequestError:
            pass
    return found


async def hold(nodes: Nodes, version: int) -> None:
    """Let a version not be built until it is resumed."""
    await nodes.store.commit(Commit(registry={f"paused/sums@{version}": b"1"}))
    await nodes.advance(4)


async def resume(nodes: Nodes, node: str, version: int) -> None:
    await nodes.while_time_passes(nodes.running[node].roster.resume(f"sums@{version}"))


async def rebuild(nodes: Nodes, node: str) -> int:
    return int(await nodes.while_time_passes(nodes.operations(node).rebuild("sums")))


async def test_nodes_that_start_at_once_begin_one_version(nodes: Nodes) -> None:
    await start(nodes, "a", "b", "c")
    assert states(nodes) == live(1, 3)
    assert await tables(nodes) == [1]
    for node in "abc":
        assert await rows(nodes, node) == dict.fromkeys(IDS, 1)


async def test_a_rebuild_is_done_by_all_nodes(nodes: Nodes) -> None:
    await start_rebuilding(nodes, "a", "b")
    await nodes.advance(1)
    assert states(nodes) == [REPLACING] * 2
    with pytest.raises(Conflict, match="built already"):
        await rebuild(nodes, "b")
    await add(nodes)
    assert await rows(nodes, "b") == dict.fromkeys(IDS, 2), "the old one follows meanwhile"
    await resume(nodes, "b", 2)
    await nodes.until(lambda: states(nodes) == live(2, 2), 3)
    for node in "ab":
        assert await rows(nodes, node) == dict.fromkeys(IDS, 2)
    assert await tables(nodes) == [1, 2]
    await nodes.advance(UNUSED, step=0.5)
    assert await tables(nodes) == [2]
    assert {name for name, _ in await nodes.store.offsets() if "sums" in name} == {"sums@2"}
    await add(nodes)
    assert await rows(nodes, "a") == dict.fromkeys(IDS, 3)


async def test_one_of_two_rebuilds_on_two_nodes_is_refused(nodes: Nodes) -> None:
    await start(nodes, "a", "b")
    both = asyncio.gather(
        nodes.operations("a").rebuild("sums"),
        nodes.operations("b").rebuild("sums"),
        return_exceptions=True,
    )
    answers = await nodes.while_time_passes(both)
    assert sorted(map(str, (type(answer).__name__ for answer in answers))) == ["Conflict", "int"]
    await nodes.until(lambda: states(nodes) == live(2, 2), 3)


async def test_nothing_changes_over_before_every_shard_has_caught_up(nodes: Nodes) -> None:
    await start_rebuilding(nodes, "a", "b")
    await nodes.advance(1)
    slow = nodes.running["b"]
    # On node a it is filled, on node b it is not.
    nodes.running["a"].subscription("sums@2").resume()
    await nodes.advance(5)
    assert states(nodes) == [REPLACING] * 2
    assert nodes.running["a"].subscription("sums@2").lag == 0
    slow.subscription("sums@2").resume()
    await nodes.until(lambda: states(nodes) == live(2, 2), 3)


async def test_a_node_that_dies_while_a_view_is_rebuilt_is_replaced(nodes: Nodes) -> None:
    await start_rebuilding(nodes, "a", "b", "c")
    await nodes.advance(1)
    nodes.running["a"].subscription("sums@2").resume()
    nodes.running["c"].subscription("sums@2").resume()
    await nodes.advance(1)
    await nodes.crash("b")
    await nodes.advance(5)
    assert states(nodes) == [REPLACING] * 2, "nobody has built the dead node's shards"
    await nodes.until(lambda: states(nodes) == live(2, 2), 20)
    await resume(nodes, "a", 2)
    await nodes.start("b")
    await add(nodes)
    for node in "abc":
        assert await rows(nodes, node) == dict.fromkeys(IDS, 2)


async def test_the_node_that_was_asked_may_die_at_once(nodes: Nodes) -> None:
    await start_rebuilding(nodes, "a", "b")
    await nodes.crash("a")
    await nodes.advance(5)
    await resume(nodes, "b", 2)
    await nodes.until(lambda: states(nodes) == live(2, 1), 20)
    assert await rows(nodes, "b") == dict.fromkeys(IDS, 1)


async def test_a_node_that_joins_while_a_view_is_rebuilt_builds_too(nodes: Nodes) -> None:
    await start_rebuilding(nodes, "a", "b")
    await nodes.start("c")
    assert state(nodes.running["c"]) == REPLACING
    assert len(nodes.running["c"].subscription("sums@2").positions) > 0
    await resume(nodes, "c", 2)
    await nodes.until(lambda: states(nodes) == live(2, 3), 3)
    await nodes.advance(UNUSED, step=0.5)
    assert await tables(nodes) == [2]
    for node in "abc":
        assert await rows(nodes, node) == dict.fromkeys(IDS, 1)


async def test_a_build_under_load_changes_over(nodes: Nodes) -> None:
    await start(nodes, "a", "b")
    await rebuild(nodes, "a")
    for number in range(60):
        await nodes.call("ab"[number % 2], Sum.add, IDS[number % len(IDS)], 1)
        if states(nodes) == live(2, 2):
            break
    assert states(nodes) == live(2, 2)


async def test_a_rolling_update_changes_over_when_the_last_old_node_is_gone(nodes: Nodes) -> None:
    await start(nodes, "a", "b", "c")
    for node in "ab":
        await deploy(nodes, TenfoldSums, node)
        assert state(nodes.running[node]) == {"state": "frozen", "frozen": 1, "building": 2}
        assert await rows(nodes, node, TenfoldSums.from_) == dict.fromkeys(IDS, 1)
        assert state(nodes.running["c"]) == {"state": "live", "live": 1}
    await nodes.advance(UNUSED, step=0.5)
    assert await tables(nodes) == [1, 2]
    assert await rows(nodes, "c") == dict.fromkeys(IDS, 1)
    await nodes.stop("c")
    await nodes.until(lambda: states(nodes) == live(2, 2), 5)
    await nodes.start("c")
    await add(nodes)
    for node in "abc":
        assert await rows(nodes, node, TenfoldSums.from_) == dict.fromkeys(IDS, 20)
    await nodes.advance(UNUSED, step=0.5)
    assert await tables(nodes) == [2]


async def test_an_old_node_keeps_its_version_as_long_as_it_lives(nodes: Nodes) -> None:
    await start(nodes, "a", "b")
    await deploy(nodes, TenfoldSums, "b")
    # Node b has every shard for a moment; then node a comes back as it was.
    nodes.service = service(Sums)
    await nodes.stop("a")
    await nodes.until(lambda: states(nodes) == live(2, 1), 5)
    await nodes.start("a")
    for seconds in (1, UNUSED):
        await nodes.advance(seconds, step=0.5)
        assert state(nodes.running["a"]) == {"state": "live", "live": 1}
        assert state(nodes.running["b"]) == {"state": "live", "live": 2}
    assert await tables(nodes) == [1, 2]
    assert await rows(nodes, "a") == dict.fromkeys(IDS, 1)
    assert await rows(nodes, "b", TenfoldSums.from_) == dict.fromkeys(IDS, 10)
    await nodes.stop("a")
    await nodes.advance(UNUSED, step=0.5)
    assert await tables(nodes) == [2]


async def test_a_rollback_in_the_middle_leaves_the_old_version_alone(nodes: Nodes) -> None:
    await start(nodes, "a", "b")
    await deploy(nodes, RenamedSums, "b")
    assert state(nodes.running["b"]) == {"state": "building", "building": 2}
    await deploy(nodes, Sums, "b")
    assert states(nodes) == live(1, 2)
    await add(nodes)
    assert await rows(nodes, "b") == dict.fromkeys(IDS, 2)
    await nodes.advance(UNUSED, step=0.5)
    assert await tables(nodes) == [1], "what the newer code had begun is gone"


async def test_a_newer_node_that_starts_again_goes_on_with_its_build(nodes: Nodes) -> None:
    await start(nodes, "a", "b")
    await deploy(nodes, RenamedSums, "b")
    await nodes.crash("b")
    await nodes.advance(30)
    await nodes.start("b")
    assert state(nodes.running["b"]) == {"state": "building", "building": 2}


async def test_a_version_is_not_removed_while_a_live_node_cannot_be_asked(nodes: Nodes) -> None:
    await start(nodes, "a", "b")
    nodes.part({"a"}, {"b"})
    nodes.network.lost = lambda: True
    await rebuild(nodes, "a")
    await nodes.advance(UNUSED, step=0.5)
    assert states(nodes) == live(2, 2)
    assert await tables(nodes) == [1, 2]
    nodes.network.heal()
    await nodes.advance(10)
    assert await tables(nodes) == [2]
