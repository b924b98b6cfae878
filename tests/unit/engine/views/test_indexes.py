"""Indexes follow from the queries, and SQLite uses them."""

from __future__ import annotations

from typing import Any

import pytest

from eventmill.engine.views.compiled import CompiledQuery
from eventmill.engine.views.indexes import Index, derive_indexes
from eventmill.model.page import Page

from .conftest import Shop

Rows = list[dict[str, Any]]


def indexes_of(*queries: CompiledQuery) -> list[str]:
    return [f"{index.table}({', '.join(index.columns)})" for index in derive_indexes(queries)]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT cart_id FROM carts", []),
        ("SELECT cart_id FROM carts WHERE state = 'open'", ["carts(state)"]),
        ("SELECT cart_id FROM carts WHERE 'open' = state", ["carts(state)"]),
        ("SELECT cart_id FROM carts WHERE state IN ('open', 'paid')", ["carts(state)"]),
        ("SELECT cart_id FROM carts WHERE note IS NULL", ["carts(note)"]),
        ("SELECT cart_id FROM carts WHERE items > 3", ["carts(items)"]),
        ("SELECT cart_id FROM carts WHERE items BETWEEN 1 AND 3", ["carts(items)"]),
        ("SELECT cart_id FROM carts WHERE note LIKE 'a%'", ["carts(note)"]),
        ("SELECT cart_id FROM carts WHERE note LIKE '%a'", []),
        ("SELECT cart_id FROM carts WHERE items > 1 AND state = 'open'", ["carts(state, items)"]),
        ("SELECT cart_id FROM carts WHERE items <> 1 AND NOT state = 'open'", []),
        ("SELECT cart_id FROM carts WHERE items = total", []),
        ("SELECT cart_id FROM carts WHERE items + 1 = 3", []),
        ("SELECT cart_id FROM carts ORDER BY opened DESC, items DESC", ["carts(opened, items)"]),
        ("SELECT cart_id FROM carts ORDER BY opened DESC, items", ["carts(opened)"]),
        ("SELECT cart_id FROM carts ORDER BY abs(items)", []),
        (
            "SELECT cart_id, opened AS o FROM carts WHERE state = 'open' ORDER BY o",
            ["carts(state, opened)"],
        ),
        (
            "SELECT cart_id FROM carts WHERE items > 1 ORDER BY items, total",
            ["carts(items, total)"],
        ),
        ("SELECT cart_id FROM carts WHERE items > 1 ORDER BY total", ["carts(items)"]),
        ("SELECT state, count(*) AS n FROM carts GROUP BY state ORDER BY state", []),
        (
            "SELECT cart_id FROM carts WHERE state = 'open' OR items = 3",
            ["carts(items)", "carts(state)"],
        ),
        ("SELECT cart_id FROM carts WHERE state = 'open' OR abs(items) = 3", []),
        (
            "SELECT name, cart_id FROM carts JOIN customers USING (customer_id) WHERE state = 'open'",
            ["carts(customer_id, state)", "carts(state)", "customers(customer_id)"],
        ),
        (
            "SELECT name FROM customers u WHERE EXISTS "
            "(SELECT 1 FROM carts c WHERE c.customer_id = u.customer_id AND c.items > 3)",
            ["carts(customer_id, items)"],
        ),
        ("WITH x AS (SELECT * FROM carts WHERE items = 1) SELECT cart_id FROM x", ["carts(items)"]),
    ],
)
def test_columns(shop: Shop, sql: str, expected: list[str]) -> None:
    assert indexes_of(shop.compile(sql, Rows)) == expected


def test_what_another_begins_with_is_left_out(shop: Shop) -> None:
    queries = [
        shop.compile(f"SELECT cart_id FROM carts WHERE {condition}", Rows)
        for condition in (
            "customer_id = 'a' AND state = 'open'",
            "state = 'open'",
            "state = 'open' AND items > 3",
            "state = 'paid' AND customer_id = 'b' AND items > 1",
        )
    ]
    assert indexes_of(*queries) == ["carts(state, customer_id, items)", "carts(state, items)"]
    assert indexes_of(*reversed(queries)) == indexes_of(*queries)


def test_a_table_has_at_most_eight_and_keeps_the_most_wanted(shop: Shop) -> None:
    columns = [
        "customer_id",
        "items",
        "total",
        "urgent",
        "state",
        "opened",
        "note",
        "paid",
        "lasted",
    ]
    queries = [shop.compile(f"SELECT 1 AS a FROM carts WHERE {c} IS NULL", Rows) for c in columns]
    queries += queries[1:]
    derived = derive_indexes(queries)
    assert len(derived) == 8
    assert Index("carts", ("customer_id",)) not in derived
    assert len(derive_indexes(queries, most=3)) == 3


def test_names_tell_tables_and_columns_apart() -> None:
    one, two = Index("carts", ("a", "b")), Index("carts", ("ab",))
    assert one.name_on("v1") == one.name_on("v1") != two.name_on("v1")
    assert one.name_on("v1") != one.name_on("v2")


@pytest.mark.parametrize(
    ("sql", "result", "parameters", "arguments"),
    [
        (
            "SELECT * FROM carts WHERE state = :s AND items >= :n ORDER BY items",
            Rows,
            (str, int),
            "sn",
        ),
        ("SELECT * FROM carts WHERE cart_id IN (:s)", Rows, (list[str],), "s"),
        ("SELECT * FROM carts WHERE note LIKE :s", Rows, (str,), "s"),
        ("SELECT * FROM carts WHERE state = :s OR items = :n", Rows, (str, int), "sn"),
        (
            "SELECT u.name FROM customers u JOIN carts c USING (customer_id) WHERE c.items = :n",
            Rows,
            (int,),
            "n",
        ),
    ],
)
def test_sqlite_looks_up_instead_of_scanning(
    shop: Shop, sql: str, result: Any, parameters: tuple[Any, ...], arguments: str
) -> None:
    query = shop.compile(sql, result, dict(zip(arguments, parameters, strict=True)))
    values: list[Any] = [["x"] if p == list[str] else "x%" if p is str else 3 for p in parameters]
    assert "USING INDEX v_" not in shop.plan(query, values)
    create(shop, query)
    plan = shop.plan(query, values)
    assert "INDEX v_shop" in plan, plan
    assert "TEMP B-TREE" not in plan, plan


@pytest.mark.parametrize(
    "order", ["opened", "opened DESC", "items, opened", "items DESC, opened DESC"]
)
def test_next_pages_begin_at_their_row(shop: Shop, order: str) -> None:
    sql = f"SELECT * FROM carts WHERE state = :s ORDER BY {order}"
    parameters = {"s": str, "page_token": str | None}
    query = shop.compile(sql, Page[dict[str, Any]], {**parameters, "page_size": int})
    create(shop, query)
    token = shop.answer(query, ["open", None, 5]).next_page_token
    for plan in (shop.plan(query, ["open", None, 5]), shop.plan(query, ["open", token, 5])):
        assert "TEMP B-TREE" not in plan, plan
    # The equality and the first column of the order both lead into the index.
    first = order.split(",")[0].split()[0]
    assert f"(state=? AND {first}" in plan, plan


def create(shop: Shop, query: CompiledQuery) -> None:
    for index in derive_indexes([query]):
        physical = shop.physical[index.table]
        quoted = physical.replace('"', '""')
        name = index.name_on(physical).replace('"', '""')
        columns = ", ".join(f'"{column}"' for column in index.columns)
        shop.db.execute(f'CREATE INDEX "{name}" ON "{quoted}" ({columns})')
