from pathlib import Path

import pytest

from understudy.embedded import rabbitmq
from understudy.embedded.errors import ServerUnavailable
from understudy.embedded.rabbitmq import find_rabbitmq


@pytest.fixture
def debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(rabbitmq, "_DEBIAN", tmp_path)
    return tmp_path


def installed(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    path.touch()
    return path


def test_the_installed_package_is_found(debian: Path) -> None:
    installed(debian / "lib" / "rabbitmq_server-4.1.0" / "sbin" / "rabbitmq-server")
    link = installed(debian / "bin" / "rabbitmq-server")
    assert find_rabbitmq() == link


def test_without_a_link_the_newest_version_is_found(debian: Path) -> None:
    installed(debian / "lib" / "rabbitmq_server-3.9.27" / "sbin" / "rabbitmq-server")
    newest = installed(debian / "lib" / "rabbitmq_server-3.10.8" / "sbin" / "rabbitmq-server")
    assert find_rabbitmq() == newest


def test_where_none_is_installed_the_package_is_named(debian: Path) -> None:
    with pytest.raises(ServerUnavailable, match="Debian package rabbitmq-server"):
        find_rabbitmq()


def test_a_named_program_is_used_or_refused(tmp_path: Path) -> None:
    program = installed(tmp_path / "sbin" / "rabbitmq-server")
    assert find_rabbitmq(program) == program
    with pytest.raises(ServerUnavailable, match="is no RabbitMQ server"):
        find_rabbitmq(tmp_path / "nothing")
