import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from understudy.embedded import privileges
from understudy.embedded.errors import ServerUnavailable
from understudy.embedded.privileges import Account, account_for, as_account, make_private

STRANGER = Account(4242, 4242)


def test_only_root_hands_a_server_to_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    assert account_for(tmp_path / "missing") is None
    with pytest.raises(ServerUnavailable, match=f"{tmp_path} belongs to user"):
        account_for(tmp_path)


def test_root_starts_as_nobody_and_stays_with_the_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert account_for(tmp_path / "missing").uid not in {0, None}
    monkeypatch.setattr(privileges, "_owner_of", lambda _: STRANGER)
    assert account_for(tmp_path) == STRANGER


def test_a_folder_with_contents_keeps_its_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chowned = []
    monkeypatch.setattr(os, "chown", lambda path, uid, gid: chowned.append((path, uid, gid)))
    make_private(tmp_path / "fresh", STRANGER)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "diary.txt").touch()
    make_private(tmp_path / "full", STRANGER)
    assert chowned == [(tmp_path / "fresh", *STRANGER)]
    assert (tmp_path / "fresh").stat().st_mode & 0o777 == 0o700


def test_the_capability_is_given_only_where_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o755)

    def words(data: Path) -> list[str]:
        return as_account(["/bin/true"], STRANGER, data=data, death_signal=signal.SIGTERM)

    assert not any("dac_read_search" in word for word in words(Path("/data")))
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    monkeypatch.setattr(privileges, "_may_grant_search", lambda: True)
    assert any("dac_read_search" in word for word in words(closed / "data"))
    monkeypatch.setattr(privileges, "_may_grant_search", lambda: False)
    with pytest.raises(ServerUnavailable, match=f"may not enter {closed}"):
        words(closed / "data")


def test_the_command_gets_the_death_signal_and_its_own_words() -> None:
    program = (
        "import ctypes, sys; n = ctypes.c_int(); ctypes.CDLL(None).prctl(2, ctypes.byref(n)); print(n.value, sys.argv)"
    )
    words = as_account(
        [sys.executable, "-c", program, "a b", "$c", ""], None, data=Path("/tmp"), death_signal=signal.SIGUSR1
    )
    output = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert output == f"{signal.SIGUSR1.value} ['-c', 'a b', '$c', '']\n"


def test_a_command_whose_starter_has_gone_does_not_start() -> None:
    words = as_account(["/bin/echo", "started"], None, data=Path("/tmp"), death_signal=signal.SIGTERM)
    words[words.index(str(os.getpid()))] = "1"
    ended = subprocess.run(words, capture_output=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, b"")


def test_root_without_setpriv_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ServerUnavailable, match="util-linux"):
        as_account(["/bin/true"], STRANGER, data=Path("/tmp"), death_signal=signal.SIGTERM)
    assert as_account(["/bin/true"], None, data=Path("/tmp"), death_signal=signal.SIGTERM) == ["/bin/true"]
