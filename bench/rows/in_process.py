"""A durable command in process, many in flight: over 1,000 carts, and on one single cart.

Beside SQLite's own limit: the same rows inserted in groups of as many. And the single cart beside
the many: pipelined turns let one hot entity use the journal's bandwidth.
"""

from __future__ import annotations

from bench.figures import Row, ratio
from bench.ours import in_process, in_process_system
from bench.rows import sqlite_limit

FEW, MANY = 64, 1_024

ROW = Row(
    id="in-process",
    work="durable command in process, many in flight",
    unit="commands/s",
    contestants=(
        sqlite_limit.contestant(FEW),
        in_process(FEW),
        in_process(FEW, cart_count=1),
        sqlite_limit.contestant(MANY),
        in_process(MANY),
        in_process(MANY, cart_count=1),
        sqlite_limit.contestant(MANY, indexed=False),
    ),
    targets=(
        ratio(in_process_system(FEW), sqlite_limit.system(FEW), at_least=0.4),
        ratio(in_process_system(MANY), sqlite_limit.system(MANY), at_least=0.4),
        ratio(in_process_system(FEW, 1), in_process_system(FEW), at_least=0.5),
        ratio(in_process_system(MANY, 1), in_process_system(MANY), at_least=0.5),
    ),
)
