-- The safety nets: work that is due although no message said so. They look for what is present, never beyond a position.

-- name: ready_processes(schema_max, count)
-- Those that failed their claimants come last, so that a few of them cannot fill every page.
SELECT process_id
FROM process
WHERE owner_session IS NULL AND ready AND quarantined IS NULL AND state_schema <= $1
  AND state NOT IN ('COMPLETED', 'CANCELLED', 'FAILED')
ORDER BY claim_fails, created_at
LIMIT $2;

-- name: pending_processes(older_than, count)
SELECT b.process_id
FROM inbox b JOIN process p USING (process_id)
WHERE b.consumed_version IS NULL AND b.created_at <= now() - $1::interval
  AND p.quarantined IS NULL
  AND (p.state NOT IN ('COMPLETED', 'CANCELLED', 'FAILED') OR (p.state = 'FAILED' AND b.kind = 'retry'))
GROUP BY b.process_id
ORDER BY min(b.created_at)
LIMIT $2;

-- name: due_processes(schema_max, count)
-- While a process is paused its waits, timeouts and deadlines go on; only the next attempt has to wait.
SELECT t.process_id
FROM timer t JOIN process p USING (process_id)
WHERE t.due_at <= now()
  AND p.quarantined IS NULL AND p.state_schema <= $1 AND p.state NOT IN ('COMPLETED', 'CANCELLED', 'FAILED')
  AND NOT (p.paused AND t.timer_id LIKE '%:retry')
  AND (p.owner_session IS NULL
       OR EXISTS (SELECT 1 FROM node_session s WHERE s.session_id = p.owner_session AND s.state = 'dead'))
GROUP BY t.process_id
ORDER BY min(t.due_at)
LIMIT $2;

-- name: unmet_waits(tenant_id, count)
-- Waits and kept events that missed each other: the owner died between the commit of its wait and its look.
SELECT s.process_id, s.execution_id, s.type, s.key
FROM event e JOIN subscription s ON s.tenant_id = e.tenant_id AND s.type = e.type
WHERE e.tenant_id = $1 AND e.taken_by IS NULL AND e.fanned_out_at IS NOT NULL AND e.expires_at > now()
  AND (s.key = e.key OR (s.key IS NULL AND e.key IS NULL))
  AND (e.process_id IS NULL OR e.process_id = s.process_id)
LIMIT $2;

-- name: reject_orphans(count)
-- A failed process can be retried: until then its rows are rejected too, unless a retry is under way.
WITH orphans AS (
  SELECT b.process_id, b.msg_id, p.version, p.state
  FROM inbox b JOIN process p USING (process_id)
  WHERE b.consumed_version IS NULL
    AND (p.state IN ('COMPLETED', 'CANCELLED')
         OR (p.state = 'FAILED' AND NOT EXISTS (
               SELECT 1 FROM inbox r WHERE r.process_id = b.process_id AND r.consumed_version IS NULL AND r.kind = 'retry')))
  LIMIT $1
  FOR UPDATE OF b SKIP LOCKED
),
rejected AS (
  UPDATE inbox b
  SET consumed_version = o.version, outcome = 'rejected: the process is ' || o.state
  FROM orphans o
  WHERE b.process_id = o.process_id AND b.msg_id = o.msg_id
  RETURNING 1
)
SELECT count(*) FROM rejected;
