"""Answers that are held until a process ends, and let go when the server stops."""

import asyncio
from uuid import UUID

from understudy.domain.views import ProcessView
from understudy.runtime.service import Service


class Polls:
    """The calls with `?wait=` that are held now."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._held: set[asyncio.Timeout] = set()
        self._is_closed = False

    async def hold(self, process_id: UUID, seconds: float) -> ProcessView:
        """A process when it has ended, or as it is when the time is over or the server stops."""
        if self._is_closed or seconds <= 0:
            return await self._service.process(process_id)
        scope = asyncio.timeout(None)
        self._held.add(scope)
        try:
            async with scope:
                return await self._service.wait(process_id, seconds)
        except TimeoutError:
            if not scope.expired():
                raise
        finally:
            self._held.discard(scope)
        return await self._service.process(process_id)

    def release(self) -> None:
        """Answer all that is held, and hold nothing from now on; safe twice."""
        if self._is_closed:
            return
        self._is_closed = True
        for scope in self._held:
            scope.reschedule(asyncio.get_running_loop().time())
