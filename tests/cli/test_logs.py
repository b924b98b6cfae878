"""The node's log of an error: the place, never the values that were at hand."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator

import pytest
import structlog

from eventmill.cli.surface import logs


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize("kind", ["console", "json"])
def test_an_error_shows_its_line_and_no_values(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(kind)

    def fail(password: str) -> None:
        raise RuntimeError("a defect")

    try:
        fail("hunter" + str(2))
    except RuntimeError as error:
        structlog.get_logger().error("request failed", exc_info=error)
    shown = capsys.readouterr().err
    assert "request failed" in shown
    assert "a defect" in shown
    assert "test_logs.py" in shown
    assert "hunter2" not in shown
    assert len(shown.splitlines()) < 20


@pytest.mark.parametrize("kind", ["console", "json"])
def test_nobody_who_reads_the_log_ends_no_work(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.close(read)
    with io.TextIOWrapper(io.FileIO(write, "w"), write_through=True) as gone:
        monkeypatch.setattr(sys, "stderr", gone)
        logs.configure(kind)
        structlog.get_logger().error("dead letter")
        gone.close()
        structlog.get_logger().error("dead letter")
