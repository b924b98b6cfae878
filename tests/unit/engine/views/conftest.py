"""A shop's view tables in memory: what compiled queries are run on, beside the plain SQL."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar

import apsw
import msgspec
import pytest

from eventmill.engine.views.compiled import CompiledQuery
from eventmill.engine.views.query import compile_query
from eventmill.engine.views.schema import KEY, RowCodec, Table, table_of
from eventmill.model import codec as json


class State(enum.StrEnum):
    OPEN = "open"
    PAID = "paid"


class Cart(msgspec.Struct):
    cart_id: str
    customer_id: str
    items: int
    total: float
    urgent: bool
    state: State
    opened: datetime
    lasted: timedelta | None = None
    note: str | None = None
    tags: list[str] = []
    price: Decimal = Decimal(0)
    blob: bytes = b""
    paid: bool | None = None


class Customer(msgspec.Struct):
    customer_id: str
    name: str
    city: str | None = None


START = datetime(2024, 5, 17, 8, 30, tzinfo=UTC)
NAMES = ["Ada", "Björk", "Çelik", "d'Arc", "Éva", "名前", "\0zero", '"quoted"']

CARTS = [
    Cart(
        cart_id=f"c{i:02d}",
        customer_id=f"u{i % 7}",
        items=i % 5,
        total=i * 1.1 if i % 6 else 0.0,
        urgent=i % 3 == 0,
        state=State.PAID if i % 2 else State.OPEN,
        opened=START + timedelta(hours=7 * i),
        lasted=None if i % 4 == 0 else timedelta(seconds=i * 61.5 - 300),
        note=None if i % 3 else f"note {NAMES[i % len(NAMES)]} 100%_",
        tags=[f"t{n}" for n in range(i % 4)],
        price=Decimal(i) / 4,
        blob=bytes([i]),
        paid=None if i % 5 == 0 else i % 2 == 0,
    )
    for i in range(40)
]
CUSTOMERS = [
    Customer(f"u{i}", NAMES[i], None if i == 3 else f"city {i % 2}") for i in range(len(NAMES))
]

TABLES: dict[str, Table] = {
    "carts": table_of(Cart, "carts", view="shop"),
    "customers": table_of(Customer, "customers", view="shop"),
}
PHYSICAL = {"carts": "v_shop@1:carts", "customers": 'v_shop@1:"customers"'}


class Shop:
    """The database, with the tables as they are stored, and as views without the key beside."""

    returned: ClassVar[dict[int, Any]] = {}
    """Compiled query → what its method is annotated to return."""

    def __init__(self, physical: Mapping[str, str] = PHYSICAL) -> None:
        self.physical = physical
        self.db = apsw.Connection(":memory:")
        self.db.execute("PRAGMA case_sensitive_like = ON")
        self.fill("carts", {cart.cart_id: cart for cart in CARTS})
        self.fill("customers", {customer.customer_id: customer for customer in CUSTOMERS})

    def fill(self, name: str, rows: Mapping[str, Any]) -> None:
        table = TABLES[name]
        physical = '"' + self.physical[name].replace('"', '""') + '"'
        columns = ", ".join(f'"{column.name}"' for column in table.columns)
        self.db.execute(f"CREATE TABLE {physical} ({KEY} TEXT PRIMARY KEY, {columns})")
        rows_codec: RowCodec[Any] = RowCodec(table.row, table, view="shop")
        marks = ", ".join("?" * (len(table.columns) + 1))
        self.db.executemany(
            f"INSERT INTO {physical} VALUES ({marks})",
            [rows_codec.encode(key, row) for key, row in rows.items()],
        )
        self.db.execute(f"CREATE VIEW {name} AS SELECT {columns} FROM {physical}")

    def compile(
        self, sql: str, result: Any, parameters: Mapping[str, Any] | None = None
    ) -> CompiledQuery:
        query = compile_query(sql, TABLES, parameters or {}, result, view="shop", query="q")
        self.returned[id(query)] = result
        return query

    def answer(self, query: CompiledQuery, arguments: Sequence[Any] = (), **options: Any) -> Any:
        """Run a compiled query as a store does; the reply over HTTP has to say the same."""
        placed = query.on(self.physical)
        statement = placed.statement(arguments, **options)
        ((answer,),) = self.db.execute(statement.sql, statement.bindings).fetchall()
        result = placed.decode(statement, answer)
        reply = placed.reply(statement, answer.encode())
        assert json.decoder(self.returned[id(query)]).decode(reply) == result
        return result

    def ask(self, sql: str, result: Any, **arguments: Any) -> Any:
        """Compile and run; the arguments' types are those of their values."""
        parameters = {name: annotation_of(value) for name, value in arguments.items()}
        return self.answer(self.compile(sql, result, parameters), list(arguments.values()))

    def plan(self, query: CompiledQuery, arguments: Sequence[Any] = ()) -> str:
        """Return how SQLite would run it."""
        statement = query.on(self.physical).statement(arguments)
        steps = self.db.execute(f"EXPLAIN QUERY PLAN {statement.sql}", statement.bindings)
        return "\n".join(step[3] for step in steps)


def annotation_of(value: Any) -> Any:
    if isinstance(value, list):
        return list[type(value[0])]  # type: ignore[misc]
    return type(value)


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    shop.db.close()
