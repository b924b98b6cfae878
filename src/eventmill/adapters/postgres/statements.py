"""Loads the named statements of `queries.sql` and puts the one statement of a commit together."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_PARAMETER = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|::|:([A-Za-z_]\w*)""")


def load(file: str) -> str:
    """Return the text of a SQL file of this adapter."""
    return files(__package__).joinpath(file).read_text()


def named(text: str) -> dict[str, str]:
    """Split a file of `-- name: …` statements."""
    parts = _NAME.split(text)[1:]
    return {name: sql.strip() for name, sql in zip(parts[::2], parts[1::2], strict=True)}


@lru_cache(1_024)
def numbered(sql: str) -> tuple[str, tuple[str, ...]]:
    """Return a statement with `$1`, `$2`, … for its `:name`s, and these names in that order."""
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        name = found[1]
        if name is None:
            return found[0]
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    return _PARAMETER.sub(number, sql), tuple(names)


SQL = named(load("queries.sql"))


@lru_cache(256)
def together(parts: tuple[tuple[str, str], ...], conditions: tuple[str, ...]) -> str:
    """Return one statement that runs all parts, or none unless all conditions hold.

    It is a transaction of its own, in one round trip. PostgreSQL has no statement that refuses by
    itself: dividing by zero does, whatever the parts have done by then.
    """
    ctes = ",\n".join(f'"{name}" AS ({sql})' for name, sql in parts)
    holds = " AND ".join(conditions)
    return (
        f"WITH {ctes}\n"  # noqa: S608 - put together from our own statements
        f"SELECT (SELECT ends FROM me), 1 / CASE WHEN {holds} THEN 1 ELSE 0 END"
    )
