"""A durable command in process, one in flight: the next is sent when the last is answered."""

from __future__ import annotations

from bench.figures import Row
from bench.peers import eventsourcing

ROW = Row(
    id="one-in-flight",
    work="durable command in process, one in flight",
    unit="commands/s",
    contestants=(eventsourcing.DEFAULT, eventsourcing.CACHED),
)
