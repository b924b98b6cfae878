"""The same figures from the log alone: its own sessions, plain Python, no Eventmill."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from examples.activity.data import Click
from examples.activity.service import AUDITED, STEPS, step_of

Funnels = dict[str, list[int]]
"""Name → number of sessions, and of those that came to each step."""


@dataclass
class Expected:
    """What the service must find."""

    sessions: int = 0
    by_platform: Funnels = field(default_factory=dict)
    by_channel: Funnels = field(default_factory=dict)
    by_day: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Day → sessions, visitors."""
    clicks: Counter[str] = field(default_factory=Counter)
    """Of each visitor."""
    audited: Counter[str] = field(default_factory=Counter, compare=False)
    """Of each kind; no view counts them."""


def compute(clicks: Iterable[Click]) -> Expected:
    """Count what the log says."""
    expected, logged = Expected(), defaultdict[str, list[Click]](list)
    for click in clicks:
        logged[click.session].append(click)
        expected.clicks[click.visitor] += 1
        if click.page in AUDITED:
            expected.audited[click.page] += 1
    days = defaultdict[str, list[str]](list)
    for session in logged.values():
        first, step = session[0], step_of([click.page for click in session])
        for funnels, name in (
            (expected.by_platform, first.platform),
            (expected.by_channel, first.channel),
        ):
            row = funnels.setdefault(name, [0] * (len(STEPS) + 1))
            for nth in range(step + 1):
                row[nth] += 1
        days[first.at.date().isoformat()].append(first.visitor)
    expected.sessions = len(logged)
    expected.by_day = {day: (len(those), len({*those})) for day, those in sorted(days.items())}
    return expected
