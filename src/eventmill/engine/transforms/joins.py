"""Joins: events of two sources that have the same key and happened about the same time. Pure.

Each pair is made once, by the one of its events that comes later. An event is held until none of the
other side can meet it any more: the watermark of a key is the older one of both sides' newest events,
less the lateness. So the pairs do not depend on which source is read faster.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable
from typing import Any

import msgspec

from eventmill.engine.transforms.state import EVER, State, microseconds
from eventmill.engine.transforms.windows import misfit
from eventmill.errors import HandlerFailed
from eventmill.model import codec, limits
from eventmill.model.entry import Entry
from eventmill.model.transform import Joining, Pair


class Held(msgspec.Struct, array_like=True):
    """An event that waits for others, as it was stored by its source."""

    time: int
    has_met: bool
    type: str
    version: int
    payload: msgspec.Raw
    value: Any = None
    """What the steps made of it; not stored."""


class Meeting(State):
    """The held events of one key."""

    __slots__ = ("floor", "held", "newest")

    def __init__(self, generation: int) -> None:
        super().__init__(generation)
        self.held: tuple[list[Held], list[Held]] = ([], [])
        """Of each side, by time."""
        self.newest = [-EVER, -EVER]
        self.floor = -EVER
        """What is older is late, since what it could have met is gone."""


class Saved(msgspec.Struct, array_like=True):
    """The same in a row."""

    shape: str
    newest: list[int]
    floor: int
    seen: int
    due: int
    left: list[tuple[int, bool, str, int, msgspec.Raw]]
    right: list[tuple[int, bool, str, int, msgspec.Raw]]


_SHAPE = "join"


class JoinStage:
    """Pairs of one key.

    Parameter: `read` returns what the steps of a side make of a held event.
    """

    def __init__(self, joining: Joining, read: Callable[[int, Held], Any]) -> None:
        self._within = microseconds(joining.within)
        self._lateness = microseconds(joining.lateness)
        self._keeps_left = joining.kind == "left"
        self._read = read

    def new(self, generation: int) -> Meeting:
        return Meeting(generation)

    def take(
        self, state: Meeting, key: str, side: int, time: int, value: Any, entry: Entry
    ) -> list[Any] | None:
        if time < self._watermark(state):
            return None
        own, others = state.held[side], state.held[1 - side]
        if len(own) >= limits.JOIN_EVENTS_MAX:
            raise self._full(key, own, time)
        payload = msgspec.Raw(entry.payload)
        one = Held(time, False, entry.type, entry.version, payload, value)
        low = bisect_left(others, time - self._within, key=_time_of)
        high = bisect_right(others, time + self._within, key=_time_of)
        met = others[low:high]
        for other in met:
            other.has_met = True
        one.has_met = bool(met)
        insort(own, one, key=_time_of)
        state.newest[side] = max(state.newest[side], time)
        pairs = [self._pair(key, side, one, other) for other in met]
        return pairs + self._let_go(state, key, self._watermark(state) - self._within)

    def close(self, state: Meeting, key: str) -> list[Any]:
        state.floor = max(state.floor, *state.newest)
        return self._let_go(state, key, EVER)

    def is_open(self, state: Meeting) -> bool:
        return any(state.held)

    def encode(self, state: Meeting) -> bytes:
        left, right = (
            [(h.time, h.has_met, h.type, h.version, h.payload) for h in side] for side in state.held
        )
        return codec.encode(
            Saved(_SHAPE, state.newest, state.floor, state.seen, state.due, left, right)
        )

    def decode(self, stored: str, generation: int) -> Meeting:
        try:
            saved = _decode(stored)
        except msgspec.MsgspecError as error:
            raise misfit() from error
        state = Meeting(generation)
        state.newest, state.floor = saved.newest, saved.floor
        state.seen, state.due = saved.seen, saved.due
        state.held = ([Held(*h) for h in saved.left], [Held(*h) for h in saved.right])
        return state

    def _watermark(self, state: Meeting) -> int:
        return max(min(state.newest) - self._lateness, state.floor)

    def _let_go(self, state: Meeting, key: str, before: int) -> list[Any]:
        """Hold no event longer that is older; return those that have met nothing, if they count."""
        alone = []
        for side, held in enumerate(state.held):
            if not held or held[0].time >= before:
                continue
            count = bisect_left(held, before, key=_time_of)
            if self._keeps_left and side == 0:
                alone = [one for one in held[:count] if not one.has_met]
            del held[:count]
        return [Pair(key, self._value(0, one), None) for one in alone]

    def _full(self, key: str, own: list[Held], time: int) -> HandlerFailed:
        span = self._within + self._lateness
        if time - own[0].time <= span:
            remedy = (
                "that is what it has within= and lateness=, so waiting does not help: make them shorter, "
                "or give both topics a finer key"
            )
        else:
            remedy = (
                "the other side of this key has not come as far: this one is tried again, and if it is "
                "dead by then, redrive it; where that side is silent, publish something for it"
            )
        return HandlerFailed(
            f"the join holds {len(own):,} events of key {key!r} and this side already; {remedy}",
            code="transform.join_full",
        )

    def _pair(self, key: str, side: int, one: Held, other: Held) -> Pair[Any, Any]:
        left, right = (one, other) if side == 0 else (other, one)
        return Pair(key, self._value(0, left), self._value(1, right))

    def _value(self, side: int, held: Held) -> Any:
        if held.value is None:
            held.value = self._read(side, held)
        return held.value


_decode = msgspec.json.Decoder(Saved).decode


def _time_of(held: Held) -> int:
    return held.time
