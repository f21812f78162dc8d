-- Whom to ask about the live actors of a session: its node's internal endpoint (address), and the word that opens it.
ALTER TABLE node_session ADD COLUMN admin_token text;
-- For people only: whether a session is alive is decided by its count of heartbeats.
ALTER TABLE node_session ADD COLUMN beaten_at timestamptz NOT NULL DEFAULT clock_timestamp();
