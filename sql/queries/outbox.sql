-- Events on their way to the outside. A row is deleted only when the receiver has confirmed it.

-- name: pending_outbox(tenant_id, count)
-- The processes with the oldest rows, each from its first row on: an order by time alone could let a row overtake an
-- earlier one of its process when the server's clock was set back.
WITH oldest AS (
  SELECT process_id, min(created_at) AS since
  FROM (SELECT process_id, created_at FROM outbox WHERE tenant_id = $1 ORDER BY created_at LIMIT $2) o
  GROUP BY process_id
)
SELECT o.process_id, o.version, o.idx, o.event_id, o.topic, o.key, o.data, o.created_at
FROM oldest
CROSS JOIN LATERAL (
  SELECT process_id, version, idx, event_id, topic, key, data, created_at
  FROM outbox
  WHERE outbox.process_id = oldest.process_id
  ORDER BY version, idx
  LIMIT $2
) o
ORDER BY oldest.since, o.process_id, o.version, o.idx
LIMIT $2;

-- name: delete_outbox(process_ids, versions, indexes)
DELETE FROM outbox o
USING unnest($1::uuid[], $2::bigint[], $3::smallint[]) AS sent (process_id, version, idx)
WHERE o.process_id = sent.process_id AND o.version = sent.version AND o.idx = sent.idx;
