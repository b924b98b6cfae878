"""Whether new code reads what old code wrote: never a wrong yes, and the breaks that people make."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, TypedDict
from uuid import UUID

import jsonschema
import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec import Meta
from pydantic import BaseModel, Field

from eventmill.engine.schemas.fit import Cause, misfits, told
from eventmill.engine.schemas.typed import schema_of
from eventmill.model import codec
from tests.unit.engine.schemas.shapes import Color, Pair, Shade, pairs


def schemas(*kinds: Any) -> list[Any]:
    try:
        return [schema_of(kind) for kind in kinds]
    except TypeError:  # a union that msgspec does not take
        assume(False)
        raise


@pytest.mark.parametrize(
    "examples", [200, pytest.param(10_000, marks=[pytest.mark.soak, pytest.mark.timeout(0)])]
)
def test_what_is_called_readable_is_read(examples: int) -> None:
    settings(max_examples=examples)(given(pairs(), st.data())(read_what_fits))()


def read_what_fits(pair: Pair, data: st.DataObject) -> None:
    old, new = schemas(pair.old, pair.new)
    if misfits(old, new):
        return
    payload = codec.encode(data.draw(pair.values))
    codec.decoder(pair.new).decode(payload)


@given(pairs())
def test_what_has_not_changed_is_readable(pair: Pair) -> None:
    (schema,) = schemas(pair.old)
    assert misfits(schema, schema_of(pair.old)) == []


@given(pairs(), st.data())
def test_what_is_written_is_valid_for_other_tools(pair: Pair, data: st.DataObject) -> None:
    (schema,) = schemas(pair.old)
    jsonschema.Draft202012Validator.check_schema(schema)
    written = msgspec.json.decode(codec.encode(data.draw(pair.values)))
    jsonschema.validate(written, schema, jsonschema.Draft202012Validator)


class Item(msgspec.Struct):
    sku: str
    quantity: int = 1


class Tree(msgspec.Struct):
    name: str
    children: list[Tree] = []


class TreeOfNumbers(msgspec.Struct):
    name: int
    children: list[TreeOfNumbers] = []


class Tall(msgspec.Struct):
    name: str
    children: list[Tall] = []
    height: int = 0


class Ring(msgspec.Struct, tag="ring"):
    radius: float


class Box(msgspec.Struct, tag="box"):
    side: float


class Crate(msgspec.Struct, tag="box"):
    side: float
    height: float


def struct(*fields: Any, **options: Any) -> Any:
    return msgspec.defstruct("Thing", fields, **options)


BREAKS: list[tuple[str, Any, Any, str, Cause]] = [
    ("a needed field comes", struct(), struct(("a", int)), "a", Cause.MISSING),
    ("a default goes", struct(("a", int, 1)), struct(("a", int)), "a", Cause.MISSING),
    (
        "a field goes where none is passed over",
        struct(("a", int)),
        struct(forbid_unknown_fields=True),
        "a",
        Cause.REFUSED,
    ),
    ("a type", struct(("a", int)), struct(("a", str)), "a", Cause.VALUE),
    ("a fraction", struct(("a", float)), struct(("a", int)), "a", Cause.VALUE),
    ("null goes", struct(("a", int | None)), struct(("a", int)), "a", Cause.VALUE),
    ("a member goes", int | str, int, "", Cause.VALUE),
    ("a value goes", Literal["x", "y"], Literal["x"], "", Cause.VALUE),
    ("a member of an enumeration goes", Shade, Color, "", Cause.VALUE),
    ("any text is not one of some", str, Literal["x"], "", Cause.VALUE),
    ("a text is no time", str, datetime, "", Cause.VALUE),
    ("a text is no day", str, date, "", Cause.VALUE),
    ("a text is no id", str, UUID, "", Cause.VALUE),
    ("a text is no decimal", str, Decimal, "", Cause.VALUE),
    ("a text is no base64", str, bytes, "", Cause.VALUE),
    ("a zone is needed", datetime, Annotated[datetime, Meta(tz=True)], "", Cause.VALUE),
    ("a longer least", str, Annotated[str, Meta(min_length=1)], "", Cause.VALUE),
    (
        "a shorter most",
        Annotated[str, Meta(max_length=9)],
        Annotated[str, Meta(max_length=8)],
        "",
        Cause.VALUE,
    ),
    (
        "fewer bytes",
        Annotated[bytes, Meta(max_length=12)],
        Annotated[bytes, Meta(max_length=11)],
        "",
        Cause.VALUE,
    ),
    ("a pattern", str, Annotated[str, Meta(pattern="^x")], "", Cause.VALUE),
    ("a least number", int, Annotated[int, Meta(ge=0)], "", Cause.VALUE),
    (
        "the bound itself",
        Annotated[int, Meta(ge=0)],
        Annotated[int, Meta(gt=0)],
        "",
        Cause.VALUE,
    ),
    ("a step", int, Annotated[int, Meta(multiple_of=2)], "", Cause.VALUE),
    (
        "a bound of the member that whole numbers go to",
        int,
        Annotated[int, Meta(le=10)] | float,
        "",
        Cause.VALUE,
    ),
    ("items", list[int], list[str], "[]", Cause.VALUE),
    (
        "more items are needed",
        list[int],
        Annotated[list[int], Meta(min_length=1)],
        "",
        Cause.MISSING,
    ),
    (
        "fewer items are taken",
        list[int],
        Annotated[list[int], Meta(max_length=1)],
        "",
        Cause.REFUSED,
    ),
    ("a longer tuple", tuple[int], tuple[int, int], "", Cause.MISSING),
    ("a list is no tuple", list[int], tuple[int], "", Cause.MISSING),
    ("a map's values", dict[str, int], dict[str, str], "*", Cause.VALUE),
    ("a map's keys", dict[str, int], dict[int, int], "[key]", Cause.VALUE),
    ("a map's keys are fewer", dict[Shade, int], dict[Color, int], "[key]", Cause.VALUE),
    ("a map has no sure fields", dict[str, int], struct(("a", int)), "a", Cause.MISSING),
    ("a map's value may be a field", dict[str, int], struct(("a", str, "")), "a", Cause.VALUE),
    ("anything", Any, int, "", Cause.VALUE),
    (
        "an array of fields that lost its first",
        struct(("a", int), ("b", str), array_like=True),
        struct(("b", str), array_like=True),
        "[0]",
        Cause.VALUE,
    ),
    (
        "deep inside",
        struct(("items", list[Item])),
        struct(("items", list[struct(("sku", str), ("quantity", str, ""))])),
        "items[].quantity",
        Cause.VALUE,
    ),
    ("in a recursive type", Tree, TreeOfNumbers, "name", Cause.VALUE),
    ("a tagged class goes", Ring | Box, Ring, "kind", Cause.VALUE),
    ("a tagged class needs more", Ring | Box, Ring | Crate, "height", Cause.MISSING),
]


@pytest.mark.parametrize(
    ("old", "new", "at", "cause"), [row[1:] for row in BREAKS], ids=[row[0] for row in BREAKS]
)
def test_breaks_are_found_and_placed(old: Any, new: Any, at: str, cause: Cause) -> None:
    found = misfits(schema_of(old), schema_of(new))
    places = {(told(misfit.path), misfit.cause) for misfit in found}
    assert (at if at != "kind" else "type", cause) in places, found


class Point(NamedTuple):
    x: int


class Far(NamedTuple):
    x: int
    y: int = 0


@dataclass
class Made:
    a: int
    b: list[int] = field(default_factory=list)


class Given(TypedDict):
    a: int


class Order(BaseModel):
    id: int
    note: str | None = None
    lines: list[dict[str, int]] = []


class LongOrder(BaseModel):
    id: int
    note: str | None = None
    paid: bool = False


class StrictOrder(BaseModel):
    id: int = Field(gt=0)
    note: str | None = None


FITS: list[tuple[str, Any, Any]] = [
    ("a field with a default comes", struct(("a", int)), struct(("a", int), ("b", str, ""))),
    ("a field goes", struct(("a", int), ("b", str)), struct(("a", int))),
    ("a field gets a default", struct(("a", int)), struct(("a", int, 0))),
    ("the order", struct(("a", int), ("b", int)), struct(("b", int), ("a", int))),
    ("null comes", struct(("a", int)), struct(("a", int | None))),
    ("a member comes", int, int | str),
    ("a value comes", Color, Shade),
    ("its texts", Literal["red", "blue"], Color),
    ("a whole number is a number", int, float),
    ("a time is a text", datetime, str),
    ("a zone is no longer needed", Annotated[datetime, Meta(tz=True)], datetime),
    ("a looser bound", Annotated[int, Meta(gt=0, lt=9)], Annotated[int, Meta(ge=0, le=9)]),
    ("a pair is a list", tuple[int, int], list[int]),
    ("a list is a set", list[int], set[int]),
    ("fields are a map", struct(("a", int), ("b", int)), dict[str, int]),
    ("a longer array of fields", struct(("a", int), array_like=True),
     struct(("a", int), ("b", int, 0), array_like=True)),
    ("a longer named tuple", Point, Far),
    ("another kind of class", Given, Made),
    ("anything is anything", dict[str, int], Any),
    ("a recursive type grows", Tree, Tall),
    ("a tagged class comes", Ring, Ring | Box),
    ("a model grows", Order, LongOrder),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), [row[1:] for row in FITS], ids=[row[0] for row in FITS])
def test_what_breaks_nothing(old: Any, new: Any) -> None:
    assert misfits(schema_of(old), schema_of(new)) == []


def test_a_stricter_model_is_found() -> None:
    (found,) = misfits(schema_of(LongOrder), schema_of(StrictOrder))
    assert told(found.path) == "id"


def test_what_is_not_understood_is_not_called_readable() -> None:
    class Odd(BaseModel):
        a: int = Field(json_schema_extra={"not": {"const": 3}})

    class Even(BaseModel):
        a: int

    assert misfits(schema_of(Even), schema_of(Odd))
    assert misfits(schema_of(Odd), schema_of(Odd)) == []


def test_what_is_only_named_alike_is_not_called_readable() -> None:
    def keyed(kind: Any) -> Any:
        class Inner(BaseModel):
            a: kind

        class Keyed(BaseModel):
            inner: dict[Annotated[str, Field(pattern="^x")], Inner]

        return schema_of(Keyed)

    assert "patternProperties" in str(keyed(int))
    assert misfits(keyed(int), keyed(str))
