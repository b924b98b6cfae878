"""One PostgreSQL server for all tests that ask for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from eventmill.testing.postgres import Server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()
