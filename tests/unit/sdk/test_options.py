"""Options out of their bounds are refused where they are written."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from eventmill import ConfigurationError, Event, Retry, Service, Topic, component, consumer


class Said(Event):
    text: str


said = Topic("said", Said)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"concurrency": 0}, "concurrency must be 1"),
        ({"batch_size": 0}, "batch_size must be 1"),
        ({"batch_size": 10_000}, "batch_size must be 1"),
        ({"timeout": 0}, "timeout must be above 0"),
        ({"timeout": float("inf")}, "timeout must be above 0"),
        ({"timeout": float("nan")}, "timeout must be above 0"),
        ({"group": "No Spaces"}, "consumer group id 'No Spaces'"),
        ({"start": datetime(2026, 1, 1)}, "start needs a time zone"),  # noqa: DTZ001
    ],
)
def test_a_consumers_options(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        consumer("listener", source=said, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"attempts": 0},
        {"initial": -1.0},
        {"factor": 0.5},
        {"factor": 1e9},
        {"maximum": 1e9},
        {"jitter": 1.5},
        {"jitter": float("nan")},
    ],
)
def test_a_retrys_options(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(ConfigurationError, match=f"Retry: {name} must be"):
        Retry(**options)


@pytest.mark.parametrize("id", ["", "Cart", "a b", "-a", "a-", "ä", "a" * 129, "$a", "a/b"])
def test_an_id_that_is_no_name(id: str) -> None:
    with pytest.raises(ConfigurationError, match="component id"):
        component(id)


@pytest.mark.parametrize("id", ["a", "cart", "order-lines", "v2.cart_x", "a" * 128])
def test_an_id_that_is_a_name(id: str) -> None:
    assert component(id)


def test_two_consumers_cannot_share_one_progress() -> None:
    @consumer("audit", source=said, group="eu")
    def one(event: Said) -> None: ...

    @consumer("audit.eu", source=said)
    def other(event: Said) -> None: ...

    _, problems = Service("s", components=[one, other], topics=[said]).define()
    assert any("'audit.eu' is already taken" in problem for problem in problems), problems


def test_a_topic_needs_an_event_type() -> None:
    with pytest.raises(ConfigurationError, match="name at least one event type"):
        Topic("empty")
