-- Every statement the store runs, by name. Views' statements are generated: see view_sql.py.

-- name: insert_entry
INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: insert_name
INSERT INTO name (number, text) VALUES (?, ?)

-- name: names
SELECT number, text FROM name

-- name: end
SELECT max(coalesce((SELECT max(position) FROM entry), 0),
           coalesce((SELECT CAST(value AS INTEGER) FROM registry WHERE name = '$head'), 0))

-- name: put_snapshot
INSERT INTO snapshot VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (source, subject) DO UPDATE SET
    sequence = excluded.sequence, time = excluded.time, schema = excluded.schema,
    state = excluded.state, marks = excluded.marks

-- name: snapshot
SELECT sequence, time, schema, state, marks FROM snapshot WHERE source = ? AND subject = ?

-- name: history
SELECT entry.* FROM history AS h CROSS JOIN entry ON entry.position = h.position
WHERE h.source = ? AND h.subject = ? AND h.sequence > ? ORDER BY h.sequence LIMIT ?

-- name: latest
SELECT entry.* FROM history AS h CROSS JOIN entry ON entry.position = h.position
WHERE h.source = ? AND h.subject = ? ORDER BY h.sequence DESC LIMIT 1

-- name: filed
SELECT coalesce((SELECT CAST(value AS INTEGER) FROM registry WHERE name = '$filed'), 0)

-- name: unfiled
SELECT * FROM entry AS e
WHERE sequence > 0 AND position > ?
  AND NOT EXISTS (SELECT 1 FROM history AS h
    WHERE h.source = e.source AND h.subject = e.subject AND h.sequence = e.sequence)
ORDER BY position

-- name: is_stored
SELECT 1 FROM entry WHERE position = ?

-- name: file
INSERT INTO history VALUES (?, ?, ?, ?)

-- name: file_all
INSERT INTO history SELECT source, subject, sequence, position FROM entry
WHERE sequence > 0 ORDER BY source, subject, sequence

-- name: all_filed
INSERT INTO registry SELECT '$filed', CAST(CAST(coalesce(max(position), 0) AS TEXT) AS BLOB)
FROM entry WHERE true
ON CONFLICT (name) DO UPDATE SET value = excluded.value

-- name: unfile
DELETE FROM history WHERE source = ? AND subject = ? AND sequence < ?

-- name: last_filed
SELECT sequence FROM history WHERE source = ? AND subject = ? ORDER BY sequence DESC LIMIT 1

-- name: scan
SELECT * FROM entry WHERE position > ? AND position <= ? ORDER BY position

-- name: scan_sources
SELECT * FROM entry WHERE position > ? AND position <= ? AND source IN (?) ORDER BY position

-- name: position_at
SELECT min(position) FILTER (WHERE time >= :time), max(position) FROM (
    SELECT position, time FROM entry WHERE position > :after ORDER BY position LIMIT :limit)

-- name: next_subject
SELECT subject, max(sequence) FROM history
WHERE source = :source AND subject > :after GROUP BY subject ORDER BY subject LIMIT :limit

-- name: put_outcome
INSERT OR REPLACE INTO outcome (source, subject, key, expires, reply, rejection)
VALUES (?, ?, ?, ?, ?, ?)

-- name: outcome
SELECT key, expires, reply, rejection FROM outcome WHERE source = ? AND subject = ? AND key = ?

-- name: sweep_outcomes
-- What expires later than a new one would was stored while the clock was ahead: pass over it.
DELETE FROM outcome WHERE number IN (
    SELECT number FROM (SELECT number, expires FROM outcome WHERE expires <= :now + :lifetime
                        ORDER BY number LIMIT :limit)
    WHERE expires <= :now)

-- name: sweep_refused
DELETE FROM letter WHERE (subscription, shard, position) IN (
    SELECT subscription, shard, position FROM letter
    WHERE status = 'refused' AND due <= max(:now, coalesce((
        SELECT due FROM letter WHERE status = 'refused'
        ORDER BY due DESC, subscription DESC, shard DESC, position DESC
        LIMIT 1 OFFSET :kept), 0))
    ORDER BY due, subscription, shard, position LIMIT :limit)

-- name: put_timer
INSERT INTO timer VALUES (?, ?, ?)
ON CONFLICT (name) DO UPDATE SET due = excluded.due, command = excluded.command

-- name: delete_timer
DELETE FROM timer WHERE name = ?

-- name: fire_timer
DELETE FROM timer WHERE name = ? AND due = ?

-- name: due_timers
SELECT name, due, command FROM timer WHERE due <= ? ORDER BY due LIMIT ?

-- name: timers
SELECT name, due, command FROM timer WHERE name > ? ORDER BY name LIMIT ?

-- name: move_offset
INSERT INTO offset VALUES (:subscription, :shard, :position)
ON CONFLICT (subscription, shard) DO UPDATE SET position = excluded.position
WHERE offset.position = :expected

-- name: offset
SELECT position FROM offset WHERE subscription = ? AND shard = ?

-- name: offsets
SELECT subscription, shard, position FROM offset

-- name: put_letter
INSERT INTO letter VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (subscription, shard, position) DO UPDATE SET
    status = excluded.status, attempts = excluded.attempts, due = excluded.due,
    code = excluded.code, error = excluded.error, traceback = excluded.traceback

-- name: delete_letter
DELETE FROM letter WHERE subscription = ? AND shard = ? AND position = ?

-- name: heads
SELECT l.subscription, l.shard, l.key, l.status, l.due FROM letter AS l
WHERE l.status <> 'refused' AND l.position = (
    SELECT min(m.position) FROM letter AS m
    WHERE m.subscription = l.subscription AND m.key = l.key AND m.status <> 'refused')

-- name: count_letters
SELECT count(*) FROM letter WHERE subscription = ? AND status <> 'refused'

-- name: queue
SELECT * FROM letter WHERE subscription = ? AND key = ? AND status <> 'refused'
ORDER BY position LIMIT ?

-- name: letters
SELECT * FROM letter
WHERE (subscription, shard, position) > (:subscription_after, :shard_after, :position_after)
  AND (:subscription IS NULL OR subscription = :subscription)
  AND (:statuses = '[]' OR status IN (SELECT value FROM json_each(:statuses)))
ORDER BY subscription, shard, position LIMIT :limit

-- name: delete_entry
DELETE FROM entry WHERE position = ?

-- name: delete_filed_entries
DELETE FROM entry WHERE position IN (
    SELECT position FROM history WHERE source = ? AND subject = ? AND sequence < ?)

-- name: trim
DELETE FROM entry WHERE position > ? AND position <= ? AND source = ? AND sequence = 0

-- name: purge_snapshot
DELETE FROM snapshot WHERE source = ? AND subject = ?

-- name: forget_offsets
DELETE FROM offset WHERE subscription = ?

-- name: forget_letters
DELETE FROM letter WHERE subscription = ?

-- name: put_registry
INSERT INTO registry VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value

-- name: delete_registry
DELETE FROM registry WHERE name = ?

-- name: fact
SELECT value FROM registry WHERE name = ?

-- name: registry
SELECT name, value FROM registry

-- name: facts
SELECT name, value FROM registry WHERE name NOT IN ('$filed', '$store') ORDER BY name

-- name: stretch
-- `outside`: a message that a client published keeps the attributes it came with, as metadata `cloudevent`.
SELECT
    source, type, version,
    sequence = 0 AND coalesce(json_type(CAST(metadata AS TEXT), '$.cloudevent') = 'object', 0)
        AS outside,
    count(*), min(position), max(position), max(sequence)
FROM entry
WHERE position > ? AND position <= ?
GROUP BY 1, 2, 3, 4
ORDER BY min(position)

-- name: alike
SELECT position, payload
FROM entry
WHERE position BETWEEN ? AND ? AND source = ? AND type = ? AND version = ?
    AND (sequence = 0 AND coalesce(json_type(CAST(metadata AS TEXT), '$.cloudevent') = 'object', 0)) = ?
ORDER BY position
LIMIT ?

-- name: newest
-- The other columns are those of the row that has the maximum.
SELECT subject, type, payload, max(sequence)
FROM entry
WHERE source = ? AND type IN (?, ?)
GROUP BY subject
