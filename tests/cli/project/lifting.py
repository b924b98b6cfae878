"""A consumer that fails on an event of which version 2 is known."""

from __future__ import annotations

from typing import Any

from eventmill import Event, Retry, Service, Topic, consumer, event_type, upcast


@event_type("Weighed", version=2)
class Weighed(Event):
    grams: int


@upcast(Weighed, from_version=1)
def in_grams(data: dict[str, Any]) -> dict[str, Any]:
    return {"grams": data["kilos"] * 1_000}


weights = Topic("weights", Weighed)


@consumer("scales", source=weights, retry=Retry(attempts=1))
def weigh(event: Weighed) -> None:
    raise RuntimeError(f"{event.grams} g are too much")


service = Service("lifting", components=[weigh], topics=[weights])
