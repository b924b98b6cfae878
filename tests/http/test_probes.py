"""Health and metrics of a real node."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from eventmill.adapters.clock import SystemClock
from eventmill.adapters.luck import system_luck
from eventmill.adapters.memory.store import Store as MemoryStore
from eventmill.errors import StoreFull
from eventmill.http.health import Health
from eventmill.node.checking import checked
from eventmill.runtime.runtime import Runtime
from eventmill.testing import FaultyStore
from tests.http.serving import Moved, moves, service, serving, session


async def test_a_node_is_live_and_ready(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, session(node) as http:
        assert (await http.get("/health/live")).status == 200
        answer = await http.get("/health/ready")
        assert (answer.status, await answer.json()) == (200, {"ready": True, "problems": []})


async def test_a_failed_loop_makes_it_unready(tmp_path: Path) -> None:
    async def broken() -> None:
        raise ZeroDivisionError("by design")

    async with serving(tmp_path) as node, session(node) as http:
        node.runtime.supervisor.start("broken", broken())
        await node.runtime.supervisor.failed.wait()
        answer = await http.get("/health/ready")
        assert answer.status == 503
        assert "broken" in (await answer.json())["problems"][0]
        assert (await http.get("/health/live")).status == 200


async def test_a_store_that_cannot_write_makes_it_unready_until_it_can() -> None:
    store = FaultyStore(MemoryStore())
    runtime = Runtime(checked(service), store, SystemClock(), system_luck)
    health = Health(runtime)
    await runtime.start()
    try:
        assert await health.problems() == []
        store.fail(error=StoreFull())
        with pytest.raises(StoreFull):
            await runtime.publish(moves, (Moved(place="a"),))
        store.fail(error=StoreFull())
        (problem,) = await health.problems()
        assert "the store has no space left" in problem.lower()
        assert store.injected == 2
        assert await health.problems() == [], "its own probe noticed that space has returned"
        await runtime.publish(moves, (Moved(place="a"),))
    finally:
        await runtime.stop()


async def test_metrics_count_what_happened(tmp_path: Path) -> None:
    async with serving(tmp_path) as node, session(node) as http:
        for litres in (*[1] * 16, 100):
            await http.post("/components/barrel/b1/fill", json={"litres": litres})
        await http.get("/components/barrel/b1/content")
        await http.post("/components/barrel/b1/nothing", json={})
        event = {"id": "1", "source": "/x", "specversion": "1.0", "type": "barrel.moved"}
        headers = {"content-type": "application/cloudevents-batch+json"}
        await http.post("/topics/moves", json=[event, event], headers=headers)
        answer = await http.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain")
        text = await answer.text()
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    fill = (("component", "barrel"), ("handler", "fill"))
    content = (("component", "barrel"), ("handler", "content"))
    requests = "eventmill_requests_total"
    assert samples[requests, *fill, ("outcome", "ok")] == 16
    assert samples[requests, *fill, ("outcome", "rejected")] == 1
    assert samples[requests, *content, ("outcome", "ok")] == 1
    assert samples["eventmill_request_seconds_count", *fill] == 2
    assert samples["eventmill_request_seconds_bucket", *fill, ("le", "+Inf")] == 2
    assert samples["eventmill_refused_total", ("kind", "request.unknown_handler")] == 1
    topic = ("topic", "moves")
    assert samples["eventmill_published_total", ("result", "accepted"), topic] == 1
    assert samples["eventmill_published_total", ("result", "duplicate"), topic] == 1
    assert samples["eventmill_entries_total",] == 17
    assert samples["eventmill_journal_position",] == 17
    assert samples["eventmill_timers_fired_total",] == 0
    assert samples["eventmill_cache_entities",] == 1
    assert samples["eventmill_subscription_lag", ("subscription", "$courier")] == 0
