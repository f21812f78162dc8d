"""Finding the node that a process lives on: a poke goes to the holder's own queue, else to the shared ones."""

from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

import structlog

from understudy.domain.carrier import Carrier
from understudy.domain.errors import Unreachable
from understudy.domain.ports import Leases

log = structlog.get_logger("router")


class Router:
    """Pokes processes that may live anywhere. A wrong guess costs a second hop, never a process."""

    def __init__(self, carrier: Carrier, leases: Leases) -> None:
        self._carrier = carrier
        self._leases = leases

    async def poke(self, process_ids: Sequence[UUID]) -> None:
        """Say "look at these processes" to whoever holds them."""
        if not process_ids:
            return
        shared: list[UUID] = []
        by_holder: defaultdict[UUID, list[UUID]] = defaultdict(list)
        for process_id, holder in zip(process_ids, await self._holders(process_ids), strict=True):
            (shared if holder is None else by_holder[holder]).append(process_id)
        for holder, held in by_holder.items():
            if not await self._carrier.direct(holder, held):
                # The holder is dying, or has no queue yet: whoever reads the shared queue finds out.
                shared += held
        if shared:
            await self._carrier.poke(shared)

    async def _holders(self, process_ids: Sequence[UUID]) -> Sequence[UUID | None]:
        try:
            return await self._leases.holders(process_ids)
        except Unreachable as error:
            log.warning("holders_unknown", reason=str(error))
            return [None] * len(process_ids)
