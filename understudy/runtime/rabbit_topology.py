from typing import Any, Literal

import structlog

from understudy.runtime.rabbit_message import DEAD, EVENTS, work_queue
from understudy.runtime.rabbit_wire import Connection, DeclaredOtherwise

log = structlog.get_logger("rabbit")

QueueType = Literal["classic", "quorum"]

WORK_MESSAGES_MAX = 20_000
NODE_MESSAGES_MAX = 10_000
DEAD_MESSAGES_MAX = 10_000
DELIVERIES_MAX = 20

# A full queue refuses: its hints are repeated by the sweepers, and the newest must not push out what waits longest.
_NODE_ARGUMENTS = {"x-dead-letter-exchange": DEAD, "x-overflow": "reject-publish", "x-max-length": NODE_MESSAGES_MAX}
_WORK_ARGUMENTS = _NODE_ARGUMENTS | {"x-max-length": WORK_MESSAGES_MAX}
_QUORUM_ARGUMENTS = {"x-delivery-limit": DELIVERIES_MAX, "x-dead-letter-strategy": "at-least-once"}


class Topology:
    """The queues and exchanges; `failing` are work queues that did not answer although the broker did.

    A queue holds only hints, so a failing one is deleted, whatever is in it, and made anew.
    """

    def __init__(self, queues: int, queue_type: QueueType) -> None:
        self.work = tuple(work_queue(number) for number in range(queues))
        self.failing: set[str] = set()
        self.rebuilt = 0
        self._arguments: dict[str, Any] = {"x-queue-type": queue_type, **_WORK_ARGUMENTS}
        if queue_type == "quorum":
            self._arguments |= _QUORUM_ARGUMENTS

    @property
    def own_arguments(self) -> dict[str, Any]:
        """The arguments of a session's own queue."""
        return dict(_NODE_ARGUMENTS)

    async def declare(self, connection: Connection) -> None:
        """Make what is missing; a work queue that still fails is left out, the others must not wait for it.

        Raises:
            BrokerFailed, TimeoutError: the broker is gone or does not answer.
        """
        await connection.answers()
        await connection.declare_exchange(DEAD, "fanout")
        await self._declare_queue(connection, DEAD, {"x-max-length": DEAD_MESSAGES_MAX}, bound_to=DEAD)
        await connection.declare_exchange(EVENTS, "topic")
        for name in self.work:
            try:
                if name in self.failing:
                    await connection.delete_queue(name)
                    self.rebuilt += 1
                await self._declare_queue(connection, name, self._arguments)
            except TimeoutError:
                await self.suspect(connection, name)
            else:
                self.failing.discard(name)

    async def suspect(self, connection: Connection, name: str) -> None:
        """A question about a work queue was not answered: it fails, if the broker answers otherwise.

        Raises:
            BrokerFailed, TimeoutError: it does not.
        """
        await connection.answers()
        self.fails(name)

    def fails(self, name: str) -> None:
        """Remember a work queue that has to be made anew."""
        self.failing.add(name)
        log.error("queue_failing", queue=name)

    async def _declare_queue(
        self, connection: Connection, name: str, arguments: dict[str, Any], bound_to: str | None = None
    ) -> None:
        try:
            await connection.declare_queue(name, arguments, bound_to=bound_to)
        except DeclaredOtherwise as error:
            # Of another type or size it carries hints as well; nodes of two settings must not delete each other's.
            log.warning("queue_declared_otherwise", queue=name, reason=str(error))
