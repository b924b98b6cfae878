"""Unit kit of endpoints: requests in, answers out, no socket and no node.

    kit = EndpointKit(Shop).answer(Cart.content, {"tea": 2})
    answer = await kit.web.get("/shop/carts/c1")
    assert answer.json() == {"tea": 2}

Requests go through the front's own routing, validation and limits, and errors become problem documents.
"""

from __future__ import annotations

from typing import Any

from eventmill.adapters.memory.store import Store
from eventmill.errors import ConfigurationError
from eventmill.http.app import App
from eventmill.http.bodies import Bodies
from eventmill.http.endpoints.routes import OwnRoutes
from eventmill.http.endpoints.surroundings import Surroundings
from eventmill.http.meter import Meter
from eventmill.http.streams import Streams
from eventmill.model.handler import Handler
from eventmill.runtime.runtime import Runtime
from eventmill.sdk.service import Service
from eventmill.testing.calls import Called, Calls
from eventmill.testing.clock import VirtualClock
from eventmill.testing.host import NO_JITTER
from eventmill.testing.web import Web


class EndpointKit:
    """Runs endpoints on requests.

    Raises `ConfigurationError` for endpoints that no service would take.
    """

    def __init__(self, *endpoints: Any) -> None:
        definition, problems = Service("test", components=endpoints).define()
        if problems:
            raise ConfigurationError("\n".join(problems))
        self.clock = VirtualClock()
        self._answers = Calls()
        meter, streams, bodies = Meter(), Streams(self.clock), Bodies(self.clock)
        around = Surroundings(self.clock, lambda asked: self._answers, meter, streams, bodies)
        # Never started: it knows the service, and the front asks it for nothing else here.
        runtime = Runtime(definition, Store(), self.clock, lambda: NO_JITTER, guards=True)
        app = App(runtime, OwnRoutes(definition.endpoints, around), meter, streams, bodies)
        self.web = Web(app)
        """Sends requests."""

    def __repr__(self) -> str:
        return f"<EndpointKit {self.web!r}>"

    def answer(self, handler: Handler[Any, Any] | str, reply: Any) -> EndpointKit:
        """Say what a call of a handler through the context answers, as `ConsumerKit.answer`."""
        self._answers.answer(handler, reply)
        return self

    @property
    def calls(self) -> list[Called]:
        """What was called so far."""
        return self._answers.made
