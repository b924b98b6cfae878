"""The rows of the table, one module each: what is done, by whom, and what must be reached."""

from __future__ import annotations

from bench.figures import Row
from bench.rows import (
    forwarding,
    growth,
    http_command,
    in_process,
    jetstream,
    one_in_flight,
    pipeline,
    postgres_append,
    postgres_command,
    rebuild,
    replicated,
    timers,
    windows,
    workflow,
)

ROWS: tuple[Row, ...] = (
    http_command.ROW,
    in_process.ROW,
    one_in_flight.ROW,
    pipeline.ROW,
    rebuild.ROW,
    windows.ROW,
    growth.ROW,
    postgres_append.ROW,
    postgres_command.ROW,
    forwarding.ROW,
    jetstream.ROW,
    replicated.ROW,
    timers.ROW,
    workflow.ROW,
)
