"""When a cron expression is due in a time zone, also where its clocks are put forward or back. Pure.

`cronsim` says which local times match; which moments these are is decided here, as Debian's cron does:

- An expression of fixed times (neither its minute nor its hour begins with `*`) is due once at each of
  them. A time that comes twice counts the first time, one that is skipped when the gap ends.
- Any other expression follows the time that passes: every minute whose local time matches, so twice
  in an hour that comes twice, and never in one that is skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

_FIELDS: Final = 5
_MINUTE: Final = timedelta(minutes=1)
_DAY: Final = timedelta(days=1)


def moments(expression: str, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """Yield when the expression is due after a moment, in order, in UTC.

    It ends where nothing matches for 50 years. Raises `CronSimError` for what is no expression.
    """
    fields = expression.split()
    if len(fields) != _FIELDS:  # CronSim would take a sixth, of seconds, in front
        raise CronSimError("Wrong number of fields")
    is_fixed = not any(field.startswith("*") for field in fields[:2])
    found = _fixed(expression, zone, after) if is_fixed else _passing(expression, zone, after)
    last = after
    for moment in found:
        if moment > last:  # a time that comes twice, or two in one gap, are found again
            yield moment
            last = moment


def _fixed(expression: str, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    for local in CronSim(expression, after.astimezone(zone).replace(tzinfo=None)):
        moment = local.replace(tzinfo=zone).astimezone(UTC)
        if moment.astimezone(zone).replace(tzinfo=None) != local:
            # Read with the offset from before the gap, it lies behind its end, at most by its length.
            moment = _change(zone, moment - _DAY, moment) or moment
        yield moment


def _passing(expression: str, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    begin, moment = after, after
    while True:
        offset = _offset(zone, begin)
        change = _change(zone, begin, begin + _DAY)
        end = change or begin + _DAY
        local = (begin + offset).replace(tzinfo=None)
        for match in CronSim(expression, local - _MINUTE):
            moment = match.replace(tzinfo=UTC) - offset
            if moment >= end:
                break
            yield moment
        else:
            return
        # A change lets local times come again; else nothing matches before.
        begin = change or max(end, moment - _DAY)


def _change(zone: ZoneInfo, low: datetime, high: datetime) -> datetime | None:
    """Return the first minute with another offset in a day; None if there is none."""
    before = _offset(zone, low)
    if _offset(zone, high) == before:
        return None
    low = low.replace(second=0, microsecond=0)
    minutes, most = 0, -((low - high) // _MINUTE)
    while most - minutes > 1:
        middle = (minutes + most) // 2
        if _offset(zone, low + middle * _MINUTE) == before:
            minutes = middle
        else:
            most = middle
    return low + most * _MINUTE


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()
