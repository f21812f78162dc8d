import asyncio
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from tests.contract.carrier_suite import SECONDS, CarrierContract, HastyClock, Make, Receiver, ids
from understudy.domain.carrier import Carrier
from understudy.domain.views import OutboxRow
from understudy.embedded.polling import until
from understudy.runtime.local import WAITING_MAX, LocalCarrier, Switchboard


class TestLocalCarrier(CarrierContract):
    @pytest.fixture
    def switchboard(self) -> Switchboard:
        return Switchboard()

    @pytest.fixture
    def make(self, carriers: list[Carrier], switchboard: Switchboard) -> Make:
        async def make(receiver: Receiver | None, **options: float) -> Carrier:
            carrier = LocalCarrier(HastyClock(), switchboard, **options)
            carriers.append(carrier)
            if receiver is not None:
                await carrier.start(receiver.session_id, receiver)
            return carrier

        return make

    async def test_without_an_outside_every_event_is_announced(self, make: Make) -> None:
        row = OutboxRow(uuid4(), 1, 0, uuid4(), "order.shipped", None, None, datetime.now(UTC))
        assert await (await make(Receiver())).announce(row)

    async def test_what_waits_is_bounded(self, make: Make, switchboard: Switchboard) -> None:
        carrier = await make(None)
        await carrier.poke(ids(WAITING_MAX + 7))
        assert switchboard.dropped == 7
        receiver = Receiver()
        await carrier.start(receiver.session_id, receiver)
        assert await until(lambda: len(receiver.seen) == WAITING_MAX, SECONDS)

    async def test_a_receiver_that_is_cancelled_by_somebody_else_is_asked_again(self, make: Make) -> None:
        calls = []

        async def receive(process_ids: object) -> None:
            calls.append(process_ids)
            if len(calls) == 1:
                raise asyncio.CancelledError

        carrier = await make(None)
        await carrier.start(uuid4(), receive)
        await carrier.poke(ids(1))
        assert await until(lambda: len(calls) == 2, SECONDS)
