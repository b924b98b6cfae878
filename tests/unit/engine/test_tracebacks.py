"""An error is told as Python tells it, without the underlines."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable

import pytest

from eventmill.engine.tracebacks import told

UNDERLINE = re.compile(r"\n +[\^~]+(?=\n)")


def fail() -> None:
    raise OSError("away")


def from_a_cause() -> None:
    try:
        fail()
    except OSError as error:
        raise ValueError("two\nlines") from error


def while_handling() -> None:
    try:
        from_a_cause()
    except ValueError:
        {}["nothing"]


def without_context() -> None:
    try:
        fail()
    except OSError:
        raise ValueError("alone") from None


def a_group() -> None:
    try:
        fail()
    except OSError as error:
        raise ExceptionGroup("several", [error, ValueError("x")]) from None


def generated() -> None:
    exec(compile("def broken():\n    raise OSError('no source')\nbroken()", "<made>", "exec"), {})


def error_of(function: Callable[[], None]) -> Exception:
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError("it did not fail")


@pytest.mark.parametrize(
    "function",
    [fail, from_a_cause, while_handling, without_context, a_group, generated],
)
def test_it_is_told_as_python_does(function: Callable[[], None]) -> None:
    error = error_of(function)
    expected = UNDERLINE.sub("", "".join(traceback.format_exception(error)))
    assert UNDERLINE.sub("", told(error)) == expected


def test_errors_that_cause_each_other_have_an_end() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert 0 < told(first).count("first") < 100
