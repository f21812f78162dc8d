"""Migrations on a real server."""

import asyncio
from urllib.parse import urlsplit

import asyncpg
import pytest

from understudy.persistence.migrate import Migration, MigrationError, migrate, pending, shipped_migrations
from understudy.persistence.pool import Database
from understudy.persistence.queries import load_queries

ALL = [migration.name for migration in shipped_migrations()]
FIRST = Migration("0001_first", "CREATE TABLE first (id int); INSERT INTO first VALUES (1);")
SECOND = Migration("0002_second", "CREATE TABLE second (id int);")


async def fetchval(url: str, query: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_an_empty_database_gets_everything_once(empty_postgres_url: str) -> None:
    assert await pending(empty_postgres_url) == ALL

    assert await migrate(empty_postgres_url) == ALL
    assert await pending(empty_postgres_url) == []
    assert await migrate(empty_postgres_url) == []


async def test_every_statement_can_be_prepared_with_the_parameters_it_declares(postgres_url: str) -> None:
    queries = load_queries()
    database = Database(postgres_url)
    connection = await database.connect()
    try:
        for name, text in queries.items():
            prepared = await connection.prepare(text)  # type: ignore[attr-defined] # only this test prepares
            assert len(prepared.get_parameters()) == len(queries.parameters(name)), name
    finally:
        connection.terminate()


async def test_many_may_migrate_one_database_at_once(empty_postgres_url: str) -> None:
    results = await asyncio.gather(*(migrate(empty_postgres_url) for _ in range(5)))

    assert sorted(results, key=len) == [[], [], [], [], ALL]


async def test_two_databases_of_one_cluster_may_be_migrated_at_once(admin_url: str) -> None:
    """Roles are shared by the databases of a cluster: both migrations may find the role missing and make it."""
    names = [f"understudy_race_{number}" for number in range(4)]
    role = "understudy_race"
    connection = await asyncpg.connect(admin_url)
    try:
        for name in names:
            await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template0 STRATEGY file_copy')
        race = [
            Migration(migration.name, migration.sql.replace("understudy_service", role))
            for migration in shipped_migrations()
        ]
        urls = [urlsplit(admin_url)._replace(path=f"/{name}").geturl() for name in names]

        assert await asyncio.gather(*(migrate(url, race) for url in urls)) == [ALL] * len(names)
    finally:
        for name in names:
            await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        await connection.execute(f"DROP ROLE IF EXISTS {role}")
        await connection.close()


async def test_a_later_version_applies_only_what_is_missing(empty_postgres_url: str) -> None:
    await migrate(empty_postgres_url, [FIRST])

    assert await pending(empty_postgres_url, [FIRST, SECOND]) == ["0002_second"]
    assert await migrate(empty_postgres_url, [FIRST, SECOND]) == ["0002_second"]
    assert await fetchval(empty_postgres_url, "SELECT count(*) FROM first") == 1


async def test_a_changed_migration_is_refused(empty_postgres_url: str) -> None:
    await migrate(empty_postgres_url, [FIRST])
    changed = Migration(FIRST.name, FIRST.sql + " ")

    for attempt in (migrate, pending):
        with pytest.raises(MigrationError, match="0001_first differs"):
            await attempt(empty_postgres_url, [changed, SECOND])


async def test_a_database_of_a_newer_version_is_refused(empty_postgres_url: str) -> None:
    await migrate(empty_postgres_url, [FIRST, SECOND])

    for attempt in (migrate, pending):
        with pytest.raises(MigrationError, match=r"0002_second.*newer version"):
            await attempt(empty_postgres_url, [FIRST])


async def test_of_a_migration_that_fails_nothing_remains(empty_postgres_url: str) -> None:
    broken = Migration("0002_broken", "CREATE TABLE half (id int);\n\nSELECT nonsense;")

    with pytest.raises(MigrationError, match='0002_broken, line 3 was refused: column "nonsense" does not exist'):
        await migrate(empty_postgres_url, [FIRST, broken])

    assert await fetchval(empty_postgres_url, "SELECT to_regclass('half')") is None
    assert await pending(empty_postgres_url, [FIRST, SECOND]) == ["0002_second"]


async def test_a_server_that_does_not_answer_is_named_without_the_password() -> None:
    with pytest.raises(MigrationError, match="cannot be reached") as caught:
        await pending("postgresql://user:secret@127.0.0.1:1/nowhere")

    assert "secret" not in str(caught.value)


async def test_a_database_that_does_not_exist_is_named(admin_url: str) -> None:
    with pytest.raises(MigrationError, match='"no_such_database" does not exist'):
        await migrate(urlsplit(admin_url)._replace(path="/no_such_database").geturl())


async def test_the_service_may_see_which_migrations_were_applied(postgres_url: str) -> None:
    database = Database(postgres_url)
    await database.start()
    try:
        assert await database.pool.fetchval("SELECT current_user") == "understudy_service"
        assert await database.pool.fetchval("SELECT count(*) FROM understudy_migration") == len(ALL)
    finally:
        await database.stop()
