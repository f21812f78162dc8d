-- Ownership and the one write that matters (protocol.md, sections 3 and 4).

-- name: claim(session_id, process_ids, claims, schema_max)
-- The previous owner is named: nobody, or a session that is marked dead. A session without a row counts as alive,
-- because the row of one that has just begun may be too young for this snapshot. The claimant's own row is locked: who
-- declares it dead waits for this claim, or this claim sees it dead, so that nothing is claimed for a session that is gone.
WITH claimant AS (
  SELECT 1 FROM node_session WHERE session_id = $1 AND state = 'alive' FOR SHARE
),
wanted AS (
  SELECT * FROM unnest($2::uuid[], $3::uuid[]) AS w(process_id, claim)
),
locked AS (
  SELECT p.process_id, w.claim
  FROM process p JOIN wanted w USING (process_id)
  WHERE EXISTS (SELECT 1 FROM claimant)
    AND p.quarantined IS NULL AND p.state_schema <= $4
    AND (p.owner_session IS NULL
         OR EXISTS (SELECT 1 FROM node_session d WHERE d.session_id = p.owner_session AND d.state = 'dead'))
    AND (p.state NOT IN ('COMPLETED', 'CANCELLED', 'FAILED')
         OR (p.state = 'FAILED' AND EXISTS (
               SELECT 1 FROM inbox b WHERE b.process_id = p.process_id AND b.consumed_version IS NULL AND b.kind = 'retry')))
  ORDER BY p.process_id
  FOR NO KEY UPDATE OF p SKIP LOCKED
)
UPDATE process p
SET owner_session = $1, owner_claim = l.claim, owner_epoch = p.owner_epoch + 1, claim_fails = p.claim_fails + 1
FROM locked l
WHERE p.process_id = l.process_id
RETURNING p.process_id, p.definition_name, p.definition_version, p.definition_digest, p.key, p.input, p.created_at,
          p.updated_at, p.state, p.paused, p.version, p.body, p.output, p.error, p.started_at, p.ended_at,
          p.owner_epoch, p.owner_claim, p.claim_fails,
          EXISTS (SELECT 1 FROM inbox b WHERE b.process_id = p.process_id AND b.consumed_version IS NULL) AS has_inbox,
          clock_timestamp() AS db_now;

-- name: latest_executions(process_ids)
-- A statement after the claim: that one's own snapshot may be older than the last commit of the previous owner.
SELECT DISTINCT ON (process_id, activity)
       process_id, execution_id, activity, type, visit, attempt, state, started_at, ended_at, output, error, detail
FROM activity_execution
WHERE process_id = ANY($1::uuid[])
ORDER BY process_id, activity, visit DESC;

-- name: deliveries(process_ids)
SELECT process_id, msg_id, kind, body, created_at
FROM inbox
WHERE process_id = ANY($1::uuid[]) AND consumed_version IS NULL
ORDER BY arrived;

-- name: quarantine(process_ids, claims, reasons)
UPDATE process p
SET quarantined = q.reason, owner_session = NULL, owner_claim = NULL, owner_epoch = p.owner_epoch + 1
FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS q(process_id, claim, reason)
WHERE p.process_id = q.process_id AND p.owner_claim = q.claim;

-- name: commit(batch, node, schema, process_ids, epochs, claims, versions, states, paused, ready, bodies, outputs, errors, started, updated, ended, fact_of, fact_seqs, fact_at, fact_types, fact_origins, fact_targets, fact_activities, fact_executions, fact_attempts, fact_data, consumed_of, consumed_ids, consumed_outcomes, execution_of, execution_ids, execution_activities, execution_types, execution_visits, execution_attempts, execution_states, execution_started, execution_ended, execution_outputs, execution_errors, execution_details, timer_of, timer_ids, timer_due, timer_bodies, timer_gone_of, timer_gone_ids, wait_of, wait_executions, wait_types, wait_keys, wait_gone_of, wait_gone_executions, outbox_of, outbox_idx, outbox_events, outbox_topics, outbox_keys, outbox_data)
-- Each transition of the batch is applied whole or not at all: everything joins `applied`, by the transition's place in
-- the batch. One order of locks for all batches and claims: no deadlocks. A process that ends needs no owner.
WITH transition AS (
  SELECT * FROM unnest($4::uuid[], $5::bigint[], $6::uuid[], $7::bigint[], $8::text[], $9::bool[], $10::bool[],
                       $11::jsonb[], $12::json[], $13::json[], $14::timestamptz[], $15::timestamptz[], $16::timestamptz[])
    WITH ORDINALITY AS t(process_id, epoch, claim, version, state, paused, ready,
                         body, output, error, started_at, updated_at, ended_at, place)
),
locked AS (
  SELECT t.*
  FROM process p JOIN transition t USING (process_id)
  WHERE p.owner_epoch = t.epoch
    AND p.owner_claim = t.claim
    AND p.version = t.version
  ORDER BY p.process_id
  FOR NO KEY UPDATE OF p
),
applied AS (
  UPDATE process p
  SET version = p.version + 1, state = l.state, paused = l.paused, ready = l.ready, state_schema = $3, body = l.body,
      output = l.output, error = l.error, started_at = l.started_at, updated_at = l.updated_at, ended_at = l.ended_at,
      owner_session = CASE WHEN l.state IN ('COMPLETED', 'CANCELLED', 'FAILED') THEN NULL ELSE p.owner_session END,
      owner_claim = CASE WHEN l.state IN ('COMPLETED', 'CANCELLED', 'FAILED') THEN NULL ELSE p.owner_claim END,
      last_batch = $1, claim_fails = 0
  FROM locked l
  WHERE p.process_id = l.process_id
  RETURNING p.process_id, p.tenant_id, p.shard, p.version, p.owner_epoch, l.place
),
recorded AS (
  INSERT INTO history (process_id, seq, tenant_id, version, at, type, origin, target, activity, execution_id, attempt,
                       node, epoch, data)
  SELECT a.process_id, f.seq, a.tenant_id, a.version, f.at, f.type, f.origin, f.target, f.activity, f.execution_id,
         f.attempt, $2, a.owner_epoch, f.data
  FROM unnest($17::int[], $18::bigint[], $19::timestamptz[], $20::text[], $21::text[], $22::text[], $23::text[],
              $24::uuid[], $25::int[], $26::json[])
         AS f(place, seq, at, type, origin, target, activity, execution_id, attempt, data)
  JOIN applied a USING (place)
),
consumed AS (
  UPDATE inbox b
  SET consumed_version = a.version, outcome = c.outcome
  FROM unnest($27::int[], $28::uuid[], $29::text[]) AS c(place, msg_id, outcome)
  JOIN applied a USING (place)
  WHERE b.process_id = a.process_id AND b.msg_id = c.msg_id AND b.consumed_version IS NULL
),
executed AS (
  INSERT INTO activity_execution (process_id, execution_id, tenant_id, activity, type, visit, attempt, state, started_at,
                                  ended_at, output, error, detail)
  SELECT a.process_id, e.execution_id, a.tenant_id, e.activity, e.type, e.visit, e.attempt, e.state, e.started_at,
         e.ended_at, e.output, e.error, e.detail
  FROM unnest($30::int[], $31::uuid[], $32::text[], $33::text[], $34::int[], $35::int[], $36::text[],
              $37::timestamptz[], $38::timestamptz[], $39::json[], $40::json[], $41::jsonb[])
         AS e(place, execution_id, activity, type, visit, attempt, state, started_at, ended_at, output, error, detail)
  JOIN applied a USING (place)
  ON CONFLICT (process_id, execution_id) DO UPDATE
  SET attempt = excluded.attempt, state = excluded.state, ended_at = excluded.ended_at, output = excluded.output,
      error = excluded.error, detail = excluded.detail
),
timer_set AS (
  INSERT INTO timer (process_id, timer_id, tenant_id, due_at, body)
  SELECT a.process_id, t.timer_id, a.tenant_id, t.due_at, t.body
  FROM unnest($42::int[], $43::text[], $44::timestamptz[], $45::jsonb[]) AS t(place, timer_id, due_at, body)
  JOIN applied a USING (place)
  ON CONFLICT (process_id, timer_id) DO UPDATE SET due_at = excluded.due_at, body = excluded.body
),
timer_gone AS (
  DELETE FROM timer t
  USING unnest($46::int[], $47::text[]) AS g(place, timer_id) JOIN applied a USING (place)
  WHERE t.process_id = a.process_id AND t.timer_id = g.timer_id
),
wait_set AS (
  INSERT INTO subscription (process_id, execution_id, tenant_id, type, key)
  SELECT a.process_id, w.execution_id, a.tenant_id, w.type, w.key
  FROM unnest($48::int[], $49::uuid[], $50::text[], $51::text[]) AS w(place, execution_id, type, key)
  JOIN applied a USING (place)
  ON CONFLICT (process_id, execution_id) DO UPDATE SET type = excluded.type, key = excluded.key
),
wait_gone AS (
  DELETE FROM subscription s
  USING unnest($52::int[], $53::uuid[]) AS g(place, execution_id) JOIN applied a USING (place)
  WHERE s.process_id = a.process_id AND s.execution_id = g.execution_id
),
announced AS (
  INSERT INTO outbox (process_id, version, idx, tenant_id, shard, event_id, topic, key, data)
  SELECT a.process_id, a.version, o.idx, a.tenant_id, a.shard, o.event_id, o.topic, o.key, o.data
  FROM unnest($54::int[], $55::smallint[], $56::uuid[], $57::text[], $58::text[], $59::json[])
         AS o(place, idx, event_id, topic, key, data)
  JOIN applied a USING (place)
)
SELECT place::int, clock_timestamp() AS db_now FROM applied;

-- name: read_back(process_ids)
-- What became of transitions whose fate the statement did not tell.
SELECT process_id, version, owner_epoch, owner_claim, last_batch, clock_timestamp() AS db_now
FROM process
WHERE process_id = ANY($1::uuid[]);

-- name: passivate(process_ids, epochs, claims, versions)
WITH leaving AS (
  SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::bigint[]) AS t(process_id, epoch, claim, version)
),
locked AS (
  SELECT p.process_id
  FROM process p JOIN leaving l USING (process_id)
  WHERE p.owner_epoch = l.epoch
    AND p.owner_claim = l.claim
    AND p.version = l.version
    AND NOT EXISTS (SELECT 1 FROM inbox b WHERE b.process_id = p.process_id AND b.consumed_version IS NULL)
  ORDER BY p.process_id
  FOR NO KEY UPDATE OF p
)
UPDATE process p
SET owner_session = NULL, owner_claim = NULL, claim_fails = 0
FROM locked l
WHERE p.process_id = l.process_id
RETURNING p.process_id;

-- name: relinquish(session_id, process_ids)
WITH locked AS (
  SELECT process_id FROM process
  WHERE owner_session = $1 AND process_id = ANY($2::uuid[])
  ORDER BY process_id
  FOR NO KEY UPDATE
)
UPDATE process p
SET owner_session = NULL, owner_claim = NULL, owner_epoch = p.owner_epoch + 1
FROM locked l
WHERE p.process_id = l.process_id;

-- name: spare(session_id, process_ids)
-- Claimed and not tried: the claim does not count.
WITH locked AS (
  SELECT process_id FROM process
  WHERE owner_session = $1 AND process_id = ANY($2::uuid[])
  ORDER BY process_id
  FOR NO KEY UPDATE
)
UPDATE process p
SET owner_session = NULL, owner_claim = NULL, owner_epoch = p.owner_epoch + 1,
    claim_fails = greatest(p.claim_fails - 1, 0)
FROM locked l
WHERE p.process_id = l.process_id;

-- name: owners(process_ids, schema_max)
SELECT p.process_id, p.owner_session, p.owner_claim,
       coalesce(s.state <> 'dead', false) AS owner_alive,
       (p.owner_session IS NULL OR coalesce(s.state = 'dead', false))
         AND p.quarantined IS NULL AND p.state_schema <= $2
         AND (p.state NOT IN ('COMPLETED', 'CANCELLED', 'FAILED')
              OR (p.state = 'FAILED' AND EXISTS (
                    SELECT 1 FROM inbox b
                    WHERE b.process_id = p.process_id AND b.consumed_version IS NULL AND b.kind = 'retry'))) AS is_claimable
FROM process p LEFT JOIN node_session s ON s.session_id = p.owner_session
WHERE p.process_id = ANY($1::uuid[]);

-- name: owned_with_work(session_id)
SELECT p.process_id, p.version
FROM process p
WHERE p.owner_session = $1 AND p.quarantined IS NULL
  AND (p.ready
       OR EXISTS (SELECT 1 FROM inbox b WHERE b.process_id = p.process_id AND b.consumed_version IS NULL)
       OR EXISTS (SELECT 1 FROM timer t WHERE t.process_id = p.process_id AND t.due_at <= now()
                    AND NOT (p.paused AND t.timer_id LIKE '%:retry')));
