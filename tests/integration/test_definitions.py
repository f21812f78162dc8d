"""Published definitions on a real server."""

import asyncio
from typing import Any

from understudy.persistence.definitions import Definitions
from understudy.persistence.pool import Database


def digest(number: int) -> bytes:
    return number.to_bytes(32, "big")


async def test_content_becomes_the_next_version_and_keeps_its_text(database: Database) -> None:
    definitions = Definitions(database)
    text = b'{"z": 1,  "a": 1.0}'

    first, first_is_new = await definitions.publish("order", digest(1), text)
    second, second_is_new = await definitions.publish("order", digest(2), b"{}")

    assert (first.version, first_is_new, second.version, second_is_new) == (1, True, 2, True)
    assert first.content == text
    assert await definitions.find("order") == second
    assert await definitions.find("order", 1) == first
    assert await definitions.find("order", 3) is None
    assert await definitions.find("other") is None
    assert await definitions.content(digest(1)) == text
    assert await definitions.content(digest(9)) is None


async def test_content_of_any_version_answers_that_version(database: Database) -> None:
    definitions = Definitions(database)
    first, _ = await definitions.publish("order", digest(1), b"{}")
    await definitions.publish("order", digest(2), b"[]")

    assert await definitions.publish("order", digest(1), b"{}") == (first, False)

    other, is_new = await definitions.publish("other", digest(1), b"{}")
    assert (other.version, is_new) == (1, True)


async def test_versions_have_no_gap_when_many_publish_at_once(database: Database) -> None:
    definitions = Definitions(database)

    answers = await asyncio.gather(
        *(definitions.publish("order", digest(number % 10), b"%d" % (number % 10)) for number in range(30))
    )

    assert sorted(found.version for found, is_new in answers if is_new) == list(range(1, 11))
    assert {(found.digest, found.version) for found, _ in answers} == {
        (found.digest, found.version) for found, is_new in answers if is_new
    }


async def test_lists_page_by_name_and_by_version(database: Database) -> None:
    definitions = Definitions(database)
    for name in ("a", "b", "c"):
        for number in range(3):
            await definitions.publish(name, digest(number), b"%d" % number)

    def seen(page: list[Any]) -> list[tuple[str, int]]:
        return [(found.name, found.version) for found in page]

    assert seen(await definitions.latest(2, None)) == [("a", 3), ("b", 3)]
    assert seen(await definitions.latest(2, "b")) == [("c", 3)]
    assert seen(await definitions.versions("b", 2, None)) == [("b", 3), ("b", 2)]
    assert seen(await definitions.versions("b", 2, 2)) == [("b", 1)]
