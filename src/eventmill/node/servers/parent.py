"""Processes that must not outlive the one that started them, however it ends."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

_PR_SET_PDEATHSIG = 1


def start_bound(
    line: Sequence[str | os.PathLike[str]], how: signal.Signals, **options: Any
) -> subprocess.Popen[Any]:
    """Start a process, as `subprocess.Popen` does, that is sent `how` when this one ends.

    May be called in any thread.
    """
    bound = ended_with_parent(how)
    return _starter().submit(lambda: subprocess.Popen(line, preexec_fn=bound, **options)).result()


def ended_with_parent(how: signal.Signals) -> Callable[[], None]:
    """Return what a new process does first, as `preexec_fn`, to end with this one.

    The kernel then sends it `how` when the *thread* that started it ends; see `start_bound`. Linux
    only; elsewhere it does nothing, and a parent that is killed leaves the process behind.
    """
    if sys.platform != "linux":
        return lambda: None
    control = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def ask() -> None:
        control(_PR_SET_PDEATHSIG, int(how))
        if os.getppid() != parent:  # it ended before it was asked for
            os._exit(1)

    return ask


@cache
def _starter() -> ThreadPoolExecutor:
    """The thread that starts them: it lives as long as this process, which no other has to."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="starter")


os.register_at_fork(after_in_child=_starter.cache_clear)  # threads stay behind in the parent
