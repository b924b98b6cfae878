"""Problems of one query, all collected before one error reports them, each naming its place."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from sqlglot import exp

from eventmill.errors import ConfigurationError


class Problems:
    """What is wrong with one query of one view."""

    def __init__(self, view: str, query: str, sql: str) -> None:
        self.place = f"view {view!r}, query {query!r}"
        self.found: list[str] = []
        self._sql = sql

    def add(self, text: str, node: exp.Expr | None = None) -> None:
        """Note a problem, at the line and column of `node` if the parser kept them."""
        start = _start_of(node)
        self.add_at(text, *self._line_and_column(start)) if start is not None else self._note(text)

    def add_at(self, text: str, line: int, column: int) -> None:
        """Note a problem at a line and a column, both counted from 1."""
        self._note(text, f", line {line}, column {column}")

    def raise_if_any(self) -> None:
        """Raise `ConfigurationError` with every problem noted so far."""
        if self.found:
            raise ConfigurationError("\n".join(self.found), details={"problems": self.found})

    def _note(self, text: str, where: str = "") -> None:
        problem = f"{self.place}{where}: {text}"
        if problem not in self.found:
            self.found.append(problem)

    def _line_and_column(self, start: int) -> tuple[int, int]:
        before = self._sql[:start]
        return before.count("\n") + 1, start - (before.rfind("\n") + 1) + 1


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean …?` if one of the known names is near."""
    near = difflib.get_close_matches(name.lower(), sorted(set(known)), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def nearest_or_all(name: str, known: Iterable[str]) -> str:
    """Return the nearest known name, or all of them."""
    names = sorted(set(known))
    return nearest(name, names) or (f"; there is {', '.join(names)}" if names else "")


def _start_of(node: exp.Expr | None) -> int | None:
    """Offset in the SQL of the first part of `node` that the parser kept the position of."""
    if node is None:
        return None
    starts = [part.meta["start"] for part in node.walk() if "start" in part.meta]
    return min(starts, default=None)
