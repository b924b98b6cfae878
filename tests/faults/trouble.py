"""Clients of a node whose disk has troubles: who was told what, and was it true?"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from eventmill.errors import EventmillError, Unavailable
from eventmill.runtime.runtime import Runtime
from tests.faults import inprocess

ACCOUNTS = 7
WAVE = 6
"""Commands at once: several share a commit, and one may run on the state of another."""

Send = Callable[[str, str], Awaitable[None]]
"""(account, operation) → sends it under its key; raises what the caller is told."""


@dataclass
class Clients:
    """Send operations, note who was acknowledged and who refused, and send the refused again."""

    send: Send
    acknowledged: dict[str, str] = field(default_factory=dict)
    """Operation → account."""
    refused: dict[str, str] = field(default_factory=dict)
    """Without an acknowledgement until now."""
    errors: Counter[str] = field(default_factory=Counter)
    """Class of the errors, by name."""
    sent: int = 0

    def __str__(self) -> str:
        told = ", ".join(f"{name} × {count}" for name, count in sorted(self.errors.items()))
        return f"{len(self.acknowledged)} operations acknowledged; refusals: {told}"

    async def wave(self) -> int:
        """Send some new operations at once; return how many were refused."""
        new = {}
        for _ in range(WAVE):
            self.sent += 1
            new[f"op-{self.sent}"] = f"a{self.sent % ACCOUNTS}"
        return await self._send(new)

    async def again(self) -> int:
        """Send everything that was refused again, under its key."""
        waiting, self.refused = self.refused, {}
        return await self._send(waiting)

    async def _send(self, operations: dict[str, str]) -> int:
        results = await asyncio.gather(
            *(self.send(account, op) for op, account in operations.items()), return_exceptions=True
        )
        for (op, account), result in zip(operations.items(), results, strict=True):
            if result is None:
                self.acknowledged[op] = account
            else:
                assert isinstance(result, EventmillError), repr(result)
                self.errors[type(result).__name__] += 1
                # Whoever is refused is told to try again, never that the request was wrong.
                assert isinstance(result, Unavailable), repr(result)
                self.refused[op] = account
        return sum(result is not None for result in results)


def clients_of(runtime: Runtime) -> Clients:
    """Clients that come in as the HTTP front does."""

    async def send(account: str, op: str) -> None:
        await inprocess.run(runtime, "account", account, "transfer", op, 1, key=op)

    return Clients(send)
