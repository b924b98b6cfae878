"""`/subscriptions`: push events to URLs, after the CloudEvents Subscriptions API.

`POST` creates, `GET` lists or retrieves, `PUT` updates, `DELETE` ends; `POST …/pause` and
`…/resume` are additions of ours, as is the member `paused` in answers.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from eventmill.errors import InvalidPayload, TooLarge
from eventmill.http.bodies import Bodies
from eventmill.http.wire import check_encoding, check_json_type
from eventmill.model import depth, limits, pushing
from eventmill.model.pushing import Pushing
from eventmill.runtime.runtime import Runtime

PATH = "/subscriptions"


class Subscriptions:
    """Answers requests about pushed subscriptions."""

    def __init__(self, runtime: Runtime, bodies: Bodies) -> None:
        self._runtime = runtime
        self._bodies = bodies

    def routes(self) -> list[Route]:
        """Return the routes to mount."""
        return [
            Route(PATH, self.collection, methods=["GET", "POST"]),
            Route(PATH + "/{id}", self.one, methods=["GET", "PUT", "DELETE"]),
            Route(PATH + "/{id}/pause", self.pause, methods=["POST"]),
            Route(PATH + "/{id}/resume", self.resume, methods=["POST"]),
        ]

    async def collection(self, request: Request) -> Response:
        """Create a subscription, or list all."""
        pushes = self._runtime.pushes
        if request.method == "POST":
            made = await pushes.create(await self._proposed(request))
            location = f"{PATH}/{quote(made.id, safe='')}"
            return JSONResponse(self._shown(made), 201, {"location": location})
        return JSONResponse([self._shown(one) for one in pushes.list()])

    async def one(self, request: Request) -> Response:
        """Retrieve, update or end a subscription."""
        pushes, id = self._runtime.pushes, request.path_params["id"]
        if request.method == "PUT":
            return JSONResponse(
                self._shown(await pushes.replace(id, await self._proposed(request)))
            )
        if request.method == "DELETE":
            return JSONResponse(pushing.shown(await pushes.delete(id)))
        return JSONResponse(self._shown(pushes.get(id)))

    async def pause(self, request: Request) -> Response:
        """Hold a subscription."""
        return JSONResponse(
            self._shown(await self._runtime.pushes.pause(request.path_params["id"]))
        )

    async def resume(self, request: Request) -> Response:
        """Go on with a subscription."""
        return JSONResponse(
            self._shown(await self._runtime.pushes.resume(request.path_params["id"]))
        )

    def _shown(self, one: Pushing) -> dict[str, Any]:
        return {**pushing.shown(one), "paused": self._runtime.pushes.is_paused(one.id)}

    async def _proposed(self, request: Request) -> Pushing:
        kind = request.headers.get("content-type")
        if kind is None:
            raise InvalidPayload("send Content-Type: application/json")
        check_json_type(kind)
        check_encoding(request.headers.get("content-encoding", "identity"))
        body = await self._bodies.read(request.receive, limits.SUBSCRIPTION_BYTES_MAX)
        if depth.exceeds(body):
            raise TooLarge(f"the body nests deeper than {limits.JSON_DEPTH_MAX} levels")
        return pushing.read(body)
