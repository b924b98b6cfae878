"""Prints the figures of fault tests at the end of the run."""

from __future__ import annotations

import pytest

from tests.faults.figures import FIGURES, Report


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Report:
    properties = request.node.user_properties
    return lambda figures: properties.append((FIGURES, f"{request.node.name}: {figures}"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    done = [x for some in ("passed", "failed") for x in terminalreporter.stats.get(some, [])]
    lines = [line for x in done for name, line in x.user_properties if name == FIGURES]
    if lines:
        terminalreporter.section("faults")
        for line in lines:
            terminalreporter.write_line(line)
