"""The wrong kit names the right one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from eventmill import ConfigurationError, Context, scheduled
from eventmill.testing import (
    ActionKit,
    ConsumerKit,
    EntityKit,
    ReplicasKit,
    TransformKit,
    ViewKit,
    WorkflowKit,
)
from examples.shopping_cart.shop import Cart, OpenCarts, place_order
from tests.flow.arcade import Player
from tests.flow.journeys import Journey
from tests.flow.weather import hourly


@scheduled(timedelta(minutes=1))
def tick(ctx: Context) -> None: ...


def bare(event: Any) -> None: ...


@pytest.mark.parametrize(
    ("kit", "thing", "told"),
    [
        (EntityKit, Player, "Player is a replicated entity: use ReplicasKit"),
        (EntityKit, Journey, "Journey is a workflow: use WorkflowKit"),
        (WorkflowKit, Cart, "Cart is an event-sourced entity: use EntityKit"),
        (ReplicasKit, Cart, "use EntityKit"),
        (ViewKit, Cart, "use EntityKit"),
        (EntityKit, OpenCarts, "OpenCarts is a view: use ViewKit"),
        (ConsumerKit, tick, "tick is an action: use ActionKit"),
        (ConsumerKit, hourly(), "hourly is a transform: use TransformKit"),
        (ActionKit, place_order, "order-publisher is a consumer: use ConsumerKit"),
        (TransformKit, place_order, "use ConsumerKit"),
        (ConsumerKit, bare, "bare is nothing that ConsumerKit tests: is its decorator missing?"),
    ],
)
def test_the_wrong_kit_names_the_right_one(kit: Any, thing: Any, told: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        kit(thing)
    assert told in error.value.message
