"""The inbox as the gateway fills it, on a real server."""

import asyncio
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from understudy.domain.errors import Invalid
from understudy.domain.messages import Answered, CancelRequested, InboxMessage
from understudy.persistence.inbox import Inbox
from understudy.persistence.pool import Database


async def test_a_message_is_stored_with_its_kind(database: Database, hand: Any) -> None:
    process_id, message_id = uuid4(), uuid4()
    message = CancelRequested(reason="wrong order", by="ann")

    answer = await Inbox(database).submit(process_id, message_id, message, b"hash")

    assert (answer.is_replay, answer.conflicts) == (False, False)
    ((kind, body, consumed),) = await hand.rows(
        "SELECT kind, body, consumed_version FROM inbox WHERE process_id = $1 AND msg_id = $2", process_id, message_id
    )
    assert (kind, consumed) == ("cancel", None)
    assert msgspec.json.decode(body, type=InboxMessage) == message


async def test_the_same_id_again_is_a_replay_and_with_other_content_a_conflict(database: Database, hand: Any) -> None:
    inbox, process_id, message_id = Inbox(database), uuid4(), uuid4()
    assert await inbox.recall(process_id, message_id) is None
    await inbox.submit(process_id, message_id, CancelRequested(), b"hash", 202)

    again = await inbox.submit(process_id, message_id, CancelRequested(), b"hash", 200)
    other = await inbox.submit(process_id, message_id, CancelRequested("x"), b"other", 200)

    assert (again.is_replay, again.conflicts, again.first_status) == (True, False, 202)
    assert (other.is_replay, other.conflicts, other.request_hash) == (False, True, b"hash")
    assert not (await inbox.submit(uuid4(), message_id, CancelRequested(), b"hash")).is_replay
    assert await hand.value("SELECT count(*) FROM inbox") == 2
    await hand.run("UPDATE inbox SET consumed_version = 4, outcome = 'applied' WHERE process_id = $1", process_id)
    kept = await inbox.recall(process_id, message_id)
    assert kept is not None
    assert (kept.is_replay, kept.first_status, kept.request_hash, kept.outcome) == (True, 202, b"hash", "applied")


async def test_of_the_same_message_at_once_one_is_stored(database: Database, hand: Any) -> None:
    inbox, process_id, message_id = Inbox(database), uuid4(), uuid4()

    answers = await asyncio.gather(
        *(inbox.submit(process_id, message_id, CancelRequested(), b"hash") for _ in range(20))
    )

    assert sorted(answer.is_replay for answer in answers) == [False] + [True] * 19
    assert await hand.value("SELECT count(*) FROM inbox") == 1


async def test_what_cannot_be_stored_is_refused(database: Database) -> None:
    message = Answered("ask", uuid4(), "complete", output={"text": "\ud800"})

    with pytest.raises(Invalid):
        await Inbox(database).submit(uuid4(), uuid4(), message, b"hash")
