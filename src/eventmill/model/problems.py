"""Collecting what is wrong with a service: each problem is told, not only the first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from eventmill.errors import ConfigurationError, described


class Problems:
    """Problems found so far; each names its place and says what to write instead."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def __repr__(self) -> str:
        return f"<Problems [{len(self.found)}]>"

    @contextmanager
    def noting(self, place: str = "") -> Iterator[None]:
        """Note the problems that end the block; with a `place` also what Python or msgspec cannot
        make sense of."""
        try:
            yield
        except ConfigurationError as error:
            self.found += error.details.get("problems", [error.message])
        except Exception as error:
            if not place:
                raise
            self.found.append(f"{place}: {described(error)}")

    def refuse(self) -> None:
        """Raise `ConfigurationError` that tells all of them, if there are any."""
        refuse(self.found)


def refuse(problems: Iterable[str]) -> None:
    """Raise `ConfigurationError` that tells every problem once, if there are any."""
    found = list(dict.fromkeys(problems))
    if found:
        raise ConfigurationError("\n".join(found), details={"problems": found})
