-- Every statement the store runs, by name. Views' statements are generated: see view_sql.py.
-- Parameters are named; statements.py numbers them. Everything that a commit writes comes in arrays.

-- name: head
WITH locked AS (
    SELECT shard FROM shard WHERE shard = ANY (:shards::integer[]) ORDER BY shard FOR UPDATE)
UPDATE shard SET position = shard.position + mine.count
FROM locked, unnest(:shards::integer[], :counts::bigint[], :epochs::bigint[])
    AS mine (shard, count, epoch)
WHERE shard.shard = mine.shard AND locked.shard = mine.shard
  AND (mine.epoch IS NULL OR shard.epoch = mine.epoch)
RETURNING shard.shard, shard.position - mine.count AS before, shard.position

-- name: me
UPDATE writer SET number = number + 1, seen = statement_timestamp(),
    ends = (SELECT array_agg(head.position ORDER BY head.shard) FROM head)
WHERE id = :writer::uuid AND number = :number::bigint
RETURNING ends

-- name: me_alone
UPDATE writer SET number = number + 1, seen = statement_timestamp(), ends = NULL
WHERE id = :writer::uuid AND number = :number::bigint
RETURNING ends

-- name: entries
INSERT INTO entry (shard, position, source, subject, sequence, type, version, time, payload,
    metadata, origin)
SELECT shard, head.before + e.nth, source, subject, sequence, type, version, time, payload,
    metadata, origin
FROM unnest(:entry_shards::integer[], :nths::bigint[], :sources::text[], :subjects::text[],
    :sequences::bigint[], :types::text[], :versions::integer[], :times::bigint[],
    :payloads::bytea[], :metadata::bytea[], :origins::text[])
    AS e (shard, nth, source, subject, sequence, type, version, time, payload, metadata, origin)
JOIN head USING (shard)

-- name: compacted
DELETE FROM entry_home AS entry USING unnest(:compacted_sources::text[], :compacted_subjects::text[],
    :compacted_sequences::bigint[]) AS c (source, subject, sequence)
WHERE entry.source = c.source AND entry.subject = c.subject AND entry.sequence > 0
  AND entry.sequence < c.sequence

-- name: beyond
SELECT 1 FROM entry_home AS entry JOIN unnest(:compacted_sources::text[], :compacted_subjects::text[],
    :compacted_sequences::bigint[]) AS c (source, subject, sequence)
  ON entry.source = c.source AND entry.subject = c.subject
WHERE entry.sequence > 0 AND entry.sequence > c.sequence

-- name: outlived
DELETE FROM entry_home AS entry USING unnest(:outlived_sources::text[], :outlived_subjects::text[],
    :outlived_sequences::bigint[]) AS c (source, subject, sequence)
WHERE entry.source = c.source AND entry.subject = c.subject AND entry.sequence > 0
  AND entry.sequence < c.sequence
  AND EXISTS (SELECT FROM entry_home AS newer WHERE newer.source = c.source
    AND newer.subject = c.subject AND newer.sequence >= c.sequence)

-- name: snapshots
INSERT INTO snapshot (source, subject, sequence, time, schema, state, marks)
SELECT * FROM unnest(:snapshot_sources::text[], :snapshot_subjects::text[],
    :snapshot_sequences::bigint[], :snapshot_times::bigint[], :schemas::text[], :states::bytea[],
    :marks::bytea[])
ON CONFLICT (source, subject) DO UPDATE SET
    sequence = excluded.sequence, time = excluded.time, schema = excluded.schema,
    state = excluded.state, marks = excluded.marks

-- name: outcomes
INSERT INTO outcome (source, subject, key, expires, reply, rejection)
SELECT * FROM unnest(:outcome_sources::text[], :outcome_subjects::text[], :keys::bytea[],
    :expires::bigint[], :replies::bytea[], :rejections::text[])
ON CONFLICT (source, subject, key) DO UPDATE SET
    expires = excluded.expires, reply = excluded.reply, rejection = excluded.rejection
WHERE outcome.expires <= excluded.expires - :lifetime::bigint
RETURNING 1

-- name: fired
DELETE FROM timer USING unnest(:fired_names::text[], :fired_dues::bigint[]) AS f (name, due)
WHERE timer.name = f.name AND timer.due = f.due
RETURNING 1

-- name: cancelled
DELETE FROM timer WHERE name = ANY (:cancelled_names::text[])

-- name: timers
INSERT INTO timer (name, shard, due, command)
SELECT * FROM unnest(:timer_names::text[], :timer_shards::integer[], :dues::bigint[],
    :commands::bytea[])
ON CONFLICT (name) DO UPDATE SET
    shard = excluded.shard, due = excluded.due, command = excluded.command

-- name: moved
UPDATE "offset" SET position = mine.position
FROM unnest(:subscriptions::text[], :offset_shards::integer[], :expected::bigint[],
    :positions::bigint[]) AS mine (subscription, shard, expected, position)
WHERE "offset".subscription = mine.subscription AND "offset".shard = mine.shard
  AND "offset".position = mine.expected
RETURNING 1

-- name: begun
INSERT INTO "offset" (subscription, shard, position)
SELECT mine.subscription, mine.shard, mine.position
FROM unnest(:subscriptions::text[], :offset_shards::integer[], :expected::bigint[],
    :positions::bigint[]) AS mine (subscription, shard, expected, position)
WHERE mine.expected = 0
ON CONFLICT (subscription, shard) DO NOTHING
RETURNING 1

-- name: letters
INSERT INTO letter (subscription, shard, position, key, status, attempts, due, parked, code, error,
    traceback, entry)
SELECT * FROM unnest(:letter_subscriptions::text[], :letter_shards::integer[],
    :letter_positions::bigint[], :letter_keys::text[], :statuses::text[], :attempts::integer[],
    :letter_dues::bigint[], :parked::bigint[], :codes::text[], :errors::text[],
    :tracebacks::text[], :letter_entries::bytea[])
ON CONFLICT (subscription, shard, position) DO UPDATE SET
    status = excluded.status, attempts = excluded.attempts, due = excluded.due,
    code = excluded.code, error = excluded.error, traceback = excluded.traceback

-- name: settled
DELETE FROM letter USING unnest(:settled_subscriptions::text[], :settled_shards::integer[],
    :settled_positions::bigint[]) AS s (subscription, shard, position)
WHERE letter.subscription = s.subscription AND letter.shard = s.shard
  AND letter.position = s.position

-- name: facts
INSERT INTO registry (name, value) SELECT * FROM unnest(:fact_names::text[], :facts::bytea[])
ON CONFLICT (name) DO UPDATE SET value = excluded.value

-- name: forgotten_facts
DELETE FROM registry WHERE name = ANY (:forgotten_names::text[])

-- name: made_facts
INSERT INTO registry (name, value)
SELECT * FROM unnest(:made_facts_names::text[], :made_facts_news::bytea[])
ON CONFLICT (name) DO NOTHING RETURNING 1

-- name: swapped_facts
UPDATE registry SET value = new
FROM unnest(:swapped_facts_names::text[], :swapped_facts_olds::bytea[],
            :swapped_facts_news::bytea[]) AS f (name, old, new)
WHERE registry.name = f.name AND registry.value = old RETURNING 1

-- name: ended_facts
DELETE FROM registry USING unnest(:ended_facts_names::text[], :ended_facts_olds::bytea[])
    AS f (name, old)
WHERE registry.name = f.name AND registry.value = old RETURNING 1

-- name: fact_values
SELECT name, value FROM registry WHERE name = ANY (:names::text[])

-- name: purge_entries
DELETE FROM entry_home AS entry USING unnest(:purged_sources::text[], :purged_subjects::text[])
    AS p (source, subject)
WHERE entry.source = p.source AND entry.subject = p.subject AND entry.sequence > 0

-- name: purge_snapshots
DELETE FROM snapshot USING unnest(:purged_sources::text[], :purged_subjects::text[])
    AS p (source, subject)
WHERE snapshot.source = p.source AND snapshot.subject = p.subject

-- name: forget_offsets
DELETE FROM "offset" WHERE subscription = ANY (:forgotten::text[])

-- name: forget_letters
DELETE FROM letter WHERE subscription = ANY (:forgotten::text[])

-- name: line
-- A server that is still being recovered writes no timeline of its own yet, and cannot be used.
SELECT system_identifier, CASE WHEN pg_is_in_recovery() THEN NULL
    ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END
FROM pg_control_system()

-- name: begin_writer
INSERT INTO writer (id) VALUES (:writer::uuid)

-- name: end_writer
DELETE FROM writer WHERE id = :writer::uuid RETURNING number, ends

-- name: sweep_writers
DELETE FROM writer WHERE seen < statement_timestamp() - interval '7 days'

-- name: epochs
SELECT shard, epoch FROM shard WHERE shard = ANY (:shards::integer[])

-- name: positions
SELECT subscription, shard, position FROM "offset" WHERE subscription = ANY (:subscriptions::text[])

-- name: is_writer
SELECT EXISTS (SELECT FROM writer WHERE id = :writer::uuid)

-- name: topics
SELECT name, number FROM topic

-- name: lock
-- Of whoever changes the schema, the topics or the tables of views.
SELECT FROM migration WHERE version = 0 FOR UPDATE

-- name: put_topics
INSERT INTO topic (name, number) SELECT * FROM unnest(:names::text[], :numbers::integer[])

-- name: put_shards
-- A store that was imported begins behind the positions of the other: see restoring.py.
INSERT INTO shard (shard, position)
SELECT unnest(:shards::integer[]), coalesce((
    SELECT convert_from(value, 'UTF8')::bigint FROM registry WHERE name = '$head'), 0)
ON CONFLICT DO NOTHING

-- name: shards
SELECT value FROM registry WHERE name = '$shards'

-- name: identity
SELECT value FROM registry WHERE name = '$identity'

-- name: reader
SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = :role::text),
    (SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user)

-- name: end
SELECT position FROM shard WHERE shard = :shard::integer

-- name: ends
SELECT shard, position FROM shard

-- name: snapshot
SELECT sequence, time, schema, state, marks FROM snapshot
WHERE source = :source::text AND subject = :subject::text

-- name: history
SELECT shard, position, source, subject, sequence, type, version, time, payload, metadata, origin
FROM (
    SELECT *, coalesce(sum(length(payload) + coalesce(length(metadata), 0)) OVER (
        ORDER BY sequence ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS bytes_before
    FROM (
        SELECT * FROM entry_home
        WHERE source = :source::text AND subject = :subject::text AND sequence > :after::bigint
          AND sequence > 0
        ORDER BY sequence LIMIT :limit::bigint) AS page) AS weighed
WHERE bytes_before < :bytes::bigint
ORDER BY sequence

-- name: latest
SELECT shard, position, source, subject, sequence, type, version, time, payload, metadata, origin
FROM entry_home
WHERE source = :source::text AND subject = :subject::text AND sequence > 0
ORDER BY sequence DESC LIMIT 1

-- name: scan
SELECT shard, position, source, subject, sequence, type, version, time, payload, metadata, origin
FROM (
    SELECT *, coalesce(sum(length(payload) + coalesce(length(metadata), 0)) OVER (
        ORDER BY position ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS bytes_before
    FROM entry
    WHERE shard = :shard::integer AND position > :after::bigint AND position <= :until::bigint
      AND (:sources::text[] IS NULL OR source = ANY (:sources::text[]))) AS weighed
WHERE bytes_before < :bytes::bigint
ORDER BY position

-- name: position_at
SELECT min(position) FILTER (WHERE time >= :time::bigint), max(position) FROM (
    SELECT position, time FROM entry WHERE shard = :shard::integer AND position > :after::bigint
    ORDER BY position LIMIT :limit::bigint) AS portion

-- name: subjects
SELECT subject, max(sequence) FROM entry_home
WHERE source = :source::text AND sequence > 0 AND subject > :after::text
GROUP BY subject ORDER BY subject LIMIT :limit::bigint

-- name: outcome
SELECT key, expires, reply, rejection FROM outcome
WHERE source = :source::text AND subject = :subject::text AND key = ANY (:keys::bytea[])

-- name: sweep_outcomes
-- Materialized: a plan that asks again for each row would pass over those it has locked itself.
WITH due AS MATERIALIZED (
    SELECT source, subject, key FROM outcome WHERE expires <= :now::bigint
    ORDER BY expires LIMIT :limit::bigint FOR UPDATE SKIP LOCKED)
DELETE FROM outcome WHERE (source, subject, key) IN (SELECT * FROM due)
RETURNING 1

-- name: sweep_refused
WITH due AS MATERIALIZED (
    SELECT subscription, shard, position FROM letter
    WHERE status = 'refused' AND due <= greatest(:now::bigint, (
        SELECT due FROM letter WHERE status = 'refused'
        ORDER BY due DESC, subscription DESC, shard DESC, position DESC
        LIMIT 1 OFFSET :kept::bigint))
    ORDER BY due, subscription, shard, position LIMIT :limit::bigint FOR UPDATE SKIP LOCKED)
DELETE FROM letter WHERE (subscription, shard, position) IN (SELECT * FROM due)
RETURNING 1

-- name: trim
DELETE FROM entry
WHERE shard = :shard::integer AND position > :after::bigint AND position <= :until::bigint
  AND source = ANY (:sources::text[]) AND sequence = 0
RETURNING 1

-- name: due_timers
SELECT name, due, command FROM (
    SELECT *, sum(length(command)) OVER (ORDER BY due, name ROWS UNBOUNDED PRECEDING)
        - length(command) AS bytes_before
    FROM (
        SELECT name, due, command FROM timer
        WHERE shard = ANY (:shards::integer[]) AND due <= :until::bigint
        ORDER BY due LIMIT :limit::bigint) AS page) AS weighed
WHERE bytes_before < :bytes::bigint
ORDER BY due, name

-- name: all_timers
SELECT name, due, command FROM (
    SELECT *, sum(length(command)) OVER (ORDER BY name ROWS UNBOUNDED PRECEDING)
        - length(command) AS bytes_before
    FROM (
        SELECT name, due, command FROM timer WHERE name > :after::text
        ORDER BY name LIMIT :limit::bigint) AS page) AS weighed
WHERE bytes_before < :bytes::bigint
ORDER BY name

-- name: offsets
SELECT subscription, shard, position FROM "offset"

-- name: heads
SELECT l.subscription, l.shard, l.key, l.status, l.due FROM letter AS l
WHERE l.shard = ANY (:shards::integer[]) AND l.status <> 'refused' AND l.position = (
    SELECT min(m.position) FROM letter AS m
    WHERE m.subscription = l.subscription AND m.shard = l.shard AND m.key = l.key
      AND m.status <> 'refused')

-- name: count_letters
SELECT count(*) FROM letter
WHERE subscription = :subscription::text AND shard = ANY (:shards::integer[])
  AND status <> 'refused'

-- name: queue
SELECT * FROM (
    SELECT *, sum(length(entry)) OVER (ORDER BY position ROWS UNBOUNDED PRECEDING)
        - length(entry) AS bytes_before
    FROM (
        SELECT * FROM letter
        WHERE subscription = :subscription::text AND shard = :shard::integer AND key = :key::text
          AND status <> 'refused'
        ORDER BY position LIMIT :limit::bigint) AS page) AS weighed
WHERE bytes_before < :bytes::bigint
ORDER BY position

-- name: all_letters
SELECT * FROM (
    SELECT *, sum(length(entry))
        OVER (ORDER BY subscription, shard, position ROWS UNBOUNDED PRECEDING)
        - length(entry) AS bytes_before
    FROM (
        SELECT * FROM letter
        WHERE (subscription, shard, position)
              > (:subscription_after::text, :shard_after::integer, :position_after::bigint)
          AND (:subscription::text IS NULL OR subscription = :subscription::text)
          AND (:statuses::text[] IS NULL OR status = ANY (:statuses::text[]))
        ORDER BY subscription, shard, position LIMIT :limit::bigint) AS page) AS weighed
WHERE bytes_before < :bytes::bigint
ORDER BY subscription, shard, position

-- name: registry
SELECT name, value FROM registry WHERE name NOT LIKE '$%'

-- name: join
INSERT INTO member (node, address, ends)
VALUES (:node::text, :address::text, clock_timestamp() + :seconds::float8 * interval '1 second')
ON CONFLICT (node) DO UPDATE SET address = excluded.address, ends = excluded.ends
WHERE member.ends <= clock_timestamp()
RETURNING 1

-- name: renew
UPDATE member SET ends = clock_timestamp() + :seconds::float8 * interval '1 second'
WHERE node = :node::text AND address = :address::text AND ends > clock_timestamp()
RETURNING 1

-- name: leave
DELETE FROM member WHERE node = :node::text AND address = :address::text

-- name: sweep_members
DELETE FROM member WHERE ends < clock_timestamp() - interval '1 hour'

-- name: members
SELECT node, address FROM member WHERE ends > clock_timestamp() ORDER BY node

-- name: cluster
SELECT to_char(applied AT TIME ZONE 'UTC', 'YYYYMMDDHH24MISSUS') FROM migration WHERE version = 0

-- name: claims
SELECT shard, owner, epoch FROM shard WHERE shard < :shards::integer ORDER BY shard

-- name: claim
UPDATE shard SET owner = :node::text, epoch = epoch + 1
WHERE shard = :shard::integer AND epoch = :epoch::bigint
  AND EXISTS (SELECT FROM member WHERE node = :node::text AND ends > clock_timestamp())
  AND NOT EXISTS (SELECT FROM member WHERE node = shard.owner AND ends > clock_timestamp())
RETURNING epoch

-- name: release
UPDATE shard SET owner = NULL
WHERE shard = :shard::integer AND owner = :node::text AND epoch = :epoch::bigint
RETURNING 1

-- name: number_entries
-- Every entry and every letter gets its number in the one order of an export: see rounds.py. Within
-- a shard time grows with the position, up to the skew of clocks, which the maximum levels.
CREATE TEMP TABLE placed ON COMMIT DROP AS
SELECT shard, position, round,
    row_number() OVER (ORDER BY round, reached, shard, position) AS number
FROM (
    SELECT shard, position, max(time) OVER (PARTITION BY shard ORDER BY position) AS reached
    FROM (
        SELECT shard, position, time FROM entry
        UNION ALL
        SELECT shard, position, min(parked) FROM letter WHERE NOT EXISTS (
            SELECT FROM entry WHERE entry.shard = letter.shard AND entry.position = letter.position)
        GROUP BY shard, position) AS found) AS timed
JOIN unnest(:rounds::integer[], :shards::integer[], :afters::bigint[], :untils::bigint[])
    AS stretch (round, shard, after, until) USING (shard)
WHERE position > after AND position <= until

-- name: last_numbers
SELECT round, max(number) FROM placed GROUP BY round

-- name: stored_types
SELECT source, type, version, outside, count(*), min(position), max(position), max(sequence)
FROM (
    SELECT source, type, version, position, sequence, sequence = 0 AND coalesce(
        json_typeof(convert_from(metadata, 'UTF8')::json -> 'cloudevent') = 'object', false)
        AS outside
    FROM entry WHERE source <> ALL (:hidden::text[])) AS seen
GROUP BY source, type, version, outside
ORDER BY min(position), source, type, version

-- name: alike
SELECT position, payload FROM entry
WHERE source = :source::text AND type = :type::text AND version = :version::integer
  AND :outside::boolean = (sequence = 0 AND coalesce(
        json_typeof(convert_from(metadata, 'UTF8')::json -> 'cloudevent') = 'object', false))
ORDER BY shard, position LIMIT :limit::bigint

-- name: alike_last
SELECT position, payload FROM entry
WHERE source = :source::text AND type = :type::text AND version = :version::integer
  AND :outside::boolean = (sequence = 0 AND coalesce(
        json_typeof(convert_from(metadata, 'UTF8')::json -> 'cloudevent') = 'object', false))
ORDER BY shard DESC, position DESC LIMIT :limit::bigint

-- name: newest
SELECT DISTINCT ON (subject) subject, type, payload FROM entry
WHERE source = :source::text AND type = ANY (:types::text[])
ORDER BY subject, sequence DESC

-- name: behind
SELECT shard, position, source, subject, sequence, type, version, time, payload, metadata, origin
FROM entry
WHERE source = :source::text AND position > coalesce((
    SELECT read.position FROM "offset" AS read
    WHERE read.subscription = :subscription::text AND read.shard = entry.shard), 0)
ORDER BY shard, position LIMIT :limit::bigint

-- name: first_letters
SELECT * FROM letter ORDER BY subscription, shard, position LIMIT :limit::bigint

-- name: subscribers
SELECT subscription, max(position), sum(letters)::bigint FROM (
    SELECT subscription, position, 0 AS letters FROM "offset"
    UNION ALL SELECT subscription, 0, 1 FROM letter) AS traces
GROUP BY subscription ORDER BY subscription
