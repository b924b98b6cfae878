"""Servers that must not outlive the process that started them, however it ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def ended_with_parent(how: signal.Signals) -> Callable[[], None] | None:
    """Return what a new process does before it becomes the server, as `preexec_fn`.

    The kernel then sends it `how` when its parent's main thread ends. Linux only; elsewhere None:
    a parent that is killed leaves the server behind.
    """
    if sys.platform != "linux":
        return None
    control = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def ask() -> None:
        control(_PR_SET_PDEATHSIG, int(how))
        if os.getppid() != parent:  # it ended before it was asked for
            os._exit(1)

    return ask
