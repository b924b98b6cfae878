"""One CloudEvent as data, and what can be wrong with one."""

from __future__ import annotations

import msgspec

from eventmill.model.cloudevents.attributes import Value

_MESSAGE_CHARACTERS_MAX = 500


class CloudEvent(msgspec.Struct, frozen=True, gc=False):
    """One event. Decoding yields valid ones; `check` an event of your own before encoding it."""

    id: str
    source: str
    type: str
    specversion: str = "1.0"
    subject: str | None = None
    time: str | None = None
    """RFC 3339, as the sender wrote it: any precision, any offset."""
    datacontenttype: str | None = None
    """None means `application/json`."""
    dataschema: str | None = None
    data: bytes | None = None
    """JSON text if `datacontenttype` says so, else the content itself; None if there is none."""
    extensions: dict[str, Value] = {}


class InvalidCloudEvent(ValueError):
    """The sender must change the event; `message` says how.

    `attribute` is the attribute or member at fault, if it is one; `index` the event's place in its
    batch, from 0.
    """

    def __init__(
        self, message: str, attribute: str | None = None, index: int | None = None
    ) -> None:
        if index is not None:
            message = f"event {index} of the batch: {message}"
        if len(message) > _MESSAGE_CHARACTERS_MAX:  # it may quote the sender
            message = message[:_MESSAGE_CHARACTERS_MAX] + "…"
        self.message = message
        self.attribute = attribute
        self.index = index
        super().__init__(message)


class CloudEventTooLarge(InvalidCloudEvent):
    """Its data is too large or too deep, or the batch too long."""


class UnsupportedEventFormat(InvalidCloudEvent):
    """It is a CloudEvent in a format other than JSON, or in a character set other than UTF-8."""
