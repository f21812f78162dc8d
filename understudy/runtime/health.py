"""Whether this process can work: its servers answer and, where a node runs in it, the lease holds."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from understudy.domain.errors import Unreachable
from understudy.domain.ports import Leases, Sessions
from understudy.runtime.ownership import Ownership

NOBODY = UUID(int=0)


class Health:
    """Answers the readiness probe; a gateway alone has no ownership."""

    def __init__(self, sessions: Sessions, leases: Leases, ownership: Ownership | None = None) -> None:
        self._sessions = sessions
        self._leases = leases
        self._ownership = ownership

    async def ready(self) -> dict[str, str | None]:
        """The problem of each part by its name; None for one that is well."""
        session_id = NOBODY if self._ownership is None else self._ownership.session_id
        problems = {
            "postgres": await _problem(self._sessions.observe),
            "redis": await _problem(lambda: self._leases.renew(session_id)),
        }
        if self._ownership is not None:
            lapsed = "the lease has lapsed: nothing new starts until it is renewed"
            problems["lease"] = None if self._ownership.is_valid else lapsed
        return problems


async def _problem(ask: Callable[[], Awaitable[Any]]) -> str | None:
    try:
        await ask()
    except Unreachable as error:
        return str(error)
    return None
