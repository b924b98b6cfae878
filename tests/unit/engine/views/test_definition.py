"""A whole view, compiled from its class, and the fingerprint that tells when to rebuild it."""

from __future__ import annotations

import enum
from typing import Any

import msgspec
import pytest

from eventmill import ConfigurationError, Context, Event, Record, Topic, View, component, on, query
from eventmill.engine.views.definition import CompiledView, compile_view
from eventmill.engine.views.fingerprint import Feed, view_fingerprint
from eventmill.engine.views.indexes import Index
from eventmill.engine.views.schema import table_of
from eventmill.engine.views.shapes import shape_of
from eventmill.sdk.view import define_view


class Opened(Event):
    cart_id: str
    customer_id: str


class Closed(Event):
    cart_id: str


carts = Topic("carts", Opened, Closed, key="cart_id")


@component("open-carts")
class OpenCarts(View):
    class Row(Record):
        cart_id: str
        customer_id: str

    @on(carts)
    def changed(self, event: Opened | Closed, row: Row | None, ctx: Context) -> Row | None:
        return None

    @query("SELECT * FROM open_carts WHERE customer_id = :customer ORDER BY cart_id")
    def of_customer(self, customer: str) -> list[Row]: ...  # type: ignore[empty-body]

    @query("SELECT count(*) FROM open_carts")
    def how_many(self) -> int: ...  # type: ignore[empty-body]


def compiled(cls: type[View]) -> CompiledView:
    return compile_view(define_view(cls))


def test_a_view_is_compiled_from_its_class() -> None:
    view = compiled(OpenCarts)
    assert view.id == "open-carts"
    assert list(view.tables) == ["open_carts"]
    assert list(view.queries) == ["of_customer", "how_many"]
    assert view.indexes == (Index("open_carts", ("customer_id", "cart_id")),)


def test_every_query_of_a_view_is_checked() -> None:
    @component("broken")
    class Broken(View):
        class Row(Record):
            cart_id: str

        @on(carts)
        def changed(self, event: Opened, row: Row | None) -> Row | None:
            return None

        @query("SELECT * FROM brokn")
        def one(self) -> list[Row]: ...  # type: ignore[empty-body]

        @query("SELECT item FROM broken WHERE x = :y")
        def two(self) -> list[str]: ...  # type: ignore[empty-body]

    with pytest.raises(ConfigurationError) as caught:
        compiled(Broken)
    assert [p.split(":")[0] for p in caught.value.details["problems"]] == [
        "view 'broken', query 'one', line 1, column 15",
        "view 'broken', query 'two', line 1, column 31",
        "view 'broken', query 'two', line 1, column 8",
        "view 'broken', query 'two', line 1, column 31",
    ]


def test_rows_are_checked_before_queries() -> None:
    @component("broken")
    class Broken(View):
        class Row(Record):
            number: complex

        @on(carts)
        def changed(self, event: Opened, row: Row | None) -> Row | None:
            return None

        @query("SELECT number FROM broken")
        def one(self) -> list[int]: ...  # type: ignore[empty-body]

    with pytest.raises(ConfigurationError, match=r"view 'broken', row .*Row, field 'number'"):
        compiled(Broken)


class Line(msgspec.Struct):
    sku: str


class Row(msgspec.Struct):
    """A row."""

    cart_id: str
    lines: list[Line] = []


class Wider(Row):
    more: int = 0


class OtherType(msgspec.Struct):
    cart_id: int
    lines: list[Line] = []


class DeepLine(msgspec.Struct):
    sku: str
    count: int = 1


class Deep(msgspec.Struct):
    cart_id: str
    lines: list[DeepLine] = []


class Position(msgspec.Struct):
    """Another name, the same structure."""

    sku: str


class Renamed(msgspec.Struct):
    cart_id: str
    lines: list[Position]


FEED = Feed("cart", "carts", ("Opened", "Closed"))


def fingerprint_of(row: type[msgspec.Struct], feed: Feed = FEED, version: int = 1) -> str:
    return view_fingerprint([table_of(row, "carts", view="v")], [feed], version)


def test_a_fingerprint_does_not_change_between_runs() -> None:
    # Another value here would rebuild every user's views: never change it without a reason.
    assert fingerprint_of(Row) == "95d3ea88dc0bd577bd9283b74243ec1a"


def test_what_makes_the_rows_changes_the_fingerprint() -> None:
    prints = [
        fingerprint_of(Row),
        fingerprint_of(Wider),
        fingerprint_of(OtherType),
        fingerprint_of(Deep),
        fingerprint_of(Row, Feed("basket", "carts", ("Opened", "Closed"))),
        fingerprint_of(Row, Feed("cart", "carts", ("Opened",))),
        fingerprint_of(Row, Feed("cart", "carts", ())),
        fingerprint_of(Row, version=2),
    ]
    assert len(set(prints)) == len(prints)


def test_what_changes_no_row_changes_no_fingerprint() -> None:
    assert fingerprint_of(Renamed) == fingerprint_of(Row)
    assert fingerprint_of(Row, Feed("cart", "carts", ("Closed", "Opened"))) == fingerprint_of(Row)


class Node(msgspec.Struct):
    name: str
    children: list[Node] = []


class Colour(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        (int, "int"),
        (int | None, "int|null"),
        (list[dict[str, float]], "[{str:float}]"),
        (tuple[int, str], "(int,str)"),
        (Node, "{name:str,children?:[^1]}"),
        (Colour, "<'red'>"),
        (Any, "any"),
    ],
)
def test_shapes(kind: Any, shape: str) -> None:
    assert shape_of(kind) == shape
