-- Published definitions. They are immutable: rows are only ever added.

-- name: insert_definition(tenant_id, name, digest, content)
-- Stores content as the next version. No row comes back when the same content was published before, or when somebody
-- else has just taken the number: the caller looks again.
WITH body AS (
  INSERT INTO definition_content (tenant_id, digest, content) VALUES ($1, $3, $4) ON CONFLICT DO NOTHING
)
INSERT INTO definition (tenant_id, name, version, digest)
SELECT $1, $2, coalesce(max(version), 0) + 1, $3
FROM definition
WHERE tenant_id = $1 AND name = $2
HAVING NOT coalesce(bool_or(digest = $3), false)
ON CONFLICT DO NOTHING
RETURNING version;

-- name: find_definition_by_digest(tenant_id, name, digest)
SELECT d.name, d.version, d.digest, c.content, d.created_at
FROM definition d JOIN definition_content c USING (tenant_id, digest)
WHERE d.tenant_id = $1 AND d.name = $2 AND d.digest = $3;

-- name: find_definition(tenant_id, name, version)
-- Without a version, the latest.
SELECT d.name, d.version, d.digest, c.content, d.created_at
FROM definition d JOIN definition_content c USING (tenant_id, digest)
WHERE d.tenant_id = $1 AND d.name = $2 AND ($3::int IS NULL OR d.version = $3)
ORDER BY d.version DESC
LIMIT 1;

-- name: definition_content(tenant_id, digest)
SELECT content FROM definition_content WHERE tenant_id = $1 AND digest = $2;

-- name: latest_definitions(tenant_id, after, count)
SELECT d.name, d.version, d.digest, c.content, d.created_at
FROM (
  SELECT tenant_id, name, max(version) AS version
  FROM definition
  WHERE tenant_id = $1 AND name > $2
  GROUP BY tenant_id, name
  ORDER BY name
  LIMIT $3
) newest
JOIN definition d USING (tenant_id, name, version)
JOIN definition_content c USING (tenant_id, digest)
ORDER BY d.name;

-- name: definition_versions(tenant_id, name, before, count)
SELECT d.name, d.version, d.digest, c.content, d.created_at
FROM definition d JOIN definition_content c USING (tenant_id, digest)
WHERE d.tenant_id = $1 AND d.name = $2 AND ($3::int IS NULL OR d.version < $3)
ORDER BY d.version DESC
LIMIT $4;
