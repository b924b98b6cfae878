"""Rows become column values and come back, on a real database; wrong types and values are named."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import apsw
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventmill.engine.views.kinds import INTEGER_MAX, INTEGER_MIN, Kind
from eventmill.engine.views.schema import RowCodec, table_of
from eventmill.errors import ConfigurationError, HandlerFailed


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Line(msgspec.Struct):
    sku: str
    count: int = 1


@dataclass
class Place:
    city: str


class Every(msgspec.Struct):
    number: int
    ratio: float
    text: str
    flag: bool
    at: datetime
    day: date
    hour: time
    lasting: timedelta
    price: Decimal
    id: UUID
    blob: bytes
    colour: Colour
    level: Level
    choice: Literal["a", "b"]
    lines: list[Line]
    counts: dict[str, int]
    place: Place
    any: Any
    maybe: int | None = None
    maybe_flag: bool | None = None
    maybe_at: datetime | None = None
    maybe_line: Line | None = None


class Flat(msgspec.Struct):
    cart_id: str
    items: int
    total: float
    open: bool
    note: str | None = None


class Renamed(msgspec.Struct, kw_only=True, rename="camel"):
    cart_id: str
    order: Annotated[int, msgspec.Meta(ge=0)] = 0


TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
TIMES = st.times(timezones=st.none() | st.just(UTC))
MOMENTS = st.datetimes(
    min_value=datetime(1, 1, 2),  # noqa: DTZ001 - hypothesis wants it naive
    max_value=datetime(9999, 12, 30),  # noqa: DTZ001
    timezones=st.none()
    | st.just(UTC)
    | st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m))),
)
INTEGERS = st.integers(INTEGER_MIN, INTEGER_MAX)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
DURATIONS = st.timedeltas(timedelta(days=-106_751_991), timedelta(days=106_751_990))
LINES = st.builds(Line, TEXTS, INTEGERS)

EVERY = st.builds(
    Every,
    number=INTEGERS,
    ratio=FLOATS,
    text=TEXTS,
    flag=st.booleans(),
    at=MOMENTS,
    day=st.dates(),
    hour=TIMES,
    lasting=DURATIONS,
    price=st.decimals(allow_nan=False),
    id=st.uuids(),
    blob=st.binary(),
    colour=st.sampled_from(Colour),
    level=st.sampled_from(Level),
    choice=st.sampled_from(["a", "b"]),
    lines=st.lists(LINES, max_size=3),
    counts=st.dictionaries(TEXTS, INTEGERS, max_size=3),
    place=st.builds(Place, TEXTS),
    any=st.none() | st.booleans() | TEXTS | st.lists(FLOATS, max_size=2),
    maybe=st.none() | INTEGERS,
    maybe_flag=st.none() | st.booleans(),
    maybe_at=st.none() | MOMENTS,
    maybe_line=st.none() | LINES,
)

EVERY_CODEC = RowCodec(Every, table_of(Every, "t", view="v"), view="v")


def through_database(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Bind and read back, as every store does."""
    database = apsw.Connection(":memory:")
    row = database.execute(f"SELECT {','.join('?' * len(values))}", values).fetchone()
    database.close()
    return row


@given(EVERY)
@settings(max_examples=200, deadline=None)
def test_every_row_comes_back_equal(row: Every) -> None:
    stored = through_database(EVERY_CODEC.encode("key", row))
    assert stored[0] == "key"
    back = EVERY_CODEC.decode(stored[1:])
    assert back == row
    assert type(back.flag) is bool
    assert type(back.ratio) is float


@given(st.lists(MOMENTS.filter(lambda m: m.tzinfo is not None), min_size=2, max_size=5))
@settings(deadline=None)
def test_stored_instants_sort_as_the_instants_do(moments: list[datetime]) -> None:
    class Row(msgspec.Struct):
        at: datetime

    codec = RowCodec(Row, table_of(Row, "t", view="v"), view="v")
    stored = [codec.encode("k", Row(moment))[1] for moment in sorted(moments)]
    assert stored == sorted(stored)  # type: ignore[type-var]


def test_flat_rows_are_kept_as_they_are() -> None:
    codec = RowCodec(Flat, table_of(Flat, "carts", view="v"), view="v")
    stored = codec.encode("c1", Flat("c1", 2, 3, True))
    assert stored == ("c1", "c1", 2, 3.0, True, None)
    assert codec.decode(("c1", 2, 3.0, 1, None)) == Flat("c1", 2, 3.0, True)


FLATS = st.builds(Flat, TEXTS, INTEGERS, FLOATS, st.booleans(), st.none() | TEXTS)
FLAT_CODEC = RowCodec(Flat, table_of(Flat, "carts", view="v"), view="v")


@given(st.dictionaries(TEXTS, FLATS, max_size=5))
@settings(deadline=None)
def test_rows_together_are_stored_as_each_alone(rows: dict[str, Flat]) -> None:
    stored = FLAT_CODEC.encode_all(rows)
    assert stored == [FLAT_CODEC.encode(key, row) for key, row in rows.items()]
    assert FLAT_CODEC.size_of_all(stored) == sum(map(FLAT_CODEC.size_of, stored))


@pytest.mark.parametrize("wrong", [Flat("c2", "two", 1.0, True), Flat("\ud800", 2, 1.0, True)])  # type: ignore[arg-type]
def test_one_wrong_row_of_many_is_named(wrong: Flat) -> None:
    with pytest.raises(HandlerFailed, match=r"field '(items|cart_id)'"):
        FLAT_CODEC.encode_all({"c1": Flat("c1", 2, 3.0, True), "c2": wrong})


def test_keyword_only_rows_come_back() -> None:
    codec = RowCodec(Renamed, table_of(Renamed, "t", view="v"), view="v")
    assert codec.decode(codec.encode("k", Renamed(cart_id="a", order=2))[1:]) == Renamed(
        cart_id="a", order=2
    )


def test_columns_carry_python_and_wire_names() -> None:
    table = table_of(Renamed, "carts", view="v")
    assert [(c.name, c.json_name, c.kind) for c in table.columns] == [
        ("cart_id", "cartId", Kind.TEXT),
        ("order", "order", Kind.INTEGER),
    ]
    assert table.column("CART_ID") is table.columns[0]


@pytest.mark.parametrize(
    ("row", "field"),
    [
        (Flat("c", "2", 1.0, True), "items"),  # type: ignore[arg-type]
        (Flat("c", 2**63, 1.0, True), "items"),
        (Flat("c", 2, math.nan, True), "total"),
        (Flat("c", 2, math.inf, True), "total"),
        (Flat("c", 2, 1.0, 1), "open"),  # type: ignore[arg-type]
        (Flat("c", 2, 1.0, True, "\ud800"), "note"),
        (Flat(None, 2, 1.0, True), "cart_id"),  # type: ignore[arg-type]
        (Renamed(cart_id="c", order=-1), "order"),
    ],
)
def test_a_value_that_a_store_would_refuse_names_its_field(row: msgspec.Struct, field: str) -> None:
    codec = RowCodec(type(row), table_of(type(row), "t", view="carts"), view="carts")
    with pytest.raises(
        HandlerFailed, match=f"view 'carts', row {type(row).__name__}, field '{field}'"
    ):
        codec.encode("k", row)


def test_wrong_nested_values_and_oversized_text_are_refused() -> None:
    class Row(msgspec.Struct):
        lines: list[Line] = []
        note: str = ""
        lasting: timedelta = timedelta()

    codec = RowCodec(Row, table_of(Row, "t", view="v"), view="v")
    with pytest.raises(HandlerFailed, match=r"field 'lines'.*Expected `str`, got `int`"):
        codec.encode("k", Row([Line(5)]))  # type: ignore[arg-type]
    with pytest.raises(HandlerFailed, match="bytes of text"):
        codec.encode("k", Row(note="x" * (1 << 20)))
    with pytest.raises(HandlerFailed, match="field 'lasting'"):
        codec.encode("k", Row(lasting=timedelta.max))
    with pytest.raises(HandlerFailed, match="the handler returned Flat"):
        codec.encode("k", Flat("c", 1, 1.0, True))  # type: ignore[arg-type]


def test_every_unsupported_field_is_reported_at_once() -> None:
    class Row(msgspec.Struct):
        good: int
        number: complex
        nested: list[complex]
        unset: int | msgspec.UnsetType = msgspec.UNSET
        Good: str = ""
        _key: str = ""

    with pytest.raises(ConfigurationError) as caught:
        table_of(Row, "t", view="carts")
    problems = caught.value.details["problems"]
    assert all(problem.startswith("view 'carts', row ") for problem in problems)
    assert [problem.split("field ")[1].split(":")[0] for problem in problems] == [
        "'number'",
        "'nested'",
        "'unset'",
        "'Good'",
        "'_key'",
    ]


def test_rows_need_fields_with_names() -> None:
    class Empty(msgspec.Struct):
        pass

    class Array(msgspec.Struct, array_like=True):
        a: int

    with pytest.raises(ConfigurationError, match="at least one field"):
        table_of(Empty, "t", view="v")
    with pytest.raises(ConfigurationError, match="array_like"):
        table_of(Array, "t", view="v")
