"""Idempotency keys on a real server."""

import asyncio
from datetime import timedelta
from typing import Any

from understudy.domain.stores import Retained
from understudy.persistence.keys import Keys
from understudy.persistence.pool import Database

SCOPE = "PUT /definitions/order"
FIRST, SECOND = Retained(b"first", 201, "1"), Retained(b"second", 200, "2")


async def test_the_first_call_is_kept(database: Database) -> None:
    keys = Keys(database)
    assert await keys.recall(SCOPE, "k") is None

    assert await keys.remember(SCOPE, "k", FIRST) == FIRST
    assert await keys.remember(SCOPE, "k", SECOND) == FIRST

    assert await keys.recall(SCOPE, "k") == FIRST
    assert await keys.recall("PUT /definitions/other", "k") is None


async def test_of_calls_at_once_all_hear_of_the_same_one(database: Database) -> None:
    keys = Keys(database)

    answers = await asyncio.gather(
        *(keys.remember(SCOPE, "k", Retained(b"%d" % number, 201, "r")) for number in range(10))
    )

    assert len({answer.request_hash for answer in answers}) == 1


async def test_a_key_past_its_time_begins_anew_and_others_are_forgotten(database: Database, hand: Any) -> None:
    keys = Keys(database)
    for number in range(3):
        await keys.remember(SCOPE, f"old-{number}", FIRST)
    await hand.run("UPDATE retained_key SET created_at = created_at - interval '25 hours'")

    assert await keys.recall(SCOPE, "old-0") is None
    assert await keys.remember(SCOPE, "old-0", SECOND) == SECOND
    assert await keys.recall(SCOPE, "old-0") == SECOND

    assert await hand.rows("SELECT key FROM retained_key") == [("old-0",)]


async def test_the_time_of_keeping_is_a_setting(database: Database) -> None:
    keys = Keys(database, keeping=timedelta(0))

    await keys.remember(SCOPE, "k", FIRST)

    assert await keys.recall(SCOPE, "k") is None
    assert await keys.remember(SCOPE, "k", SECOND) == SECOND
