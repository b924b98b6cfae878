"""`/openapi.json` and `/asyncapi.json`: made once, when first asked for."""

from __future__ import annotations

from functools import cached_property

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from eventmill.http import asyncapi, openapi
from eventmill.model.definition import ServiceDefinition


class Contracts:
    """Answers with the service's contracts."""

    def __init__(self, service: ServiceDefinition) -> None:
        self._service = service

    async def openapi(self, request: Request) -> Response:
        """Answer `GET /openapi.json`."""
        return Response(self._openapi, media_type="application/json")

    async def asyncapi(self, request: Request) -> Response:
        """Answer `GET /asyncapi.json`."""
        return Response(self._asyncapi, media_type="application/json")

    @cached_property
    def _openapi(self) -> bytes:
        return msgspec.json.encode(openapi.document(self._service))

    @cached_property
    def _asyncapi(self) -> bytes:
        return msgspec.json.encode(asyncapi.document(self._service))
