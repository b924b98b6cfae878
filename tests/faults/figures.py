"""The figures that a fault test must show: how often the fault fired, how much was verified."""

from __future__ import annotations

from collections.abc import Callable

Report = Callable[[object], None]

FIGURES = "figures"
"""Name of the property that carries them, from whichever process runs the test."""
