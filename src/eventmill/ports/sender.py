"""The sender port: one HTTP request to a sink. Pushed subscriptions send through it.

Two fillings: `adapters.http_sender`, and what tests put in its place.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

UNREACHABLE: Final = "push.unreachable"
"""Code of `DeliveryFailed` when no connection could be made: nothing was sent."""


class Answer(NamedTuple):
    """What a sink said."""

    status: int
    """HTTP status."""
    retry_after: float | None = None
    """Seconds it asks to be left alone."""


class Sender(Protocol):
    """Sends requests, to addresses that it may send to."""

    def check(self, url: str) -> None:
        """Raise `InvalidPayload` if this URL can never be sent to."""
        ...

    async def send(
        self, url: str, headers: dict[str, str], body: bytes, *, method: str, seconds: float
    ) -> Answer:
        """Send one request; redirects are not followed.

        Raises `DeliveryFailed` when no answer came within `seconds`, or the address is
        one that must not be sent to.
        """
        ...

    async def close(self) -> None:
        """Give connections back."""
        ...
