"""The cart with the `eventsourcing` package on SQLite: one command after the other, in process.

Run by the peer's own interpreter with a JSON object: `folder`, `seconds`, `carts`, `cache` (aggregates
kept by its repository, 0 for its default of none). Prints the sample as one line of JSON.
"""

import json
import sys
import time
from pathlib import Path
from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing import sqlite
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.sqlite import SQLiteConnection, SQLiteConnectionPool

WARM_UP_SECONDS = 2.0


class DurablePool(SQLiteConnectionPool):
    """The package's pool; every connection waits for the disk at each commit, as ours does."""

    default = ""

    def _create_connection(self) -> SQLiteConnection:
        connection = super()._create_connection()
        with connection.cursor() as cursor:
            DurablePool.default = DurablePool.default or str(read(cursor, "synchronous"))
            cursor.execute("PRAGMA synchronous=FULL")
        return connection


class Cart(Aggregate):
    @event("Opened")
    def __init__(self, name: str) -> None:
        self.items: dict[str, int] = {}

    @staticmethod
    def create_id(name: str) -> UUID:
        return uuid5(NAMESPACE_URL, name)

    @event("ItemAdded")
    def item_added(self, sku: str, quantity: int) -> None:
        self.items[sku] = self.items.get(sku, 0) + quantity


class Shop(Application):
    def add_item(self, cart_id: UUID, sku: str, quantity: int) -> dict[str, int]:
        cart: Cart = self.repository.get(cart_id)
        cart.item_added(sku=sku, quantity=quantity)
        self.save(cart)
        return cart.items


def main() -> None:
    task = json.loads(sys.argv[1])
    sqlite.SQLiteConnectionPool = DurablePool
    environment = {
        "PERSISTENCE_MODULE": "eventsourcing.sqlite",
        "SQLITE_DBNAME": str(Path(task["folder"]) / "shop.db"),
    }
    if task["cache"]:
        environment["AGGREGATE_CACHE_MAXSIZE"] = str(task["cache"])
    shop = Shop(env=environment)
    notes = durability(shop)
    carts = [Cart(name=f"cart-{number}") for number in range(task["carts"])]
    shop.save(*carts)
    ids = [cart.id for cart in carts]

    measure(shop, ids, WARM_UP_SECONDS)
    durations, elapsed = measure(shop, ids, task["seconds"])
    durations.sort()
    p50, p95, p99 = (durations[int(len(durations) * q)] * 1000 for q in (0.5, 0.95, 0.99))
    sample = {
        "per_second": len(durations) / elapsed,
        "latency": {"p50": round(p50, 3), "p95": round(p95, 3), "p99": round(p99, 3)},
        "notes": {**notes, "commands": len(durations)},
    }
    print(json.dumps(sample))


def measure(shop: Shop, ids: list[UUID], seconds: float) -> tuple[list[float], float]:
    """Send commands for that long; return the duration of each, and of all."""
    durations = []
    begin = now = time.perf_counter()
    while now - begin < seconds:
        shop.add_item(ids[len(durations) % len(ids)], sku="sku-3", quantity=1)
        end = time.perf_counter()
        durations.append(end - now)
        now = end
    return durations, now - begin


def durability(shop: Shop) -> dict[str, object]:
    """Read back what a commit of the writing connection waits for."""
    datastore = shop.factory.datastore
    with datastore.get_connection(commit=True) as connection, connection.cursor() as cursor:
        synchronous, journal = read(cursor, "synchronous"), read(cursor, "journal_mode")
    assert (synchronous, journal) == (2, "wal"), "not as durable as what it stands beside"
    return {"synchronous": 2, "synchronous_default": DurablePool.default, "journal_mode": journal}


def read(cursor, pragma: str):
    return cursor.execute(f"PRAGMA {pragma}").fetchone()[0]


if __name__ == "__main__":
    main()
