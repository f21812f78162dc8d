"""The outbox on a real server."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from understudy.domain.identity import TENANT
from understudy.persistence.outbox import Outbox
from understudy.persistence.pool import Database

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
A, B = UUID(int=1), UUID(int=2)


async def put(
    hand: Any, process_id: UUID, version: int, idx: int = 0, *, seconds: int = 0, data: str | None = None
) -> None:
    await hand.insert(
        "outbox",
        process_id=process_id,
        version=version,
        idx=idx,
        tenant_id=TENANT,
        shard=0,
        event_id=uuid4(),
        topic="order.approved",
        key="k",
        data=data,
        created_at=NOON + timedelta(seconds=seconds),
    )


async def places(outbox: Outbox, limit: int) -> list[tuple[int, int, int]]:
    return [(row.process_id.int, row.version, row.idx) for row in await outbox.pending(limit)]


async def test_rows_come_oldest_process_first_and_in_order(database: Database, hand: Any) -> None:
    outbox = Outbox(database)
    await put(hand, B, 1, 0, seconds=1)
    await put(hand, B, 1, 1, seconds=2)
    await put(hand, A, 7, 0, seconds=3, data='{"n": 1}')

    assert await places(outbox, 10) == [(2, 1, 0), (2, 1, 1), (1, 7, 0)]

    last = (await outbox.pending(10))[-1]
    assert (last.type, last.key, last.data, last.created_at) == (
        "order.approved",
        "k",
        {"n": 1},
        NOON + timedelta(seconds=3),
    )


async def test_a_page_never_begins_in_the_middle_of_a_process(database: Database, hand: Any) -> None:
    """The clock was set back between version 1 and version 2."""
    outbox = Outbox(database)
    await put(hand, A, 1, seconds=60)
    await put(hand, A, 2, seconds=0)
    await put(hand, B, 1, seconds=30)

    assert await places(outbox, 1) == [(1, 1, 0)]
    assert await places(outbox, 3) == [(1, 1, 0), (1, 2, 0), (2, 1, 0)]


async def test_only_what_was_announced_is_forgotten(database: Database, hand: Any) -> None:
    outbox = Outbox(database)
    for idx in range(3):
        await put(hand, A, 1, idx)
    rows = await outbox.pending(2)

    await outbox.delete([])
    await outbox.delete(rows)
    await outbox.delete(rows)

    assert await places(outbox, 10) == [(1, 1, 2)]
