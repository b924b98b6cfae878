"""A component that was renamed: its entities are missed at start, not when somebody asks for them."""

from __future__ import annotations

from pathlib import Path

from structlog.testing import capture_logs

from eventmill import Effect, Event, EventSourcedEntity, Service, command, component, on
from eventmill.node.config import NodeConfig
from eventmill.node.node import Node


class Lit(Event):
    pass


def shop(id: str) -> Service:
    @component(id)
    class Lamp(EventSourcedEntity):
        is_lit: bool = False

        @command
        def light(self) -> Effect[None]:
            return self.persist(Lit())

        @on(Lit)
        def lit(self, event: Lit) -> None:
            self.is_lit = True

    return Service("shop", components=[Lamp])


async def orphans(id: str, data: Path, *, lit: str = "") -> list[str]:
    """Run a node with the component under an id; return the components that it misses."""
    service = shop(id)
    node = Node(service, NodeConfig(data=data, port=0))
    with capture_logs() as logs:
        await node.start()
        if lit:
            (lamp,) = service.define()[0].entities.values()
            await node.runtime.call(lamp.handlers["light"], lit, ())
        await node.stop()
    return [entry["component"] for entry in logs if "does not have" in entry["event"]]


async def test_entities_of_a_renamed_component_are_told_at_start(tmp_path: Path) -> None:
    assert await orphans("lamp", tmp_path, lit="l1") == []
    assert await orphans("lamp", tmp_path) == []
    assert await orphans("light", tmp_path, lit="l2") == ["lamp"]
    assert await orphans("lamp", tmp_path) == ["light"]
