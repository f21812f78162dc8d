-- The record of applied migrations.

-- name: lock_migrations()
-- Held by the session, so that it spans the transactions of all migrations.
SELECT pg_advisory_lock(hashtextextended('understudy.migrations', 0));

-- name: create_migration_table()
CREATE TABLE IF NOT EXISTS understudy_migration (
  name       text PRIMARY KEY,
  sha256     bytea NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- name: has_migration_table()
SELECT to_regclass('understudy_migration') IS NOT NULL;

-- name: applied_migrations()
SELECT name, sha256 FROM understudy_migration ORDER BY name;

-- name: record_migration(name, sha256)
INSERT INTO understudy_migration (name, sha256) VALUES ($1, $2);
