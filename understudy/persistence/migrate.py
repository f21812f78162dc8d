"""Migrations: numbered files, each applied once, in one transaction, under a lock of the database."""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from importlib.resources import files

import asyncpg
from msgspec import Struct

from understudy.persistence.pool import Connection
from understudy.persistence.queries import load_queries

_FILE_NAME = re.compile(r"\d{4}_\w+\.sql")
CONNECT_TIMEOUT_SECONDS = 10


class MigrationError(Exception):
    """The database cannot be brought to this version of the schema; the message says why."""


class Migration(Struct, frozen=True):
    """One step of the schema."""

    name: str
    sql: str

    @property
    def checksum(self) -> bytes:
        """The SHA-256 of the text."""
        return sha256(self.sql.encode()).digest()


def shipped_migrations() -> list[Migration]:
    """The migrations that this version brings, in their order."""
    folder = files("understudy").joinpath("sql/migrations")
    return [
        Migration(entry.name.removesuffix(".sql"), entry.read_text(encoding="utf-8"))
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if _FILE_NAME.fullmatch(entry.name)
    ]


async def pending(admin_url: str, migrations: Sequence[Migration] | None = None) -> list[str]:
    """The names of the migrations that a database still needs, in their order.

    Raises:
        MigrationError: the database does not answer or has been migrated by something else than this version.
    """
    migrations = shipped_migrations() if migrations is None else migrations
    async with _connected(admin_url) as connection:
        return [migration.name for migration in await _missing(connection, migrations)]


async def migrate(admin_url: str, migrations: Sequence[Migration] | None = None) -> list[str]:
    """Apply what a database still needs; the names of what was applied. Any number may try at once.

    Raises:
        MigrationError: the database does not answer, has been migrated by something else than this version, or
            refuses a migration, of which then nothing remains.
    """
    queries = load_queries()
    migrations = shipped_migrations() if migrations is None else migrations
    applied: list[str] = []
    async with _connected(admin_url) as connection:
        await connection.execute(queries["lock_migrations"])
        await connection.execute(queries["create_migration_table"])
        for migration in await _missing(connection, migrations):
            try:
                async with connection.transaction():
                    await connection.execute(migration.sql)
                    await connection.execute(queries["record_migration"], migration.name, migration.checksum)
            except asyncpg.PostgresError as error:
                raise MigrationError(_refusal(migration, error)) from error
            applied.append(migration.name)
    return applied


async def _missing(connection: Connection, migrations: Sequence[Migration]) -> list[Migration]:
    queries = load_queries()
    if not await connection.fetchval(queries["has_migration_table"]):
        return list(migrations)
    applied = {row["name"]: row["sha256"] for row in await connection.fetch(queries["applied_migrations"])}
    unknown = sorted(applied.keys() - {migration.name for migration in migrations})
    if unknown:
        raise MigrationError(
            f"the database has the migration {unknown[0]}, which this version does not know: "
            "it was migrated by a newer version of Understudy"
        )
    for migration in migrations:
        if applied.get(migration.name, migration.checksum) != migration.checksum:
            raise MigrationError(f"the migration {migration.name} differs from what was applied to the database")
    return [migration for migration in migrations if migration.name not in applied]


@asynccontextmanager
async def _connected(admin_url: str) -> AsyncIterator[Connection]:
    try:
        connection: Connection = await asyncpg.connect(
            admin_url, timeout=CONNECT_TIMEOUT_SECONDS, server_settings={"application_name": "understudy migrate"}
        )
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        # The message of an error about the address may repeat the password.
        reason = str(error) if isinstance(error, asyncpg.PostgresError) else type(error).__name__
        raise MigrationError(f"the database cannot be reached: {reason}") from error
    try:
        yield connection
        await connection.close()
    except asyncpg.InsufficientPrivilegeError as error:
        raise MigrationError(f"the database refuses: {error}") from error
    except (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, OSError) as error:
        raise MigrationError(f"the connection to the database was lost: {type(error).__name__}") from error
    finally:
        connection.terminate()


def _refusal(migration: Migration, error: asyncpg.PostgresError) -> str:
    position = getattr(error, "position", None)
    place = f", line {migration.sql.count(chr(10), 0, int(position)) + 1}" if position else ""
    return f"the migration {migration.name}{place} was refused: {error}"
