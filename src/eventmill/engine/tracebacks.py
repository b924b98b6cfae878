"""An error told as Python does, but quickly: an outage parks thousands of entries a second, and
the standard library takes a millisecond for each (it parses the lines to underline a part of them).

Place on the road: dispatch, where a letter is made, and the answers to whoever asked.
"""

from __future__ import annotations

import linecache
import os
import traceback
from functools import lru_cache
from pathlib import Path
from types import CodeType, TracebackType
from typing import Final

CAUSES_MAX: Final = 20
"""Errors of a chain that are told."""

PLACES_KEPT: Final = 4_096
"""Lines of code whose text is kept."""

_OURS: Final = str(Path(__file__).parents[1]) + os.sep

_CAUSE: Final = "\nThe above exception was the direct cause of the following exception:\n\n"
_CONTEXT: Final = "\nDuring handling of the above exception, another exception occurred:\n\n"


def told(error: BaseException) -> str:
    """Return an error's traceback, with those of the errors that led to it before."""
    if isinstance(error, BaseExceptionGroup):
        return "".join(traceback.format_exception(error))
    parts = [_alone(error)]
    for _ in range(CAUSES_MAX):
        if error.__cause__ is not None:
            earlier, link = error.__cause__, _CAUSE
        elif error.__context__ is not None and not error.__suppress_context__:
            earlier, link = error.__context__, _CONTEXT
        else:
            break
        parts += [link, _alone(earlier)]
        error = earlier
    return "".join(reversed(parts))


def of_users(at: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the platform's own frames above the user's; whole if it has no
    others."""
    users = at
    while users is not None and users.tb_frame.f_code.co_filename.startswith(_OURS):
        users = users.tb_next
    return users or at


def let_go(error: BaseException) -> None:
    """Take the tracebacks off an error that has been answered, and off what led to it.

    A frame that held the error, and that the error's traceback holds, waits for the collector, with
    the whole request in it.
    """
    for _ in range(CAUSES_MAX):
        error.__traceback__ = None
        earlier = error.__cause__ or error.__context__
        if earlier is None:
            return
        error = earlier


def _alone(error: BaseException) -> str:
    lines = []
    at = error.__traceback__
    while at is not None:
        lines.append(_place(at.tb_frame.f_code, at.tb_lineno))
        at = at.tb_next
    head = "Traceback (most recent call last):\n" if lines else ""
    return "".join([head, *lines, *traceback.format_exception_only(error)])


@lru_cache(PLACES_KEPT)
def _place(code: CodeType, line: int) -> str:
    text = linecache.getline(code.co_filename, line).strip()
    place = f'  File "{code.co_filename}", line {line}, in {code.co_name}\n'
    return f"{place}    {text}\n" if text else place
