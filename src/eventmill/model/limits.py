"""Every bound of the platform, in one place, each with its reason.

A value beyond a bound gets a clear error (`TooLarge`, `Overloaded`) or is parked; nothing grows
without end. Relations between the bounds are asserted by `tests/unit/model/test_limits.py`.
"""

from __future__ import annotations

from typing import Final

SLICES: Final = 1024
"""Hash slices of the key space: the unit in which shards are cut (Akka's R2DBC journal: 1,024).
A store has at most as many shards."""

PAYLOAD_BYTES_MAX: Final = 1 << 20
"""One event, state, message or command: NATS refuses more than 1 MiB by default."""

BODY_BYTES_MAX: Final = 8 << 20
"""One HTTP body: a batch of messages; eight full payloads."""

NAME_CHARACTERS_MAX: Final = 128
"""Component, topic, handler, event-type and subscription names."""

NAMES_MAX: Final = 10_000
"""Different names of sources and types in one store, all held in memory: beyond it, events from
outside whose type their topic does not declare are refused. Declared types always have room."""

SUBJECT_CHARACTERS_MAX: Final = 512
"""Entity ids and message keys: part of index keys."""

IDEMPOTENCY_KEY_CHARACTERS_MAX: Final = 256
"""Part of a primary key; UUIDs and `source/id` pairs fit."""

METADATA_BYTES_MAX: Final = 16 << 10
"""Correlation, trace context and user metadata of one record."""

EVENTS_PER_EFFECT_MAX: Final = 1_000
"""Events that one command may persist at once: one command must fit into one commit."""

OUTGOING_PER_EFFECT_MAX: Final = 2_000
"""Messages, sent commands and timers that one effect may cause, besides its events: what a handler
does for a full batch still fits, and all of it into one commit."""

EFFECT_BYTES_MAX: Final = BODY_BYTES_MAX
"""Payloads of one effect's events together, and of what it causes elsewhere together: what a
request may bring in, it may also lead to."""

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

MAILBOX_ENTITY_MAX: Final = 1_024
"""Commands waiting for one entity while it is loaded."""

COMMIT_REPLIES_MAX: Final = 4_096
"""Callers of one commit; the next ones wait for the next commit."""

COMMIT_ENTRIES_MAX: Final = 4_096
"""Entries after which a commit is full and the next one collects: bounds a commit's duration."""

COMMIT_BYTES_MAX: Final = 8 << 20
"""The same bound in bytes of payloads and metadata (measured: SQLite writes some 8 ms per MiB, on
the loop)."""

COMMITS_WAITING_MAX: Final = 4
"""Commits that may wait for the disk, 32 MiB and 16,384 entries together; beyond them callers are
told to slow down."""

LONE_COMMITS_MAX: Final = 256
"""Changes of facts that wait for the disk, each a commit: operators ask for one at a time, a node that
starts for one a view."""

IN_FLIGHT_MAX: Final = COMMITS_WAITING_MAX * COMMIT_REPLIES_MAX
"""Commands of one node between ingress and reply: bounds memory and the wait of the last one."""

CACHE_ENTITIES: Final = 100_000
"""Default number of entities held in memory by a node."""

CACHE_BYTES: Final = 256 << 20
"""Default size of the entities held in memory, by their encoded size."""

REPLICA_BYTES_MAX: Final = PAYLOAD_BYTES_MAX
"""A replicated entity, which is stored whole whenever it has changed."""

CACHE_REPLICAS: Final = 100_000
"""Replicated entities in memory, on each node that is asked for them."""

CACHE_REPLICAS_BYTES: Final = 64 << 20
"""The same bound in bytes of their encoded size."""

CACHE_COMPACTED: Final = 10_000
"""Stored states of replicated entities in memory, of those whose changes are being stored."""

CACHE_COMPACTED_BYTES: Final = 16 << 20
"""The same bound in bytes."""

DELTA_BYTES_MAX: Final = PAYLOAD_BYTES_MAX // 4
"""Changes of one replicated entity that go into one entry; what comes then is another one."""

REPLICAS_MAX: Final = 1_024
"""Nodes of a service that change replicated entities at the same time: each has a number of its own,
and a count in every entity's context."""

SPREAD_BYTES_MAX: Final = 4 << 20
"""Changes of replicated entities that wait to be told to one node; beyond it, it reads them."""

SNAPSHOT_EVERY: Final = 100
"""Events between two snapshots of an entity (Kalix and Akka default)."""

SNAPSHOT_BYTES_MAX: Final = 32 << 20
"""One snapshot, which is written on the loop (8 ms per MiB): a larger state is made of its events each
time it is loaded, from the last snapshot that was smaller."""

TIME_MICROSECONDS_MAX: Final = 253_402_300_799_999_999
"""The last moment of the year 9999, the latest that a time of Python's can be: when a timer may be
due. A store's integers do not hold every `timedelta`."""

INTERVAL_SECONDS_MIN: Final = 1
"""Between two ticks of a schedule: each costs three commits."""

INTERVAL_SECONDS_MAX: Final = 366 * 86_400
"""The longest interval; what is rarer has a date, which a cron expression says better."""

MISSED_TICKS_MAX: Final = 1_000
"""Runs of a schedule for ticks at which no node was there: they share one commit. Of more, the last."""

TICK_GRACE_SECONDS: Final = 60
"""A tick that is found so late, as after a restart, counts as kept: the shortest cron interval."""

RETENTION_DELETED_SECONDS: Final = 7 * 24 * 3600
"""A deleted entity's events stay this long so that consumers can catch up (Kalix default)."""

IDEMPOTENCY_SECONDS: Final = 24 * 3600
"""Outcomes of keyed commands are kept this long (Stripe's documented window)."""

TAIL_RECORDS: Final = 32_768
"""Newest records kept in memory for readers that are at the end of the journal."""

TAIL_BYTES: Final = 64 << 20
"""The same bound in bytes of payloads and metadata."""

DISPATCH_BATCH: Final = 512
"""Records a subscription takes at once: one commit of its effects."""

COURIER_LANES: Final = 256
"""Sent commands on their way to other nodes' entities at the same time: they fill one message."""

SCAN_ROWS: Final = 1_024
"""Journal rows read from the store in one go; keeps the loop's turn below a few milliseconds."""

SCAN_BYTES_MAX: Final = 4 << 20
"""The same bound in bytes of payloads and metadata (measured: SQLite reads 0.6 ms per MiB, decoding
takes more); the entry that reaches it is the last, so a payload of any size is read."""

PAGE_BYTES_MAX: Final = SCAN_BYTES_MAX
"""Entries of one page of the operating surface; the entry that reaches it is the last, or the first
where a page ends at the newest."""

DIFFERENCES_MAX: Final = 1_000
"""Places in which two states of an entity differ that are told: a person reads them."""

CONCURRENCY: Final = 16
"""Keys of one subscription handled at the same time, by default."""

HANDLER_SECONDS: Final = 30.0
"""Time one asynchronous handler call may take before it counts as failed."""

STEP_SECONDS: Final = 5.0
"""Time that one attempt of a workflow's step may take, by default (Kalix default)."""

STEPS_MAX: Final = 4_096
"""Steps of one node that run at the same time; others wait, as rows of the store."""

STEP_GRACE_SECONDS: Final = 10.0
"""After a step's time limit, when it is looked at again: the node that ran it may be gone."""

STUCK_SECONDS: Final = 30.0
"""How often a workflow that this code cannot go on with is looked at again."""

WORKFLOW_RUNS_MAX: Final = 10_000
"""Steps and waits of one workflow: all of them are its history. Beyond it a workflow fails; one that goes
on for ever starts the next one."""

WORKFLOW_UNDO_MAX: Final = 256
"""Steps of one workflow that can be undone: each line of its history tells them all. Their input has at most
`PAYLOAD_BYTES_MAX` together."""

WORKFLOW_BRANCHES_MAX: Final = 100
"""Steps of one workflow that run at the same time."""

WORKFLOW_WAIT_SECONDS: Final = 30.0
"""How long a command without a deadline of its own waits for the end of a step."""

WORKFLOW_COMMANDS_MAX: Final = 16_384
"""Commands of one node that wait for the ends of steps."""

WAITS_AT_ONCE: Final = 1_000
"""Waits of workflows for one source that are held in memory for a batch of its events."""

STOP_SECONDS: Final = 10.0
"""Time that a stop may take when the requests under way have been answered: handlers are cancelled,
the last commit is written. Then the process ends as in a crash."""

LETTERS_SECONDS: Final = 1.0
"""Time after which no more entries of a parked key are tried before others may have its letters:
an operator who redrives or discards waits so long, and for one call of a handler."""

QUIET_SECONDS: Final = 1.0
"""Pause before a subscription whose sink wants to be left alone looks again: it may have another
sink by then."""

PARKED_MAX: Final = 100_000
"""Parked letters of one subscription; beyond it the subscription waits instead of reading on."""

REFUSED_SECONDS: Final = 7 * 24 * 3600
"""Refused letters are kept this long for people to read: a week, as a deleted entity's events."""

REFUSED_MAX: Final = 100_000
"""Refused letters of all subscriptions; beyond it the oldest go sooner. They block nobody, so
nothing else would hold back a sender whose every command is refused."""

ERROR_CHARACTERS_MAX: Final = 8_192
"""Stored length of an error's text and traceback."""

VIEW_ROWS_COLLECTED_MAX: Final = 1_000
"""Rows of a query that is collected into one answer (Akka default)."""

VIEW_ROWS_STREAMED_MAX: Final = 10_000
"""Rows of a query that is streamed (Akka default)."""

VIEW_ROWS_CACHED: Final = 200_000
"""Rows of one view table kept in memory between batches: some 60 MB of small rows."""

VIEW_BYTES_CACHED: Final = 64 << 20
"""The same bound in bytes of the encoded rows."""

VIEW_ROW_BYTES_MAX: Final = 2 * PAYLOAD_BYTES_MAX
"""One view row: a whole payload in JSON or base64, and some columns besides."""

VIEW_BATCH: Final = 4_096
"""Entries that a view which is behind takes at once: neighbouring rows share pages, so fewer and
larger commits write far less (measured: a build of 100,000 rows). It ends early when the rows bring
`COMMIT_BYTES_MAX`."""

VIEW_PORTION_FIRST: Final = 64
"""Entries whose rows a view first holds in memory before it knows how large they are."""

VIEW_ANSWER_BYTES_MAX: Final = 64 << 20
"""One query's answer: 10,000 rows of 6 KB."""

VIEW_PATTERN_BYTES_MAX: Final = 1_000
"""A pattern of LIKE (SQLite: 50,000): matching takes as many steps as pattern and text have
characters, multiplied, and cannot be interrupted within one row."""

VIEW_ARGUMENT_CHARACTERS_MAX: Final = 4_096
"""A text that a query is given: looking for it in a column of a MiB takes up to 0.1 s (measured), which
cannot be interrupted within one row."""

VIEW_QUERIES_MAX: Final = 64
"""View queries of a node that run or wait for a thread; beyond it callers get 429."""

VIEW_QUERY_SECONDS: Final = 5.0
"""Time one view query may run before it is interrupted."""

VIEW_COLUMNS_MAX: Final = 200
"""Fields of a view's row: a query's answer needs two function arguments each (SQLite: 1,000)."""

VIEW_INDEXES_MAX: Final = 8
"""Indexes of one view table: each slows every write of a row."""

VIEW_PAGE_ROWS: Final = 100
"""Rows of a page, unless the query has a `page_size` (Akka default for token pages)."""

PAGE_TOKEN_BYTES_MAX: Final = 4_096
"""A page token holds the sort values of a row and travels in URLs (servers take 8 KiB lines)."""

SUBSCRIPTIONS_MAX: Final = 200
"""Subscriptions made at run time: each wakes with every commit (measured: 100 take a quarter of a
node's speed, 1,000 seven eighths)."""

SUBSCRIPTION_BYTES_MAX: Final = 64 << 10
"""One subscription as JSON: a fact of the node, held in memory."""

FILTER_EXPRESSIONS_MAX: Final = 100
"""Expressions of one subscription's filters, nested ones included: run for every event."""

FILTER_DEPTH_MAX: Final = 8
"""Nesting of `all`, `any` and `not` in a filter."""

SINK_CHARACTERS_MAX: Final = 2_048
"""A sink's URL (servers take 8 KiB lines)."""

SINK_HEADERS_MAX: Final = 32
"""Headers that a subscription adds to each request."""

PUSH_BATCH: Final = 64
"""Events of one subscription between two stored offsets: what a sink may see again after a crash."""

PUSH_SECONDS: Final = 10.0
"""Time a sink has to answer, by default."""

PUSH_SECONDS_MAX: Final = 60.0
"""The longest time that a subscription may give its sink."""

PUSH_CONCURRENCY_MAX: Final = 64
"""Keys of one subscription that are sent at the same time, at most."""

RETRY_AFTER_SECONDS_MAX: Final = 3_600.0
"""A sink's Retry-After beyond this is taken as this: it must not silence itself for ever."""

TRANSPORT_BYTES_MAX: Final = 1 << 20
"""One request or answer between nodes: NATS refuses more than 1 MiB by default."""

TRANSPORT_HANDLERS_MAX: Final = 256
"""Requests that one node handles at the same time; each may hold a batch of commands."""

BROKER_BATCH: Final = 1_000
"""Messages stored at once: JetStream's limit for one atomic batch."""

BROKER_BATCH_BYTES: Final = 4 << 20
"""The same bound in bytes: it stays in memory until it is known to be stored."""

BROKER_WAITING_MAX: Final = 32 * BROKER_BATCH
"""Messages of one topic that wait to be stored; beyond them callers are told to slow down."""

BROKER_APPEND_SECONDS: Final = 30.0
"""Time in which storing is tried again before its caller hears that it did not work."""

BROKER_ATTEMPT_SECONDS: Final = 5.0
"""Time the broker has for one answer."""

BROKER_PREFETCH: Final = 1_024
"""Messages of one shard fetched ahead of its reader: one scan."""

BROKER_PREFETCH_BYTES: Final = PAYLOAD_BYTES_MAX + (256 << 10)
"""The same bound in bytes: one of the largest messages with its headers must fit."""

BROKER_ADMITTED_MAX: Final = BROKER_BATCH - 1
"""Messages from outside moved at once: the mark of how far it got needs a place in the batch."""

DUPLICATES_SECONDS: Final = 120.0
"""The broker tells repeated messages apart this long (JetStream's default): it holds their ids in
memory, so what must never happen twice is kept apart by a high-water mark."""

TOPIC_BYTES_MIN: Final = 16 * BROKER_BATCH_BYTES
"""The least bound of a topic's bytes: a tenth of it, by which it is full too early, is more than a
batch of messages, so that no batch waits for room for ever."""

TOPIC_REPLICAS_MAX: Final = 5
"""Servers that hold a topic's messages (JetStream's limit)."""

SUBJECT_TOKEN_CHARACTERS_MAX: Final = 512
"""A key in a NATS subject; longer ones end in a hash (a server's control line has 4,096 bytes)."""

REPLAYS_MAX: Final = 16
"""Replays at the same time, finished ones included: each that runs reads what its consumer reads."""

REPLAY_EFFECTS_MAX: Final = 100
"""Kinds of effects that a replay counts apart; a function has few."""

FACTS_SECONDS: Final = 3.0
"""How often a node of several looks for facts that others have changed, beneath the wake-ups."""

FACT_ATTEMPTS: Final = 10
"""Tries of a change that another node was faster with; each means that one of them got on."""

VIEW_UNUSED_SECONDS: Final = 60.0
"""A version of a view is unused for so long before it goes, where there are several nodes: the only
node of a newer definition may be starting again."""

ACT_SECONDS: Final = 30.0
"""Time another node may take for what an operator asked of its shards: a handler that runs is waited
for."""

STATUS_SECONDS: Final = 5.0
"""Time another node has to say how it is: whoever waits for it is a person, or asks again."""

PARCEL_REQUESTS_MAX: Final = 256
"""Forwarded requests of one message: half of what one dispatch batch is."""

PARCEL_BYTES_MAX: Final = 512 << 10
"""Arguments of one message; a single request may be larger, up to `PAYLOAD_BYTES_MAX`."""

PARCELS_UNDER_WAY: Final = 4
"""Messages to one node that wait for their answers; meanwhile the next ones fill up."""

FORWARDED_WAITING_MAX: Final = 8_192
"""Requests that wait to be packed for one node; beyond it callers get 429."""

FORWARDED_BYTES_MAX: Final = 64 << 20
"""The same bound in bytes of their arguments."""

INSTANCES_MAX: Final = 1_024
"""Nodes of all services that one look at the directory finds; more are not waited for."""

FORWARD_SECONDS: Final = 30.0
"""Time a forwarded request without a deadline of its own may take."""

FORWARD_GRACE_SECONDS: Final = 1.0
"""After a deadline, for the answer of what was begun just before it."""

FORWARD_TICK_SECONDS: Final = 0.25
"""Time between two looks at the deadlines of what waits for other nodes."""

ROUTED_WAITING_MAX: Final = 1_024
"""Requests of a node that wait for shards that nobody serves: each asks 20 times a second. Beyond it
callers get 503 at once."""

WINDOWS_OPEN_MAX: Final = 1_000
"""Windows of one key of a transform that are open at once: they are one row, written with each batch
that has an event of the key, and may close together, in one effect (`OUTGOING_PER_EFFECT_MAX`)."""

JOIN_EVENTS_MAX: Final = 1_000
"""Events of one key and one side that a join holds until the other side has come as far; beyond it
they are parked and tried again. One event may meet all of the other side in one effect."""

TRANSFORM_KEY_SECONDS: Final = 7 * 24 * 3600
"""A key with nothing open is remembered for so long after its last event, so that a late one is known to
be late: a week, as a deleted entity's events. Where a transform has `idle`; else for ever."""

SCHEMA_STEPS_MAX: Final = 100_000
"""Pairs of types that are looked at to compare two schemas: what is larger is called unreadable."""

SCHEMA_SAMPLES_MAX: Final = 16
"""Values that are made of an older schema, to try its upcaster."""
