"""Windows and joins as their definition says, over whole sequences: what transforms must give.

Times are whole minutes. Nothing is kept between events: each question is answered from all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple


class Expected(NamedTuple):
    panes: list[tuple[int, int, list[int]]]
    """Start, end, numbers of the events, in the order in which the windows close."""
    late: list[int]


def fixed(times: list[int], size: int, hop: int, offset: int, lateness: int) -> Expected:
    """Tumbling and hopping windows over the events of one key."""
    content: dict[tuple[int, int], list[int]] = {}
    late = []
    for number, time in enumerate(times):
        watermark = max(times[:number], default=-(10**9)) - lateness
        windows = [w for w in covering(time, size, hop, offset) if w[1] > watermark]
        for window in windows:
            content.setdefault(window, []).append(number)
        if not windows:
            late.append(number)
    closed = [(closing(times, end, lateness), end, start) for start, end in content]
    order = sorted(place for place in closed if place[0] is not None)
    return Expected([(start, end, content[start, end]) for _, end, start in order], late)


def covering(time: int, size: int, hop: int, offset: int) -> Iterator[tuple[int, int]]:
    """Every window that a time is in."""
    for number in range((time - size - offset) // hop, (time - offset) // hop + 2):
        start = number * hop + offset
        if start <= time < start + size:
            yield start, start + size


def closing(times: list[int], end: int, lateness: int) -> int | None:
    """Number of the event that closes a window; None if none does."""
    return next((n for n, time in enumerate(times) if time - lateness >= end), None)


def sessions(times: list[int], gap: int, lateness: int) -> Expected:
    """Sessions over the events of one key: what is open is put together anew for each event."""
    open_: list[int] = []
    panes: list[tuple[int, int, list[int]]] = []
    late = []
    for number, time in enumerate(times):
        watermark = max(times[:number], default=-(10**9)) - lateness
        own = next(c for c in clusters(times, [*open_, number], gap) if number in c)
        if own == [number] and time + gap <= watermark:
            late.append(number)
            continue
        open_.append(number)
        watermark = max(times[: number + 1]) - lateness
        ended = [
            (max(times[n] for n in c) + gap, min(times[n] for n in c), sorted(c))
            for c in clusters(times, open_, gap)
            if max(times[n] for n in c) + gap <= watermark
        ]
        for end, start, members in sorted(ended):
            panes.append((start, end, members))
            open_ = [n for n in open_ if n not in members]
    return Expected(panes, late)


def clusters(times: list[int], numbers: list[int], gap: int) -> list[list[int]]:
    """Events with less than the gap between neighbours."""
    found: list[list[int]] = []
    for number in sorted(numbers, key=lambda n: times[n]):
        if found and times[number] - times[found[-1][-1]] < gap:
            found[-1].append(number)
        else:
            found.append([number])
    return found


def pairs(
    events: list[tuple[int, int]], within: int, lateness: int
) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    """A join of (side, time): pairs of numbers, late ones, and lefts that met nothing."""
    accepted: list[int] = []
    late = []
    for number, (_, time) in enumerate(events):
        newest = [
            max((t for s, t in events[:number] if s == side), default=-(10**9)) for side in (0, 1)
        ]
        (late if time < min(newest) - lateness else accepted).append(number)
    met = [
        (a, b)
        for a, b in product(accepted, accepted)
        if events[a][0] == 0 and events[b][0] == 1 and abs(events[a][1] - events[b][1]) <= within
    ]
    alone = [n for n in accepted if events[n][0] == 0 and n not in {a for a, _ in met}]
    return sorted(met), late, alone
