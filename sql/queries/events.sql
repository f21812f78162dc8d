-- External events and the waits for them. Both sides write, commit, then look in a new statement: whichever looks last
-- sees the other. Every hand-over is one statement, and the deleted subscription decides which event an execution gets.
--
-- All statements lock the event before the subscription, and wait instead of skipping what is locked: the one who holds a
-- lock may still leave it without effect, and nobody would look again.
--
-- Keys are compared by (a = b OR (a IS NULL AND b IS NULL)): IS NOT DISTINCT FROM cannot use an index.

-- name: accept_event(tenant_id, event_id, process_id, type, key, data, request_hash, keeping)
WITH made AS (
  INSERT INTO event (tenant_id, event_id, process_id, type, key, data, request_hash, expires_at)
  VALUES ($1, $2, $3, $4, $5, $6, $7, clock_timestamp() + $8::interval)
  ON CONFLICT DO NOTHING
  RETURNING request_hash
)
SELECT true AS is_new, request_hash FROM made
UNION ALL
SELECT false, request_hash FROM event WHERE tenant_id = $1 AND event_id = $2;

-- name: deliver_event(tenant_id, event_id)
-- Delivers once, to all who wait at this moment. A subscription that went to one event makes the next event of its type
-- find nobody: that one is kept, and the execution that waits next takes it.
WITH told AS (
  SELECT tenant_id, event_id, process_id, type, key, data, taken_by
  FROM event
  WHERE tenant_id = $1 AND event_id = $2 AND fanned_out_at IS NULL
  FOR UPDATE
),
waits AS (
  -- Single values instead of a join: only then is the index read by key.
  SELECT s.process_id, s.execution_id
  FROM subscription s
  WHERE s.tenant_id = $1 AND s.type = (SELECT type FROM told)
    AND (s.key = (SELECT key FROM told) OR (s.key IS NULL AND (SELECT key FROM told) IS NULL))
    AND s.process_id = coalesce((SELECT process_id FROM told), s.process_id)
  ORDER BY s.process_id, s.execution_id
  FOR UPDATE OF s
),
reached AS (
  DELETE FROM subscription s USING waits w
  WHERE s.process_id = w.process_id AND s.execution_id = w.execution_id
  RETURNING s.process_id, s.execution_id
),
arrivals AS (
  INSERT INTO inbox (process_id, msg_id, tenant_id, kind, body)
  SELECT r.process_id, md5(r.execution_id::text || t.event_id::text)::uuid, t.tenant_id, 'event',
         json_build_object('kind', 'event', 'execution_id', r.execution_id, 'event_id', t.event_id,
                           'type', t.type, 'key', t.key, 'data', t.data)
  FROM told t CROSS JOIN reached r
  ON CONFLICT DO NOTHING
),
done AS (
  UPDATE event e
  SET fanned_out_at = clock_timestamp(), taken_by = coalesce(e.taken_by, (SELECT r.process_id FROM reached r LIMIT 1))
  FROM told t
  WHERE e.tenant_id = t.tenant_id AND e.event_id = t.event_id
)
-- Whoever took it between its arrival and now waited for it as well.
SELECT process_id FROM reached UNION SELECT taken_by FROM told WHERE taken_by IS NOT NULL ORDER BY process_id;

-- name: take_event(tenant_id, process_id, execution_id, type, key)
-- The lock on the event is taken only for a wait that is still there; if it goes in the meantime, the event stays.
WITH kept AS (
  SELECT e.tenant_id, e.event_id, e.type, e.key, e.data
  FROM event e
  WHERE e.tenant_id = $1 AND e.type = $4 AND (e.key = $5 OR (e.key IS NULL AND $5 IS NULL))
    AND (e.process_id IS NULL OR e.process_id = $2)
    AND e.taken_by IS NULL AND e.expires_at > now()
    AND EXISTS (SELECT 1 FROM subscription s WHERE s.process_id = $2 AND s.execution_id = $3)
  ORDER BY e.received_at, e.event_id
  LIMIT 1
  FOR UPDATE OF e
),
reached AS (
  DELETE FROM subscription s USING kept
  WHERE s.process_id = $2 AND s.execution_id = $3
  RETURNING s.process_id, s.execution_id
),
arrivals AS (
  INSERT INTO inbox (process_id, msg_id, tenant_id, kind, body)
  SELECT r.process_id, md5(r.execution_id::text || k.event_id::text)::uuid, k.tenant_id, 'event',
         json_build_object('kind', 'event', 'execution_id', r.execution_id, 'event_id', k.event_id,
                           'type', k.type, 'key', k.key, 'data', k.data)
  FROM kept k CROSS JOIN reached r
  ON CONFLICT DO NOTHING
),
taken AS (
  UPDATE event e SET taken_by = r.process_id
  FROM kept k CROSS JOIN reached r
  WHERE e.tenant_id = k.tenant_id AND e.event_id = k.event_id
)
SELECT EXISTS (SELECT 1 FROM reached);

-- name: undelivered_events(tenant_id, count)
SELECT event_id FROM event WHERE tenant_id = $1 AND fanned_out_at IS NULL ORDER BY received_at LIMIT $2;

-- name: expire_events(tenant_id, count)
-- An event that was never handed out is not forgotten, however old.
WITH old AS (
  SELECT tenant_id, event_id FROM event
  WHERE tenant_id = $1 AND expires_at <= now() AND fanned_out_at IS NOT NULL
  ORDER BY expires_at
  LIMIT $2
  FOR UPDATE SKIP LOCKED
),
gone AS (
  DELETE FROM event e USING old o WHERE e.tenant_id = o.tenant_id AND e.event_id = o.event_id RETURNING 1
)
SELECT count(*) FROM gone;
