"""Compiled queries answer on PostgreSQL what they answer on SQLite, from the same rows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from eventmill.adapters.postgres.store import Store
from eventmill.engine.views.compiled import CompiledQuery
from eventmill.engine.views.kinds import Kind
from eventmill.engine.views.schema import RowCodec
from eventmill.model.commit import Commit, Rows
from eventmill.model.page import Page
from eventmill.model.table import Affinity, PhysicalTable
from eventmill.testing.postgres import Server
from tests.unit.engine.views.conftest import CARTS, CUSTOMERS, TABLES, Cart, Customer, Shop, State
from tests.unit.engine.views.test_query import ARGUMENTS, PLAIN

LONG = "v_a-view-with-a-name-that-is-much-longer-than-postgresql-takes@1:"
PHYSICAL = {name: f"{LONG}{name}" for name in TABLES}
AFFINITIES = {
    Kind.INTEGER: Affinity.INTEGER,
    Kind.BOOLEAN: Affinity.INTEGER,
    Kind.DURATION: Affinity.INTEGER,
    Kind.FLOAT: Affinity.REAL,
}


def _without_zero(cart: Cart) -> Cart:
    """SQLite's functions end a text at U+0000, and here it is longer by one."""
    return msgspec.structs.replace(cart, note=cart.note and cart.note.replace("\0", "0"))


ROWS: dict[str, dict[str, Any]] = {
    "carts": {cart.cart_id: _without_zero(cart) for cart in CARTS},
    "customers": {customer.customer_id: customer for customer in CUSTOMERS},
}

Ask = Callable[..., Any]


async def fill(store: Store) -> None:
    await store.open()
    for name, table in TABLES.items():
        columns = tuple((c.name, AFFINITIES.get(c.kind, Affinity.TEXT)) for c in table.columns)
        await store.views.prepare([PhysicalTable(PHYSICAL[name], columns)])
        codec: RowCodec[Any] = RowCodec(table.row, table, view="shop")
        rows = [codec.encode(key, row) for key, row in ROWS[name].items()]
        await store.commit(Commit(rows=[Rows(PHYSICAL[name], rows, [])]))


@pytest.fixture(scope="module")
def answer(postgres: Server) -> Iterator[Ask]:
    """Runs a compiled query on PostgreSQL; one store for all tests, which only read."""
    with asyncio.Runner() as runner:
        store = Store(runner.run(postgres.fresh(1)))
        runner.run(fill(store))

        def run(query: CompiledQuery, arguments: Sequence[Any] = ()) -> Any:
            placed = query.on(PHYSICAL, "postgres")
            statement = placed.statement(arguments)
            work = store.views.query(statement.sql, statement.bindings, seconds=10)
            found = runner.run(work)
            placed.reply(statement, found)
            return placed.decode(statement, found)

        yield run
        runner.run(store.close())


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    shop = Shop()
    for cart in ROWS["carts"].values():
        sql = 'UPDATE "v_shop@1:carts" SET note = ? WHERE cart_id = ?'
        shop.db.execute(sql, (cart.note, cart.cart_id))
    yield shop
    shop.db.close()


def _without_zeros(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if not any("\0" in str(value) for value in row.values())]


def close_to(value: Any) -> Any:
    """Sums of floats may differ in their last digit: the stores add up in other orders."""
    if isinstance(value, float):
        return pytest.approx(value, rel=1e-12)
    if isinstance(value, dict):
        return {name: close_to(item) for name, item in value.items()}
    if isinstance(value, list):
        return [close_to(item) for item in value]
    return value


@pytest.mark.parametrize("sql", PLAIN)
def test_answers_are_those_of_sqlite(shop: Shop, answer: Ask, sql: str) -> None:
    arguments = {name: value for name, value in ARGUMENTS.items() if f":{name}" in sql}
    parameters = {name: type(value) for name, value in arguments.items()}
    query = shop.compile(sql, list[dict[str, Any]], parameters)
    expected = shop.answer(query, list(arguments.values()))
    found = answer(query, list(arguments.values()))
    if "ORDER BY" not in sql.upper():
        expected.sort(key=repr)
        found.sort(key=repr)
    assert _without_zeros(found) == close_to(_without_zeros(expected))


def test_whole_rows_come_back_equal(shop: Shop, answer: Ask) -> None:
    query = shop.compile("SELECT * FROM carts ORDER BY cart_id", list[Cart])
    assert answer(query) == list(ROWS["carts"].values())
    query = shop.compile("SELECT * FROM customers ORDER BY name", list[Customer])
    assert answer(query) == sorted(CUSTOMERS, key=lambda customer: customer.name)


TYPED: list[tuple[str, dict[str, Any], list[Any]]] = [
    ("opened >= :since", {"since": datetime}, [CARTS[20].opened]),
    ("lasted > :least", {"least": timedelta}, [timedelta(minutes=9)]),
    ("state = :state AND urgent = :urgent", {"state": State, "urgent": bool}, [State.PAID, False]),
    ("urgent OR paid", {}, []),
    ("NOT paid", {}, []),
    ("paid IS TRUE", {}, []),
    ("(items > 2) = urgent", {}, []),
    ("CASE WHEN urgent THEN items > 1 ELSE paid END", {}, []),
    ("coalesce(paid, FALSE)", {}, []),
    ("(:low IS NULL OR items >= :low)", {"low": int | None}, [None]),
    ("(:low IS NULL OR items >= :low)", {"low": int | None}, [3]),
    ("blob = :b", {"b": bytes}, [b"\x07"]),
    ("cart_id IN (:ids)", {"ids": list[str]}, [["c03", "nope", "c01"]]),
    ("cart_id = ANY(:ids)", {"ids": list[str]}, [["c03", "c01"]]),
    ("cart_id <> ALL(:ids)", {"ids": list[str]}, [["c03", "c01"]]),
    ("items IN (:n)", {"n": list[int]}, [[1, 2]]),
    ("total NOT IN (:t)", {"t": list[float]}, [[1.1 * 2]]),
    ("urgent IN (:u)", {"u": list[bool]}, [[True]]),
    ("CAST(price AS REAL) > :p", {"p": float}, [2.5]),
    ("total > :p", {"p": float}, [11.0]),
    ("json_array_length(tags) > 1", {}, []),
    ("note LIKE :p", {"p": str}, ["note %\\%"]),
    ("lower(note) LIKE '%ada%'", {}, []),
    ("strftime('%H', opened) = '15'", {}, []),
    ("length(cart_id) + length(state) > 6", {}, []),
]


@pytest.mark.parametrize(("condition", "parameters", "arguments"), TYPED)
def test_conditions_choose_the_same_rows(
    shop: Shop, answer: Ask, condition: str, parameters: dict[str, Any], arguments: list[Any]
) -> None:
    sql = f"SELECT cart_id FROM carts WHERE {condition} ORDER BY 1"
    query = shop.compile(sql, list[str], parameters)
    assert answer(query, arguments) == shop.answer(query, arguments)


OUTPUTS = [
    "SELECT items > 2 AS a, urgent AS b, NOT urgent AS c, paid AS d FROM carts ORDER BY cart_id",
    "SELECT sum(urgent) AS a, max(paid) AS b, sum(items > 2) AS c, avg(urgent) AS d FROM carts",
    "SELECT json_group_array(cart_id ORDER BY cart_id) AS a FROM carts WHERE items = 1",
    "SELECT json_group_array(urgent ORDER BY cart_id) AS a FROM carts WHERE items = 1",
    "SELECT json_group_array(items) AS a FROM carts WHERE items = 99",
    "SELECT json_object('id', cart_id, 'tags', tags, 'ok', urgent, 'n', items) AS a FROM carts "
    "ORDER BY cart_id",
    "SELECT json_array(cart_id, tags, lasted) AS a FROM carts ORDER BY cart_id",
    "SELECT lasted AS a, price AS b, opened AS c, blob AS d, tags AS e FROM carts ORDER BY cart_id",
    "SELECT items || '/' || (items + 0.5) AS a, 'x' || cart_id AS b FROM carts ORDER BY cart_id",
    "SELECT state, group_concat(items) AS a FROM (SELECT * FROM carts ORDER BY cart_id) GROUP BY state "
    "ORDER BY state",
    "SELECT total * items AS a, items / 2 AS b, items % 2 AS c, items / 0 AS d FROM carts ORDER BY cart_id",
    "SELECT name FROM customers ORDER BY name",
    "SELECT max(items, 3) AS a, min(note, 'x') AS b FROM carts ORDER BY cart_id",
    "SELECT s ->> 'n' AS a, s ->> 'f' AS b, s ->> 't' AS c, s ->> 'o' AS d, s ->> 'x' AS e, s ->> 'z' AS f "
    "FROM (SELECT json_object('n', 5, 'f', 0.5, 't', 'x', 'o', json_array(1), 'z', NULL) AS s)",
    "SELECT cart_id FROM (SELECT cart_id, json_object('n', items) AS s FROM carts) WHERE s ->> 'n' > 2 "
    "ORDER BY cart_id",
    "SELECT s ->> 't' AS a FROM (SELECT json_object('t', cart_id) AS s FROM carts) ORDER BY a DESC",
    "SELECT tags -> 0 AS a, json_extract(tags, '$[0]') AS b FROM carts ORDER BY cart_id",
]


@pytest.mark.parametrize("sql", OUTPUTS)
def test_outputs_are_the_same(shop: Shop, answer: Ask, sql: str) -> None:
    query = shop.compile(sql, list[dict[str, Any]])
    assert answer(query) == close_to(shop.answer(query))


@pytest.mark.parametrize(
    "order",
    ["opened", "note DESC", "note", "items, cart_id DESC", "total DESC", "state, urgent", "lasted"],
)
def test_pages_are_the_same(shop: Shop, answer: Ask, order: str) -> None:
    sql = f"SELECT * FROM carts WHERE items < :n ORDER BY {order}"
    parameters = {"n": int, "page_token": str | None, "page_size": int}
    query = shop.compile(sql, Page[Cart], parameters)
    token: str | None = None
    while True:
        page, expected = answer(query, [4, token, 7]), shop.answer(query, [4, token, 7])
        assert page.items == expected.items
        token = page.next_page_token
        assert (token is None) == (expected.next_page_token is None)
        if token is None:
            return


def test_pages_by_offset_are_the_same(shop: Shop, answer: Ask) -> None:
    sql = "SELECT state, items, count(*) AS n FROM carts GROUP BY state, items"
    parameters = {"page_token": str | None, "page_size": int}
    query = shop.compile(sql, Page[dict[str, Any]], parameters)
    first = answer(query, [None, 4])
    assert first == shop.answer(query, [None, 4])
    assert answer(query, [first.next_page_token, 4]) == shop.answer(
        query, [first.next_page_token, 4]
    )
