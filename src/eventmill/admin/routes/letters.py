"""Dead letters: looked at, tried again, thrown away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from eventmill.admin import shapes
from eventmill.admin.routes import asked
from eventmill.admin.routes.answered import Ask, get, post
from eventmill.runtime.operating.operations import Operations


class Choice(msgspec.Struct, forbid_unknown_fields=True):
    """Which letters are meant."""

    subscription: str
    key: str | None = None
    letter: str | None = None
    refused: bool = False


def routes(acts: Operations) -> list[Route]:
    """Build the routes of dead letters."""

    async def letters(request: Request) -> Any:
        found = await acts.letters(
            request.query_params.get("subscription"),
            statuses=asked.statuses(request),
            after=request.query_params.get("after", ""),
            limit=asked.limit(request),
        )
        return [shapes.letter(letter) for letter in found]

    async def letter(request: Request) -> Any:
        found = await acts.letter(asked.text(request, "id"))
        return shapes.letter(found, full=True, lifted=acts.lifted(found.entry))

    def doing(act: Callable[..., Awaitable[int]], done: str) -> Ask:
        async def count(request: Request) -> Any:
            chosen = await asked.decoded(request, Choice)
            choice = (chosen.subscription, chosen.key, chosen.letter)
            return {done: await act(*choice, refused=chosen.refused)}

        return count

    return [
        get("/dead-letters", letters),
        get("/dead-letters/letter", letter),
        post("/dead-letters/redrive", doing(acts.redrive, "redriven")),
        post("/dead-letters/discard", doing(acts.discard, "discarded")),
    ]
