import asyncio
from collections.abc import Callable

_PAUSE_SECONDS = 0.01


async def until(condition: Callable[[], bool], timeout_seconds: float) -> bool:
    """Wait until the condition holds; False when it did not within the timeout."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_seconds
    while not condition():
        if loop.time() >= deadline:
            return False
        await asyncio.sleep(_PAUSE_SECONDS)
    return True
