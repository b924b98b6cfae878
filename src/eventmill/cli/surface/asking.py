"""Asking people before something is lost."""

from __future__ import annotations

import sys

import click


def confirm(question: str) -> None:
    """Go on if the answer is yes; else the command ends as interrupted.

    Raises `UsageError` if nobody is there to answer.
    """
    if sys.stdin is None:
        raise _unanswered(question)
    try:
        click.confirm(question, abort=True, err=True)
    except click.Abort as abort:
        if isinstance(abort.__context__, EOFError):
            click.echo(err=True)  # ends the line of the question
            raise _unanswered(question) from abort
        raise


def _unanswered(question: str) -> click.UsageError:
    return click.UsageError(
        f"nobody answers {question!r} on standard input: give --yes to do it without being asked"
    )
