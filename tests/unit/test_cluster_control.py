"""The door of a supervisor, by which `node scale` comes in."""

import asyncio
import socket
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from understudy.runtime.clock import SystemClock
from understudy.runtime.cluster import Cluster, Launch
from understudy.runtime.control import NAME, Control, ControlError, Report, Request, ask
from understudy.runtime.worker_place import Phase, Policy

WORKER = """
import json, os, signal, uuid
print(json.dumps({"node": os.environ["UNDERSTUDY_NODE"], "session": str(uuid.uuid4())}), flush=True)
signal.pause()
"""


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    made = Cluster(Launch((sys.executable, "-S", "-c", WORKER), {}, "w"), Policy(), SystemClock())
    async with asyncio.TaskGroup() as group:
        group.create_task(made.run(1))
        yield made
        made.stop()


@pytest.fixture
async def folder(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Path]:
    control = Control(cluster, tmp_path / "data")
    await control.start()
    yield tmp_path / "data"
    await control.stop()
    await control.stop()
    assert not (tmp_path / "data" / NAME).exists()


async def reports(folder: Path, request: Request) -> list[Report]:
    async with asyncio.timeout(20):
        return [report async for report in ask(folder, request)]


async def test_scaling_is_reported_until_it_is_done(folder: Path) -> None:
    up = await reports(folder, Request(3))
    assert [report.is_settled for report in up] == [False] * (len(up) - 1) + [True]
    assert [(view.node, view.phase) for view in up[-1].workers] == [
        ("w-1", Phase.READY),
        ("w-2", Phase.READY),
        ("w-3", Phase.READY),
    ]
    down = await reports(folder, Request(1))
    assert down[0].workers[0] == down[-1].workers[0] == up[-1].workers[0]
    assert len(down[-1].workers) == 1
    assert (await reports(folder, Request())) == [Report(down[-1].workers, is_settled=True)]


async def test_only_the_user_may_open_the_door(folder: Path) -> None:
    assert stat.S_IMODE((folder / NAME).stat().st_mode) == 0o600


async def test_a_folder_has_one_supervisor(cluster: Cluster, folder: Path) -> None:
    with pytest.raises(ControlError, match="another supervisor runs on"):
        await Control(cluster, folder).start()
    assert (await reports(folder, Request()))[0].is_settled


async def test_what_a_killed_supervisor_left_is_no_supervisor(cluster: Cluster, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / NAME))
    with pytest.raises(ControlError, match=r"no supervisor runs on .*; `understudy node up` starts one"):
        await reports(tmp_path, Request())
    control = Control(cluster, tmp_path)
    await control.start()
    assert await reports(tmp_path, Request())
    await control.stop()


async def test_a_folder_that_is_not_there_has_no_supervisor(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="no supervisor runs on"):
        await reports(tmp_path / "absent", Request())


async def test_the_path_of_a_folder_may_be_longer_than_a_socket_allows(cluster: Cluster, tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    control = Control(cluster, deep)
    await control.start()
    assert (await reports(deep, Request(2)))[-1].is_settled
    await control.stop()
    assert not (deep / NAME).exists()


@pytest.mark.parametrize(
    "line", [b"nonsense\n", b'{"workers": -1}\n', b'{"workers": 2, "now": true}\n', b"", b"x" * 10]
)
async def test_who_asks_in_another_language_is_not_answered(folder: Path, line: bytes) -> None:
    reader, writer = await asyncio.open_unix_connection(str(folder / NAME))
    writer.write(line)
    writer.write_eof()
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()
    assert len((await reports(folder, Request()))[0].workers) == 1


async def test_a_supervisor_that_ends_meanwhile_is_missed(tmp_path: Path) -> None:
    async def end(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_unix_server(end, str(tmp_path / NAME)):
        with pytest.raises(ControlError, match="the supervisor ended meanwhile"):
            await reports(tmp_path, Request())
