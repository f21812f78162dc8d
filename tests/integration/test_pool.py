"""The service's connections."""

import asyncio

import asyncpg
import pytest

from understudy.persistence.pool import Database


async def test_start_and_stop_may_come_twice_or_not_at_all(postgres_url: str) -> None:
    database = Database(postgres_url)
    await database.stop()
    with pytest.raises(RuntimeError, match="not been started"):
        _ = database.pool
    await database.start()
    pool = database.pool
    await database.start()

    assert database.pool is pool
    await database.stop()
    await database.stop()


async def test_every_connection_is_the_service_and_bounded_in_time(postgres_url: str) -> None:
    database = Database(postgres_url)
    await database.start()
    connection = await database.connect(plan_cache_mode="force_generic_plan")
    try:
        for executor in (database.pool, connection):
            assert await executor.fetchval("SELECT current_user") == "understudy_service"
            for name, value in {
                "statement_timeout": "30s",
                "lock_timeout": "10s",
                "idle_in_transaction_session_timeout": "30s",
                "application_name": "understudy",
                "jit": "off",
                "TimeZone": "UTC",
            }.items():
                assert await executor.fetchval("SELECT current_setting($1)", name) == value
        assert await connection.fetchval("SELECT current_setting('plan_cache_mode')") == "force_generic_plan"
    finally:
        connection.terminate()
        await database.stop()


async def test_json_goes_through_as_bytes(postgres_url: str) -> None:
    database = Database(postgres_url)
    await database.start()
    try:
        row = await database.pool.fetchrow(
            """SELECT $1::json AS json, $2::jsonb AS jsonb, $3::json[] AS many,
                      'null'::json AS is_null, NULL::json AS is_none""",
            b'{"b": 1e16, "a":1.0}',
            b'{"b": 1, "a":1.0}',
            [b"1", None, b"null"],
        )
    finally:
        await database.stop()

    assert row is not None
    assert row["json"] == b'{"b": 1e16, "a":1.0}'
    assert row["jsonb"] == b'{"a": 1.0, "b": 1}'
    assert row["many"] == [b"1", None, b"null"]
    assert (row["is_null"], row["is_none"]) == (b"null", None)


async def test_the_pool_lends_a_connection_again_after_an_error(postgres_url: str) -> None:
    database = Database(postgres_url, pool_size=1)
    await database.start()
    try:
        with pytest.raises(asyncpg.DivisionByZeroError):
            async with database.pool.acquire() as connection, connection.transaction():
                await connection.fetchval("SELECT 1 / 0")
        assert await database.pool.fetchval("SELECT 1") == 1
    finally:
        await database.stop()


async def test_stopping_does_not_wait_for_a_statement(postgres_url: str) -> None:
    database = Database(postgres_url)
    await database.start()
    async with asyncio.TaskGroup() as group:
        waits = group.create_task(_fails(database))
        admin = await asyncpg.connect(postgres_url)
        while not await admin.fetchval("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"):
            pass
        await admin.close()
        await database.stop()

    assert waits.result()


async def _fails(database: Database) -> bool:
    with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError, ConnectionError)):
        await database.pool.fetchval("SELECT pg_sleep(25)")
    return True
