"""A durable command over HTTP: 1,000 carts, 64 connections, every reply after the disk has it."""

from __future__ import annotations

from bench.figures import Row
from bench.peers import echo, restate

ROW = Row(
    id="http-command",
    work="durable command over HTTP, 1,000 carts, 64 connections",
    unit="requests/s",
    contestants=(echo.CONTESTANT, restate.CONTESTANT),
)
