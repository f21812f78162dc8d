"""The fake journal keeps the promises of the real one."""

from uuid import UUID

import pytest

from tests.contract.journal_promises import PROMISES, Promise
from tests.factories import created
from tests.fakes.journal import FakeJournal
from tests.fakes.store import Store
from understudy.domain.messages import InboxMessage


class FakeScene:
    def __init__(self) -> None:
        self.store = Store()
        self.journal = FakeJournal(self.store)

    async def session(self, state: str = "alive") -> UUID:
        return self.store.session(state)

    async def process(self) -> UUID:
        ident = self.store.new_id()
        self.store.put(created(None, ident))
        return ident

    async def inbox(self, process_id: UUID, message: InboxMessage) -> UUID:
        return self.store.send(process_id, message).message_id

    async def declare(self, session_id: UUID, state: str) -> None:
        self.store.sessions[session_id].state = state

    def new_id(self) -> UUID:
        return self.store.new_id()


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
async def test_the_fake_journal_keeps_a_promise(promise: Promise) -> None:
    await promise(FakeScene())
