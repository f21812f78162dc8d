import os
import subprocess
import sys
from pathlib import Path

import pytest

from understudy.embedded.errors import FolderInUse
from understudy.embedded.folder import Folder, is_alive


def start_server(lock: int, ended: Path) -> subprocess.Popen[bytes]:
    """A process that holds the lock until its input ends, and leaves a file then."""
    program = "import pathlib, sys; sys.stdin.read(); pathlib.Path(sys.argv[1]).touch()"
    return subprocess.Popen([sys.executable, "-c", program, ended], stdin=subprocess.PIPE, pass_fds=[lock])


async def test_a_claimed_folder_is_refused_until_it_is_released(tmp_path: Path) -> None:
    first, second = Folder(tmp_path, "postgres"), Folder(tmp_path, "postgres")
    await first.claim()
    with pytest.raises(FolderInUse, match=f"{tmp_path} is in use by process {os.getpid()}"):
        await second.claim()
    first.release()
    await second.claim()
    second.release()


async def test_a_dying_server_is_waited_for(tmp_path: Path) -> None:
    folder = Folder(tmp_path, "valkey")
    await folder.claim()
    ended = tmp_path / "ended"
    with start_server(folder.lock, ended) as dying:
        folder.release()
        dying.stdin.close()
        following = Folder(tmp_path, "valkey")
        await following.claim()
        assert ended.exists()
        following.release()


async def test_servers_of_one_data_folder_do_not_exclude_each_other(tmp_path: Path) -> None:
    folders = [Folder(tmp_path, "postgres"), Folder(tmp_path, "valkey")]
    for folder in folders:
        await folder.claim()
    for folder in folders:
        folder.release()
        folder.release()


def test_a_password_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    password = Folder(tmp_path, "postgres").password()
    assert len(password) >= 32
    assert Folder(tmp_path, "postgres").password() == password
    assert Folder(tmp_path, "valkey").password() != password
    assert (tmp_path / "postgres.password").stat().st_mode & 0o777 == 0o600


def test_a_zombie_is_not_alive() -> None:
    with subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not is_alive(process.pid)
    assert is_alive(os.getpid())
