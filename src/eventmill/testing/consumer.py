"""Unit kit of a consumer: give it an event, look at the effects it returns. No store, no node.

    effects = await ConsumerKit(place_order).run(CheckedOut(items={"x": 1}), subject="c1")
    assert effects.published == [(orders, OrderPlaced(order_id="c1", items={"x": 1}))]

Events go through the consumer's own dispatch: encoded, decoded, routed by type, guards on.
"""

from __future__ import annotations

from typing import Any

from eventmill.adapters.memory.store import Store
from eventmill.model.definition import ConsumerDefinition
from eventmill.runtime.room import Room
from eventmill.sdk.consumer import Consumer
from eventmill.testing.calls import Calls
from eventmill.testing.fitting import check_fit
from eventmill.testing.incoming import entry_of
from eventmill.testing.reacting import Effects, ReactionKit, Recording


class ConsumerKit(ReactionKit):
    """Runs one consumer on events.

    Raises `ConfigurationError` for a consumer that no service would take.
    """

    def __init__(self, consumer: Consumer) -> None:
        check_fit("ConsumerKit", consumer)
        super().__init__()
        self.definition: ConsumerDefinition = consumer.define()
        self._source = consumer.options["source"]
        self._position = 0

    def __repr__(self) -> str:
        return f"<ConsumerKit {self.definition.id}>"

    async def run(
        self,
        *events: Any,
        subject: str = "test",
        metadata: dict[str, Any] | None = None,
        attempt: int = 1,
    ) -> Effects:
        """Deliver events of one subject; return the effects of all.

        An event that the consumer does not take has none. Raises what the consumer raises, and
        `HandlerFailed` for what a guard finds.
        """
        entries = []
        for event in events:
            self._position += 1
            now = self.clock.now()
            entries.append(
                entry_of(self._source, event, subject, self._position, now=now, metadata=metadata)
            )

        def make(calls: Calls) -> Recording:
            return Recording(self.definition, calls, Store(), self.clock, Room(), guarded=True)

        return await self._effects(make, entries, attempt)
