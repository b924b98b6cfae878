"""Others: sinks, the broker, other nodes, replays, transforms, schemas."""

from __future__ import annotations

from typing import Final

from eventmill.model.limits.stored import PAYLOAD_BYTES_MAX

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

RESULTS_BETWEEN_TURNS: Final = 1_000
"""Results of a transform after which commands pass: some 15 ms. Of one event there may be as many."""

TRANSFORM_KEY_SECONDS: Final = 7 * 24 * 3600
"""A key with nothing open is remembered for so long after its last event, so that a late one is known to
be late: a week, as a deleted entity's events. Where a transform has `idle`; else for ever."""

TRANSFORM_IDLE_SECONDS_MAX: Final = 3_660 * 86_400
"""The longest silence that a transform waits for: its end is a timer, whose time a store must hold."""

SCHEMA_STEPS_MAX: Final = 100_000
"""Pairs of types that are looked at to compare two schemas: what is larger is called unreadable."""

SCHEMA_SAMPLES_MAX: Final = 16
"""Values that are made of an older schema, to try its upcaster."""
