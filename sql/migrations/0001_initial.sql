-- The schema of protocol.md section 2. Every table carries tenant_id; every key of a process's rows begins with process_id.
-- No foreign keys to process: the gateway's inserts must never wait for the owner's row lock.
-- Values of users are json, not jsonb: what is read back has the order of keys and the form of numbers (1e300 against an
-- integer of 301 digits) that it had when it was written.

CREATE TABLE definition_content (
  tenant_id  uuid NOT NULL,
  digest     bytea NOT NULL,               -- SHA-256 of the canonical content
  content    json NOT NULL,                -- as it was sent: json keeps the order of keys, jsonb would not
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tenant_id, digest)
);

CREATE TABLE definition (
  tenant_id  uuid NOT NULL,
  name       text NOT NULL,
  version    int NOT NULL,
  digest     bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tenant_id, name, version),
  UNIQUE (tenant_id, name, digest)
);

CREATE TABLE process (
  process_id         uuid PRIMARY KEY,
  tenant_id          uuid NOT NULL,
  shard              smallint NOT NULL,
  definition_name    text NOT NULL,
  definition_version int,                  -- NULL for an inline definition
  definition_digest  bytea NOT NULL,
  key                text,
  labels             jsonb NOT NULL DEFAULT '{}',
  input              json,
  request_hash       bytea NOT NULL,
  first_status       smallint NOT NULL,
  created_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
  -- written by the owner's commit
  state              text NOT NULL DEFAULT 'CREATED'
                     CHECK (state IN ('CREATED', 'IN_PROGRESS', 'WAITING', 'COMPLETED', 'FAILED', 'CANCELLED')),
  paused             boolean NOT NULL DEFAULT false,
  version            bigint NOT NULL DEFAULT 0,
  ready              boolean NOT NULL DEFAULT true,
  state_schema       smallint NOT NULL,
  body               jsonb NOT NULL DEFAULT '{"seq": 1, "active": []}',
  output             json,                 -- SQL NULL: none, or a null
  error              json,
  started_at         timestamptz,
  updated_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
  ended_at           timestamptz,
  last_batch         uuid,
  -- written by claim, takeover, release and quarantine
  owner_epoch        bigint NOT NULL DEFAULT 0,
  owner_session      uuid,
  owner_claim        uuid,
  claim_fails        smallint NOT NULL DEFAULT 0,
  quarantined        text
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
-- No index holds a column that every commit changes, so that updates stay heap-only.
CREATE INDEX process_ready ON process (claim_fails, created_at) WHERE owner_session IS NULL AND ready;
CREATE INDEX process_owned ON process (owner_session) WHERE owner_session IS NOT NULL;
CREATE INDEX process_newest ON process (tenant_id, created_at DESC, process_id DESC);
CREATE INDEX process_definition ON process (tenant_id, definition_name, created_at DESC);
CREATE INDEX process_key ON process (tenant_id, key, created_at DESC) WHERE key IS NOT NULL;
CREATE INDEX process_labels ON process USING gin (labels jsonb_path_ops) WHERE labels <> '{}';

CREATE TABLE activity_execution (
  process_id   uuid NOT NULL,
  execution_id uuid NOT NULL,
  tenant_id    uuid NOT NULL,
  activity     text NOT NULL,
  type         text NOT NULL,
  visit        int NOT NULL,
  attempt      int NOT NULL,
  state        text NOT NULL CHECK (state IN ('PENDING', 'RUNNING', 'WAITING', 'COMPLETED', 'FAILED')),
  started_at   timestamptz NOT NULL,
  ended_at     timestamptz,
  output       json,                       -- SQL NULL: none yet; a JSON null is 'null'
  error        json,
  detail       jsonb NOT NULL,             -- generation, deadline, next attempt, what it waits for
  PRIMARY KEY (process_id, execution_id)
) WITH (fillfactor = 80);

CREATE TABLE history (
  process_id   uuid NOT NULL,
  seq          bigint NOT NULL,
  tenant_id    uuid NOT NULL,
  version      bigint NOT NULL,
  at           timestamptz NOT NULL DEFAULT clock_timestamp(),
  type         text NOT NULL,
  origin       text,
  target       text,
  activity     text,
  execution_id uuid,
  attempt      int,
  node         text,
  epoch        bigint,
  data         json NOT NULL DEFAULT '{}',
  PRIMARY KEY (process_id, seq)
);

CREATE TABLE inbox (
  process_id       uuid NOT NULL,
  msg_id           uuid NOT NULL,
  tenant_id        uuid NOT NULL,
  arrived          bigint GENERATED ALWAYS AS IDENTITY,
  kind             text NOT NULL,
  body             json NOT NULL,
  created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
  consumed_version bigint,
  outcome          text,
  request_hash     bytea,
  first_status     smallint,
  PRIMARY KEY (process_id, msg_id)
) WITH (autovacuum_vacuum_scale_factor = 0.01);
CREATE INDEX inbox_pending ON inbox (process_id) WHERE consumed_version IS NULL;

CREATE TABLE timer (
  process_id uuid NOT NULL,
  timer_id   text NOT NULL,                -- "activity:visit:kind", or "process"
  tenant_id  uuid NOT NULL,
  due_at     timestamptz NOT NULL,
  body       jsonb NOT NULL DEFAULT '{}',
  PRIMARY KEY (process_id, timer_id)
) WITH (autovacuum_vacuum_scale_factor = 0.01);
CREATE INDEX timer_due ON timer (due_at);  -- scanned instead of a column of process, which would break heap-only updates

CREATE TABLE outbox (
  process_id uuid NOT NULL,
  version    bigint NOT NULL,
  idx        smallint NOT NULL,
  tenant_id  uuid NOT NULL,
  shard      smallint NOT NULL,
  event_id   uuid NOT NULL,
  topic      text NOT NULL,
  key        text,
  data       json,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (process_id, version, idx)
) WITH (autovacuum_vacuum_scale_factor = 0.01);
CREATE INDEX outbox_oldest ON outbox (created_at);

CREATE TABLE event (
  tenant_id     uuid NOT NULL,
  event_id      uuid NOT NULL,
  process_id    uuid,                      -- the one addressee, or NULL
  type          text NOT NULL,
  key           text,
  data          json,
  request_hash  bytea,
  received_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
  expires_at    timestamptz NOT NULL,
  fanned_out_at timestamptz,
  taken_by      uuid,
  PRIMARY KEY (tenant_id, event_id)
) WITH (autovacuum_vacuum_scale_factor = 0.01);
CREATE INDEX event_kept ON event (tenant_id, type, key, received_at) WHERE taken_by IS NULL;
CREATE INDEX event_undelivered ON event (received_at) WHERE fanned_out_at IS NULL;
CREATE INDEX event_expiry ON event (expires_at);

CREATE TABLE subscription (
  process_id   uuid NOT NULL,
  execution_id uuid NOT NULL,
  tenant_id    uuid NOT NULL,
  type         text NOT NULL,
  key          text,
  PRIMARY KEY (process_id, execution_id)
) WITH (autovacuum_vacuum_scale_factor = 0.01);
CREATE INDEX subscription_awaited ON subscription (tenant_id, type, key);

CREATE TABLE node_session (
  session_id uuid PRIMARY KEY,
  node       text NOT NULL,
  address    text,
  started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  beat_seq   bigint NOT NULL DEFAULT 0,
  lease_ok   boolean NOT NULL DEFAULT true,
  state      text NOT NULL DEFAULT 'alive' CHECK (state IN ('alive', 'draining', 'dead')),
  max_schema smallint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE retained_key (                -- idempotency keys of calls that make neither a process nor an inbox row
  tenant_id    uuid NOT NULL,
  scope        text NOT NULL,              -- method and path
  key          text NOT NULL,
  request_hash bytea NOT NULL,
  first_status smallint NOT NULL,
  resource     text NOT NULL,
  created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tenant_id, scope, key)
);
CREATE INDEX retained_key_age ON retained_key (created_at);

-- The history is append-only: first by grants, and behind them by a trigger that stops whoever owns the table.
CREATE FUNCTION refuse_history_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'history is append-only' USING ERRCODE = 'insufficient_privilege',
    HINT = 'Only pruning by the admin role may delete rows, with understudy.pruning set to on.';
END $$;
CREATE TRIGGER history_append_only BEFORE UPDATE ON history
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_history_change();
CREATE TRIGGER history_keep BEFORE DELETE ON history
  FOR EACH STATEMENT WHEN (coalesce(current_setting('understudy.pruning', true), 'off') <> 'on')
  EXECUTE FUNCTION refuse_history_change();
CREATE TRIGGER history_whole BEFORE TRUNCATE ON history
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_history_change();

-- The service's own role: it reads and writes, it never rewrites the history.
DO $$
BEGIN
  IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'understudy_service') THEN
    CREATE ROLE understudy_service NOLOGIN;
  END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
  NULL;                                    -- another migration of the same cluster was quicker: roles are shared by databases
END $$;
GRANT SELECT, INSERT ON definition, definition_content, history TO understudy_service;
GRANT SELECT, INSERT, UPDATE ON process, activity_execution, node_session TO understudy_service;
GRANT SELECT, INSERT, UPDATE, DELETE ON inbox, timer, outbox, event, subscription, retained_key TO understudy_service;
GRANT DELETE ON node_session TO understudy_service;
GRANT SELECT ON understudy_migration TO understudy_service;
