"""States of a view: what answers its queries now, and what is being built beside it.

| State | Answers | Filled |
|---|---|---|
| `Starting` | nothing | nothing: the node is not ready |
| `Building` | nothing | the next version; one of an older definition may wait for a change back |
| `Live` | its version | the same |
| `Replacing` | the version that was live | both |
| `Frozen` | a version of an older definition, as it was when the definition changed | the next one |

Building, Replacing and Frozen become Live in one step, when the next version has caught up and the
fact that says so is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eventmill.engine.views.compiled import PlacedQuery
from eventmill.runtime.dispatch.subscription import Subscription


@dataclass(frozen=True)
class Running:
    """A version that follows the journal."""

    number: int
    queries: Mapping[str, PlacedQuery]
    subscription: Subscription

    @property
    def position(self) -> int:
        """How far it has come."""
        return self.subscription.position

    @property
    def lag(self) -> int:
        """How far it has to go."""
        return self.subscription.lag

    @property
    def progress(self) -> str:
        """How far it is, for people."""
        end = self.position + self.lag
        share = 100 * self.position // end if end else 100
        return f"{share} %, {self.lag:,} of {end:,} entries to go"

    def described(self) -> dict[str, Any]:
        """Describe it for programs."""
        return {
            "version": self.number,
            "position": self.position,
            "lag": self.lag,
            "blocked_keys": len(self.subscription.blocked),
            "paused": self.subscription.paused,
        }


@dataclass(frozen=True)
class Stopped:
    """A version that nothing fills: its rows are those of a position in the past."""

    number: int
    queries: Mapping[str, PlacedQuery]
    position: int

    def described(self) -> dict[str, Any]:
        """Describe it for programs."""
        return {"version": self.number, "position": self.position}


@dataclass(frozen=True)
class Starting:
    """The node is not ready."""


@dataclass(frozen=True)
class Building:
    """Nothing answers until the next version has caught up."""

    next: Running
    reason: str = ""
    """Why an older version does not answer meanwhile, if there is one."""


@dataclass(frozen=True)
class Live:
    """One version answers and follows the journal."""

    version: Running


@dataclass(frozen=True)
class Replacing:
    """One version answers and follows the journal; the next one is built beside it."""

    version: Running
    next: Running


@dataclass(frozen=True)
class Frozen:
    """A version of an older definition answers; the next one is built beside it."""

    version: Stopped
    next: Running


State = Starting | Building | Live | Replacing | Frozen


def answering(state: State) -> Running | Stopped | None:
    """Return the version that answers."""
    match state:
        case Live(version) | Replacing(version, _) | Frozen(version, _):
            return version
        case Starting() | Building():
            return None


def being_built(state: State) -> Running | None:
    """Return the version that is being built."""
    match state:
        case Building(next) | Replacing(_, next) | Frozen(_, next):
            return next
        case Starting() | Live():
            return None


def described(state: State) -> dict[str, Any]:
    """Describe a state for programs: its name, and a version under each role that there is."""
    version, next = answering(state), being_built(state)
    return {
        "state": type(state).__name__.lower(),
        "live": version.described() if isinstance(version, Running) else None,
        "frozen": version.described() if isinstance(version, Stopped) else None,
        "building": next.described() if next is not None else None,
    }
