"""A service whose consumer does not let itself be ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading

from eventmill import Event, Service, Topic, consumer


class Told(Event):
    how: str


told = Topic("told", Told)


@consumer("deaf", source=told, timeout=0.2)
async def deaf(event: Told) -> None:
    os.write(2, b"begun\n")
    if event.how == "thread":
        await asyncio.to_thread(threading.Event().wait)
    while event.how == "task":
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


service = Service("stubborn", components=[deaf], topics=[told])
