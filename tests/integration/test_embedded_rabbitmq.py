import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aio_pika
import pytest

from understudy.embedded.errors import FolderInUse, ServerUnavailable
from understudy.embedded.folder import Folder, is_alive
from understudy.embedded.rabbitmq import RabbitMQ

STARTER = """
import asyncio, sys
from pathlib import Path
from understudy.embedded.rabbitmq import RabbitMQ

async def main():
    server = RabbitMQ(Path(sys.argv[1]))
    await server.start()
    print(server.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def starter(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that runs a broker on tmp_path."""
    with subprocess.Popen([sys.executable, "-c", STARTER, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


async def can_log_in(url: str) -> bool:
    try:
        connection = await aio_pika.connect(url)
    except ConnectionError:
        return False
    await connection.close()
    return True


def listening_at(ports: set[int]) -> set[str]:
    """The addresses at which somebody listens on these ports, as the kernel writes them."""
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    places = [row[1].split(":") for row in rows if row[3] == "0A"]
    return {address for address, port in places if int(port, 16) in ports}


def owner_and_command(pid: int) -> tuple[int, str]:
    return Path(f"/proc/{pid}").stat().st_uid, Path(f"/proc/{pid}/cmdline").read_text()


async def test_a_broker_for_users_keeps_its_secrets_and_its_data(tmp_path: Path) -> None:
    server = RabbitMQ(tmp_path)
    await server.start()
    try:
        await server.start()
        assert server.version
        owner, command = owner_and_command(server.pid)
        assert owner != 0
        assert await can_log_in(server.url())
        assert not await can_log_in(f"amqp://guest:guest@127.0.0.1:{server.port}/")
        assert (tmp_path / "rabbitmq.password").stat().st_mode & 0o777 == 0o600
        assert (tmp_path / "rabbitmq.password").read_text() not in command
        ports = {server.port, server._ports.distribution, server._mapper_port}
        assert listening_at(ports) <= {"0100007F", "00000000000000000000000001000000"}
        await server.control("add_vhost", "kept")
        url, pid = server.url("kept"), server.pid
        await server.kill()
        assert server.exit_code == -signal.SIGKILL
        assert not is_alive(pid)
        await server.start()
        assert server.url("kept") == url
        assert "kept" in await server.control("list_vhosts")
    finally:
        await server.stop()
    assert server.exit_code == 0
    await server.stop()
    lock = Folder(tmp_path, "rabbitmq")
    await lock.claim()
    lock.release()


async def test_a_broker_dies_with_its_starter_and_the_next_one_takes_over(
    tmp_path: Path, starter: subprocess.Popen[str]
) -> None:
    pid = int(await asyncio.to_thread(starter.stdout.readline))
    server = RabbitMQ(tmp_path)
    with pytest.raises(FolderInUse, match=f"in use by process {starter.pid}"):
        await server.start()
    starter.kill()
    await server.start()
    try:
        assert not is_alive(pid)
        assert await can_log_in(server.url())
    finally:
        await server.stop()


async def test_a_wanted_port_that_is_taken_is_an_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServerUnavailable, match=f"port {port}: Address already in use"):
            await RabbitMQ(tmp_path, durable=False, port=port).start()


async def test_a_failed_control_command_says_what_is_wrong(tmp_path: Path) -> None:
    server = RabbitMQ(tmp_path, durable=False)
    await server.start()
    try:
        with pytest.raises(ServerUnavailable, match="nowhere"):
            await server.control("delete_vhost", "nowhere")
        with pytest.raises(ServerUnavailable, match="404"):
            await server.management.delete_vhost("nowhere")
    finally:
        await server.stop()
    with pytest.raises(ServerUnavailable, match="management API"):
        await server.management.request("GET", "overview")
