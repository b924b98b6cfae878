"""Guards for development and tests: they notice what production code must never do.

- An effect that was made but not returned: every effect made while a handler runs is noted, and
  what the handler returns is held against it.
- State changed outside `@on`: the encoded state is compared before and after a command.

Off in production, where each costs time on the hot path; the test kits and `run --reload` turn
them on through `watch`. The note is a context variable, so concurrent handlers do not mix.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from eventmill.errors import HandlerFailed
from eventmill.model.effect import Effect
from eventmill.model.replicated import change

E = TypeVar("E", bound=Effect[Any])

_notes: ContextVar[list[Effect[Any]] | None] = ContextVar("eventmill_effects", default=None)


def made(effect: E) -> E:
    """Note an effect that was just made."""
    notes = _notes.get()
    if notes is not None:
        notes.append(effect)
    return effect


@contextmanager
def watch(place: str) -> Iterator[Returned]:
    """Note the effects that are made inside; check them when the block ends without an error.

    Raises `HandlerFailed` that names `place` if one of them was not returned.
    """
    returned = Returned()
    token, changes = _notes.set([]), change.notes.set([])
    try:
        yield returned
        lost: list[Any] = [e for e in _notes.get() or () if e is not returned.effect]
        merged = getattr(returned.effect, "merged", ())
        lost += [c for c in change.notes.get() or () if not any(c is m for m in merged)]
    finally:
        _notes.reset(token)
        change.notes.reset(changes)
    if lost:
        raise HandlerFailed(
            f"{place} made {len(lost)} effect(s) that it did not return, so nothing of them would "
            "happen: return the effect, and chain several (self.persist(…).publish(…)); operations of "
            "replicated values belong into self.update(…)",
            code="guard.effect_lost",
        )


class Returned:
    """Where a watched handler's result is put."""

    effect: Any = None
