"""`eventmill new`: create a working project with tests."""

from __future__ import annotations

import keyword
import re
import sys
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import click

from eventmill.cli.surface.exits import Failure

_NAME = re.compile(r"[a-z][a-z0-9]*(?:[_-][a-z0-9]+)*")
TAKEN = frozenset({"tests", "test", "eventmill"})
RENAMED = {"gitignore": ".gitignore"}


@click.command()
@click.argument("name")
@click.option(
    "--into",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the project; NAME by default.",
)
def command(name: str, into: Path | None) -> None:
    """Create the project NAME: a service with an entity, a consumer, a topic, a view, and tests."""
    folder = into or Path(name)
    package = _package(name)
    if folder.exists() and any(folder.iterdir()):
        raise Failure(f"{folder} is not empty: choose another name, or another folder with --into")
    replaced = {
        "PROJECT_NAME": name,
        "PACKAGE_NAME": package,
        "EVENTMILL_VERSION": version("eventmill"),
    }
    _render(files("eventmill.cli").joinpath("template"), folder, replaced)
    click.echo(f"Created {folder}. Next:\n")
    click.echo(f"  cd {folder}")
    click.echo(f"  eventmill run {package}.service --reload")
    click.echo("  python -m pip install pytest pytest-asyncio")
    click.echo("  python -m pytest\n")


def _package(name: str) -> str:
    """Return the Python package of a project.

    Raises `UsageError` for a name that cannot be one.
    """
    package = name.replace("-", "_")
    if not _NAME.fullmatch(name):
        raise click.UsageError(
            f"{name!r}: a project's name has lower-case letters, digits and '-', and begins with a "
            "letter"
        )
    if keyword.iskeyword(package) or package in sys.stdlib_module_names or package in TAKEN:
        raise click.UsageError(f"{name!r} is the name of something else in Python: choose another")
    return package


def _render(source: Traversable, folder: Path, replaced: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for item in source.iterdir():
        name = _replace(RENAMED.get(item.name, item.name), replaced)
        if name == "__pycache__":
            continue
        if item.is_dir():
            _render(item, folder / name, replaced)
        else:
            (folder / name).write_text(_replace(item.read_text(), replaced))


def _replace(text: str, replaced: dict[str, str]) -> str:
    for token, value in replaced.items():
        text = text.replace(token, value)
    return text
