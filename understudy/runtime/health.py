"""Whether this node can work: its servers answer and its lease holds."""

from collections.abc import Awaitable, Callable
from typing import Any

from understudy.domain.errors import Unreachable
from understudy.domain.ports import Leases, Sessions
from understudy.runtime.ownership import Ownership


class Health:
    """Answers the readiness probe."""

    def __init__(self, sessions: Sessions, leases: Leases, ownership: Ownership) -> None:
        self._sessions = sessions
        self._leases = leases
        self._ownership = ownership

    async def ready(self) -> dict[str, str | None]:
        """The problem of each part by its name; None for one that is well."""
        lapsed = "the lease has lapsed: nothing new starts until it is renewed"
        return {
            "postgres": await _problem(self._sessions.observe),
            "redis": await _problem(lambda: self._leases.renew(self._ownership.session_id)),
            "lease": None if self._ownership.is_valid else lapsed,
        }


async def _problem(ask: Callable[[], Awaitable[Any]]) -> str | None:
    try:
        await ask()
    except Unreachable as error:
        return str(error)
    return None
