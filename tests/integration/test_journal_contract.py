"""The journal on PostgreSQL keeps the promises that the fake one keeps."""

from uuid import UUID

import pytest

from tests.contract.journal_promises import PROMISES, Promise
from tests.integration.journal_rig import Rig, new_id, rig_on
from understudy.domain.messages import InboxMessage
from understudy.domain.ports import Journal


class RealScene:
    def __init__(self, rig: Rig) -> None:
        self._rig = rig

    @property
    def journal(self) -> Journal:
        return self._rig.journal

    async def session(self, state: str = "alive") -> UUID:
        return await self._rig.session(state)

    async def process(self) -> UUID:
        return await self._rig.process()

    async def inbox(self, process_id: UUID, message: InboxMessage) -> UUID:
        return await self._rig.inbox(process_id, message)

    async def declare(self, session_id: UUID, state: str) -> None:
        await self._rig.admin.execute("UPDATE node_session SET state = $2 WHERE session_id = $1", session_id, state)

    def new_id(self) -> UUID:
        return new_id()


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
async def test_the_journal_on_postgresql_keeps_a_promise(promise: Promise, postgres_url: str) -> None:
    async with rig_on(postgres_url) as rig:
        await promise(RealScene(rig))
