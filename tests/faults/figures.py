"""The figures that a fault test must show: how often the fault fired, how much was verified."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Report = Callable[[object], None]

FIGURES = pytest.StashKey[list[str]]()
