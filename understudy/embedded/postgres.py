import asyncio
import os
import shutil
import signal
from pathlib import Path

from understudy.embedded.binaries import find_postgres
from understudy.embedded.child import Step
from understudy.embedded.errors import ServerUnavailable
from understudy.embedded.folder import is_alive
from understudy.embedded.privileges import Account, account_for, as_account, make_private
from understudy.embedded.server import Server

_DATABASE = "understudy"
_CREATE_SECONDS = 120.0
_START_SECONDS = 120.0  # a recovery may replay a gigabyte of log

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # the path of a socket would be limited to 107 bytes
    "max_connections": "200",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}
_DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
_VOLATILE = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}

_CREATE_OPTIONS = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync", "--no-instructions")
# A failing statement must fail the program, and must not be logged: one holds the password.
_SINGLE_OPTIONS = ("-c", "fsync=off", "-c", "exit_on_error=on", "-c", "log_min_error_statement=panic", "postgres")


class Postgres(Server):
    """A private PostgreSQL with an empty database `understudy`.

    Durable: survives a loss of power and asks for a password, kept in `<directory>/postgres.password`. Otherwise
    (tests) it survives only its own death, and trusts everybody on this machine.
    """

    def __init__(self, directory: Path, *, bin_dir: Path | None = None, durable: bool = True, port: int = 0) -> None:
        fast, immediate = Step(signal.SIGINT, 20.0), Step(signal.SIGQUIT, 6.0)
        super().__init__(directory, "postgres", "PostgreSQL", port=port, stop_steps=(fast, immediate))
        self._bin_dir = bin_dir
        self._settings = _SETTINGS | (_DURABLE if durable else _VOLATILE)
        self._durable = durable
        self._password = ""

    def url(self, database: str = _DATABASE, user: str = "postgres") -> str:
        """Where it answers; the password is the one of the superuser `postgres`."""
        password = f":{self._password}" if self._password else ""
        return f"postgresql://{user}{password}@127.0.0.1:{self.port}/{database}"

    async def _launch(self) -> None:
        data = self._folder.path
        major = _major_version(data)
        account = account_for(data)
        programs = await asyncio.to_thread(find_postgres, self._bin_dir, major)
        self._password = self._folder.password() if self._durable else ""
        if major is None:
            await self._create(programs.bin_dir, account)
        _remove_stale_pid_file(data / "postmaster.pid")
        options = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]

        def spawn(port: int) -> None:
            command = [str(programs.bin_dir / "postgres"), "-D", str(data), "-p", str(port), *options]
            # SIGQUIT ends it within five seconds whatever its sessions do, at the price of a recovery.
            words = as_account(command, account, data=data, death_signal=signal.SIGQUIT)
            self._child.spawn(words, inherit=self._folder.lock)

        async def answers() -> bool:
            return _is_ready(data / "postmaster.pid", self._child.pid)

        await self._listen(spawn, answers, _START_SECONDS)
        self.version = programs.version

    async def _create(self, bin_dir: Path, account: Account | None) -> None:
        """Make the data beside their place and move them there when they are whole, so that no half is ever met."""
        partial = self._folder.path.with_name("postgres.partial")
        shutil.rmtree(partial, ignore_errors=True)
        make_private(partial, account)

        async def run(program: str, *words: str, stdin: str = "") -> None:
            command = as_account([bin_dir / program, *words], account, data=partial, death_signal=signal.SIGKILL)
            self._child.spawn(command, inherit=self._folder.lock, stdin=stdin.encode())
            await self._child.finish(_CREATE_SECONDS)

        cluster = ("-D", str(partial))
        await run("initdb", *cluster, *_CREATE_OPTIONS)
        statements = [f"CREATE DATABASE {_DATABASE}"]
        if self._durable:
            statements += [f"ALTER ROLE postgres PASSWORD '{self._password}'"]
            (partial / "pg_hba.conf").write_text("host all all 127.0.0.1/32 scram-sha-256\n", encoding="ascii")
        await run("postgres", "--single", *cluster, *_SINGLE_OPTIONS, stdin="".join(f"{line}\n" for line in statements))
        if self._durable:
            await run("initdb", "--sync-only", *cluster)
        partial.rename(self._folder.path)
        _sync(self.directory)


def _major_version(data: Path) -> str | None:
    version = data / "PG_VERSION"
    if version.exists():
        return version.read_text(encoding="ascii").strip()
    if data.exists() and any(data.iterdir()):
        raise ServerUnavailable(f"{data} is not empty and holds no PostgreSQL data.")
    return None


def _remove_stale_pid_file(file: Path) -> None:
    """Remove what a crash left: our lock says that no server of ours runs, the pid may by now be somebody else's."""
    if not file.exists():
        return
    pid = int(file.read_text(encoding="utf-8", errors="replace").partition("\n")[0] or 0)
    if pid > 0 and is_alive(pid) and _works_in(pid, file.parent):
        raise ServerUnavailable(f"A PostgreSQL that Understudy did not start, process {pid}, runs on {file.parent}.")
    file.unlink()


def _works_in(pid: int, folder: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/cwd").samefile(folder)
    except PermissionError:
        return False  # another user's: PostgreSQL runs only on data of its own user
    except OSError:
        return not Path("/proc/self").exists()  # where nothing can be known the pid file is believed


def _is_ready(file: Path, pid: int) -> bool:
    """Whether this postmaster says in the eighth line of its pid file that it accepts connections."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return False
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
