-- The gateway's side of processes: it inserts and reads, it never updates.

-- name: start_processes(tenant_id, process_ids, shards, names, versions, digests, contents, keys, labels, inputs, request_hashes, first_statuses, state_schema)
-- Answers every process that is there: those made now, and those an earlier call made. One that somebody else is making
-- at this moment is in neither; the caller asks again. Rows go in the order of their ids, so that gateways cannot block
-- each other in a circle.
WITH asked AS MATERIALIZED (
  SELECT *, clock_timestamp() AS at
  FROM unnest($2::uuid[], $3::smallint[], $4::text[], $5::int[], $6::bytea[], $7::json[], $8::text[], $9::jsonb[],
              $10::json[], $11::bytea[], $12::smallint[])
       AS t (process_id, shard, name, version, digest, content, key, labels, input, request_hash, first_status)
  ORDER BY process_id
),
body AS (
  INSERT INTO definition_content (tenant_id, digest, content)
  SELECT DISTINCT ON (digest) $1::uuid, digest, content FROM asked WHERE content IS NOT NULL ORDER BY digest
  ON CONFLICT DO NOTHING
),
made AS (
  INSERT INTO process (process_id, tenant_id, shard, definition_name, definition_version, definition_digest, key, labels,
                       input, request_hash, first_status, created_at, updated_at, state_schema)
  SELECT process_id, $1, shard, name, version, digest, key, labels, input, request_hash, first_status, at, at, $13
  FROM asked
  ON CONFLICT (process_id) DO NOTHING
  RETURNING process_id, request_hash, first_status
),
first_rows AS (
  INSERT INTO history (process_id, seq, tenant_id, version, at, type, origin, target, data)
  SELECT process_id, 1, $1, 0, at, 'process.created', NULL, 'CREATED',
         jsonb_build_object('definition', jsonb_build_object('name', name, 'version', version),
                            'key', key, 'labels', labels)
  FROM asked JOIN made USING (process_id)
)
SELECT process_id, true AS is_new, request_hash, first_status FROM made
UNION ALL
SELECT p.process_id, false, p.request_hash, p.first_status FROM process p JOIN asked USING (process_id);

-- name: find_process(process_id)
-- One row for each activity that was reached, at least one; the large columns of the process are in the first only.
SELECT p.process_id AS p_process_id, p.definition_name AS p_definition_name, p.definition_version AS p_definition_version,
       p.definition_digest AS p_definition_digest, p.key AS p_key, p.labels AS p_labels, p.state AS p_state,
       p.paused AS p_paused, p.version AS p_version, p.created_at AS p_created_at, p.started_at AS p_started_at,
       p.updated_at AS p_updated_at, p.ended_at AS p_ended_at, p.quarantined AS p_quarantined,
       p.owner_session AS p_owner_session, p.owner_epoch AS p_owner_epoch,
       CASE WHEN row_number() OVER (ORDER BY e.execution_id) = 1 THEN p.input END AS p_input,
       CASE WHEN row_number() OVER (ORDER BY e.execution_id) = 1 THEN p.output END AS p_output,
       CASE WHEN row_number() OVER (ORDER BY e.execution_id) = 1 THEN p.error END AS p_error,
       e.execution_id, e.activity, e.type, e.visit, e.attempt, e.state, e.started_at, e.ended_at, e.output, e.error, e.detail
FROM process p
LEFT JOIN LATERAL (
  SELECT DISTINCT ON (x.activity)
         x.execution_id, x.activity, x.type, x.visit, x.attempt, x.state, x.started_at, x.ended_at, x.output, x.error, x.detail
  FROM activity_execution x
  WHERE x.process_id = p.process_id
  ORDER BY x.activity, x.visit DESC
) e ON true
WHERE p.process_id = $1
ORDER BY e.execution_id;

-- name: process_executions(process_id)
SELECT execution_id, activity, type, visit, attempt, state, started_at, ended_at, output, error, detail
FROM activity_execution
WHERE process_id = $1
ORDER BY started_at, activity, visit;

-- name: search_processes(tenant_id, state, definition, version, key, labels, created_from, created_until, before_at, before_id, count)
-- Filters that are NULL do not count. The statement is planned for its arguments: one plan for all of them would read
-- every process for a key that no process has.
SELECT process_id, definition_name, definition_version, definition_digest, key, labels, state, paused, version, input,
       output, error, created_at, started_at, updated_at, ended_at, quarantined, owner_session, owner_epoch
FROM process
WHERE tenant_id = $1
  AND ($2::text IS NULL OR state = $2)
  AND ($3::text IS NULL OR definition_name = $3)
  AND ($4::int IS NULL OR definition_version = $4)
  AND ($5::text IS NULL OR key = $5)
  AND ($6::jsonb IS NULL OR (labels @> $6 AND labels <> '{}'))
  AND ($7::timestamptz IS NULL OR created_at >= $7)
  AND ($8::timestamptz IS NULL OR created_at < $8)
  AND ($9::timestamptz IS NULL OR (created_at, process_id) < ($9, $10::uuid))
ORDER BY created_at DESC, process_id DESC
LIMIT $11;

-- name: process_history(process_id, after, count)
SELECT seq, version, at, type, origin, target, activity, execution_id, attempt, node, epoch, data
FROM history
WHERE process_id = $1 AND seq > $2
ORDER BY seq
LIMIT $3;

-- name: ended_processes(process_ids)
SELECT process_id FROM process
WHERE process_id = ANY($1::uuid[]) AND state IN ('COMPLETED', 'FAILED', 'CANCELLED');
