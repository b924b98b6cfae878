"""The edge: bodies, headers, connections, streams, sockets."""

from __future__ import annotations

from typing import Final

from eventmill.model.limits.stored import PAYLOAD_BYTES_MAX

JSON_DEPTH_MAX: Final = 64
"""Nesting of JSON in bodies: deeper input is an attack on recursive decoders."""

BATCH_EVENTS_MAX: Final = 1_000
"""CloudEvents in one HTTP batch."""

BODY_SECONDS: Final = 10.0
"""From a request's headers to the last byte of its body: 1 MiB at 0.8 Mbit/s, 8 MiB at 6.7."""

BODIES_MAX: Final = 512
"""Bodies of one node that are older than a second; beyond it the oldest are refused."""

BODIES_BYTES_MAX: Final = 128 << 20
"""Held of bodies that came in part: sixteen of the largest."""

HEADER_BYTES_MAX: Final = 64 << 10
"""All headers of one HTTP request together; hyper refuses more than 100 headers by itself."""

HEADER_SECONDS: Final = 10.0
"""For a request's headers, and for a connection between two requests; then it is closed."""

UNREAD_SECONDS: Final = 60.0
"""A client may leave an answer unread; then its connection is closed (Linux only)."""

KEEPALIVE_SECONDS: Final = 30.0
"""Silence after which the system asks whether the other side of a connection is still there; it has
`UNREAD_SECONDS` to say so (Linux only)."""

CONNECTIONS_MAX: Final = 8_192
"""Connections of one node's service; further ones wait in the system's queue. Each may hold
`HEADER_BYTES_MAX` (512 MiB together) and a file descriptor."""

CONNECTIONS_WAITING_MAX: Final = 1_024
"""Connections in the system's queue; beyond it clients are told nothing and try again."""

ADMIN_CONNECTIONS_MAX: Final = 128
"""Connections of the operating surface: few people, some scripts."""

CLIENT_REQUESTS_MAX: Final = 100
"""Requests of one `Client` on their way, a connection each; further ones wait in turn. Streams come on
top."""

FILES_RESERVED: Final = 768
"""File descriptors for everything but the service's connections: the operating surface, 256
connections to sinks, the store and the interpreter."""

URL_VALUES_MAX: Final = 1_000
"""Values in one URL's query; a list's come one by one. So many UUIDs take 42 of the 64 KiB of
`HEADER_BYTES_MAX`."""

STREAMS_MAX: Final = 1_024
"""`text/event-stream` answers of one node at the same time: each holds a connection."""

STREAMS_BYTES_MAX: Final = 128 << 20
"""Of all streams of one node, on their way to clients: each may read ahead its share of it, and when
what is being sent reaches it, the streams whose clients keep it waiting longest end."""

STREAMS_END_SECONDS: Final = 1.0
"""Time for the last words of streams and WebSockets when a node stops."""

STREAM_CHUNK_BYTES: Final = 64 << 10
"""Events of a stream are put together up to this size before they are sent."""

ENDPOINTS_RUNNING_MAX: Final = 1_024
"""Requests to a service's own routes whose functions run at the same time."""

BLOCKING_SECONDS: Final = 0.1
"""An endpoint's function that computes so long at a stretch is told of, with guards on: meanwhile
nothing else of the node goes on."""

SOCKET_BYTES_MAX: Final = PAYLOAD_BYTES_MAX
"""One message that comes over a WebSocket: what a command may bring."""

SOCKET_WORDS_AHEAD: Final = 64
"""Words of a client that wait until its function receives them."""

SOCKET_BYTES_AHEAD: Final = 64 << 10
"""The same bound in bytes; the word that reaches it is the last."""

SOCKET_CLOSE_SECONDS: Final = 1.0
"""Time for the last word on a WebSocket, whose client may not be reading."""

STREAM_TURNS: Final = 8
"""Chunks that all streams together send in one round of the loop: half a MiB, some milliseconds."""

HEARTBEAT_SECONDS: Final = 15.0
"""Silence on a stream after which a comment is sent (the HTML standard advises 15 seconds)."""

CHANGES_HELD: Final = 64
"""Newest entries of one entity that is followed, held for its followers: who is further behind reads
the store."""

CHANGES_BYTES_HELD: Final = 64 << 10
"""The same bound in bytes: 64 MiB where each of `STREAMS_MAX` streams follows another entity."""

ATTRIBUTE_CHARACTERS_MAX: Final = 2_048
"""One CloudEvents attribute's value: longer than any URI or trace state met in practice."""

ATTRIBUTE_NAME_CHARACTERS_MAX: Final = 64
"""An extension attribute's name; the specification advises 20."""

EXTENSIONS_MAX: Final = 32
"""Extension attributes of one CloudEvent; the specification documents about 20."""
