"""What is stored: payloads, names, keys, what one effect may bring."""

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
