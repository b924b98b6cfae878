"""The rules for context attributes (specification 1.0), one function per type of value.

`validity` turns a problem into an error. Each rule returns the problem as
the end of a sentence that begins with the attribute's name, or None when the value fits.

Rules are stricter than most SDKs where the specification says MUST: URIs follow RFC 3986 (no raw
non-ASCII characters), timestamps RFC 3339, strings hold no control characters, unpaired surrogates
or noncharacters. One is wider: `dataschema` may carry a fragment, as schema references commonly do.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from functools import lru_cache
from typing import Final

from eventmill.model import limits

REQUIRED: Final = ("id", "source", "type", "specversion")
OPTIONAL: Final = ("subject", "time", "datacontenttype", "dataschema")
CORE: Final = (*REQUIRED, *OPTIONAL)

INTEGER_MAX: Final = 2**31 - 1
"""The specification's `Integer` has 32 bits with a sign."""

Value = str | int | bool
"""Of an extension attribute; a sender's other types arrive as their string encoding."""

Rule = Callable[[str], str | None]

_REMEMBERED = 256
"""Answers kept for values that most events share: sources, content types, names."""

_CHARACTERS = r"A-Za-z0-9._~!$&'()*+,;=\-"
_ENCODED = r"%[0-9A-Fa-f]{2}"
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]*:"
_AUTHORITY = (
    rf"//(?:(?:[{_CHARACTERS}:]|{_ENCODED})*@)?"
    rf"(?:\[[0-9A-Za-z:.]+\]|(?:[{_CHARACTERS}]|{_ENCODED})*)(?::[0-9]*)?(?=[/?#]|\Z)"
)
_SEGMENTS = rf"(?:[{_CHARACTERS}:@/]|{_ENCODED})*"
_SUFFIX = rf"(?:\?(?:[{_CHARACTERS}:@/?]|{_ENCODED})*)?(?:#(?:[{_CHARACTERS}:@/?]|{_ENCODED})*)?"
_HIERARCHY = rf"(?:{_AUTHORITY}{_SEGMENTS}|(?!//){_SEGMENTS})"
# Without a scheme, a colon may not come before the first slash: it would read as one.
_RELATIVE = rf"(?:{_AUTHORITY}{_SEGMENTS}|(?!//)(?![^/?#]*:){_SEGMENTS})"

_URI = re.compile(_SCHEME + _HIERARCHY + _SUFFIX)
_URI_REFERENCE = re.compile(rf"(?:{_SCHEME}{_HIERARCHY}|{_RELATIVE}){_SUFFIX}")
_NAME = re.compile(r"[a-z0-9]+")
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](?:[01]\d|2[0-3]):[0-5]\d:(?:[0-5]\d|60)(?:\.\d+)?"
    r"(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)
_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_QUOTED = r'"(?:[^"\\\x00-\x1f\x7f]|\\[\x20-\x7e])*"'
_MEDIA_TYPE = re.compile(
    # White space after a semicolon belongs to one part only, or a mismatch would cost exponential time.
    rf"{_TOKEN}/{_TOKEN}(?:[ \t]*;(?:[ \t]*{_TOKEN}=(?:{_TOKEN}|{_QUOTED}))?)*[ \t]*"
)
_JSON_TYPE = re.compile(rf"{_TOKEN}/(?:{_TOKEN}\+)?json[ \t]*(?:;|\Z)", re.ASCII | re.IGNORECASE)
_FORBIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(chr(plane + 0xFFFE) + chr(plane + 0xFFFF) for plane in range(0, 0x110000, 0x10000))
    + "]"
)


def core_problem(name: str, value: str | None) -> str | None:
    """Check the value of a core attribute; None stands for an optional one that is not set."""
    if value is None:
        return None
    if not value:
        return "must not be empty"
    return _length_problem(value) or _RULES[name](value)


def extension_problem(name: str, value: Value) -> str | None:
    """Check name and value of an extension attribute."""
    problem = name_problem(name)
    if problem or isinstance(value, bool):
        return problem
    if isinstance(value, int):
        fits = -INTEGER_MAX - 1 <= value <= INTEGER_MAX
        return None if fits else "is an integer of more than 32 bits; send it as a string"
    return _length_problem(value) or text_problem(value)


@lru_cache(_REMEMBERED)
def name_problem(name: str) -> str | None:
    """Check the name of an extension attribute."""
    if not _NAME.fullmatch(name) or len(name) > limits.ATTRIBUTE_NAME_CHARACTERS_MAX:
        return (
            f"is no attribute name: use 1 to {limits.ATTRIBUTE_NAME_CHARACTERS_MAX} "
            "lower-case letters and digits"
        )
    if name in CORE or name == "data":
        return "is a name that the specification reserves"
    return None


def text_problem(value: str) -> str | None:
    """Check the characters of a `String`."""
    if value.isprintable():  # much faster, and nearly always true
        return None
    found = _FORBIDDEN.search(value)
    return found and f"holds the forbidden character U+{ord(found.group()):04X}"


@lru_cache(_REMEMBERED)
def uri_problem(value: str) -> str | None:
    """Check an absolute `URI`; a fragment is allowed."""
    return None if _URI.fullmatch(value) else "is no absolute URI (RFC 3986)"


@lru_cache(_REMEMBERED)
def uri_reference_problem(value: str) -> str | None:
    """Check a `URI-reference`."""
    return None if _URI_REFERENCE.fullmatch(value) else "is no URI reference (RFC 3986)"


def time_problem(value: str) -> str | None:
    """Check a `Timestamp`; a leap second is allowed, the year 0000 is not."""
    found = _TIME.fullmatch(value)
    if found:
        try:
            date(*map(int, found.groups()))
        except ValueError:
            found = None
    return None if found else "is no RFC 3339 timestamp, as 2013-01-01T05:17:00Z"


@lru_cache(_REMEMBERED)
def media_type_problem(value: str) -> str | None:
    """Check a content type."""
    return None if _MEDIA_TYPE.fullmatch(value) else "is no media type (RFC 2046)"


@lru_cache(_REMEMBERED)
def is_json(datacontenttype: str | None) -> bool:
    """Whether data of this content type is JSON; it is when nothing is said."""
    return datacontenttype is None or _JSON_TYPE.match(datacontenttype) is not None


def _version_problem(value: str) -> str | None:
    return None if value == "1.0" else "must be '1.0', the only version that is understood"


def _length_problem(value: str) -> str | None:
    if len(value) > limits.ATTRIBUTE_CHARACTERS_MAX:
        return f"is longer than {limits.ATTRIBUTE_CHARACTERS_MAX} characters"
    return None


_RULES: Final[dict[str, Rule]] = {
    "id": text_problem,
    "source": uri_reference_problem,
    "type": text_problem,
    "specversion": _version_problem,
    "subject": text_problem,
    "time": time_problem,
    "datacontenttype": media_type_problem,
    "dataschema": uri_problem,
}
