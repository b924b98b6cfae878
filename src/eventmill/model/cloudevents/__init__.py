"""CloudEvents 1.0: one event as data, read from and written to all three HTTP content modes.

Stands at the ingress of topics (HTTP body → here → the topic's records) and at the way out to
subscribers. `http_binding` knows headers and modes, `json_format` the JSON of one event and of a
batch, `validity` what makes an event valid, `attributes` the rules for single values.

Invariants: JSON `data` is never decoded: it stays the bytes that the sender wrote, once grammar,
UTF-8 and depth were checked. Whatever arrives is a valid event or raises `InvalidCloudEvent`,
nothing else. A member or header named twice is refused: two receivers could see two events.

Does not: check `data` against an event type, look for repeated ids, know the service or topics.
"""

from eventmill.model.cloudevents.event import (
    CloudEvent,
    CloudEventTooLarge,
    InvalidCloudEvent,
    UnsupportedEventFormat,
)
from eventmill.model.cloudevents.http_binding import (
    BATCH_TYPE,
    JSON_TYPE,
    STRUCTURED_TYPE,
    Headers,
    Mode,
    decode,
    decode_binary,
    encode_binary,
    mode_of,
)
from eventmill.model.cloudevents.json_format import (
    decode_batch,
    decode_structured,
    encode_batch,
    encode_structured,
)
from eventmill.model.cloudevents.validity import check

__all__ = [
    "BATCH_TYPE",
    "JSON_TYPE",
    "STRUCTURED_TYPE",
    "CloudEvent",
    "CloudEventTooLarge",
    "Headers",
    "InvalidCloudEvent",
    "Mode",
    "UnsupportedEventFormat",
    "check",
    "decode",
    "decode_batch",
    "decode_binary",
    "decode_structured",
    "encode_batch",
    "encode_binary",
    "encode_structured",
    "mode_of",
]
