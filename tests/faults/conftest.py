"""Prints the figures of fault tests at the end of the run."""

from __future__ import annotations

import pytest

from tests.faults.figures import FIGURES, Report


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Report:
    lines = request.config.stash.setdefault(FIGURES, [])
    return lambda figures: lines.append(f"{request.node.name}: {figures}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = terminalreporter.config.stash.get(FIGURES, [])
    if lines:
        terminalreporter.section("faults")
        for line in lines:
            terminalreporter.write_line(line)
