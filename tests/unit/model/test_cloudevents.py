"""CloudEvents codec: the specification's rules, and agreement with the official SDK."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import datetime
from typing import Any

import msgspec
import pytest
from cloudevents.core.bindings import http as sdk_http
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent as SdkEvent
from hypothesis import given
from hypothesis import strategies as st

from eventmill.model import limits
from eventmill.model.cloudevents import (
    BATCH_TYPE,
    STRUCTURED_TYPE,
    CloudEvent,
    CloudEventTooLarge,
    InvalidCloudEvent,
    Mode,
    UnsupportedEventFormat,
    check,
    decode,
    decode_batch,
    decode_binary,
    decode_structured,
    encode_batch,
    encode_binary,
    encode_structured,
    mode_of,
)

REQUIRED = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
HEADERS = [(f"ce-{name}".encode(), value.encode()) for name, value in REQUIRED.items()]


def body(**members: Any) -> bytes:
    return msgspec.json.encode({**REQUIRED, **members})


def refused(members: bytes, attribute: str | None = None) -> InvalidCloudEvent:
    """Decode an event alone and as the second of a batch; both must be refused for one reason."""
    with pytest.raises(InvalidCloudEvent) as alone:
        decode_structured(members)
    with pytest.raises(InvalidCloudEvent) as in_batch:
        decode_batch(b"[" + body() + b"," + members + b"]")
    assert alone.value.attribute == in_batch.value.attribute == attribute
    assert alone.value.index is None
    assert in_batch.value.index == 1
    return alone.value


# --- what is read ------------------------------------------------------------------------------


def test_a_structured_event_is_read_with_all_its_attributes() -> None:
    event = decode_structured(
        b'{"specversion":"1.0","id":"A-1","source":"https://example.org/a?b#c","type":"x.y",'
        b'"subject":"S\\u00fcd","time":"2018-04-05T17:31:00.5+01:00","dataschema":"urn:x:y",'
        b'"datacontenttype":"application/vnd.x+json; charset=utf-8","partitionkey":"p",'
        b'"sampledrate":5,"sure":true,"unset":null, "data" : { "a" : [1, 2.50] } }'
    )
    assert event == CloudEvent(
        id="A-1",
        source="https://example.org/a?b#c",
        type="x.y",
        subject="Süd",
        time="2018-04-05T17:31:00.5+01:00",
        dataschema="urn:x:y",
        datacontenttype="application/vnd.x+json; charset=utf-8",
        data=b'{ "a" : [1, 2.50] }',
        extensions={"partitionkey": "p", "sampledrate": 5, "sure": True},
    )


@pytest.mark.parametrize(
    ("members", "data"),
    [
        ({}, None),
        ({"data": None}, b"null"),
        ({"data": "text"}, b'"text"'),
        ({"data": "text", "datacontenttype": "text/plain"}, b"text"),
        ({"data": "", "datacontenttype": "text/plain"}, b""),
        ({"data": "é", "datacontenttype": 'text/plain; charset="UTF-8"'}, "é".encode()),
        ({"data_base64": "AP8=", "datacontenttype": "image/png"}, b"\x00\xff"),
        ({"data_base64": "eyJhIjoxfQ=="}, b'{"a":1}'),
        ({"data_base64": None}, None),
        ({"data_base64": None, "data": 1}, b"1"),
    ],
)
def test_data_is_read_as_its_content_type_says(members: Any, data: bytes | None) -> None:
    assert decode_structured(body(**members)).data == data
    assert [event.data for event in decode_batch(b"[" + body(**members) + b"]")] == [data]


def test_an_empty_batch_is_a_batch() -> None:
    assert decode_batch(b" [ ] ") == []
    assert encode_batch([]) == b"[]"


def test_a_binary_event_is_read_from_headers_in_any_case() -> None:
    event = decode_binary(
        [
            (b"CE-Id", b"1"),
            (b"ce-source", b"/s"),
            (b"ce-type", b" t "),
            (b"ce-specversion", b"1.0"),
            (b"ce-subject", b"Euro%20%E2%82%AC%20%f0%9f%98%80 %41"),
            (b"ce-quoted", b'"a \\"b\\" %25"'),
            (b"content-type", b"application/json"),
            (b"host", b"\xff"),
        ],
        b'{"a": 1}',
    )
    assert event == CloudEvent(
        id="1",
        source="/s",
        type="t",
        subject="Euro € 😀 A",
        datacontenttype="application/json",
        data=b'{"a": 1}',
        extensions={"quoted": 'a "b" %'},
    )


def test_the_mode_follows_the_content_type() -> None:
    assert mode_of("") is Mode.BINARY
    assert mode_of("application/json") is Mode.BINARY
    assert mode_of("Application/CloudEvents+JSON ; charset=UTF-8") is Mode.STRUCTURED
    assert mode_of(BATCH_TYPE) is Mode.BATCH
    for other in (
        "application/cloudevents",
        "application/cloudevents+avro",
        "application/cloudevents-batch",
        "application/cloudevents+json; charset=utf-16",
    ):
        with pytest.raises(UnsupportedEventFormat):
            mode_of(other)


def test_decode_reads_every_mode() -> None:
    event = CloudEvent("1", "/s", "t", data=b"{}", datacontenttype="application/json")
    headers, data = encode_binary(event)
    assert decode(headers, data) == [event]
    structured = [(b"content-type", STRUCTURED_TYPE.encode()), (b"ce-id", b"ignored")]
    assert decode(structured, encode_structured(event)) == [event]
    batch = [(b"Content-Type", BATCH_TYPE.encode())]
    assert decode(batch, encode_batch([event, event])) == [event, event]


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_a_required_attribute_must_be_there_and_not_empty(name: str) -> None:
    without = {key: value for key, value in REQUIRED.items() if key != name}
    refused(msgspec.json.encode(without), name)
    refused(body(**{name: ""}), name)
    refused(body(**{name: None}), name)
    refused(body(**{name: 1}), name)
    with pytest.raises(InvalidCloudEvent) as raised:
        decode_binary([pair for pair in HEADERS if pair[0] != f"ce-{name}".encode()], b"")
    assert raised.value.attribute == name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("specversion", "0.3"),
        ("specversion", "1.0.2"),
        ("source", "not a uri"),
        ("source", "1:2"),
        ("source", "/zürich"),
        ("source", "/a%2"),
        ("source", "a#b#c"),
        ("source", "http://[::1"),
        ("source", "http://h:port/"),
        ("dataschema", "/relative"),
        ("subject", ""),
        ("subject", "a\nb"),
        ("subject", "a\x7fb"),
        ("subject", "a\u0085b"),
        ("subject", "a\ufffeb"),
        ("subject", "a\U0001ffffb"),
        ("id", "\ufdd0"),
        ("type", "a\tb"),
        ("type", "x" * (limits.ATTRIBUTE_CHARACTERS_MAX + 1)),
        ("time", "2018-04-05"),
        ("time", "2018-04-05T17:31:00"),
        ("time", "2018-04-05 17:31:00Z"),
        ("time", "2018-04-05T17:31:00+0100"),
        ("time", "2018-04-05T17:31:00-0100"),
        ("time", "2018-02-30T17:31:00Z"),
        ("time", "2018-04-05T24:00:00Z"),
        ("time", "٢018-04-05T17:31:00Z"),
        ("datacontenttype", "json"),
        ("datacontenttype", "text/plain\r\nx: y"),
        ("Upper", "x"),
        ("with_score", "x"),
        ("with-dash", "x"),
        ("x" * (limits.ATTRIBUTE_NAME_CHARACTERS_MAX + 1), "x"),
        ("ext", "a\x00b"),
        ("ext", "x" * (limits.ATTRIBUTE_CHARACTERS_MAX + 1)),
        ("ext", 2**31),
        ("ext", -(2**31) - 1),
        ("ext", 1.5),
        ("ext", ["x"]),
        ("ext", {"x": 1}),
    ],
)
def test_a_bad_attribute_is_refused_and_named(name: str, value: Any) -> None:
    assert name[:40] in refused(body(**{name: value}), name).message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("source", "1-555-123-4567"),
        ("source", "mailto:cncf-wg-serverless@lists.cncf.io"),
        ("source", "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66"),
        ("source", "http://user@[2001:db8::1]:80/a%20b?q=1/2?3#f"),
        ("source", "//host"),
        ("source", "?q:r"),
        ("source", "a/b:c"),
        ("dataschema", "https://example.org/schema.json#/definitions/x"),
        ("subject", "a\u00a0b\u200d\ue000"),
        ("id", "😀"),
        ("time", "1990-12-31T23:59:60Z"),
        ("time", "2018-04-05t17:31:00.123456789z"),
        ("time", "2018-04-05T17:31:00-00:00"),
        ("datacontenttype", 'multipart/mixed; boundary="a b" ; x=y;'),
        ("ext", ""),
        ("ext", -(2**31)),
        ("ext", False),
        ("extensions", "x"),
        ("data64", "x"),
    ],
)
def test_an_unusual_attribute_is_taken_as_it_is(name: str, value: Any) -> None:
    event = decode_structured(body(**{name: value}))
    assert event.extensions.get(name, getattr(event, name, None)) == value
    assert decode_batch(b"[" + body(**{name: value}) + b"]") == [event]


@pytest.mark.parametrize("name", ["id", "data", "subject", "data_base64", "ext"])
def test_a_member_that_comes_twice_is_refused(name: str) -> None:
    value = "MQ=="  # the base64 of JSON
    good = body(**{name: value})
    decode_structured(good)
    refused(good[:-1] + f',"{name}":"{value}"}}'.encode())
    # Written with an escape it is the same name.
    refused(good[:-1] + f',"\\u{ord(name[0]):04x}{name[1:]}":"{value}"}}'.encode())


def test_data_and_its_base64_exclude_each_other() -> None:
    refused(body(data=1, data_base64="YQ=="), "data")
    refused(body(data=None, data_base64="YQ=="), "data")
    refused(body(data_base64="!"), "data_base64")
    refused(body(data_base64="YQ=="), "data")  # not JSON, and no content type says otherwise
    refused(body(data={"a": 1}, datacontenttype="text/plain"), "data")
    refused(body(data="é", datacontenttype="text/plain; charset=latin-1"), "data")


def test_more_extensions_than_the_limit_are_refused() -> None:
    most = {f"ext{number}": "x" for number in range(limits.EXTENSIONS_MAX)}
    assert len(decode_structured(body(**most)).extensions) == limits.EXTENSIONS_MAX
    refused(body(**most, onemore="x"))


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"1", b'{"id":"\xff"}', b'"x"', b"[" * 100_000, b"null"]
)
def test_what_is_no_event_is_refused(text: bytes) -> None:
    for decoder in (decode_structured, lambda text: decode_batch(b"[" + text + b"]")):
        with pytest.raises(InvalidCloudEvent):
            decoder(b"[" + text + b"]")


def test_bad_utf8_and_bad_json_inside_data_are_refused() -> None:
    for data in (b'"\xff"', b'"\xc0\xa0"', b"01", b"{,}", b'"\\x"', b'"\\ud800"'):
        text = body()[:-1] + b',"data":' + data + b"}"
        with pytest.raises(InvalidCloudEvent):
            decode_structured(text)
        with pytest.raises(InvalidCloudEvent):
            decode_binary(HEADERS, data)


def test_a_batch_longer_than_the_limit_is_refused() -> None:
    one = CloudEvent("1", "/s", "t")
    full = encode_batch([one] * limits.BATCH_EVENTS_MAX)
    assert len(decode_batch(full)) == limits.BATCH_EVENTS_MAX
    with pytest.raises(CloudEventTooLarge):
        decode_batch(full[:-1] + b"," + encode_structured(one) + b"]")
    with pytest.raises(CloudEventTooLarge):
        encode_batch([one] * (limits.BATCH_EVENTS_MAX + 1))


def test_data_at_the_limits_is_taken_and_beyond_refused() -> None:
    deepest = b"[" * limits.JSON_DEPTH_MAX + b"]" * limits.JSON_DEPTH_MAX
    largest = b'"' + b"x" * (limits.PAYLOAD_BYTES_MAX - 2) + b'"'
    for data, beyond in ((deepest, b"[" + deepest + b"]"), (largest, largest[:-1] + b'x"')):
        event = CloudEvent("1", "/s", "t", datacontenttype="application/json", data=data)
        assert decode(*encode_binary(event)) == [event]
        assert decode_structured(encode_structured(event)) == event
        too_much = msgspec.structs.replace(event, data=beyond)
        with pytest.raises(CloudEventTooLarge):
            decode(*encode_binary(too_much))
        with pytest.raises(CloudEventTooLarge):
            decode_batch(encode_batch([event, too_much]))
        with pytest.raises(CloudEventTooLarge):
            check(too_much)


@pytest.mark.parametrize(
    ("header", "attribute"),
    [
        ((b"ce-id", b"2"), "id"),
        ((b"CE-ID", b"1"), "id"),
        ((b"ce-subject", b""), "subject"),
        ((b"ce-subject", b"a%0d%0ab"), "subject"),
        ((b"ce-subject", b"%C0%A0"), "subject"),
        ((b"ce-subject", b"100%"), "subject"),
        ((b"ce-subject", b"%zz"), "subject"),
        ((b"ce-subject", "é".encode()), "subject"),
        ((b"ce-subject", "é".encode("latin-1")), "subject"),
        ((b"ce-subject", b"%ED%A0%80"), "subject"),
        ((b"ce-datacontenttype", b"text/plain"), "datacontenttype"),
        ((b"ce-data", b"x"), "data"),
        ((b"ce-with-dash", b"x"), "with-dash"),
        ((b"ce-", b"x"), ""),
        ((b"content-type", b"json"), "datacontenttype"),
        ((b"content-type", b"text/pl\xe9in"), "datacontenttype"),
    ],
)
def test_a_bad_header_is_refused_and_named(header: tuple[bytes, bytes], attribute: str) -> None:
    with pytest.raises(InvalidCloudEvent) as raised:
        decode_binary([*HEADERS, header], b"")
    assert raised.value.attribute == attribute


def test_two_content_types_are_refused() -> None:
    with pytest.raises(InvalidCloudEvent):
        decode([*HEADERS, (b"content-type", b"text/plain"), (b"Content-Type", b"text/plain")], b"")


def test_an_error_does_not_repeat_a_whole_body() -> None:
    for text in (body(specversion="x" * 100_000), body(**{"X" * 100_000: "x"})):
        with pytest.raises(InvalidCloudEvent) as raised:
            decode_structured(text)
        assert len(raised.value.message) < 1_000


# --- what is written ---------------------------------------------------------------------------


def test_the_specifications_example_is_encoded_as_a_header() -> None:
    headers, _ = encode_binary(CloudEvent("1", "/s", "t", subject="Euro € 😀"))
    assert (b"ce-subject", b"Euro%20%E2%82%AC%20%F0%9F%98%80") in headers


def test_json_data_is_passed_on_byte_for_byte() -> None:
    data = b'{ "price": 1.10, "name": "S\\u00fcd" }'
    event = CloudEvent("1", "/s", "t", data=data)
    assert data in encode_structured(event)
    assert data in encode_batch([event])
    assert encode_binary(event)[1] == data


def test_values_that_are_no_strings_become_their_canonical_text_in_headers() -> None:
    headers, _ = encode_binary(CloudEvent("1", "/s", "t", extensions={"n": -5, "b": True}))
    assert (b"ce-n", b"-5") in headers
    assert (b"ce-b", b"true") in headers


# --- round trips and fuzzing -------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn"]), max_size=20)
names = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=20).filter(
    lambda name: name != "data" and name not in CloudEvent.__struct_fields__[:8]
)
sources = st.from_regex(r"(https://[a-z]{1,9})?/[a-z0-9%]{0}([a-z]|%20){0,9}", fullmatch=True)
times = st.datetimes().map(lambda time: time.isoformat() + "Z")
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
documents = st.builds(
    lambda value, ascii, indent: json.dumps(value, ensure_ascii=ascii, indent=indent).encode(),
    values,
    st.booleans(),
    st.sampled_from([None, 1]),
)
json_types = st.sampled_from([None, "application/json", "text/json; charset=utf-8", "a/b+json"])
contents = st.tuples(json_types, st.none() | documents) | st.tuples(
    st.sampled_from(["application/octet-stream", "text/plain"]), st.none() | st.binary(max_size=20)
)


@st.composite
def cloudevents(draw: st.DrawFn) -> CloudEvent:
    datacontenttype, data = draw(contents)
    return CloudEvent(
        id=draw(texts.filter(bool)),
        source=draw(sources),
        type=draw(texts.filter(bool)),
        subject=draw(st.none() | texts.filter(bool)),
        time=draw(st.none() | times),
        datacontenttype=datacontenttype,
        dataschema=draw(st.none() | st.just("urn:schema:1")),
        data=data,
        extensions=draw(
            st.dictionaries(
                names, texts | st.booleans() | st.integers(-(2**31), 2**31 - 1), max_size=3
            )
        ),
    )


def in_headers(event: CloudEvent) -> CloudEvent:
    """What is left of an event after binary mode: texts without outer spaces, no empty data."""
    return msgspec.structs.replace(
        event,
        datacontenttype=event.datacontenttype
        or ("application/json" if event.data is not None else None),
        data=event.data or None,
        extensions={
            name: str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in event.extensions.items()
        },
    )


@given(st.lists(cloudevents(), max_size=5))
def test_what_is_written_is_read_again(events: list[CloudEvent]) -> None:
    assert decode_batch(encode_batch(events)) == events
    for event in events:
        check(event)
        assert decode_structured(encode_structured(event)) == event
        assert decode(*encode_binary(event)) == [in_headers(event)]


@given(st.lists(cloudevents(), min_size=1, max_size=4), st.booleans(), st.sampled_from([None, 2]))
def test_layout_and_escapes_do_not_matter(
    events: list[CloudEvent], ascii: bool, indent: int | None
) -> None:
    text = json.dumps(json.loads(encode_batch(events)), ensure_ascii=ascii, indent=indent)
    read = decode_batch(text.encode())
    assert [comparable(event) for event in read] == [comparable(event) for event in events]


def comparable(event: CloudEvent) -> tuple[CloudEvent, Any]:
    is_json = "json" in (event.datacontenttype or "json")
    if event.data is None or not is_json:
        return event, None
    return msgspec.structs.replace(event, data=None), json.loads(event.data)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid batch with some of its bytes cut out, repeated or replaced."""
    text = bytearray(encode_batch(draw(st.lists(cloudevents(), min_size=1, max_size=3))))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        stop = draw(st.integers(start, min(len(text), start + 40)))
        piece = bytes(text[start:stop])
        pieces = [b"", piece + piece, draw(st.binary(max_size=4)), b'"', b"\\", b',"id":"1"', b"{"]
        text[start:stop] = draw(st.sampled_from(pieces))
    return bytes(text)


@given(damaged() | st.binary(max_size=200))
def test_a_damaged_batch_is_refused_or_read_as_a_plain_reader_reads_it(text: bytes) -> None:
    try:
        events = decode_batch(text)
    except InvalidCloudEvent:
        return
    for event, members in zip(events, json.loads(text, object_pairs_hook=list), strict=True):
        check(event)
        assert len({name for name, _ in members}) == len(members)
        known = dict(members)
        assert known["id"] == event.id
        assert known.get("subject") == event.subject
        assert len(known) >= 4 + len(event.extensions)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([*(name for name, _ in HEADERS), b"ce-subject", b"content-type"])
            | st.binary(max_size=9).map(lambda name: b"ce-" + name),
            st.sampled_from([b"1.0", b"1", b"application/json", b"application/cloudevents"])
            | st.binary(max_size=9),
        ),
        max_size=8,
    ),
    st.binary(max_size=20) | documents,
)
def test_any_message_is_read_or_refused(headers: list[tuple[bytes, bytes]], data: bytes) -> None:
    for start in ([], HEADERS):
        try:
            events = decode([*start, *headers], data)
        except InvalidCloudEvent:
            continue
        for event in events:
            check(event)


# --- beside the official SDK -------------------------------------------------------------------

sdk_values = st.dictionaries(texts, values, min_size=1, max_size=3)


@st.composite
def shared_events(draw: st.DrawFn) -> CloudEvent:
    """An event that the SDK can hold: JSON objects as data, text in extensions.

    The SDK gives an event without a time the time of its making, so all have one.
    """
    return CloudEvent(
        id=draw(texts.filter(bool)),
        source=draw(sources),
        type=draw(texts.filter(bool)),
        subject=draw(st.none() | texts.filter(bool)),
        time=draw(times),
        datacontenttype="application/json",
        dataschema=draw(st.none() | st.just("https://example.org/schema")),
        data=json.dumps(draw(sdk_values)).encode(),
        extensions=dict(draw(st.dictionaries(names, texts, max_size=3))),
    )


def as_sdk(event: CloudEvent) -> SdkEvent:
    core = {
        name: value
        for name in CloudEvent.__struct_fields__[:8]
        if (value := getattr(event, name)) is not None
    }
    core["time"] = datetime.fromisoformat(event.time or "")
    assert event.data is not None
    return SdkEvent({**core, **event.extensions}, json.loads(event.data))


def seen(event: CloudEvent) -> Any:
    """Attributes and data in a form that both sides share."""
    assert event.data is not None
    assert event.time is not None
    plain = msgspec.structs.replace(event, data=None, time=None)
    return plain, datetime.fromisoformat(event.time), json.loads(event.data)


@given(shared_events())
def test_the_sdk_reads_our_binary_mode(event: CloudEvent) -> None:
    headers, data = encode_binary(event)
    message = sdk_http.HTTPMessage({name.decode(): value.decode() for name, value in headers}, data)
    read = sdk_http.from_http_event(message)
    assert read.get_attributes() == as_sdk(event).get_attributes()
    assert read.get_data() == as_sdk(event).get_data()


@given(shared_events())
def test_we_read_the_sdks_binary_mode(event: CloudEvent) -> None:
    message = sdk_http.to_binary_event(as_sdk(event))
    headers = [(name.encode(), value.encode()) for name, value in message.headers.items()]
    (read,) = decode(headers, message.body)
    assert seen(read) == seen(event)


@given(shared_events())
def test_the_sdk_reads_our_structured_mode(event: CloudEvent) -> None:
    message = sdk_http.HTTPMessage({"content-type": STRUCTURED_TYPE}, encode_structured(event))
    read = sdk_http.from_http_event(message)
    assert read.get_attributes() == as_sdk(event).get_attributes()
    assert read.get_data() == as_sdk(event).get_data()


@given(shared_events())
def test_we_read_the_sdks_structured_mode(event: CloudEvent) -> None:
    message = sdk_http.to_structured_event(as_sdk(event))
    headers = [(name.encode(), value.encode()) for name, value in message.headers.items()]
    (read,) = decode(headers, message.body)
    assert seen(read) == seen(event)


# The SDK has no batched mode; a batch is, by the specification, an array of its JSON events.


@given(st.lists(shared_events(), max_size=4))
def test_the_sdk_reads_the_events_of_our_batches(events: list[CloudEvent]) -> None:
    members = json.loads(encode_batch(events))
    read = [JSONFormat().read(None, json.dumps(one)) for one in members]
    assert [one.get_attributes() for one in read] == [
        as_sdk(one).get_attributes() for one in events
    ]
    assert [one.get_data() for one in read] == [as_sdk(one).get_data() for one in events]


@given(st.lists(shared_events(), max_size=4))
def test_we_read_batches_of_the_sdks_events(events: list[CloudEvent]) -> None:
    text = b"[" + b",".join(JSONFormat().write(as_sdk(event)) for event in events) + b"]"
    assert [seen(event) for event in decode_batch(text)] == [seen(event) for event in events]


def test_bytes_travel_between_the_sdk_and_us() -> None:
    ours = CloudEvent("1", "/s", "t", datacontenttype="image/png", data=b"\x89PNG\xff")
    theirs = SdkEvent(
        {"id": "1", "source": "/s", "type": "t", "datacontenttype": "image/png"}, b"\x89PNG\xff"
    )
    assert JSONFormat().read(None, encode_structured(ours)).get_data() == b"\x89PNG\xff"
    assert b64encode(b"\x89PNG\xff") in JSONFormat().write(theirs)
    read = decode_structured(JSONFormat().write(theirs))
    assert msgspec.structs.replace(read, time=None) == ours
