"""The end of a process whose stop does not end: it says what still runs, then goes as in a crash, which
loses nothing acknowledged.

A user's handler may take no notice of its cancellation, block its thread for ever, or the loop's. So
this waits on a thread of its own, and asks nobody's leave.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from types import CodeType, FrameType
from typing import Any

import structlog

from eventmill.cli.surface.exits import LATE
from eventmill.model import limits

log = structlog.get_logger()


def end_late(loop: asyncio.AbstractEventLoop) -> None:
    """End the process if it is still there in `STOP_SECONDS`."""
    threading.Thread(target=_wait, args=(loop,), name="end", daemon=True).start()


def _wait(loop: asyncio.AbstractEventLoop) -> None:
    time.sleep(limits.STOP_SECONDS)
    try:
        log.critical(
            "stop did not end: what still runs must end when it is cancelled",
            seconds=limits.STOP_SECONDS,
            tasks={} if loop.is_closed() else _tasks(loop),
            threads=_threads(),
        )
        sys.stderr.flush()
    finally:
        os._exit(LATE)


def _tasks(loop: asyncio.AbstractEventLoop) -> dict[str, list[str]]:
    return {task.get_name(): _places_in(task.get_coro()) for task in asyncio.all_tasks(loop)}


def _threads() -> dict[str, str]:
    frames = sys._current_frames()
    return {
        thread.name: _place(frame.f_code, frame.f_lineno)
        for thread in threading.enumerate()
        if not thread.daemon and (frame := frames.get(thread.ident or 0)) is not None
    }


def _places_in(waiting: Any) -> list[str]:
    """Return what a coroutine is in, the innermost last."""
    places: list[str] = []
    while waiting is not None:
        frame: FrameType | None = getattr(waiting, "cr_frame", None)
        frame = frame or getattr(waiting, "gi_frame", None)
        if frame is None:
            break
        places.append(_place(frame.f_code, frame.f_lineno))
        inner = getattr(waiting, "cr_await", None) or getattr(waiting, "gi_yieldfrom", None)
        # Handlers with a time limit are driven by hand (runtime/dispatch/time_limit.py).
        waiting = inner if inner is not None else frame.f_locals.get("work")
    return places


def _place(code: CodeType, line: int) -> str:
    return f"{code.co_qualname} at {code.co_filename}:{line}"
