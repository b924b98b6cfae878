"""Every route but commands, queries and publishing, on Starlette's router; the front as a whole.

The router alone is used, without Starlette's application: errors go through to `http.app`, which
makes a problem document of each.
"""

from __future__ import annotations

from starlette.routing import Route, Router

from eventmill.http.app import App
from eventmill.http.bodies import Bodies
from eventmill.http.contracts import Contracts
from eventmill.http.endpoints.calls import RequestCalls
from eventmill.http.endpoints.routes import OwnRoutes
from eventmill.http.endpoints.surroundings import Surroundings
from eventmill.http.following import Following
from eventmill.http.health import Health
from eventmill.http.meter import Meter
from eventmill.http.metrics import Metrics
from eventmill.http.streams import Streams
from eventmill.http.subscriptions import Subscriptions
from eventmill.http.views import Views
from eventmill.runtime.runtime import Runtime


def front(runtime: Runtime) -> App:
    """Build everything that answers on the service's port."""
    meter, streams, bodies = Meter(), Streams(runtime.clock), Bodies(runtime.clock)
    return App(runtime, routes(runtime, meter, streams, bodies), meter, streams, bodies)


def routes(runtime: Runtime, meter: Meter, streams: Streams, bodies: Bodies) -> Router:
    """Build the rest of the front."""
    contracts, health = Contracts(runtime.service), Health(runtime)
    calls = RequestCalls.over(runtime)
    around = Surroundings(runtime.clock, calls, meter, streams, bodies, guarded=runtime.guarded)
    return Router(
        [
            # POST is answered before; it stands here so that Allow names it.
            Route("/topics/{topic}", Following(runtime, streams).follow, methods=["GET", "POST"]),
            Route("/views/{view}/{query}", Views(runtime, streams).query),
            *Subscriptions(runtime, bodies).routes(),
            Route("/openapi.json", contracts.openapi),
            Route("/asyncapi.json", contracts.asyncapi),
            Route("/health/live", health.live),
            Route("/health/ready", health.ready),
            Route("/metrics", Metrics(runtime, meter, streams, bodies).scrape),
        ],
        redirect_slashes=False,
        default=OwnRoutes(runtime.service.endpoints, around),
    )
