-- Idempotency keys of calls that make neither a process nor an inbox row.

-- name: recall_key(tenant_id, scope, key, keeping)
SELECT request_hash, first_status, resource
FROM retained_key
WHERE tenant_id = $1 AND scope = $2 AND key = $3 AND created_at > now() - $4::interval;

-- name: remember_key(tenant_id, scope, key, request_hash, first_status, resource, keeping)
-- The first call stays until its time is over, then the row begins anew. Each call also forgets a few old keys of others.
WITH old AS (
  SELECT tenant_id, scope, key FROM retained_key
  WHERE created_at <= now() - $7::interval AND (tenant_id, scope, key) <> ($1, $2, $3)
  ORDER BY created_at
  LIMIT 4
  FOR UPDATE SKIP LOCKED
),
forgotten AS (
  DELETE FROM retained_key r USING old o WHERE r.tenant_id = o.tenant_id AND r.scope = o.scope AND r.key = o.key
)
INSERT INTO retained_key AS r (tenant_id, scope, key, request_hash, first_status, resource)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (tenant_id, scope, key) DO UPDATE SET
  request_hash = CASE WHEN r.created_at > now() - $7::interval THEN r.request_hash ELSE excluded.request_hash END,
  first_status = CASE WHEN r.created_at > now() - $7::interval THEN r.first_status ELSE excluded.first_status END,
  resource = CASE WHEN r.created_at > now() - $7::interval THEN r.resource ELSE excluded.resource END,
  created_at = CASE WHEN r.created_at > now() - $7::interval THEN r.created_at ELSE excluded.created_at END
RETURNING request_hash, first_status, resource;
