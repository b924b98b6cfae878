"""Findings: what an examination of a machine, a store or a server found, for people."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Finding(NamedTuple):
    """One thing that was examined; a text that is not ok says what to do."""

    name: str
    status: Literal["ok", "warn", "fail"]
    text: str
