"""Filters and proposals of subscriptions, without a node."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from eventmill.engine.filters import compile_filters
from eventmill.errors import InvalidPayload, TooLarge
from eventmill.model import limits, pushing

EVENT = {"type": "com.github.push", "subject": "cloudevents/spec", "id": "1", "live": "true"}


@pytest.mark.parametrize(
    ("filters", "fits"),
    [
        ([], True),
        ([{"exact": {"type": "com.github.push"}}], True),
        ([{"exact": {"type": "com.github.Push"}}], False),
        ([{"exact": {"type": "com.github.push", "subject": "other"}}], False),
        ([{"exact": {"live": "true"}}], True),
        ([{"exact": {"missing": "x"}}], False),
        ([{"prefix": {"type": "com.github."}}], True),
        ([{"prefix": {"type": "github."}}], False),
        ([{"suffix": {"subject": "/spec"}}], True),
        ([{"suffix": {"subject": "/spe"}}], False),
        ([{"prefix": {"type": "com."}}, {"suffix": {"type": ".pull"}}], False),
        ([{"all": [{"prefix": {"type": "com."}}, {"suffix": {"type": "push"}}]}], True),
        ([{"any": [{"exact": {"id": "2"}}, {"exact": {"id": "1"}}]}], True),
        ([{"any": [{"exact": {"id": "2"}}]}], False),
        ([{"not": {"exact": {"id": "2"}}}], True),
        ([{"not": {"exact": {"missing": "x"}}}], True),
        ([{"not": {"not": {"exact": {"id": "1"}}}}], True),
    ],
)
def test_dialects(filters: list[Any], fits: bool) -> None:
    assert compile_filters(filters)(EVENT) is fits


@pytest.mark.parametrize(
    ("filters", "place"),
    [
        ([{"sql": "source = 'x'"}], "filters[0].sql"),
        ([{"exact": {"type": ""}}], "filters[0].exact.type"),
        ([{"exact": {"": "x"}}], "filters[0].exact."),
        ([{"exact": {}}], "filters[0].exact"),
        ([{"exact": {"type": 1}}], "filters[0].exact.type"),
        ([{"exact": {"type": "a"}, "prefix": {"type": "a"}}], "filters[0]"),
        ([{"all": []}], "filters[0].all"),
        ([{"any": [{"not": {"odd": 1}}]}], "filters[0].any[0].not.odd"),
        (["exact"], "filters[0]"),
    ],
)
def test_what_is_no_filter_is_refused_with_its_place(filters: list[Any], place: str) -> None:
    with pytest.raises(InvalidPayload) as refused:
        compile_filters(filters)
    assert refused.value.message.startswith(place)


def test_filters_are_bounded() -> None:
    deep: dict[str, Any] = {"exact": {"id": "1"}}
    for _ in range(limits.FILTER_DEPTH_MAX):
        deep = {"not": deep}
    with pytest.raises(TooLarge):
        compile_filters([deep])
    with pytest.raises(TooLarge):
        compile_filters([{"exact": {"id": "1"}}] * (limits.FILTER_EXPRESSIONS_MAX + 1))


def proposal(**members: Any) -> bytes:
    return msgspec.json.encode({"sink": "https://example.com/in", "protocol": "HTTP", **members})


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"{}",
        proposal(protocol="MQTT3"),
        proposal(unknown=1),
        proposal(sinkcredential={"credentialtype": "PLAIN"}),
        proposal(id="1st"),
        proposal(id="a/b"),
        proposal(types=[""]),
        proposal(sink="https://example.com/a b"),
        proposal(sink="https://exämple.com/"),
        proposal(config={"concurrency": 65}),
        proposal(config={"attempts": 0}),
        proposal(protocolsettings={"method": "GET"}),
        proposal(protocolsettings={"timeout": 61}),
        proposal(protocolsettings={"headers": {"ce-id": "1"}}),
        proposal(protocolsettings={"headers": {"Host": "inside"}}),
        proposal(protocolsettings={"headers": {"x": "a\r\nb: c"}}),
        proposal(protocolsettings={"headers": {"x y": "a"}}),
        proposal(protocolsettings={"headers": {"authorization": pushing.HIDDEN}}),
    ],
)
def test_what_is_no_subscription_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidPayload):
        pushing.read(body)


def test_sizes_are_bounded() -> None:
    for body in (
        b" " * (limits.SUBSCRIPTION_BYTES_MAX + 1),
        proposal(sink="https://example.com/" + "a" * limits.SINK_CHARACTERS_MAX),
        proposal(protocolsettings={"headers": {f"x-{n}": "1" for n in range(33)}}),
    ):
        with pytest.raises(TooLarge):
            pushing.read(body)


def test_a_stored_subscription_is_read_again_whole() -> None:
    made = pushing.read(
        proposal(
            id="mine",
            types=["Order"],
            config={"attempts": "3", "start": "beginning"},
            filters=[{"exact": {"subject": "o1"}}],
            protocolsettings={"headers": {"authorization": "Bearer t"}},
        )
    )
    assert made.config.attempts == 3
    assert pushing.stored(msgspec.json.encode(pushing.Standing(made))).pushing == made
    assert pushing.shown(made)["protocolsettings"]["headers"] == {"authorization": "***"}
