"""Entries go out as CloudEvents and come back as they were; whatever else arrives becomes an entry."""

from __future__ import annotations

import msgspec
from hypothesis import assume, given
from hypothesis import strategies as st

from eventmill.engine import cloudevent, messages
from eventmill.model import cloudevents, limits
from eventmill.model.cloudevents import CloudEvent, attributes
from eventmill.model.entry import Entry, metadata_of

TEXT = st.text(st.characters(codec="utf-8"), max_size=60)
NAME = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=40
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
METADATA = st.none() | st.dictionaries(
    st.sampled_from(["correlation", "causation", "traceparent", "tracestate", "user", "Zoë"]),
    TEXT | JSON,
    min_size=1,
)
ENTRIES = st.builds(
    lambda subject, kind, version, time, payload, metadata, shard, position: Entry(
        "orders",
        subject,
        0,
        kind,
        version,
        time,
        msgspec.json.encode(payload),
        None if metadata is None else msgspec.json.encode(metadata),
        shard=shard,
        position=position,
    ),
    TEXT,
    NAME.filter(lambda name: name[0] != "$"),
    st.integers(1, 10**9 - 1),
    st.integers(0, 4_000_000_000_000_000),
    JSON,
    METADATA,
    st.integers(0, 999),
    st.integers(1, 2**63 - 1),
)
SOURCE = "/shop/topics/orders"


def arrived(headers: bytes, payload: bytes) -> messages.Arrived:
    return messages.Arrived("orders", 19, 77, 5_000_000, headers, payload)


@given(ENTRIES)
def test_an_entry_comes_back_as_it_was(entry: Entry) -> None:
    lines = messages.header_lines(entry, SOURCE)
    back = messages.entry_of(arrived(lines, entry.payload))
    expected = msgspec.structs.replace(entry, origin=entry.id, shard=19, position=77)
    assert msgspec.to_builtins(back) == msgspec.to_builtins(expected)


@given(ENTRIES)
def test_header_lines_are_lines_that_any_server_takes(entry: Entry) -> None:
    lines = messages.header_lines(entry, SOURCE).split(b"\r\n")
    assert lines.pop() == b""
    for line in lines:
        name, colon, value = line.partition(b": ")
        assert colon
        assert name.replace(b"-", b"").isalnum()
        assert not set(value) & set(b"\r\n\x00")


@given(ENTRIES)
def test_plain_clients_read_a_valid_event(entry: Entry) -> None:
    # Keys and metadata may hold what no attribute may: such an event is read by us alone.
    texts = [entry.subject, entry.type, *(metadata_of(entry)).values()]
    assume(not any(isinstance(text, str) and attributes.text_problem(text) for text in texts))
    assume(not any(metadata_of(entry).get(name) == "" for name in cloudevent.INHERITED.values()))
    lines = messages.header_lines(entry, SOURCE)
    (event,) = cloudevents.decode(messages.header_pairs(lines), entry.payload)
    assert (event.id, event.source, event.type) == (entry.id, SOURCE, entry.type)
    assert (event.subject or "", event.data) == (entry.subject, entry.payload)
    assert event.time == cloudevent.time_text(entry.time)


def test_an_event_that_came_from_outside_keeps_its_attributes_for_plain_clients() -> None:
    given_event = CloudEvent("e 1", "/till", "Placed", subject="k", extensions={"priority": "7"})
    metadata = msgspec.json.encode(cloudevent.metadata_from(given_event))
    entry = Entry("orders", "k", 0, "Placed", 1, 5, b"{}", metadata, shard=1, position=2)
    lines = messages.header_lines(entry, SOURCE)
    (event,) = cloudevents.decode(messages.header_pairs(lines), b"{}")
    assert (event.id, event.source, event.extensions["priority"]) == ("e 1", "/till", "7")
    back = messages.entry_of(arrived(lines, b"{}"))
    assert (back.origin, back.metadata) == ("1:2", metadata)


@given(st.binary(max_size=300), st.binary(max_size=60))
def test_nothing_that_arrives_is_dropped_or_raises(headers: bytes, payload: bytes) -> None:
    entry = messages.entry_of(arrived(headers, payload))
    assert entry.type == messages.MALFORMED
    assert msgspec.json.decode(entry.payload, type=messages.Malformed).data == payload


@given(ENTRIES, st.data())
def test_a_damaged_message_is_taken_or_told(entry: Entry, data: st.DataObject) -> None:
    lines = messages.header_lines(entry, SOURCE)
    at = data.draw(st.integers(0, len(lines) - 1))
    damaged = lines[:at] + data.draw(st.binary(max_size=3)) + lines[at + 1 :]
    back = messages.entry_of(arrived(damaged, entry.payload))
    assert (back.source, back.shard, back.position) == ("orders", 19, 77)
    assert len(back.type) <= limits.NAME_CHARACTERS_MAX


def test_a_message_in_a_wrong_partition_is_told() -> None:
    entry = Entry("orders", "k", 0, "Placed", 1, 5, b"{}", shard=1, position=2)
    lines = messages.header_lines(entry, SOURCE)
    back = messages.entry_of(arrived(lines, b"{}"), belongs=lambda key: key != "k")
    assert back.type == messages.MALFORMED
    assert "partition" in msgspec.json.decode(back.payload, type=messages.Malformed).reason
    assert back.subject != "k"
