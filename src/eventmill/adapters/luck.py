"""Randomness of the operating system: the only place where chance enters."""

from __future__ import annotations

import random

system_luck = random.SystemRandom().random
"""Uniform in [0, 1)."""
