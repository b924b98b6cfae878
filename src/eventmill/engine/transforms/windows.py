"""Windows: events of a key collected by their times. Pure.

The watermark of a key is its newest event's time less the lateness: no older event is expected. A
window closes when the watermark reaches its end, and gives one `Pane`. An event all of whose windows
are closed is late.

Each key has a watermark of its own. One for a whole shard would close the windows of silent keys by
what others do, but what is late would then depend on how keys are spread, how batches are cut and
which keys wait behind a dead letter, and one device with a wrong clock would close everybody's windows.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from zlib import crc32

import msgspec

from eventmill.engine.transforms.state import EPOCH, EVER, MICROSECOND, State, microseconds, moment
from eventmill.errors import HandlerFailed
from eventmill.model import codec
from eventmill.model.entry import Entry
from eventmill.model.transform import Aggregate, Hopping, Pane, Session, Tumbling, Windowing


class Windows(State):
    """The open windows of one key."""

    __slots__ = ("begin", "end", "latest", "open", "until", "watermark")

    def __init__(self, generation: int) -> None:
        super().__init__(generation)
        self.watermark = -EVER
        self.open: dict[int, list[Any]] = {}
        """By start: the end, then the state of each aggregate."""
        self.end = EVER
        """No window ends before it."""
        self.begin = self.until = EVER
        """Of the window that was looked for last, as long as it is open: the next event, too, is in it
        as a rule."""
        self.latest: list[Any] = []


class Saved(msgspec.Struct, array_like=True):
    """The same in a row; `open` is decoded by the types of the aggregates."""

    shape: str
    watermark: int
    seen: int
    due: int
    open: msgspec.Raw


class WindowStage:
    """Hopping windows: where each begins and ends is known beforehand."""

    def __init__(self, windowing: Windowing) -> None:
        self._aggregates = windowing.aggregates
        self._lateness = microseconds(windowing.lateness)
        self._adds = [(at, a.add) for at, a in enumerate(self._aggregates, 1)]
        self._results = [(at, a.result) for at, a in enumerate(self._aggregates, 1)]
        self._inits = [a.init for a in self._aggregates]
        self._shape = _short(shape_of(windowing))
        states = (aggregate.state for aggregate in self._aggregates)
        rows: Any = list[tuple[(int, int, *states)]]  # type: ignore[valid-type]
        self._decode_open = codec.decoder(rows).decode
        match windowing.window:
            case Tumbling(size, offset):
                hop = size
            case Hopping(size, hop, offset):
                pass
            case Session(size):
                hop = offset = size
        self._size, self._hop, self._offset = map(microseconds, (size, hop, offset))

    def new(self, generation: int) -> Windows:
        return Windows(generation)

    def take(
        self, state: Windows, key: str, side: int, time: int, value: Any, entry: Entry
    ) -> list[Any] | None:
        if not self._add(state, time, value):
            return None
        watermark = time - self._lateness
        if watermark <= state.watermark:
            return _NOTHING
        state.watermark = watermark
        return self._closed(state, key, watermark) if watermark >= state.end else _NOTHING

    def close(self, state: Windows, key: str) -> list[Any]:
        state.watermark = max(state.watermark, *(window[0] for window in state.open.values()))
        return self._closed(state, key, state.watermark)

    def is_open(self, state: Windows) -> bool:
        return bool(state.open)

    def encode(self, state: Windows) -> bytes:
        rows = [(start, *window) for start, window in state.open.items()]
        try:
            stored = codec.encode(rows)
            if self._decode_open(stored) != rows:
                raise ValueError(f"{rows[-1][2:]!r} is another value when it is read back")
        except (msgspec.MsgspecError, ValueError, TypeError, OverflowError) as error:
            raise HandlerFailed(f"the state of an aggregate cannot be kept: {error}") from error
        saved = Saved(self._shape, state.watermark, state.seen, state.due, msgspec.Raw(stored))
        return codec.encode(saved)

    def decode(self, stored: str, generation: int) -> Windows:
        state = Windows(generation)
        try:
            saved = _decode(stored)
            if saved.shape != self._shape:
                raise misfit()
            state.watermark, state.seen, state.due = saved.watermark, saved.seen, saved.due
            state.open = {start: window for start, *window in self._decode_open(saved.open)}
        except msgspec.MsgspecError as error:
            raise misfit() from error
        state.end = _first_end(state)
        return state

    def _add(self, state: Windows, time: int, value: Any) -> bool:
        """Let an event into its windows that are open; return whether there is one."""
        size, open, watermark = self._size, state.open, state.watermark
        start = time - (time - self._offset) % self._hop
        is_taken = False
        while start > time - size and (end := start + size) > watermark:
            window = open.get(start)
            if window is None:
                window = open[start] = self._begun(start, end)
                if end < state.end:
                    state.end = end
            for at, add in self._adds:
                window[at] = add(window[at], value, time)
            is_taken = True
            start -= self._hop
        return is_taken

    def _begun(self, start: int, end: int) -> list[Any]:
        if start < _FIRST or end > _LAST:
            raise _out_of_time()
        return [end, *[init() for init in self._inits]]

    def _closed(self, state: Windows, key: str, watermark: int) -> list[Any]:
        open = state.open
        ended = [(window[0], start) for start, window in open.items() if window[0] <= watermark]
        ended.sort()
        panes = []
        for end, start in ended:
            window = open.pop(start)
            values = [result(window[at]) for at, result in self._results]
            value = values[0] if len(values) == 1 else tuple(values)
            panes.append(Pane(key, moment(start), moment(end), value))
        state.end = _first_end(state)
        state.begin = state.until = EVER
        return panes


class TumblingStage(WindowStage):
    """Tumbling windows: an event is in one alone, which is there already as a rule."""

    def take(
        self, state: Windows, key: str, side: int, time: int, value: Any, entry: Entry
    ) -> list[Any] | None:
        if not state.begin <= time < state.until and not self._find(state, time):
            return None
        window = state.latest
        for at, add in self._adds:
            window[at] = add(window[at], value, time)
        watermark = time - self._lateness
        if watermark <= state.watermark:
            return _NOTHING
        state.watermark = watermark
        return self._closed(state, key, watermark) if watermark >= state.end else _NOTHING

    def _find(self, state: Windows, time: int) -> bool:
        """Look for the window of a time, or begin it; return whether it is open."""
        start = time - (time - self._offset) % self._size
        end = start + self._size
        window = state.open.get(start)
        if window is None:
            if end <= state.watermark:
                return False
            window = state.open[start] = self._begun(start, end)
            state.end = min(state.end, end)
        state.begin, state.until, state.latest = start, end, window
        return True


class SessionStage(WindowStage):
    """Sessions: each event begins a window of `gap` that is merged with those it touches."""

    def __init__(self, windowing: Windowing) -> None:
        super().__init__(windowing)
        self._merges: list[tuple[int, Callable[[Any, Any], Any]]] = [
            (at, a.merge) for at, a in enumerate(self._aggregates, 1) if a.merge is not None
        ]

    def _add(self, state: Windows, time: int, value: Any) -> bool:
        end, open = time + self._size, state.open
        near = sorted(s for s, window in open.items() if s < end and window[0] > time)
        if not near and end <= state.watermark:
            return False
        if end > _LAST:
            raise _out_of_time()
        window = open.pop(near[0]) if near else self._begun(time, end)
        for start in near[1:]:
            later = open.pop(start)
            for at, merge in self._merges:
                window[at] = merge(window[at], later[at])
            window[0] = later[0]
        for at, add in self._adds:
            window[at] = add(window[at], value, time)
        window[0] = max(window[0], end)
        open[min([time, *near])] = window
        state.end = min(state.end, window[0])
        return True


def stage_of(windowing: Windowing) -> WindowStage:
    """Return what collects events so."""
    match windowing.window:
        case Tumbling():
            return TumblingStage(windowing)
        case Hopping():
            return WindowStage(windowing)
        case Session():
            return SessionStage(windowing)


def misfit() -> HandlerFailed:
    """Return the refusal of a state that is not this definition's."""
    return HandlerFailed(
        "what is open of this key was collected by another definition of the transform (its window, "
        "its aggregates): give the new one an id of its own, or begin anew with `eventmill "
        "consumers reset NAME --to beginning`",
        code="transform.changed",
    )


def _out_of_time() -> HandlerFailed:
    return HandlerFailed(
        "the event's window begins before the year 1 or ends after the year 9999, so nobody could be told "
        "of it: look at the clock that its time came from",
        code="transform.time",
    )


_NOTHING: list[Any] = []
_FIRST = (datetime.min.replace(tzinfo=UTC) - EPOCH) // MICROSECOND
_LAST = (datetime.max.replace(tzinfo=UTC) - EPOCH) // MICROSECOND
_decode = msgspec.json.Decoder(Saved).decode


def _first_end(state: Windows) -> int:
    return min([window[0] for window in state.open.values()], default=EVER)


def shape_of(windowing: Windowing) -> dict[str, str]:
    """Return what a state is made by: with anything else it does not fit."""
    aggregates = ", ".join(map(_name_of, windowing.aggregates))
    return {"window": repr(windowing.window), "aggregates": aggregates}


def _short(shape: dict[str, str]) -> str:
    return f"{crc32(repr(shape).encode()):08x}"


def _name_of(aggregate: Aggregate[Any, Any]) -> str:
    state = getattr(aggregate.state, "__qualname__", repr(aggregate.state))
    return f"{aggregate.name} of {state}"
