"""As whom a server runs, and how it dies with us.

PostgreSQL refuses to run as root, so root hands its servers to the owner of their data folder, at first to `nobody`.
Only where data or programs lie below a folder that this user may not enter, the server gets the capability
CAP_DAC_READ_SEARCH, with the secure bit NO_SETUID_FIXUP, which makes access(2) respect it: PostgreSQL asks that about
its own programs.

The parent death signal ends a server when the *thread* that started it ends, so servers are started from a thread that
outlives them: the one of the event loop.
"""

import os
import pwd
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from understudy.embedded.errors import ServerUnavailable

_CAP_DAC_READ_SEARCH = 1 << 2
_GRANT_SEARCH = ("--securebits=+no_setuid_fixup", "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")

# Our death before the signal was armed sends none: the shell looks once whether we are still its parent.
_STILL_OUR_CHILD = '[ "$PPID" = "$1" ] || exit 1; shift; exec "$@"'


class Account(NamedTuple):
    """The unprivileged user and group of a server that root starts."""

    uid: int
    gid: int


def account_for(folder: Path) -> Account | None:
    """Who runs the server of this data folder; None means ourselves.

    Raises:
        ServerUnavailable: when the folder belongs to somebody else.
    """
    owner = _owner_of(folder)
    if os.geteuid() != 0:
        if owner is not None and owner.uid != os.geteuid():
            raise ServerUnavailable(
                f"{folder} belongs to user {owner.uid}: start as that user or choose another folder."
            )
        return None
    if owner is not None and owner.uid != 0:
        return owner
    nobody = pwd.getpwnam("nobody")
    return Account(nobody.pw_uid, nobody.pw_gid)


def make_private(folder: Path, account: Account | None) -> None:
    """Create the folder, or take an empty one, for the account alone; a folder with contents stays as it is."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if account is not None and not any(folder.iterdir()):
        os.chown(folder, *account)


def as_account(
    command: Sequence[str | Path], account: Account | None, *, data: Path, death_signal: signal.Signals
) -> list[str]:
    """The command line that runs the command on the data as the account, and signals it when we die.

    Raises:
        ServerUnavailable: when root has no setpriv, or may not let the account reach the program or the data.
    """
    words = [str(word) for word in command]
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        if account is not None:
            raise ServerUnavailable("Root needs setpriv (Debian package util-linux) to start a server as another user.")
        return words  # macOS: it has no parent death signal either
    options = [f"--pdeathsig={death_signal.name.removeprefix('SIG')}"]
    if account is not None:
        options += [f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups"]
        if closed := _closed_folder(account, Path(words[0]), data):
            if not _may_grant_search():
                raise ServerUnavailable(
                    f"User {account.uid} may not enter {closed}, and this root has no CAP_DAC_READ_SEARCH to hand on: "
                    "choose another folder or start as another user."
                )
            options += _GRANT_SEARCH
    return [setpriv, *options, "/bin/sh", "-c", _STILL_OUR_CHILD, "sh", str(os.getpid()), *words]


def _owner_of(folder: Path) -> Account | None:
    if not folder.exists():
        return None
    status = folder.stat()
    return Account(status.st_uid, status.st_gid)


def _closed_folder(account: Account, *paths: Path) -> Path | None:
    for folder in (folder for path in paths for folder in path.resolve().parents):
        status = folder.stat()
        if not status.st_mode & 0o001 and status.st_uid != account.uid:
            return folder
    return None


def _may_grant_search() -> bool:
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    permitted = next(line.split()[1] for line in status.splitlines() if line.startswith("CapPrm:"))
    return bool(int(permitted, 16) & _CAP_DAC_READ_SEARCH)
