"""The node's log: lines for people on a terminal, JSON otherwise; always on stderr."""

from __future__ import annotations

import io
import sys
from contextlib import suppress
from typing import Any, TextIO, cast

import structlog
from structlog.tracebacks import ExceptionDictTransformer

FRAMES_MAX = 50
"""Frames of one traceback. Without local variables: they hold users' data."""


class _Log(io.TextIOBase):
    """The log as far as somebody takes it: no loop may end because its disk is full, or who read it is
    gone."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):  # the latter of a closed file
            self._file.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._file.flush()


def configure(kind: str) -> bool:
    """Set the log up as `auto`, `console` or `json`; return whether it is for people."""
    for_people = kind == "console" or (kind == "auto" and sys.stderr.isatty())
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
    ]
    if for_people:
        processors += [
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    else:
        processors += [
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(
                ExceptionDictTransformer(show_locals=False, max_frames=FRAMES_MAX)
            ),
            structlog.processors.JSONRenderer(),
        ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Log(sys.stderr))),
        cache_logger_on_first_use=False,
    )
    return for_people


def started(facts: dict[str, Any], *, guards: bool) -> None:
    """Note that the node answers."""
    names = ("service", "version", "process", "url", "admin_url", "data", "position")
    structlog.get_logger().info("started", guards=guards, **{name: facts[name] for name in names})


def stopped(position: int) -> None:
    """Note that everything accepted is stored."""
    structlog.get_logger().info("stopped", position=position)


def traceback_of(exceptions: list[dict[str, Any]]) -> str:
    """Show what `configure` wrote of an exception as JSON; empty if there was none."""
    lines: list[str] = []
    for exception in exceptions:
        lines += [
            f"\n  {frame['filename']}:{frame['lineno']} in {frame['name']}"
            for frame in exception["frames"]
        ]
        lines.append(f"\n{exception['exc_type']}: {exception['exc_value']}")
    return "".join(lines)
