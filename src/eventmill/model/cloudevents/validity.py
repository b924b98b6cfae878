"""Whether events are valid and within the limits: one by one, or many at once.

Many at once are looked at by column: joined texts, distinct values, all timestamps in one
conversion. That proves the usual column valid within some tens of nanoseconds an event; a column
that it cannot prove is checked value by value, which also finds the event to name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated

import msgspec

from eventmill.model import depth, limits
from eventmill.model.cloudevents import attributes
from eventmill.model.cloudevents.attributes import CORE, Value
from eventmill.model.cloudevents.event import CloudEvent, CloudEventTooLarge, InvalidCloudEvent

Column = Sequence[str | None]
Columns = Mapping[str, Column]
"""Values of a core attribute, one of each event, by the attribute's name."""

_TIMES = list[Annotated[datetime, msgspec.Meta(tz=True)]]


def check(event: CloudEvent, index: int | None = None) -> None:
    """Raise `InvalidCloudEvent` unless the event is valid and within the limits."""
    check_core(event, index)
    check_extensions(event.extensions, index)
    if event.data is not None:
        if attributes.is_json(event.datacontenttype):
            check_json(event.data, index)
        check_size(event.data, index)


def check_core(event: CloudEvent, index: int | None) -> None:
    """Check the values of the core attributes."""
    for name in CORE:
        problem = attributes.core_problem(name, getattr(event, name))
        if problem:
            raise InvalidCloudEvent(f"attribute {name!r} {problem}", name, index)


def check_columns(columns: Columns, *, in_batch: bool) -> None:
    """Check the values of the core attributes of many events."""
    for name, column in columns.items():
        if not _LOOKS_CLEAN[name](column):
            for index, value in enumerate(column):
                problem = attributes.core_problem(name, value)
                if problem:
                    at = index if in_batch else None
                    raise InvalidCloudEvent(f"attribute {name!r} {problem}", name, at)


def check_extensions(extensions: dict[str, Value], index: int | None) -> None:
    """Check number, names and values of extension attributes."""
    if len(extensions) > limits.EXTENSIONS_MAX:
        raise InvalidCloudEvent(
            f"more than {limits.EXTENSIONS_MAX} extension attributes", None, index
        )
    for name, value in extensions.items():
        problem = attributes.extension_problem(name, value)
        if problem:
            raise InvalidCloudEvent(f"attribute {name!r} {problem}", name, index)


def check_json(data: bytes, index: int | None) -> None:
    """Check that data is JSON in UTF-8, without decoding it, and not too deep."""
    check_size(data, index)
    try:
        data.decode()
        msgspec.json.decode(data, type=msgspec.Raw)
    except RecursionError:
        raise too_deep(index) from None
    except (msgspec.DecodeError, ValueError) as error:
        raise InvalidCloudEvent(
            f"data is not JSON in UTF-8 ({error}); if it is not meant to be, send its content type",
            "data",
            index,
        ) from None
    check_depth(data, index)


def check_depth(data: bytes, index: int | None) -> None:
    """Check the nesting of JSON."""
    if depth.exceeds(data):
        raise too_deep(index)


def check_size(data: bytes, index: int | None) -> None:
    """Check the number of bytes."""
    if len(data) > limits.PAYLOAD_BYTES_MAX:
        raise CloudEventTooLarge(
            f"data has at most {limits.PAYLOAD_BYTES_MAX} bytes, here {len(data)}", "data", index
        )


def too_deep(index: int | None) -> CloudEventTooLarge:
    """Make the error for JSON that nests too deep."""
    return CloudEventTooLarge(f"JSON nests more than {limits.JSON_DEPTH_MAX} levels", "data", index)


def _texts_look_clean(column: Column) -> bool:
    return "".join(filter(None, column)).isprintable()


def _times_look_clean(column: Column) -> bool:
    times = [time for time in column if time is not None]
    try:
        msgspec.convert(times, _TIMES)
    except msgspec.ValidationError:
        return False
    # msgspec also takes a space for the T, and offsets without a colon: both need a closer look.
    text = "".join(times)
    return " " not in text and "+" not in text and text.count("-") == 2 * len(times)


def _distinct_look_clean(name: str) -> Callable[[Column], bool]:
    def look_clean(column: Column) -> bool:
        return not any(attributes.core_problem(name, value) for value in set(column))

    return look_clean


_LOOKS_CLEAN = {
    **{name: _distinct_look_clean(name) for name in CORE},
    "id": _texts_look_clean,
    "subject": _texts_look_clean,
    "time": _times_look_clean,
}
