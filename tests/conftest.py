"""The servers of a test run: private ones, started when the first test asks for them, or those in the environment.

`UNDERSTUDY_TEST_POSTGRES_URL` (a superuser; databases are made and dropped there), `UNDERSTUDY_TEST_REDIS_URL` (that
database is emptied) and `UNDERSTUDY_TEST_RABBITMQ_URL` (an administrator; virtual hosts are made and dropped through
the management API, at port 15672 or at `UNDERSTUDY_TEST_RABBITMQ_MANAGEMENT_URL`) replace the private servers.
"""

import asyncio
import fcntl
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import asyncpg
import pytest
import redis.asyncio

from understudy.embedded.errors import ServerUnavailable
from understudy.embedded.management import Management
from understudy.embedded.postgres import Postgres
from understudy.embedded.rabbitmq import RabbitMQ
from understudy.embedded.valkey import Valkey

_FOLDER_PREFIX = "understudy-test-"
_numbers = itertools.count()
_TEMPLATE = f"understudy_test_{os.getpid()}_template"


class RedisServer(NamedTuple):
    url: str
    is_private: bool


class RabbitServer(NamedTuple):
    url: str
    management: Management


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if {"postgres_server", "redis_server", "rabbitmq_server"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("servers")


@pytest.fixture(scope="session")
def servers_folder() -> Iterator[Path]:
    _remove_what_killed_runs_left()
    folder = Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX))
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
def rabbitmq_server(servers_folder: Path) -> Iterator[RabbitServer]:
    if url := os.environ.get("UNDERSTUDY_TEST_RABBITMQ_URL"):
        user, _, place = urlsplit(url).netloc.rpartition("@")
        beside = f"http://{user or 'guest:guest'}@{place.partition(':')[0]}:15672"
        yield RabbitServer(url, Management(os.environ.get("UNDERSTUDY_TEST_RABBITMQ_MANAGEMENT_URL", beside)))
        return
    server = RabbitMQ(servers_folder, durable=False)
    try:
        _run(server.start())
    except ServerUnavailable as error:
        pytest.fail(f"{error} Or set UNDERSTUDY_TEST_RABBITMQ_URL to a broker for tests.", pytrace=False)
    yield RabbitServer(server.url(), server.management)
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


@pytest.fixture
async def rabbitmq_url(rabbitmq_server: RabbitServer) -> AsyncIterator[str]:
    """A virtual host of this test's own with nothing in it."""
    name = f"understudy_test_{os.getpid()}_{next(_numbers)}"
    await rabbitmq_server.management.create_vhost(name)
    yield _with_database(rabbitmq_server.url, quote(name, safe=""))
    await rabbitmq_server.management.delete_vhost(name)


def _remove_what_killed_runs_left() -> None:
    """The servers of a killed run die with it, and with them the locks on their folder."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER_PREFIX}*"):
        with suppress(OSError), ExitStack() as held:
            paths = [*folder.glob("*.lock"), *folder.glob("*/*.lock")]
            locks = [held.enter_context(path.open()) for path in paths]
            for lock in locks:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if locks:
                shutil.rmtree(folder)


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
