"""The servers of a test run: private ones, started when the first test asks for them, or those in the environment.

`UNDERSTUDY_TEST_POSTGRES_URL` (a superuser; databases are made and dropped there) and `UNDERSTUDY_TEST_REDIS_URL` (that
database is emptied) replace the private servers.
"""

import asyncio
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import asyncpg
import pytest
import redis.asyncio

from understudy.embedded.postgres import Postgres
from understudy.embedded.valkey import Valkey

_numbers = itertools.count()
_TEMPLATE = f"understudy_test_{os.getpid()}_template"


class RedisServer(NamedTuple):
    url: str
    is_private: bool


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if {"postgres_server", "redis_server"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("servers")


@pytest.fixture(scope="session")
def servers_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="understudy-test-"))
    folder.chmod(0o711)  # the unprivileged servers of a root need no capability to come in
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres_server(servers_folder: Path) -> Iterator[str]:
    if url := os.environ.get("UNDERSTUDY_TEST_POSTGRES_URL"):
        yield url
        return
    server = Postgres(servers_folder, durable=False)
    _run(server.start())
    yield server.url("postgres")
    _run(server.stop())


@pytest.fixture(scope="session")
def redis_server(servers_folder: Path) -> Iterator[RedisServer]:
    if url := os.environ.get("UNDERSTUDY_TEST_REDIS_URL"):
        yield RedisServer(url, is_private=False)
        return
    server = Valkey(servers_folder, durable=False)
    _run(server.start())
    yield RedisServer(server.url(), is_private=True)
    _run(server.stop())


@pytest.fixture(scope="session")
def admin_url(postgres_server: str) -> str:
    """The server's maintenance database, as a superuser."""
    return postgres_server


@pytest.fixture(scope="session")
def migrated_template(admin_url: str) -> Iterator[str]:
    from understudy.persistence.migrate import migrate  # unit tests run without it

    _run(_execute(admin_url, f'CREATE DATABASE "{_TEMPLATE}"'))
    try:
        _run(migrate(_with_database(admin_url, _TEMPLATE)))
        yield _TEMPLATE
    finally:
        _run(_execute(admin_url, f'DROP DATABASE "{_TEMPLATE}" WITH (FORCE)'))


@pytest.fixture
async def postgres_url(admin_url: str, migrated_template: str) -> AsyncIterator[str]:
    """A database of this test's own with the schema in it, as a superuser."""
    async with _database(admin_url, migrated_template) as url:
        yield url


@pytest.fixture
async def empty_postgres_url(admin_url: str) -> AsyncIterator[str]:
    """A database of this test's own with nothing in it, as a superuser."""
    async with _database(admin_url, "template0") as url:
        yield url


@pytest.fixture
async def redis_url(redis_server: RedisServer) -> str:
    """A Redis database that is empty when the test begins; a private server gives each test another of its sixteen."""
    url = _with_database(redis_server.url, str(next(_numbers) % 16)) if redis_server.is_private else redis_server.url
    async with redis.asyncio.from_url(url) as client:
        await client.flushdb()
    return url


@asynccontextmanager
async def _database(admin_url: str, template: str) -> AsyncIterator[str]:
    name = f"understudy_test_{os.getpid()}_{next(_numbers)}"
    await _execute(admin_url, f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy')
    try:
        yield _with_database(admin_url, name)
    finally:
        await _execute(admin_url, f'DROP DATABASE "{name}" WITH (FORCE)')


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _with_database(url: str, name: str) -> str:
    return urlsplit(url)._replace(path=f"/{name}").geturl()


def _run(work: Coroutine[Any, Any, Any]) -> None:
    # A loop of its own, never installed as the current one: that belongs to pytest-asyncio.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(work)
