"""A durable command over HTTP: 1,000 carts, 64 connections, every reply after the disk has it."""

from __future__ import annotations

from bench.figures import OURS, Row, ratio
from bench.ours import over_http
from bench.peers import echo, restate

SHOP = f"{OURS}, whole shop"

ROW = Row(
    id="http-command",
    work="durable command over HTTP, 1,000 carts, 64 connections",
    unit="requests/s",
    contestants=(
        echo.CONTESTANT,
        over_http(OURS, "carts", "the cart alone, as the peers do it"),
        over_http(SHOP, "shop", "its consumer and its view follow every event meanwhile"),
        restate.CONTESTANT,
    ),
    targets=(
        ratio(OURS, echo.SYSTEM, at_least=0.8),
        ratio(OURS, restate.SYSTEM, at_least=10),
    ),
)
