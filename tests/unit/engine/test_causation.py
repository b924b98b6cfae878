"""What reactions and sent commands pass on, as bytes that nobody decodes on the way."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from eventmill.engine.causation import caused_by, of_command
from eventmill.model.entry import COMMANDS, Entry, metadata_of, moved, with_members


def entry(metadata: dict[str, Any] | None) -> Entry:
    extra = with_members(None, metadata)
    return Entry(COMMANDS, "cart/c", 0, "add", 1, 0, b"{}", extra, shard=3, position=7)


def read(metadata: bytes) -> Any:
    return msgspec.json.decode(metadata)


@pytest.mark.parametrize(
    ("own", "inherited"),
    [
        (None, {"correlation": "3:7"}),
        ({"user": 1}, {"correlation": "3:7"}),
        (
            {"causation": "1:1", "correlation": "a", "request_id": "b", "user": {"x": 1}},
            {"correlation": "a", "request_id": "b"},
        ),
        (
            {"traceparent": "t", "tracestate": None, "cloudevent": {"id": "e"}},
            {"correlation": "3:7", "traceparent": "t", "tracestate": None},
        ),
    ],
)
def test_a_reaction_passes_on_where_it_began_and_says_what_caused_it(
    own: dict[str, Any] | None, inherited: dict[str, Any]
) -> None:
    assert read(caused_by(entry(own))) == {"causation": "3:7", **inherited}


@pytest.mark.parametrize(
    "own",
    [
        None,
        {"user": {"causation": "not of the command"}},
        {"causation": "1:1", "correlation": "a"},
        {"correlation": "a", "causation": "1:1"},
    ],
)
def test_a_command_passes_everything_on_and_is_the_cause_if_none_is_named(
    own: dict[str, Any] | None,
) -> None:
    assert read(of_command(entry(own))) == {"causation": "3:7", **(own or {})}


@pytest.mark.parametrize("own", [None, {"user": 1}, {"causation": "1:1"}])
def test_the_id_of_a_moved_command_is_not_passed_on(own: dict[str, Any] | None) -> None:
    away = moved(entry(own), 0, 1)
    assert read(of_command(away)) == {"causation": "3:7", **(own or {})}
    assert Entry("cart", "c", 1, "a", 1, 0, b"", of_command(away), position=9).id == "0:9"


def test_what_somebody_adds_to_metadata_wins() -> None:
    both = with_members(b'{"a":1,"b":2}', {"b": 3, "c": 4})
    assert read(both or b"") == {"a": 1, "b": 3, "c": 4}
    assert with_members(b'{"a":1}', {}) == with_members(b'{"a":1}', None) == b'{"a":1}'
    assert metadata_of(entry(None)) == {}
