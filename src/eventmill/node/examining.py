"""Examining the servers that a node would use, without starting one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from eventmill.errors import EventmillError
from eventmill.model.finding import Finding
from eventmill.node import engine


def store(url: str) -> list[Finding]:
    """Tell how a PostgreSQL server is, and what a node may do there."""
    return _found("postgresql", lambda: engine.postgres("health", url).examine(url))


def broker(url: str) -> list[Finding]:
    """Tell how a NATS server is, and what a node may do there."""
    return _found("nats", lambda: engine.nats("health").examine(engine.servers(url)))


def _found(name: str, examine: Callable[[], AsyncIterator[Finding]]) -> list[Finding]:
    found: list[Finding] = []

    async def collect() -> None:
        async for finding in examine():
            found.append(finding)  # noqa: PERF401 what came before an error counts

    try:
        asyncio.run(collect())
    except EventmillError as error:
        found.append(Finding(name, "fail", error.message))
    return found
