"""Exit codes, and the one way in which a command fails."""

from __future__ import annotations

from typing import IO, Any, Final

import click

REFUSED: Final = 1
"""The node refused, or a problem was found."""
UNREACHABLE: Final = 3
"""No node answers."""
LATE: Final = 4
"""A node was told to stop, and something in it did not end."""
INTERRUPTED: Final = 130


class Failure(click.ClickException):
    """A command that cannot do what it was asked: one clear line on stderr, and its exit code."""

    def __init__(
        self, message: str, exit_code: int = REFUSED, *, details: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.code = exit_code
        self.details = details or {}
        """What the node's problem document says besides."""

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(click.style("Error: ", fg="red", bold=True) + self.message, err=True)
