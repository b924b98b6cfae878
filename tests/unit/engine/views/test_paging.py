"""Pages: together they are the whole result, whatever happens to the rows in between."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventmill.engine.views.compiled import CompiledQuery
from eventmill.engine.views.query import compile_query
from eventmill.engine.views.schema import table_of
from eventmill.errors import RequestError
from eventmill.model import limits
from eventmill.model.page import Page

from .conftest import CARTS, PHYSICAL, TABLES, Cart, Shop

PAGED = {"page_token": str | None, "page_size": int}

KEYSET = [
    "SELECT * FROM carts",
    "SELECT * FROM carts ORDER BY items",
    "SELECT * FROM carts ORDER BY items DESC, total",
    "SELECT * FROM carts ORDER BY note, opened DESC",
    "SELECT * FROM carts ORDER BY note DESC",
    "SELECT * FROM carts ORDER BY note NULLS LAST, paid DESC NULLS FIRST",
    "SELECT * FROM carts WHERE items > 0 AND urgent ORDER BY total DESC, cart_id DESC",
    "SELECT * FROM carts WHERE items > 0 OR urgent ORDER BY lasted",
]
BY_OFFSET = [
    "SELECT customer_id, sum(items) AS n FROM carts GROUP BY customer_id ORDER BY n DESC",
    "SELECT DISTINCT items FROM carts",
    "SELECT c.cart_id, u.name FROM carts c JOIN customers u USING (customer_id) ORDER BY u.name",
    "SELECT cart_id FROM carts ORDER BY abs(items - 2)",
    "SELECT cart_id FROM carts UNION ALL SELECT name FROM customers",
    "SELECT cart_id, row_number() OVER (ORDER BY total) AS r FROM carts",
    "WITH x AS (SELECT items FROM carts) SELECT items FROM x ORDER BY items DESC",
]


def pages_of(shop: Shop, query: CompiledQuery, size: int, *first: Any) -> list[Page[Any]]:
    pages: list[Page[Any]] = []
    token = None
    while not pages or token:
        pages.append(shop.answer(query, [*first, token, size]))
        token = pages[-1].next_page_token
        assert len(pages) < 100
    return pages


@pytest.mark.parametrize("size", [1, 3, 39, 40, 41])
@pytest.mark.parametrize("sql", KEYSET)
def test_pages_behind_the_last_row_are_the_whole_result(shop: Shop, sql: str, size: int) -> None:
    query = shop.compile(sql, Page[Cart], PAGED)
    assert query.sort_keys
    whole = shop.ask(sql, list[Cart])
    pages = pages_of(shop, query, size)
    assert [len(page.items) for page in pages[:-1]] == [size] * (len(pages) - 1)
    items = [item for page in pages for item in page.items]
    assert sorted(items, key=repr) == sorted(whole, key=repr)
    names = [key.column for key in query.sort_keys[:-1]]
    assert [[getattr(item, name) for name in names] for item in items] == [
        [getattr(row, name) for name in names] for row in whole
    ]


@pytest.mark.parametrize("size", [1, 4, 100])
@pytest.mark.parametrize("sql", BY_OFFSET)
def test_pages_by_offset_are_the_whole_result(shop: Shop, sql: str, size: int) -> None:
    query = shop.compile(sql, Page[dict[str, Any]], PAGED)
    assert not query.sort_keys
    items = [item for page in pages_of(shop, query, size) for item in page.items]
    whole = shop.ask(sql, list[dict[str, Any]])
    assert sorted(items, key=repr) == sorted(whole, key=repr)
    assert items


class Point(msgspec.Struct):
    x: int | None
    y: float
    name: str


POINTS = st.builds(
    Point,
    st.none() | st.integers(-2, 2) | st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=3),
)
TERMS = st.sampled_from(
    [f"{c}{d}{n}" for c in ("x", "y", "name") for d in ("", " DESC") for n in ("", " NULLS LAST")]
)


@given(
    st.dictionaries(st.text("abc\0é", max_size=3), POINTS, max_size=12),
    st.lists(TERMS, min_size=1, max_size=3, unique_by=lambda term: term.split()[0]),
    st.integers(1, 4),
)
@settings(deadline=None, max_examples=50)
def test_any_order_of_any_values(rows: dict[str, Point], order: list[str], size: int) -> None:
    TABLES["points"] = table_of(Point, "points", view="shop")
    shop = Shop({"carts": "c", "customers": "u", "points": "p"})
    shop.fill("points", rows)
    sql = f"SELECT * FROM points ORDER BY {', '.join(order)}"
    query = shop.compile(sql, Page[Point], PAGED)
    items = [item for page in pages_of(shop, query, size) for item in page.items]
    terms = [term.split()[0] for term in order]
    whole = shop.ask(sql, list[Point])
    assert sorted(items, key=repr) == sorted(whole, key=repr)
    assert [[getattr(i, t) for t in terms] for i in items] == [
        [getattr(i, t) for t in terms] for i in whole
    ]
    shop.db.close()
    del TABLES["points"]


def test_rows_that_come_and_go_shift_nothing(shop: Shop) -> None:
    query = shop.compile("SELECT * FROM carts ORDER BY opened", Page[Cart], PAGED)
    first = shop.answer(query, [None, 10])
    physical = shop.physical["carts"]
    shop.db.execute(f"DELETE FROM \"{physical}\" WHERE cart_id <= 'c09'")
    second = shop.answer(query, [first.next_page_token, 10])
    assert [cart.cart_id for cart in second.items] == [cart.cart_id for cart in CARTS[10:20]]


def test_a_query_without_page_size_has_the_default(shop: Shop) -> None:
    sql = "SELECT a.cart_id AS one, b.cart_id AS two FROM carts a, carts b"
    query = shop.compile(sql, Page[dict[str, str]], {"page_token": str | None})
    assert len(shop.answer(query, [None]).items) == limits.VIEW_PAGE_ROWS


class TestTokens:
    SQL = "SELECT * FROM carts WHERE items >= :low ORDER BY items"
    PARAMETERS = {"low": int, **PAGED}
    PLACED = compile_query(SQL, TABLES, PARAMETERS, Page[Cart], view="v", query="q").on(PHYSICAL)

    def test_a_token_is_for_one_query_and_its_arguments(self, shop: Shop) -> None:
        query = shop.compile(self.SQL, Page[Cart], self.PARAMETERS)
        token = shop.answer(query, [1, None, 5]).next_page_token
        assert len(shop.answer(query, [1, token, 7]).items) == 7
        with pytest.raises(RequestError, match="another query or to other arguments"):
            shop.answer(query, [2, token, 5])
        other = shop.compile(self.SQL + " DESC", Page[Cart], self.PARAMETERS)
        with pytest.raises(RequestError, match="another query"):
            shop.answer(other, [1, token, 5])

    @pytest.mark.parametrize("token", ["x", "ö", "AAAA", "a b", "k" * 9_000, "kg", "[]"])
    def test_what_is_no_token_is_refused(self, shop: Shop, token: str) -> None:
        query = shop.compile(self.SQL, Page[Cart], self.PARAMETERS)
        with pytest.raises(RequestError, match="page_token is not a page token") as caught:
            shop.answer(query, [1, token, 5])
        assert caught.value.code == "view.page_token"

    @given(st.text("ABCDEFGHabcdefgh0123_-", min_size=1, max_size=60))
    @settings(deadline=None)
    def test_no_text_gets_past(self, token: str) -> None:
        with pytest.raises(RequestError):
            self.PLACED.statement([1, token, 5])

    @pytest.mark.parametrize("size", [0, -1, limits.VIEW_ROWS_COLLECTED_MAX + 1])
    def test_sizes_are_bounded(self, shop: Shop, size: int) -> None:
        query = shop.compile(self.SQL, Page[Cart], self.PARAMETERS)
        with pytest.raises(RequestError, match="page_size is 1 to 1000, not"):
            shop.answer(query, [1, None, size])

    def test_sort_values_that_fit_into_no_token_are_named(self, shop: Shop) -> None:
        physical = shop.physical["carts"]
        shop.db.execute(f'UPDATE "{physical}" SET note = hex(zeroblob(4000)) || cart_id')
        query = shop.compile("SELECT * FROM carts ORDER BY note", Page[Cart], PAGED)
        with pytest.raises(RequestError, match="sort the pages by a shorter column"):
            shop.answer(query, [None, 5])
