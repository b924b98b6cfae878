"""A durable command in process, many in flight: over 1,000 carts, and on one single cart."""

from __future__ import annotations

from bench.figures import Row
from bench.rows import sqlite_limit

ROW = Row(
    id="in-process",
    work="durable command in process, many in flight",
    unit="commands/s",
    contestants=(sqlite_limit.contestant(64), sqlite_limit.contestant(1_024)),
)
