"""What holds for every test, and the one PostgreSQL server and the one NATS
server of those that ask for them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, settings

from eventmill.testing.nats_server import NatsServer
from eventmill.testing.postgres import Server

# Before whichever test imports it first.
pytest.register_assert_rewrite("eventmill.testing.contract")

# A busy machine makes examples slow, which says nothing about the code. They are other ones in each
# run; `make soak` takes many.
busy = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("short", busy, max_examples=50)
settings.register_profile("long", busy, max_examples=1_000)
settings.load_profile("short")

# Workers of pytest-xdist are given a width, to which tables would be folded.
os.environ.pop("COLUMNS", None)


FIRST_OWN_TYPE = 16_384
"""Types of PostgreSQL itself are numbered below, in every database alike."""


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    server = Server()
    with pytest.MonkeyPatch.context() as patch:
        types_are_asked_for_once(patch)
        yield server
    server.close()


def types_are_asked_for_once(patch: pytest.MonkeyPatch) -> None:
    """Let the driver keep what the server said of its own types, for the next connection.

    A connection asks what an array of integers is when it first meets one, and each test has
    several connections: that took a third of a test's time.
    """
    ask, known = asyncpg.Connection._introspect_types, {}

    async def ask_once(self: Any, types: Iterable[int], seconds: float) -> Any:
        wanted = frozenset(types)
        if max(wanted) >= FIRST_OWN_TYPE:
            return await ask(self, types, seconds)
        if wanted not in known:
            known[wanted] = await ask(self, types, seconds)
        return known[wanted]

    patch.setattr(asyncpg.Connection, "_introspect_types", ask_once)


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path_factory.mktemp("nats"))
    with ThreadPoolExecutor(1) as apart:  # it is asked for by tests whose loop is running
        apart.submit(asyncio.run, server.start()).result()
    yield server
    server.kill()
