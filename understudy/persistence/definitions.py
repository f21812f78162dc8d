"""Published definitions in PostgreSQL."""

from understudy.domain.errors import Unreachable
from understudy.domain.identity import TENANT
from understudy.domain.views import PublishedDefinition
from understudy.persistence.pool import Database, Record
from understudy.persistence.statements import Statements

_ATTEMPTS = 100
"""Each lost attempt is somebody else's new version of the same name."""


class Definitions:
    """Implements the port of the same name."""

    def __init__(self, database: Database) -> None:
        self._statements = Statements(database)

    async def publish(self, name: str, digest: bytes, content: bytes) -> tuple[PublishedDefinition, bool]:
        """Store content as the next version unless any version has it; the version, and whether it is new."""
        for _ in range(_ATTEMPTS):
            row = await self._statements.row("find_definition_by_digest", TENANT, name, digest)
            if row is not None:
                return _published(row), False
            version = await self._statements.value("insert_definition", TENANT, name, digest, content)
            if version is not None:
                row = await self._statements.row("find_definition", TENANT, name, version)
                assert row is not None, "a published definition is never deleted"
                return _published(row), True
        raise Unreachable(f"others publish versions of {name!r} all the time")

    async def find(self, name: str, version: int | None = None) -> PublishedDefinition | None:
        """A version, or the latest."""
        row = await self._statements.row("find_definition", TENANT, name, version)
        return None if row is None else _published(row)

    async def content(self, digest: bytes) -> bytes | None:
        """The JSON text with this digest, published or inline."""
        content: bytes | None = await self._statements.value("definition_content", TENANT, digest)
        return content

    async def latest(self, limit: int, after: str | None) -> list[PublishedDefinition]:
        """The latest version of each definition whose name comes after `after`, by name."""
        rows = await self._statements.rows("latest_definitions", TENANT, after or "", limit)
        return [_published(row) for row in rows]

    async def versions(self, name: str, limit: int, before: int | None) -> list[PublishedDefinition]:
        """The versions of one definition below `before`, latest first."""
        rows = await self._statements.rows("definition_versions", TENANT, name, before, limit)
        return [_published(row) for row in rows]


def _published(row: Record) -> PublishedDefinition:
    return PublishedDefinition(row["name"], row["version"], row["digest"], row["content"], row["created_at"])
