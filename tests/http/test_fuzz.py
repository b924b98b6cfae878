"""Requests made from the OpenAPI document, fitting and not: the node never fails at one of them.

Besides, every answer is one that the document tells: status, content type and schema.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from eventmill.http import openapi
from eventmill.model import codec
from eventmill.node.checking import checked
from eventmill.node.config import NodeConfig
from eventmill.node.node import Node
from tests.http.serving import service

DEADLINE_PASSED = 504
"""The one answer above 499 that a caller can cause: with Request-Timeout."""

document = json.loads(codec.encode(openapi.document(checked(service))))
# One operation fails by design, the others never end.
schema = schemathesis.openapi.from_dict(document).exclude(
    operation_id=["barrel.burst", "moves.follow", "barrel.changes", "note.changes"]
)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A node in a thread: the fuzzer blocks its own."""
    data: Path = tmp_path_factory.mktemp("fuzz")
    started, found = threading.Event(), []

    async def serve() -> None:
        node, stopping = Node(service, NodeConfig(data=data, port=0)), asyncio.Event()
        await node.start()
        loop = asyncio.get_running_loop()
        found.append((node.url, lambda: loop.call_soon_threadsafe(stopping.set)))
        started.set()
        await node.run(stopping)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(20)
    url, stop = found[0]
    yield url
    stop()
    thread.join(20)
    assert not thread.is_alive()


short = settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@schema.parametrize()
@short
def test_no_request_makes_the_node_fail(case: Case, url: str) -> None:
    check(case, url)


@pytest.mark.soak
@schema.parametrize()
@settings(short, max_examples=500, phases=[Phase.generate])  # the explicit ones are above
def test_no_request_of_many_makes_the_node_fail(case: Case, url: str) -> None:
    check(case, url)


def check(case: Case, url: str) -> None:
    """Send one request; the answer is one that the document describes."""
    response = case.call(base_url=url, timeout=10)
    assert response.status_code < 500 or response.status_code == DEADLINE_PASSED, response.text
    case.validate_response(
        response,
        checks=[
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
        ],
    )
