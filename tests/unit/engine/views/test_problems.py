"""Every problem of a query is reported at once, with its place and what to do."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import msgspec
import pytest

from eventmill.errors import ConfigurationError
from eventmill.model.page import Page

from .conftest import Cart, Customer, Shop

Rows = list[dict[str, Any]]


def problems_of(
    shop: Shop, sql: str, result: Any = Rows, parameters: dict[str, Any] | None = None
) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        shop.compile(sql, result, parameters)
    problems = caught.value.details["problems"]
    assert caught.value.message == "\n".join(problems)
    prefix = "view 'shop', query 'q'"
    assert all(problem.startswith(prefix) for problem in problems)
    return [problem.removeprefix(prefix).lstrip(":, ") for problem in problems]


def test_all_problems_at_once_in_their_places(shop: Shop) -> None:
    sql = "SELECT cart_idd, itms\nFROM carts c\nWHERE nope > :low\n  AND x.items = 1"
    found = problems_of(shop, sql, int, {"high": int, "bad": complex})
    assert found == [
        "parameter 'bad' cannot be bound: complex cannot be kept as JSON",
        "line 3, column 7: parameter :low is not an argument of the method; there is bad, high",
        "argument 'high' is never used as :high",
        "argument 'bad' is never used as :bad",
        "line 1, column 8: unknown column 'cart_idd'; did you mean 'cart_id'?",
        "line 1, column 18: unknown column 'itms'; did you mean 'items'?",
        "line 3, column 7: unknown column 'nope'; did you mean 'note'?",
        "line 4, column 7: unknown table or alias 'x'; there is c",
    ]


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM carts",
        "UPDATE carts SET items = 1",
        "INSERT INTO carts SELECT * FROM carts",
        "PRAGMA query_only = OFF",
        "ATTACH 'other.db' AS other",
        "VACUUM INTO 'copy.db'",
        "EXPLAIN SELECT 1",
        "VALUES (1)",
        "",
        "-- nothing",
        "SELECT cart_id FROM carts; DROP TABLE carts",
        "WITH gone AS (DELETE FROM carts RETURNING cart_id) SELECT cart_id FROM gone",
        "SELECT cart_id INTO copy FROM carts",
        "SELECT cart_id FROM carts FOR UPDATE",
        "SELECT load_extension('x.so') AS x",
        "SELECT readfile('/etc/passwd') AS x",
        "SELECT writefile('x', 'y') AS x",
        "SELECT * FROM sqlite_schema",
        "SELECT * FROM main.carts",
        "SELECT * FROM pragma_table_info('carts')",
        "SELECT * FROM generate_series(1, 3)",
        "SELECT * FROM dbstat",
        "SELECT _key FROM carts",
        "SELECT rowid FROM carts",
        "SELECT carts._key FROM carts",
        "SELECT oid AS x FROM (SELECT * FROM carts) t",
        "SELECT random() AS r",
        "SELECT CURRENT_TIMESTAMP AS now",
        "SELECT date('now', '-1 day') AS d",
        "SELECT datetime() AS d",
        "SELECT unixepoch('NOW') AS d",
        "SELECT strftime('%Y', 'now') AS d",
    ],
)
def test_nothing_writes_or_reaches_out_or_depends_on_the_moment(shop: Shop, sql: str) -> None:
    assert problems_of(shop, sql)


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("SELEC cart_id FROM carts", "a view's query is a SELECT; it cannot begin with 'SELEC'"),
        ("SELECT cart_id FROM carts WHERE", "line 1, column 27: something is missing at 'WHERE'"),
        ("SELECT 'x FROM carts", "the SQL cannot be read"),
        ("SELECT (1 FROM carts", "line 1, column 11: "),
        ("SELECT FROM carts", "the SELECT names no columns"),
        (
            "SELECT cart_id FROM cartz",
            "line 1, column 21: unknown table 'cartz'; did you mean 'carts'",
        ),
        (
            "SELECT a.cart_id FROM carts a JOIN nope ON nope.x = a.y",
            "unknown table 'nope'; there is",
        ),
        (
            "SELECT customer_id FROM carts, customers",
            "'customer_id' is ambiguous: write carts.cust",
        ),
        ("SELECT cart_id AS _id FROM carts", "'_id': names that begin with '_' are reserved"),
        (
            "SELECT typeof(items) AS t FROM carts",
            "column 8: function typeof() is not possible in a v",
        ),
        ("SELECT coalese(note, '') AS n FROM carts", "; did you mean 'coalesce'?"),
        ("SELECT total(items) AS t FROM carts", "; write coalesce(sum(x), 0.0)"),
        ("SELECT cart_id FROM carts WHERE note GLOB 'x*'", "use LIKE"),
        ("SELECT cart_id FROM carts WHERE note REGEXP 'x'", "use LIKE"),
        ("SELECT cart_id FROM carts ORDER BY note COLLATE NOCASE", "compare or sort lower(x)"),
        ("SELECT cart_id FROM carts INDEXED BY x WHERE items = 1", "INDEXED is not possible"),
        ("SELECT cart_id FROM carts OFFSET 3", "OFFSET needs a LIMIT"),
        ("SELECT cart_id FROM carts WHERE items = $low", "write parameters as :low"),
        ("SELECT cart_id FROM carts WHERE items = @low", "write parameters as :name"),
        ("SELECT cart_id FROM carts WHERE items = ?", "a parameter has a name: write :name"),
        ("SELECT tags.x AS t FROM carts", "write column ->> 'name' for a part of a value"),
        ("SELECT * FROM carts, json_each(carts.tags) AS t", "* of json_each is not possible"),
        (
            "SELECT t.valu FROM carts, json_each(carts.tags) AS t",
            "column t.valu; did you mean 'value'",
        ),
        (
            "SELECT state, total FROM carts GROUP BY state",
            "'total' is neither grouped nor aggregated",
        ),
        ("SELECT cart_id, count(*) AS n FROM carts", "'cart_id' is neither grouped nor aggregated"),
        ("SELECT max(price) AS p FROM carts", "'price' is a Decimal, kept as exact text"),
        ("SELECT cart_id FROM carts WHERE price > 3", "'price' is a Decimal"),
        ("SELECT cart_id FROM carts ORDER BY price", "'price' is a Decimal"),
        ("SELECT price * 2 AS p FROM carts", "'price' is a Decimal"),
        ("SELECT cart_id FROM carts WHERE tags = '[]'", "'tags' is kept as JSON: use a part of it"),
        ("SELECT cart_id FROM carts WHERE blob < 'x'", "'blob' is kept as base64"),
        (
            "SELECT cart_id FROM carts LIMIT 1 UNION SELECT name FROM customers",
            "behind the whole UNION",
        ),
        ("(SELECT cart_id FROM carts) UNION (SELECT name FROM customers)", "without parentheses"),
        ("SELECT cart_id, items FROM carts UNION SELECT name FROM customers", "2 and 1 columns"),
        (
            "SELECT cart_id FROM carts WHERE count(*) > 1",
            "count() cannot stand in WHERE: select it",
        ),
        (
            "SELECT max(sum(items)) AS m FROM carts",
            "sum() cannot stand inside of another aggregate",
        ),
        ("SELECT items FROM carts GROUP BY items, sum(total)", "sum() cannot stand in GROUP"),
        (
            "SELECT cart_id FROM carts WHERE rank() OVER (ORDER BY items) = 1",
            "cannot stand in WHERE",
        ),
        ("SELECT row_number() AS r FROM carts", "row_number() needs a window"),
        ("SELECT lag(items) AS r FROM carts GROUP BY items", "lag() needs a window"),
        ("SELECT count(DISTINCT items, total) AS n FROM carts", "takes one column"),
        ("SELECT DISTINCT items FROM carts ORDER BY total", "ORDER BY names columns of the result"),
        (
            "SELECT items FROM carts UNION SELECT 1 ORDER BY abs(items)",
            "with UNION, ORDER BY names columns of the result alone",
        ),
        ("SELECT any(items) AS x FROM carts", "write column = ANY(:list)"),
    ],
)
def test_what_is_wrong_and_what_to_do(shop: Shop, sql: str, problem: str) -> None:
    assert any(problem in found for found in problems_of(shop, sql)), problems_of(shop, sql)


@pytest.mark.parametrize(
    ("condition", "kind", "problem"),
    [
        ("cart_id = :x", list[str], "parameter 'x' is a list: use it as IN (:x)"),
        ("cart_id IN (:x, 'c01')", list[str], "parameter 'x' is a list"),
        ("cart_id = ANY(:x)", str, "ANY and ALL take a list; 'x' is none"),
        ("cart_id = :x", dict[str, int], "'x' cannot be bound: it has to be a single value"),
        ("cart_id IN (:x)", list[str | None], "values of one type that are not None"),
        ("cart_id IN (:x)", list[list[str]], "'x' cannot be bound"),
    ],
)
def test_parameters_that_do_not_fit(shop: Shop, condition: str, kind: Any, problem: str) -> None:
    sql = f"SELECT cart_id FROM carts WHERE {condition}"
    assert any(problem in found for found in problems_of(shop, sql, list[str], {"x": kind}))


class Summary(msgspec.Struct):
    state: str
    count: int
    total: float = 0.0


class Pair(NamedTuple):
    a: int
    b: int


@pytest.mark.parametrize(
    ("sql", "result", "problem"),
    [
        (
            "SELECT cart_id FROM carts",
            list[Customer],
            "Customer needs 'customer_id', which the query",
        ),
        ("SELECT cart_id FROM carts", list[Cart], "Cart needs 'items'"),
        (
            "SELECT state, count(*) AS n, 1 AS count FROM carts GROUP BY state",
            list[Summary],
            "column 'n' is no field of Summary",
        ),
        (
            "SELECT state, count(*) FROM carts GROUP BY state",
            list[Summary],
            "line 1, column 15: an expression needs a name: … AS field",
        ),
        (
            "SELECT c.state, c.items AS count, u.name AS state FROM carts c, customers u",
            list[Summary],
            "several columns are called 'state'",
        ),
        (
            "SELECT state, avg(items) AS count FROM carts GROUP BY state",
            list[Summary],
            "column 'count' of Summary is declared as int, but is float",
        ),
        (
            "SELECT items AS state, 1 AS count FROM carts",
            list[Summary],
            "declared as str, but is integer",
        ),
        (
            "SELECT note AS state, 1 AS count FROM carts",
            list[Summary],
            "column 'state' of Summary may be NULL: declare str | None, or write coalesce",
        ),
        ("SELECT sum(items) FROM carts", int, "may be NULL: declare int | None, or write coalesce"),
        ("SELECT cart_id, items FROM carts", list[str], "str is one value; the query selects 2"),
        ("SELECT 1 AS a, 2 AS b", list[Pair], "columns have names, tuples have none"),
        ("SELECT 1 AS a", None, "it cannot return None"),
        ("SELECT 1 AS a", list[complex], "complex cannot be kept as JSON"),
        ("SELECT cart_id FROM carts", Page[str], "takes page_token: str | None"),
    ],
)
def test_results_that_do_not_fit(shop: Shop, sql: str, result: Any, problem: str) -> None:
    assert any(problem in found for found in problems_of(shop, sql, result)), problems_of(
        shop, sql, result
    )


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT u.customer_id, c.cart_id AS name FROM customers u LEFT JOIN carts c USING (customer_id)",
        "SELECT customer_id, city AS name FROM customers",
        "SELECT customer_id, (SELECT name FROM customers LIMIT 1) AS name FROM carts",
        "SELECT customer_id, CASE WHEN urgent THEN 'x' END AS name FROM carts",
        "SELECT customer_id, lag(cart_id) OVER (ORDER BY cart_id) AS name FROM carts",
        "SELECT customer_id, tags ->> 0 AS name FROM carts",
        "SELECT x.customer_id, x.note || '!' AS name FROM (SELECT * FROM carts) x",
    ],
)
def test_null_that_is_possible_for_certain_is_found(shop: Shop, sql: str) -> None:
    (problem,) = problems_of(shop, sql, list[Customer])
    assert "column 'name' of Customer may be NULL" in problem


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT customer_id, city AS name FROM customers WHERE city IS NOT NULL",
        "SELECT customer_id, city AS name FROM customers WHERE city LIKE 'city%' AND name > 'A'",
        "SELECT u.customer_id, c.cart_id AS name FROM customers u LEFT JOIN carts c USING (customer_id) "
        "WHERE c.cart_id > ''",
        "SELECT customer_id, max(note) AS name FROM carts WHERE note IS NOT NULL GROUP BY customer_id",
        "SELECT customer_id, coalesce(city, 'none') AS name FROM customers",
    ],
)
def test_null_that_is_ruled_out_is_none(shop: Shop, sql: str) -> None:
    assert shop.ask(sql, list[Customer])


def test_a_page_takes_its_parameters_and_no_limit(shop: Shop) -> None:
    found = problems_of(
        shop,
        "SELECT cart_id FROM carts WHERE items > :page_size LIMIT 3",
        Page[str],
        {"page_token": str, "page_size": str},
    )
    assert found == [
        "a method that returns a Page takes page_token: str | None = None",
        "page_size is an int",
        "line 1, column 33: parameter :page_size pages the result; do not use it",
        "page_size limits a Page: leave out LIMIT and OFFSET",
    ]


def test_annotated_types_are_read_through(shop: Shop) -> None:
    positive = Annotated[int, msgspec.Meta(ge=0)]
    query = shop.compile("SELECT count(*) FROM carts WHERE items >= :n", positive, {"n": positive})
    assert shop.answer(query, [0]) == 40
