import fcntl
import os
import secrets
from pathlib import Path

from understudy.embedded.errors import FolderInUse
from understudy.embedded.polling import until

_GRACE_SECONDS = 0.5  # a starter that was just killed may still be there
_DYING_SECONDS = 20.0


class Folder:
    """What one server keeps below a data folder: its own folder, log and password, and the lock that makes them ours.

    Every process of the server inherits the lock's descriptor, so the lock is free only when the last of them has
    ended: a server still dying after its starter was killed is waited for, one whose starter lives is refused.
    """

    def __init__(self, root: Path, name: str) -> None:
        self.root = root.absolute()
        self.path = self.root / name
        self.log = self.root / "logs" / f"{name}.log"
        self._password_path = self.root / f"{name}.password"
        self._lock_path = self.root / f"{name}.lock"
        self._descriptor: int | None = None

    @property
    def lock(self) -> int:
        """The descriptor that the server's processes have to inherit."""
        assert self._descriptor is not None, "not claimed"
        return self._descriptor

    async def claim(self) -> None:
        """Create the data folder where it is missing and make it ours until `release`.

        Raises:
            FolderInUse: when another starter's server runs on it.
        """
        self._create()
        descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            await self._lock(descriptor)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the folder up; processes that still hold the lock count as dying from here on."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def password(self) -> str:
        """The server's password, made at the first call and kept for our eyes only."""
        if not self._password_path.exists():
            draft = self._password_path.with_suffix(".draft")
            draft.unlink(missing_ok=True)
            draft.touch(mode=0o600)
            with draft.open("w", encoding="ascii") as file:
                file.write(secrets.token_urlsafe(24))
                file.flush()
                os.fsync(file.fileno())
            draft.rename(self._password_path)
        return self._password_path.read_text(encoding="ascii")

    def _create(self) -> None:
        self.root.mkdir(mode=0o711, parents=True, exist_ok=True)  # the servers of a root have to pass
        self.log.parent.mkdir(mode=0o700, exist_ok=True)

    async def _lock(self, descriptor: int) -> None:
        def locked() -> bool:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        if await until(locked, _GRACE_SECONDS):
            return
        starter = int(os.pread(descriptor, 20, 0) or 0)
        if starter and is_alive(starter):
            raise FolderInUse(f"{self.root} is in use by process {starter}: stop it or choose another folder.")
        if not await until(locked, _DYING_SECONDS):
            raise FolderInUse(f"A server of an earlier run still uses {self.root}: it has not ended.")


def is_alive(pid: int) -> bool:
    """Whether the process exists and is more than a zombie."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(") ")[2][:1]
    except ProcessLookupError:
        return False
    except OSError:
        return True  # somebody else's, or a system without /proc
    return state not in {"Z", "X"}
