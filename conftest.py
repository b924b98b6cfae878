"""What holds for every test, and the one PostgreSQL server and the one NATS
server of those that ask for them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, settings

from eventmill.testing.nats_server import NatsServer
from eventmill.testing.postgres import Server

# A busy machine makes examples slow, which says nothing about the code.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

# Workers of pytest-xdist are given a width, to which tables would be folded.
os.environ.pop("COLUMNS", None)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path_factory.mktemp("nats"))
    with ThreadPoolExecutor(1) as apart:  # it is asked for by tests whose loop is running
        apart.submit(asyncio.run, server.start()).result()
    yield server
    server.kill()
