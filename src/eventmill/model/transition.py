"""Transitions: what a workflow's command or step says comes next. Values only; the list is closed.

Made by `self.go(…)` and its kin, or by the platform for what happens to a workflow from outside; part
of an effect; `engine.workflow` makes the workflow's next progress of them.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec

from eventmill.model.handler import Handler


class Go(msgspec.Struct, frozen=True):
    """Run a step next."""

    step: Handler[Any, Any]
    arguments: tuple[Any, ...] = ()
    if_new: bool = False
    """Only if the workflow has not begun; otherwise the whole effect does nothing."""


class Fork(msgspec.Struct, frozen=True):
    """Run steps at the same time, then one more when all of them, or the first, have ended."""

    branches: tuple[Go, ...]
    then: Go
    any: bool = False


class Pause(msgspec.Struct, frozen=True):
    """Wait for a command; for so long, or until a time, if a step is named for what comes then."""

    after: timedelta | None = None
    at: datetime | None = None
    on_timeout: Handler[Any, Any] | None = None


class WaitFor(msgspec.Struct, frozen=True):
    """Wait for an event of a topic or an entity, or for the end of another workflow."""

    source: str
    key: str
    types: tuple[str, ...]
    """Stored names; none: the end of a workflow."""
    where: dict[str, Any]
    then: Handler[Any, Any]
    after: timedelta | None = None
    on_timeout: Handler[Any, Any] | None = None


class End(msgspec.Struct, frozen=True):
    """The workflow is done."""


class Compensate(msgspec.Struct, frozen=True):
    """Undo what was done, in reverse order; then run a step, or end."""

    then: Go | None = None


class Trouble(StrEnum):
    """Why a step failed, as far as it matters for what comes next."""

    REJECTED = "rejected"
    """Somebody said no: it had no effect, and trying again cannot help."""
    HOPELESS = "hopeless"
    """Trying again cannot help."""
    FAILED = "failed"
    UNAVAILABLE = "unavailable"
    """What it called cannot answer now: tried again without an end."""


class Failed(msgspec.Struct, frozen=True):
    """Why a step failed."""

    trouble: Trouble
    code: str
    error: str


class Ran(msgspec.Struct, frozen=True):
    """An attempt of a step has ended."""

    number: int
    attempt: int
    began: int
    ended: int
    next: Transition | None = None
    failed: Failed | None = None
    luck: float = 0.5
    """Uniform in [0, 1): jitter of the wait before the next attempt."""


class TimedOut(msgspec.Struct, frozen=True):
    """A pause, a wait or the whole workflow has lasted too long."""

    kind: str
    number: int


class Arrived(msgspec.Struct, frozen=True):
    """What a workflow waits for has happened."""

    number: int
    event: msgspec.Raw
    position: int = 0
    """In the shard of its key; 0: of none."""


class Order(StrEnum):
    """What an operator wants of a workflow."""

    TERMINATE = "terminate"
    SUSPEND = "suspend"
    RESUME = "resume"
    RETRY = "retry"
    COMPENSATE = "compensate"


Transition = Go | Fork | Pause | WaitFor | End | Compensate
"""What a handler may return."""

Happening = Ran | TimedOut | Arrived | Order
"""What else may move a workflow."""
