-- The gateway's side of the inbox.

-- name: submit_message(process_id, msg_id, tenant_id, kind, body, request_hash, first_status)
WITH made AS (
  INSERT INTO inbox (process_id, msg_id, tenant_id, kind, body, request_hash, first_status)
  VALUES ($1, $2, $3, $4, $5, $6, $7)
  ON CONFLICT DO NOTHING
  RETURNING request_hash, first_status, outcome
)
SELECT true AS is_new, request_hash, first_status, outcome FROM made
UNION ALL
SELECT false, request_hash, first_status, outcome FROM inbox WHERE process_id = $1 AND msg_id = $2;

-- name: recall_message(process_id, msg_id)
SELECT false AS is_new, request_hash, first_status, outcome FROM inbox WHERE process_id = $1 AND msg_id = $2;
