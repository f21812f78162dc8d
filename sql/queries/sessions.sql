-- The lives of nodes. A session is declared dead by compare-and-set on its count of heartbeats, never by a clock.
--
-- The advisory lock of a session has the last eight bytes of its id as its key; pg_locks shows their halves.

-- name: lock_session(session_id, idle_seconds)
-- The server must notice by itself that this node's machine is gone, or the lock would outlive it.
SELECT pg_try_advisory_lock(('x' || right(replace($1::uuid::text, '-', ''), 16))::bit(64)::bigint),
       set_config('tcp_keepalives_idle', $2::text, false),
       set_config('tcp_keepalives_interval', '1', false),
       set_config('tcp_keepalives_count', '3', false);

-- name: open_session(session_id, node, address, admin_token, schema_max)
INSERT INTO node_session (session_id, node, address, admin_token, max_schema) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (session_id) DO NOTHING;

-- name: beat_session(session_id, lease_ok)
UPDATE node_session SET beat_seq = beat_seq + 1, lease_ok = $2, beaten_at = clock_timestamp()
WHERE session_id = $1 AND state <> 'dead'
RETURNING state;

-- name: drain_session(session_id)
-- It takes nothing any more from this moment on: only a session that is alive may claim. Its node sees it at its next beat.
UPDATE node_session SET state = 'draining'
WHERE session_id = $1 AND state <> 'dead'
RETURNING state;

-- name: observe_sessions()
WITH held AS (
  SELECT (l.classid::bigint << 32) | l.objid::bigint AS key
  FROM pg_locks l
  WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
)
SELECT s.session_id, s.node, s.address, s.admin_token, s.started_at, s.beat_seq, s.lease_ok, s.state,
       extract(epoch FROM clock_timestamp() - s.beaten_at)::float8 AS beat_age_seconds,
       ('x' || right(replace(s.session_id::text, '-', ''), 16))::bit(64)::bigint IN (SELECT key FROM held) AS lock_held,
       pg_postmaster_start_time() AS server_started_at
FROM node_session s
WHERE s.state <> 'dead' OR EXISTS (SELECT 1 FROM process p WHERE p.owner_session = s.session_id)
ORDER BY s.started_at, s.session_id;

-- name: declare_dead(session_id, beat_seq)
UPDATE node_session SET state = 'dead'
WHERE session_id = $1 AND beat_seq = $2 AND state <> 'dead'
RETURNING session_id;

-- name: disown_session(session_id, count)
-- The epoch fences a zombie at once. What is locked is being committed or claimed; the caller comes again.
WITH lost AS (
  SELECT p.process_id
  FROM process p
  WHERE p.owner_session = $1
    AND EXISTS (SELECT 1 FROM node_session s WHERE s.session_id = $1 AND s.state = 'dead')
  ORDER BY p.process_id
  LIMIT $2
  FOR NO KEY UPDATE OF p SKIP LOCKED
),
freed AS (
  UPDATE process p SET owner_session = NULL, owner_claim = NULL, owner_epoch = p.owner_epoch + 1
  FROM lost WHERE p.process_id = lost.process_id
  RETURNING 1
)
SELECT count(*) FROM freed;

-- name: end_session(session_id)
UPDATE node_session SET state = 'dead' WHERE session_id = $1;

-- name: forget_sessions()
DELETE FROM node_session s
WHERE s.state = 'dead' AND NOT EXISTS (SELECT 1 FROM process p WHERE p.owner_session = s.session_id);
