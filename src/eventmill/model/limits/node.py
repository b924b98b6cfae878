"""One node: commits, memory, reading, reactions, timers, workflows, letters."""

from __future__ import annotations

from typing import Final

from eventmill.model.limits.stored import PAYLOAD_BYTES_MAX

MAILBOX_ENTITY_MAX: Final = 1_024
"""Commands waiting for one entity while it is loaded."""

COMMIT_REPLIES_MAX: Final = 4_096
"""Callers of one commit; the next ones wait for the next commit."""

COMMIT_ENTRIES_MAX: Final = 4_096
"""Entries after which a commit is full and the next one collects: bounds a commit's duration.
Deltas of replicated entities come on top, one for each caller at most."""

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

COMPACT_BATCH: Final = 16_384
"""Changes of replicated entities that are joined at once: the more, the fewer states are stored."""

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

WORKFLOW_CHILDREN_MAX: Final = 100
"""Children of one workflow that it does not know to have ended: each line of its history tells them all."""

WORKFLOW_WAIT_SECONDS: Final = 30.0
"""How long a command without a deadline of its own waits for the end of a step."""

WORKFLOW_COMMANDS_MAX: Final = 16_384
"""Commands of one node that wait for the ends of steps."""

WAITS_AT_ONCE: Final = 1_000
"""Waits of workflows for one source that are held in memory for a batch of its events."""

WAIT_LOOK_BACK_POSITIONS: Final = 1_000_000
"""How far a wait looks back from the end of a shard: a second of reading. Steps that took so long that
more was stored meanwhile may miss an event; that is told."""

WAIT_TAKEN_MAX: Final = 8
"""Sources and keys of which a workflow remembers the last event that it took: each line of its history
tells them all, and after that many other waits nobody is so late that he reads the event again."""

CLOCKS_APART_SECONDS: Final = 1.0
"""How much the clocks of nodes may differ for positions to be found by times."""

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
