"""Loads the named statements of `queries.sql`: SQL is reviewed as SQL."""

from __future__ import annotations

import re
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def load(file: str) -> str:
    """Return the text of a SQL file of this adapter."""
    return files(__package__).joinpath(file).read_text()


def named(text: str) -> dict[str, str]:
    """Split a file of `-- name: …` statements."""
    parts = _NAME.split(text)[1:]
    return {name: sql.strip() for name, sql in zip(parts[::2], parts[1::2], strict=True)}


SCHEMA = load("schema.sql")
SQL = named(load("queries.sql"))
