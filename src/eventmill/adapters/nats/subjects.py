"""Names: how topics, partitions, keys and addresses become NATS subjects.

| Subject | Holds |
|---|---|
| `<prefix>.<topic>` | what plain clients publish, until it is moved into its partition |
| `<prefix>.<topic>.<partition>.<key>` | a message of a partition; plain clients subscribe here |
| `<prefix>.<topic>.admitted` | how far the first ones were moved |
| `<prefix>$.call.<address>`, `<prefix>$.wake.<channel>` | between nodes; not stored |

A token is the text's UTF-8, percent-encoded but for ASCII letters, digits, `_`, `-` and `~`; the
empty text is a lone `%`. A text whose token would be too long is cut and ends in `%%` and a hash:
equal texts have equal tokens, different ones different, but only short ones are read back.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

from eventmill.model import limits

EMPTY: Final = "%"
_HASH_BYTES = 16
_REMEMBERED = 65_536


class Subjects(NamedTuple):
    """Subjects of one application; `prefix` is a token of its own making."""

    prefix: str

    def stream(self, topic: str) -> str:
        """Name of a topic's stream."""
        return f"{self.prefix}-{token(topic)}"

    def plain(self, topic: str) -> str:
        """Where plain clients publish."""
        return f"{self.prefix}.{token(topic)}"

    def partition(self, topic: str, partition: int) -> str:
        """All messages of a partition: a filter."""
        return f"{self.prefix}.{token(topic)}.{partition}.*"

    def message(self, topic: str, partition: int, key: str) -> str:
        """Where a message is stored."""
        return f"{self.prefix}.{token(topic)}.{partition}.{token(key)}"

    def partition_of(self, subject: str) -> int:
        """Number of the partition that a message's subject names."""
        return int(subject.split(".", 3)[2])

    def mark(self, topic: str) -> str:
        """Where it is kept how far plain messages were moved."""
        return f"{self.prefix}.{token(topic)}.admitted"

    def of_topic(self, topic: str) -> list[str]:
        """Everything that the topic's stream stores."""
        plain = self.plain(topic)
        return [plain, f"{plain}.*.*", self.mark(topic)]

    def call(self, address: str) -> str:
        """Where requests to an address go."""
        return f"{self.prefix}$.call.{token(address)}"

    def wake(self, channel: str) -> str:
        """Where broadcasts of a channel go."""
        return f"{self.prefix}$.wake.{token(channel)}"


@lru_cache(_REMEMBERED)
def token(text: str) -> str:
    """Encode a text as one token of a subject."""
    if not text:
        return EMPTY
    encoded = quote(text, safe="").replace(".", "%2E")
    if len(encoded) <= limits.SUBJECT_TOKEN_CHARACTERS_MAX:
        return encoded
    tail = "%%" + blake2b(text.encode(), digest_size=_HASH_BYTES).hexdigest()
    return encoded[: limits.SUBJECT_TOKEN_CHARACTERS_MAX - len(tail)].rstrip("%") + tail


def text_of(encoded: str) -> str | None:
    """Decode a token; None if it was cut."""
    if encoded == EMPTY:
        return ""
    return None if "%%" in encoded else unquote(encoded)
