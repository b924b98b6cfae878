"""A bare Starlette handler that only echoes JSON: the front door with nothing behind it."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


async def add_item(request: Request) -> JSONResponse:
    return JSONResponse(await request.json())


app = Starlette(routes=[Route("/components/cart/{id}/add_item", add_item, methods=["POST"])])
