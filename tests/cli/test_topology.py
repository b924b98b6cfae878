"""Reading what handlers reach: helpers, views, computed targets, names that only look alike."""

from __future__ import annotations

from typing import Any

from eventmill import (
    Context,
    Effect,
    Event,
    EventSourcedEntity,
    Record,
    Service,
    Topic,
    View,
    Workflow,
    command,
    component,
    consumer,
    on,
    publish,
    query,
    step,
)
from eventmill.cli.topology.drawing import judgement, mermaid, text
from eventmill.sdk.topology.graph import Graph, Kind, graph_of
from tests.faults import tides


class Rang(Event):
    times: int


rings = Topic("rings", Rang)


@component("bell")
class Bell(EventSourcedEntity):
    @command
    def ring(self, times: int) -> Effect[None]:
        return self._announced(times)

    def _announced(self, times: int) -> Effect[None]:
        return self.persist(Rang(times=times)).publish(rings, Rang(times=times))

    @on(Rang)
    def rang(self, event: Rang) -> None: ...


@component("bells")
class Bells(View):
    class Row(Record):
        times: int = 0

    @on(Bell)
    def changed(self, event: Rang, row: Row | None) -> Row:
        return self.Row(times=event.times)

    @query("SELECT * FROM bells")
    def all(self) -> list[Row]: ...


@consumer("reader", source=rings)
async def reader(event: Rang, ctx: Context) -> None:
    await ctx.query(Bells.all)


@consumer("chooser", source=rings)
async def chooser(event: Rang, ctx: Context) -> None:
    handlers: dict[int, Any] = {1: Bell.ring}
    await ctx.call(handlers[event.times], "b", times=1)


TOWN = "town"


@consumer("caller", source=rings)
async def caller(event: Rang, ctx: Context) -> None:
    tower = ctx.service("tower")
    await tower.call(Bell.ring, "b", times=1)
    await tower.call("bell.stop", "b")
    await ctx.service(TOWN).query(Bells.all)
    await ctx.service(str(event.times)).call("bell.ring", "b")


@consumer("telephone", source=rings)
async def telephone(event: Rang, ctx: Context) -> None:
    Telephone().call(Bell.ring)
    if event.times > 1:
        return
    again(ctx)


class Telephone:
    def call(self, number: object) -> None: ...


def again(ctx: Context) -> Effect[None]:
    again(ctx)  # a function that calls itself is read once
    return publish(rings, Rang(times=1))


def graph(*components: Any) -> Graph:
    definition, problems = Service("s", components=components, topics=[rings]).define()
    assert problems == []
    return graph_of(definition)


def ways(found: Graph, source: str) -> set[tuple[str, str, str]]:
    return {(c.way.value, c.target, c.what) for c in found.connections if c.source == source}


def test_effects_of_helper_methods_are_seen() -> None:
    assert ways(graph(Bell), "bell") == {("publishes", "rings", "")}


def test_a_query_of_a_view_is_a_coupling() -> None:
    found = graph(Bell, Bells, reader)
    assert ways(found, "reader") == {("queries", "bells", "all")}
    assert [c.source for c in found.couplings] == ["reader"]


def test_a_computed_target_is_shown_as_it_is_written() -> None:
    found = graph(Bell, chooser)
    assert ways(found, "chooser") == {("calls", "‹handlers[event.times]›", "")}
    (unknown,) = [part for part in found.parts if part.kind is Kind.UNKNOWN]
    assert unknown.id in text(found)
    assert '"‹handlers[event.times]›"' in mermaid(found)


def test_calls_of_other_services_are_seen_however_they_are_named() -> None:
    found = graph(Bell, caller)
    assert ways(found, "caller") == {
        ("calls", "tower/bell", "ring"),
        ("calls", "tower/bell", "stop"),
        ("queries", "town/bells", "all"),
        ("calls", "‹str(event.times)›/bell", "ring"),
    }
    kinds = {part.id: part.kind for part in found.parts}
    assert kinds["tower/bell"] is kinds["town/bells"] is Kind.REMOTE
    assert kinds["‹str(event.times)›/bell"] is Kind.UNKNOWN


def test_only_a_context_calls_and_helpers_are_followed() -> None:
    assert ways(graph(Bell, telephone), "telephone") == {("publishes", "rings", "")}


def test_a_service_of_one_part_is_judged_too() -> None:
    definition, _ = Service("s", topics=[rings]).define()
    assert judgement(graph_of(definition)) == "No part of it is connected with another."


theirs = Topic("rings", Rang, service="church")


@consumer("neighbour", source=theirs)
def hear(event: Rang) -> None: ...


def test_a_topic_of_another_service_is_drawn_with_its_name() -> None:
    definition, problems = Service("house", components=[hear], topics=[theirs]).define()
    assert problems == []
    graph = graph_of(definition)
    (part,) = [part for part in graph.parts if part.id == "church/rings"]
    assert (part.kind, part.types) == (Kind.REMOTE, ["Rang"])
    assert "church/rings  remote      Rang\n  ── feeds ──▶ neighbour" in text(graph)


def test_a_transform_leads_from_its_sources_to_its_topics() -> None:
    definition, problems = tides.service.define()
    assert problems == []
    found = graph_of(definition)
    assert ways(found, "measured") == {("feeds", "hourly", "")}
    assert ways(found, "hourly") == {("publishes", "collected", ""), ("publishes", "late", "")}
    assert found.purity == 1.0
    assert "hourly     transform" in text(found)
    assert 'hourly[/"hourly"/]' in mermaid(found)


@component("errand")
class Errand(Workflow):
    @command
    def start(self) -> Effect[None]:
        return self.begin(Errand.go_out)

    @step
    async def go_out(self) -> Effect[None]:
        return self.end()


@component("errands")
class Errands(Workflow):
    @command
    def start(self) -> Effect[None]:
        return self.begin(Errands.send_somebody)

    @step
    async def send_somebody(self) -> Effect[None]:
        return self.end().start_child(Errand.start, f"{self.entity_id}-1")


def test_a_workflow_reaches_the_children_that_it_starts() -> None:
    definition, problems = Service("town", components=[Errand, Errands]).define()
    assert problems == []
    assert ways(graph_of(definition), "errands") == {("sends", "errand", "start")}
