"""A gate that lets waiters through when it opens: `asyncio.Event` without its 600 bytes of queue."""

import asyncio


class Gate:
    """Closed at first."""

    __slots__ = ("_is_open", "_waiters")

    def __init__(self) -> None:
        self._is_open = False
        self._waiters: list[asyncio.Future[None]] | None = None

    def open(self) -> None:
        """Let everybody through who waits or comes."""
        self._is_open = True
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    def close(self) -> None:
        """Hold who comes from now on."""
        self._is_open = False

    async def passed(self) -> None:
        """Return when the gate is open, or opens."""
        if not self._is_open:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters = [*(self._waiters or ()), waiter]
            await waiter
