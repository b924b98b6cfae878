"""Whatever is proposed as a subscription, the answer is a subscription or a clear refusal."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from eventmill.adapters.clock import SystemClock
from eventmill.adapters.http_sender import HttpSender
from eventmill.engine.filters import compile_filters
from eventmill.errors import InvalidPayload, TooLarge
from eventmill.model import pushing

EVENT = {"type": "Order", "subject": "o1", "id": "1", "source": "/shop"}
TEXTS = st.one_of(st.text(max_size=20), st.sampled_from(list(EVENT) + list(EVENT.values())))
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), TEXTS)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=12,
)
DIALECTS = st.sampled_from(["exact", "prefix", "suffix", "all", "any", "not", "sql"])
FILTERS = st.recursive(
    st.dictionaries(DIALECTS, st.dictionaries(TEXTS, SCALARS, max_size=2), max_size=2),
    lambda inner: st.dictionaries(DIALECTS, st.lists(inner, max_size=3) | inner, max_size=2),
    max_leaves=8,
)
SINKS = st.one_of(
    st.text(max_size=40),
    st.from_regex(r"https?://[\x21-\x7e]{0,30}", fullmatch=True),
    st.from_regex(r"http://\[[0-9a-f:.%]{0,30}\](:[0-9]{1,6})?/", fullmatch=True),
)


@given(
    st.fixed_dictionaries(
        {"sink": SINKS, "protocol": st.sampled_from(["HTTP", "http", "", 1])},
        optional={
            "id": SCALARS,
            "source": SCALARS,
            "types": JSON,
            "config": JSON | st.fixed_dictionaries({"start": TEXTS, "attempts": SCALARS}),
            "filters": JSON | st.lists(FILTERS, max_size=3),
            "protocolsettings": JSON | st.fixed_dictionaries({"headers": JSON}),
        },
    )
)
def test_a_proposal_is_taken_or_refused(members: dict[str, Any]) -> None:
    sender = HttpSender(SystemClock(), private=False)
    try:
        made = pushing.read(msgspec.json.encode(members))
        sender.check(made.sink)
        fits = compile_filters(made.filters)
    except (InvalidPayload, TooLarge):
        return
    assert fits(EVENT) in (True, False)
    assert pushing.stored(msgspec.json.encode(pushing.Standing(made))).pushing == made


@given(st.binary(max_size=60))
def test_any_bytes_are_taken_or_refused(body: bytes) -> None:
    with suppress(InvalidPayload, TooLarge):
        pushing.read(body)
