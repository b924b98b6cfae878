"""Compiled queries answer what the plain SQL answers, on whichever version of the tables."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, NotRequired, TypedDict

import msgspec
import pytest
import sqlglot
from pydantic import BaseModel
from sqlglot import ErrorLevel

from eventmill.engine.views.query import compile_query
from eventmill.engine.views.schema import RowCodec, table_of
from eventmill.errors import ConfigurationError, HandlerFailed, InvalidPayload, NotFound, TooLarge
from eventmill.model import limits

from .conftest import CARTS, CUSTOMERS, NAMES, TABLES, Cart, Customer, Shop, State

# Every one runs as it stands too, on tables without a key; both have to answer the same.
PLAIN = [
    "SELECT cart_id, items FROM carts WHERE items >= :low ORDER BY items DESC, cart_id",
    "SELECT cart_id FROM carts WHERE items BETWEEN :low AND 3 AND NOT urgent ORDER BY 1",
    "SELECT cart_id FROM carts WHERE note LIKE '%Ada%' OR note LIKE 'note É%' ORDER BY cart_id",
    "SELECT cart_id FROM carts WHERE note LIKE '%100\\%\\_' ESCAPE '\\' ORDER BY cart_id",
    "SELECT cart_id FROM carts WHERE note NOT LIKE '%a%' AND note IS NOT NULL ORDER BY cart_id",
    "SELECT cart_id FROM carts WHERE cart_id IN ('c01', 'c02', :one) ORDER BY cart_id",
    "SELECT cart_id FROM carts WHERE cart_id NOT IN (SELECT cart_id FROM carts WHERE items > 0)",
    "SELECT count(*) AS n, sum(items) AS s, avg(total) AS a, min(note) AS l, max(note) AS h FROM carts",
    "SELECT count(DISTINCT items) AS n, count(note) AS m FROM carts",
    "SELECT state, count(*) AS n, sum(total) AS s FROM carts GROUP BY state ORDER BY n DESC, state",
    "SELECT state, items, count(*) n FROM carts GROUP BY 1, 2 HAVING n > :low ORDER BY 1, 2",
    "SELECT items % 2 AS odd, count(*) AS n FROM carts GROUP BY items % 2 ORDER BY odd",
    "SELECT items * 2 AS d FROM carts WHERE d > 4 GROUP BY d HAVING d < 8 ORDER BY d",
    "SELECT count(*) FILTER (WHERE urgent) AS n, sum(items) FILTER (WHERE NOT urgent) AS s FROM carts",
    "SELECT group_concat(cart_id, '-' ORDER BY cart_id DESC) AS ids FROM carts WHERE items = 1",
    "SELECT median(items) AS m FROM carts",
    "SELECT c.cart_id, u.name FROM carts c JOIN customers u ON u.customer_id = c.customer_id "
    "WHERE u.city = 'city 1' ORDER BY c.cart_id",
    "SELECT u.name, count(c.cart_id) AS n FROM customers u LEFT JOIN carts c USING (customer_id) "
    "GROUP BY u.name ORDER BY u.name",
    "SELECT name, cart_id FROM carts NATURAL JOIN customers ORDER BY cart_id LIMIT 5",
    "SELECT a.cart_id AS one, b.cart_id AS two FROM carts a JOIN carts b "
    "ON a.customer_id = b.customer_id AND a.cart_id < b.cart_id ORDER BY 1, 2",
    "SELECT c.cart_id, u.name FROM carts c CROSS JOIN customers u ORDER BY 1, 2 LIMIT 7 OFFSET 3",
    "SELECT cart_id FROM carts c WHERE EXISTS (SELECT 1 FROM customers u "
    "WHERE u.customer_id = c.customer_id AND u.city IS NULL) ORDER BY cart_id",
    "SELECT cart_id FROM carts c WHERE items = (SELECT max(items) FROM carts) ORDER BY cart_id",
    "SELECT n, count(*) AS c FROM (SELECT items AS n FROM carts WHERE urgent) t GROUP BY n ORDER BY n",
    "WITH busy AS (SELECT customer_id, count(*) AS n FROM carts GROUP BY customer_id) "
    "SELECT name, n FROM busy JOIN customers USING (customer_id) ORDER BY name",
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT n FROM r",
    "SELECT cart_id AS id FROM carts WHERE items = 4 UNION SELECT name FROM customers ORDER BY id",
    "SELECT customer_id FROM customers EXCEPT SELECT customer_id FROM carts ORDER BY 1",
    "SELECT customer_id FROM customers INTERSECT SELECT customer_id FROM carts ORDER BY 1 LIMIT 3",
    "SELECT DISTINCT items FROM carts ORDER BY items DESC",
    "SELECT CASE WHEN items > 3 THEN 'many' WHEN items > 0 THEN 'some' END AS size, cart_id FROM carts",
    "SELECT CASE items WHEN 1 THEN 'one' ELSE 'other' END AS size, cart_id FROM carts ORDER BY 2",
    "SELECT iif(urgent, 1, 0) AS u, coalesce(note, 'none') AS n, nullif(items, 2) AS i FROM carts",
    "SELECT cart_id, row_number() OVER (PARTITION BY state ORDER BY total, cart_id) AS r, "
    "rank() OVER (ORDER BY items) AS k, dense_rank() OVER (ORDER BY items DESC) AS d FROM carts",
    "SELECT cart_id, sum(items) OVER w AS s, lag(items, 1, 0) OVER w AS l, lead(items) OVER w AS n, "
    "first_value(items) OVER w AS f FROM carts WINDOW w AS (PARTITION BY state ORDER BY cart_id)",
    "SELECT cart_id, avg(total) OVER (ORDER BY cart_id ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS a "
    "FROM carts ORDER BY cart_id",
    "SELECT cart_id, ntile(4) OVER (ORDER BY cart_id) AS q, percent_rank() OVER (ORDER BY items) AS p, "
    "cume_dist() OVER (ORDER BY items) AS c, nth_value(cart_id, 2) OVER (ORDER BY cart_id) AS v FROM carts",
    "SELECT upper(name) AS u, lower(name) AS l, length(name) AS n, substr(name, 2, 2) AS s, "
    "trim('  x ') AS t, ltrim(' x ') AS lt, rtrim(' x ') AS rt, trim(name, 'A') AS ta FROM customers",
    "SELECT replace(name, 'a', 'A') AS r, instr(name, 'a') AS i, name || '!' AS d, unicode(name) AS c, "
    "concat(name, city) AS cc, concat_ws('/', name, city, 'x') AS cw, char(65, 66) AS ab FROM customers",
    "SELECT abs(-items) AS a, round(total, 1) AS r, ceil(total) AS c, floor(total) AS f, trunc(total) AS t, "
    "sign(items) AS g, mod(items, 3) AS m, items / 2 AS h, items / 2.0 AS q, -items AS n FROM carts",
    "SELECT sqrt(items) AS s, power(items, 2) AS p, exp(items) AS e, ln(items + 1) AS l, "
    "log(items + 1) AS t, min(items, 2) AS lo, max(items, 2) AS hi FROM carts",
    "SELECT items & 1 AS a, items | 8 AS o, items << 2 AS l, items >> 1 AS r, ~items AS n FROM carts",
    "SELECT CAST(total AS INTEGER) AS i, CAST(items AS REAL) AS r, CAST(items AS TEXT) AS t FROM carts",
    "SELECT strftime('%Y-%m', opened) AS m, count(*) AS n FROM carts GROUP BY m ORDER BY m",
    "SELECT date(opened) AS d, time(opened) AS t, datetime(opened, '+1 day') AS n, "
    "unixepoch(opened) AS u, julianday(opened) AS j, strftime('%H:%M', opened, '+1 hour') AS h FROM carts",
    "SELECT cart_id, tags ->> 0 AS first, json_extract(tags, '$[1]') AS second, "
    "json_array_length(tags) AS n FROM carts ORDER BY cart_id",
    "SELECT cart_id FROM carts WHERE EXISTS (SELECT 1 FROM json_each(tags) WHERE value = 't2')",
    "SELECT t.value AS tag, count(*) AS n FROM carts, json_each(carts.tags) AS t GROUP BY t.value ORDER BY 1",
    "SELECT cart_id FROM carts WHERE (items, cart_id) > (3, 'c10') ORDER BY items, cart_id",
    "SELECT cart_id FROM carts WHERE note IS NULL AND city IS DISTINCT FROM 'x' ORDER BY 1".replace(
        "city", "state"
    ),
    "SELECT cart_id FROM carts WHERE paid IS :flag ORDER BY cart_id",
    "SELECT cart_id FROM carts ORDER BY note DESC NULLS FIRST, cart_id LIMIT :low",
    "SELECT cart_id FROM carts ORDER BY note NULLS LAST, abs(items - 2), cart_id LIMIT 5, 6",
    'SELECT "carts"."cart_id" AS \'a b\', [items] AS `x y` FROM carts ORDER BY CART_ID',
    "SELECT 'it''s' AS a, 1e3 AS b, 0x1F AS c, TRUE AS d, NULL AS e, -9223372036854775808 AS f",
    "SELECT cart_id, name FROM (carts JOIN customers USING (customer_id)) WHERE urgent ORDER BY 1",
    "SELECT * FROM (SELECT cart_id FROM carts UNION ALL SELECT name FROM customers) t ORDER BY 1",
    "SELECT name, (SELECT count(*) FROM carts c WHERE c.customer_id = u.customer_id) AS n "
    "FROM customers u ORDER BY n DESC, name",
    "SELECT cart_id FROM carts WHERE (state, items) IN (SELECT state, max(items) FROM carts "
    "GROUP BY state) ORDER BY cart_id",
    "SELECT state, sum(sum(items)) OVER (ORDER BY state) AS s, max(count(*)) OVER () AS m "
    "FROM carts GROUP BY state ORDER BY state",
    "SELECT DISTINCT lower(name) AS l FROM customers ORDER BY lower(name)",
    "SELECT a FROM (SELECT 1 AS a)",
    "select cart_id -- the id\n, /* how many */ items from carts order by cart_id desc",
]

ARGUMENTS: dict[str, Any] = {"low": 2, "one": "c03", "flag": True}


@pytest.mark.parametrize("sql", PLAIN)
def test_answers_are_those_of_the_plain_sql(shop: Shop, sql: str) -> None:
    arguments = {name: value for name, value in ARGUMENTS.items() if f":{name}" in sql}
    cursor = shop.db.execute(sql, arguments)
    names = [column[0] for column in cursor.get_description()]
    plain = [dict(zip((name.lower() for name in names), row, strict=True)) for row in cursor]
    answered = shop.ask(sql, list[dict[str, Any]], **arguments)
    booleans = {"d"} if "TRUE AS d" in sql else set()
    for row in plain:
        row.update({name: bool(row[name]) for name in booleans})
    if "ORDER BY" not in sql.upper():
        answered.sort(key=repr)
        plain.sort(key=repr)
    assert answered == plain
    assert plain or "EXCEPT" in sql, "an empty answer proves nothing"


@pytest.mark.parametrize("sql", PLAIN)
def test_probes_read_nothing(shop: Shop, sql: str) -> None:
    parameters = {name: type(value) for name, value in ARGUMENTS.items() if f":{name}" in sql}
    (probe,) = shop.compile(sql, list[dict[str, Any]], parameters).on(shop.physical).probes()
    assert shop.db.execute(probe.sql, probe.bindings).fetchall() == [("[0,[]]",)]


@pytest.mark.parametrize("sql", PLAIN)
def test_bound_queries_can_be_said_in_postgresql(shop: Shop, sql: str) -> None:
    parameters = {name: type(value) for name, value in ARGUMENTS.items() if f":{name}" in sql}
    tree = shop.compile(sql, list[dict[str, Any]], parameters).bound.tree
    text = tree.sql("postgres", identify=True, unsupported_level=ErrorLevel.RAISE)
    assert sqlglot.parse_one(text, read="postgres")


@pytest.mark.parametrize("characters", [":city", "city"])
def test_trim_takes_a_literal_because_it_cannot_be_interrupted(shop: Shop, characters: str) -> None:
    with pytest.raises(ConfigurationError, match="as a literal"):
        shop.compile(f"SELECT trim(name, {characters}) FROM customers", list[str], {"city": str})


def test_whole_rows_come_back_equal(shop: Shop) -> None:
    assert shop.ask("SELECT * FROM carts ORDER BY cart_id", list[Cart]) == CARTS
    rows = shop.ask("SELECT c.* FROM Carts AS c ORDER BY c.opened DESC", list[Cart])
    assert rows == CARTS[::-1]


def test_the_key_never_leaks(shop: Shop) -> None:
    row = shop.ask("SELECT * FROM carts WHERE cart_id = 'c01'", dict[str, Any])
    assert list(row) == [column.name for column in TABLES["carts"].columns]


def test_one_compiled_query_runs_on_several_versions(shop: Shop) -> None:
    query = shop.compile("SELECT count(*) FROM carts", int)
    other = Shop({"carts": "v2", "customers": "u2"})
    other.db.execute("DELETE FROM v2 WHERE items = 0")
    assert shop.answer(query) == len(CARTS)
    assert other.answer(query) == sum(cart.items > 0 for cart in CARTS)
    other.db.close()


def test_a_query_names_the_tables_it_depends_on(shop: Shop) -> None:
    sql = "WITH x AS (SELECT * FROM carts) SELECT count(*) FROM x WHERE EXISTS (SELECT 1 FROM customers)"
    assert shop.compile(sql, int).tables == {"carts", "customers"}
    assert shop.compile("SELECT count(*) FROM customers", int).tables == {"customers"}


class TestParameters:
    def test_values_compare_as_their_columns_do(self, shop: Shop) -> None:
        moment = CARTS[20].opened.astimezone(timezone(timedelta(hours=-5)))
        sql = "SELECT count(*) FROM carts WHERE opened >= :since"
        assert shop.ask(sql, int, since=moment) == 20
        sql = "SELECT count(*) FROM carts WHERE lasted > :least"
        expected = sum(c.lasted is not None and c.lasted > timedelta(minutes=9) for c in CARTS)
        assert shop.ask(sql, int, least=timedelta(minutes=9)) == expected
        sql = "SELECT count(*) FROM carts WHERE state = :state AND urgent = :urgent"
        expected = sum(c.state is State.PAID and not c.urgent for c in CARTS)
        assert shop.ask(sql, int, state=State.PAID, urgent=False) == expected
        assert shop.ask("SELECT cart_id FROM carts WHERE blob = :b", str, b=b"\x07") == "c07"

    @pytest.mark.parametrize(
        "condition",
        ["cart_id IN (:ids)", "cart_id IN :ids", "cart_id = ANY(:ids)", "NOT cart_id <> ALL(:ids)"],
    )
    def test_lists(self, shop: Shop, condition: str) -> None:
        sql = f"SELECT cart_id FROM carts WHERE {condition} ORDER BY 1"
        query = shop.compile(sql, list[str], {"ids": list[str]})
        assert shop.answer(query, [["c03", "nope", "c01"]]) == ["c01", "c03"]
        assert shop.answer(query, [[]]) == []
        many = [cart.cart_id for cart in CARTS] * 1_000
        assert shop.answer(query, [many]) == [cart.cart_id for cart in CARTS]

    def test_lists_of_every_kind(self, shop: Shop) -> None:
        sql = "SELECT count(*) FROM carts WHERE opened IN (:a) AND total NOT IN (:b) AND urgent IN (:c)"
        parameters = {"a": list[datetime], "b": set[float], "c": tuple[bool, ...]}
        query = shop.compile(sql, int, parameters)
        moments = [cart.opened for cart in CARTS[1:7]]
        assert shop.answer(query, [moments, {1.1 * 2}, (True, False)]) == 5

    def test_optional_filters(self, shop: Shop) -> None:
        sql = "SELECT count(*) FROM carts WHERE (:ids IS NULL OR cart_id IN (:ids))"
        query = shop.compile(sql, int, {"ids": list[str] | None})
        assert shop.answer(query, [None]) == len(CARTS)
        assert shop.answer(query, [["c01"]]) == 1

    def test_what_no_column_holds_is_the_callers_mistake(self, shop: Shop) -> None:
        sql = "SELECT count(*) FROM carts WHERE items > :n OR note = :t"
        query = shop.compile(sql, int, {"n": int, "t": str})
        with pytest.raises(InvalidPayload, match=r"argument 'n'.*more than 64 bits"):
            shop.answer(query, [2**63, ""])
        with pytest.raises(InvalidPayload, match="argument 't'"):
            shop.answer(query, [1, "\ud800"])

    def test_texts_that_a_query_may_look_for_are_bounded(self, shop: Shop) -> None:
        most = limits.VIEW_ARGUMENT_CHARACTERS_MAX
        sql = "SELECT count(*) FROM carts WHERE instr(note, :t) > 0 OR note IN (:many)"
        query = shop.compile(sql, int, {"t": str, "many": list[str]})
        assert shop.answer(query, ["x" * most, ["x" * most]]) == 0
        for arguments in (["x" * (most + 1), []], ["", ["x" * (most + 1)]]):
            with pytest.raises(InvalidPayload, match=rf"takes texts of at most {most}"):
                shop.answer(query, arguments)
        with pytest.raises(InvalidPayload, match="a list has at most"):
            shop.answer(query, ["", ["x" * most] * 300])
        query = shop.compile("SELECT count(*) FROM carts WHERE note = :b", int, {"b": bytes})
        with pytest.raises(InvalidPayload, match="texts of at most"):
            shop.answer(query, [bytes(most)])


class Line(msgspec.Struct, rename="camel"):
    cart_id: str
    is_big: bool
    lasted: timedelta | None
    tags: list[str]
    day: str = ""


class Group(msgspec.Struct):
    state: State
    carts: list[dict[str, Any]]
    flags: list[bool]
    tags: list[list[str]]


class Modelled(BaseModel):
    customer_id: str
    name: str
    city: str | None = None


@dataclass
class Plain:
    customer_id: str
    name: str
    city: str | None = None


class Typed(TypedDict):
    customer_id: str
    name: str
    city: NotRequired[str | None]


class Odd(msgspec.Struct, rename="kebab"):
    order: int
    Group: str
    with_space: str = ""


def test_names_that_are_words_of_sql(shop: Shop) -> None:
    table = table_of(Odd, "order", view="v")
    row = Odd(1, "g", "'\"")
    shop.db.execute('CREATE TABLE p (_key TEXT PRIMARY KEY, "order", "Group", with_space)')
    values = RowCodec(Odd, table, view="v").encode("k", row)
    shop.db.execute("INSERT INTO p VALUES (?, ?, ?, ?)", values)
    sql = 'SELECT * FROM "order" WHERE "group" = \'g\' AND "Order" = 1'
    query = compile_query(sql, {"order": table}, {}, list[Odd], view="v", query="q")
    placed = query.on({"order": "p"})
    statement = placed.statement([])
    ((answer,),) = shop.db.execute(statement.sql, statement.bindings).fetchall()
    assert placed.decode(statement, answer) == [row]
    assert b'"with-space":' in placed.reply(statement, answer)


class TestResults:
    @pytest.mark.parametrize("kind", [Modelled, Plain, Typed])
    def test_rows_of_every_kind_of_class(self, shop: Shop, kind: Any) -> None:
        sql = "SELECT * FROM customers WHERE customer_id = 'u3'"
        row = kind(customer_id="u3", name=NAMES[3], city=None)
        assert shop.ask(sql, list[kind]) == [row]
        row = kind(customer_id="u0", name=NAMES[0])
        assert shop.ask("SELECT customer_id, name FROM customers LIMIT 1", kind | None) == row
        with pytest.raises(ConfigurationError, match="needs 'name'"):
            shop.compile("SELECT customer_id FROM customers", list[kind])

    def test_computed_columns_take_the_fields_types_and_wire_names(self, shop: Shop) -> None:
        sql = (
            "SELECT cart_id, items > 2 AS is_big, lasted, tags, strftime('%d', opened) AS day "
            "FROM carts ORDER BY cart_id"
        )
        query = shop.compile(sql, list[Line])
        expected = [Line(c.cart_id, c.items > 2, c.lasted, c.tags, f"{c.opened:%d}") for c in CARTS]
        assert shop.answer(query) == expected

    def test_values_inside_of_json_functions_keep_their_types(self, shop: Shop) -> None:
        sql = (
            "SELECT state, json_group_array(json_object('id', cart_id, 'urgent', urgent, 'tags', tags)"
            " ORDER BY cart_id) AS carts, json_group_array(urgent) AS flags, json_group_array(tags) "
            "AS tags FROM carts GROUP BY state ORDER BY state"
        )
        opened, paid = shop.ask(sql, list[Group])
        assert opened.state is State.OPEN
        first = CARTS[1]
        assert paid.carts[0] == {"id": "c01", "urgent": first.urgent, "tags": first.tags}
        assert len(opened.flags) + len(paid.flags) == len(opened.tags) + len(paid.tags) == 40

    @pytest.mark.parametrize(
        ("sql", "result", "expected"),
        [
            ("SELECT count(*) FROM carts", int, 40),
            ("SELECT max(items) FROM carts WHERE items > 99", int | None, None),
            ("SELECT max(items) FROM carts", int | None, 4),
            ("SELECT cart_id FROM carts WHERE items > 99", str | None, None),
            ("SELECT coalesce(sum(items), 0) FROM carts WHERE items > 99", int, 0),
            ("SELECT urgent FROM carts ORDER BY cart_id LIMIT 2", list[bool], [True, False]),
            ("SELECT tags FROM carts WHERE cart_id = 'c03'", list[list[str]], [["t0", "t1", "t2"]]),
            ("SELECT opened FROM carts WHERE cart_id = 'c00'", datetime, CARTS[0].opened),
            ("SELECT lasted FROM carts WHERE cart_id = 'c01'", timedelta | None, CARTS[1].lasted),
            ("SELECT price FROM carts WHERE cart_id = 'c05'", Any, None),
            ("SELECT * FROM customers WHERE name = 'Ada'", Customer, CUSTOMERS[0]),
            ("SELECT * FROM customers WHERE name = '名前'", Customer | None, CUSTOMERS[5]),
            ("SELECT * FROM customers WHERE name = 'x'", Customer | None, None),
            ("SELECT * FROM customers WHERE name = 'x'", list[Customer], []),
        ],
    )
    def test_shapes(self, shop: Shop, sql: str, result: Any, expected: Any) -> None:
        if result is Any:
            with pytest.raises(ConfigurationError, match="the rows need a type"):
                shop.compile(sql, result)
        else:
            assert shop.ask(sql, result) == expected

    def test_a_missing_row_is_not_found(self, shop: Shop) -> None:
        with pytest.raises(NotFound, match="view 'shop', query 'q'"):
            shop.ask("SELECT * FROM customers WHERE name = 'x'", Customer)

    def test_a_second_row_is_not_dropped_silently(self, shop: Shop) -> None:
        with pytest.raises(HandlerFailed, match="more than one row"):
            shop.ask("SELECT * FROM customers", Customer | None)
        assert shop.ask("SELECT * FROM customers ORDER BY name LIMIT 1", Customer | None)

    def test_more_rows_than_allowed_are_an_error(self, shop: Shop) -> None:
        query = shop.compile("SELECT cart_id FROM carts ORDER BY cart_id", list[str])
        assert len(shop.answer(query, limit=40)) == 40
        with pytest.raises(TooLarge, match="more than 39 rows; stream them"):
            shop.answer(query, limit=39)

    def test_the_users_limit_stays_below_the_platforms(self, shop: Shop) -> None:
        sql = "SELECT cart_id FROM carts ORDER BY cart_id DESC LIMIT :n"
        query = shop.compile(sql, list[str], {"n": int})
        assert shop.answer(query, [3], limit=5) == ["c39", "c38", "c37"]
        with pytest.raises(TooLarge):
            shop.answer(query, [6], limit=5)
        with pytest.raises(TooLarge):
            shop.answer(query, [-1], limit=5)

    def test_items_are_the_lines_of_a_stream(self, shop: Shop) -> None:
        placed = shop.compile("SELECT * FROM customers ORDER BY customer_id", list[Customer]).on(
            shop.physical
        )
        statement = placed.statement([])
        ((answer,),) = shop.db.execute(statement.sql, statement.bindings).fetchall()
        lines = placed.items(statement, answer)
        assert [msgspec.json.decode(line, type=Customer) for line in lines] == CUSTOMERS

    def test_an_answer_that_does_not_fit_names_the_query(self, shop: Shop) -> None:
        with pytest.raises(HandlerFailed, match="view 'shop', query 'q': the answer does not fit"):
            shop.ask(
                "SELECT coalesce(tags ->> 0, 3) AS name, customer_id FROM carts", list[Customer]
            )


def test_times_in_any_zone_are_the_same_instant(shop: Shop) -> None:
    assert shop.ask("SELECT opened FROM carts WHERE cart_id = 'c01'", datetime).tzinfo is UTC
