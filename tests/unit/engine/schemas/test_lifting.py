"""Values made of a schema, by which upcasters are tried."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import assume, given
from msgspec import Meta

from eventmill import Event, event_type, upcast
from eventmill.engine.schemas.lifting import failure, samples
from eventmill.engine.schemas.typed import schema_of
from eventmill.model import codec
from eventmill.model.events import event_type_of
from tests.unit.engine.schemas.shapes import Pair, pairs


@given(pairs())
def test_every_sample_is_a_value_of_the_type(pair: Pair) -> None:
    try:
        schema = schema_of(pair.old)
    except TypeError:  # a union that msgspec does not take
        assume(False)
        raise
    for sample in samples(schema):
        codec.decoder(pair.old).decode(msgspec.json.encode(sample))


class Part(msgspec.Struct):
    name: str
    parts: list[Part] = []


class Endless(msgspec.Struct):
    next: Endless


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        (Part, [{"name": "a"}]),
        (dict[str, int], [{}, {"a": 1}]),
        (Literal["x", "y"], ["x", "y"]),
        (int | None, [None, 1]),
        (Annotated[list[int], Meta(min_length=2)], [[1, 1]]),
        (Endless, []),
        (Annotated[str, Meta(pattern="^x")], []),
    ],
)
def test_samples(kind: Any, wanted: list[Any]) -> None:
    found = samples(schema_of(kind))
    assert [one for one in wanted if one not in found] == []
    assert bool(found) == bool(wanted)


class Before(Event):
    price: str
    sizes: dict[str, int]
    gift: bool = False


def lifted_by(lift: Any) -> str:
    @event_type("priced", version=2)
    class Priced(Event):
        cents: int
        gift: bool

    upcast(Priced, from_version=1)(lift)
    return failure(event_type_of(Priced), 1, schema_of(Before))


def test_an_upcaster_that_reads_everything() -> None:
    assert lifted_by(lambda data: {"cents": 1, "gift": data.get("gift", False)}) == ""


def test_an_upcaster_that_makes_something_else() -> None:
    text = lifted_by(lambda data: {"cents": data["price"], "gift": False})
    assert "does not decode" in text
    assert "Expected `int`, got `str`" in text


def test_an_upcaster_that_forgets_what_may_be_left_out() -> None:
    # Some events get through: only what is stored tells whether others are there.
    assert lifted_by(lambda data: {"cents": 1, "gift": data["gift"]}) == ""


def test_an_upcaster_that_refuses_what_was_made_up_may_be_right() -> None:
    assert lifted_by(lambda data: {"cents": round(float(data["price"]) * 100), "gift": True}) == ""
    prices = {"cheap": 1}
    assert lifted_by(lambda data: {"cents": prices[data["price"]], "gift": True}) == ""
