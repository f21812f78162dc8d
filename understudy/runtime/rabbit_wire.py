"""What the carrier wants of a broker, apart from the library that speaks to it.

Every question to the broker raises TimeoutError when it does not answer, and BrokerFailed when it refuses or is gone.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from enum import Enum
from typing import Any, Protocol

from msgspec import Struct

from understudy.runtime.rabbit_message import POKE_CONTENT_TYPE


class BrokerFailed(Exception):
    """The broker refuses, or a connection, one of its channels or a consumer is gone."""


class DeclaredOtherwise(BrokerFailed):
    """A queue or exchange of this name is there, with other arguments."""


class Sent(Enum):
    """What became of a message."""

    CONFIRMED = "confirmed"
    RETURNED = "returned"  # no queue takes it
    REFUSED = "refused"
    LATE = "late"  # no answer in time: it may arrive yet


class Message(Struct, frozen=True):
    """A message to publish; only what is durable survives the broker."""

    body: bytes
    content_type: str = POKE_CONTENT_TYPE
    message_id: str | None = None
    is_durable: bool = True


class Delivery(Protocol):
    """A message that was delivered and is not settled yet."""

    @property
    def body(self) -> bytes: ...

    async def ack(self) -> None:
        """Acknowledge it."""
        ...

    async def discard(self) -> None:
        """Hand it to the dead-letter exchange."""
        ...


Deliver = Callable[[Delivery], None]


class Publisher(Protocol):
    """A channel in confirm mode."""

    async def publish(self, exchange: str, key: str, message: Message, *, mandatory: bool) -> Sent:
        """Publish and wait for the broker's word; never raises."""
        ...


class Consumer(Protocol):
    """A channel with a bound on what is unsettled."""

    async def consume(self, queue: str, deliver: Deliver) -> str:
        """Have the messages of a queue delivered; the tag by which this is cancelled."""
        ...

    async def cancel(self, tag: str) -> None:
        """Have no more delivered; what is unsettled stays so."""
        ...


class Connection(Protocol):
    """A connection; each of its questions goes through a channel of its own, so that a refusal harms nothing else."""

    async def answers(self) -> None:
        """Ask for nothing but an answer."""
        ...

    async def declare_exchange(self, name: str, kind: str) -> None:
        """Make a durable exchange."""
        ...

    async def declare_queue(self, name: str, arguments: Mapping[str, Any], *, bound_to: str | None = None) -> None:
        """Make a durable queue."""
        ...

    async def delete_queue(self, name: str) -> None:
        """Delete a queue with what is in it."""
        ...

    async def consumers(self, queue: str) -> int:
        """How many consumers an existing queue has."""
        ...

    async def publisher(self) -> Publisher:
        """Open a channel to publish on."""
        ...

    async def consumer(self, prefetch: int) -> Consumer:
        """Open a channel to consume on; `prefetch` messages of each queue may be unsettled."""
        ...

    async def own_consumer(self, prefetch: int, queue: str, arguments: Mapping[str, Any]) -> Consumer:
        """Open a channel to consume on, and make a queue that is this connection's alone and ends with it."""
        ...


class Watch:
    """Waits for whatever breaks a connection; `nudge` wakes the one who waits for another reason."""

    def __init__(self) -> None:
        self._signal = asyncio.Event()
        self._reason: str | None = None

    def broke(self, reason: str) -> None:
        """Say that the connection is of no use any more."""
        self._reason = self._reason or reason
        self._signal.set()

    def nudge(self) -> None:
        """Wake the one who waits."""
        self._signal.set()

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait for a nudge; false when none came in time.

        Raises:
            BrokerFailed: something broke.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._signal.wait()
        except TimeoutError:
            return False
        self._signal.clear()
        if self._reason is not None:
            raise BrokerFailed(self._reason)
        return True


Connect = Callable[[str, Watch], AbstractAsyncContextManager[Connection]]
"""Opens a connection under a name; the watch is told when it, a channel for long use or a consumer is gone."""
