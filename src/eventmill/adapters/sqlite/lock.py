"""One process per data directory: a lock that the kernel gives back when its process ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

from eventmill.errors import ConfigurationError


def take(directory: Path) -> IO[str]:
    """Take a data directory, made if it is not there; closing the file gives it back.

    Raises `ConfigurationError` when another process has it, or it cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = (directory / "lock").open("a+")
    except OSError as error:
        raise ConfigurationError(
            f"the data directory {directory} cannot be written ({error.strerror}); let this user "
            "write there, or choose another directory with --data",
            code="configuration.data",
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        who = file.read().strip() or "another process"
        file.close()
        raise in_use(directory, who) from error
    file.truncate(0)
    file.write(f"process {os.getpid()}")
    file.flush()
    return file


def holder(directory: Path) -> str:
    """Name the process that has a data directory; empty if none has, or none can have it."""
    try:
        file = (directory / "lock").open("r")
    except OSError:
        return ""
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return file.read().strip() or "another process"
    return ""


def in_use(directory: Path, who: str) -> ConfigurationError:
    """Say that another process, `who`, has a data directory."""
    return ConfigurationError(
        f"the data directory {directory} is in use by {who}; stop it, or give this node "
        "a directory of its own with --data",
        code="configuration.locked",
    )
