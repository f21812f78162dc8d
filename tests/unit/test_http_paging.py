import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.domain.errors import Malformed
from understudy.http.limits import HttpLimits
from understudy.http.paging import (
    id_cursor,
    id_of,
    limit_of,
    name_cursor,
    name_of,
    number_cursor,
    number_of,
    page,
    place_cursor,
    place_of,
)

LIMITS = HttpLimits()
OPAQUE = re.compile(r"[A-Za-z0-9_-]+")
MOMENTS = st.datetimes(timezones=st.just(UTC))


@given(MOMENTS, st.uuids())
def test_a_cursor_of_processes_names_the_exact_place(created_at: datetime, process_id: UUID) -> None:
    cursor = place_cursor(created_at, process_id)
    assert OPAQUE.fullmatch(cursor)
    assert place_of({"cursor": cursor}) == (created_at, process_id)


@given(st.from_regex(r"[a-z][a-z0-9-]{0,62}", fullmatch=True))
def test_a_cursor_of_definitions_holds_the_name(name: str) -> None:
    assert OPAQUE.fullmatch(name_cursor(name))
    assert name_of({"cursor": name_cursor(name)}) == name


@given(st.integers(0, 2**63 - 1))
def test_a_cursor_of_numbers_holds_the_number(number: int) -> None:
    assert number_of({"cursor": number_cursor(b"h", number)}, b"h", 2**63 - 1) == number


@given(st.uuids())
def test_a_cursor_of_ids_holds_the_id(identifier: UUID) -> None:
    assert id_of({"cursor": id_cursor(b"l", identifier)}, b"l") == identifier


def test_without_a_cursor_a_list_begins_at_its_start() -> None:
    assert (place_of({}), name_of({}), number_of({}, b"h", 9), id_of({}, b"l")) == (None, None, None, None)


@given(st.text(max_size=60) | st.from_regex(r"[A-Za-z0-9_-]{1,60}", fullmatch=True))
def test_a_cursor_from_elsewhere_is_refused_or_read(cursor: str) -> None:
    """Whatever a client makes up, the answer is 400 or a page, never an error of ours."""
    readers = (place_of, name_of, lambda query: number_of(query, b"h", 10), lambda query: id_of(query, b"l"))
    for read in readers:
        with suppress(Malformed):
            read({"cursor": cursor})


@pytest.mark.parametrize(
    "cursor",
    [
        number_cursor(b"v", 3),
        number_cursor(b"h", 11),
        name_cursor("order"),
        "",
        "a",
        "aGVsbG8=",
        "x" * 201,
    ],
)
def test_a_list_takes_only_its_own_cursors(cursor: str) -> None:
    with pytest.raises(Malformed):
        number_of({"cursor": cursor}, b"h", 10)


@pytest.mark.parametrize(("text", "limit"), [("1", 1), ("500", 500), ("050", 50)])
def test_limits_are_read(text: str, limit: int) -> None:
    assert limit_of({"limit": text}, LIMITS) == limit


@pytest.mark.parametrize("text", ["0", "501", "-1", "ten", "", "1.5", "9" * 30, "५"])
def test_limits_out_of_bounds_are_refused(text: str) -> None:
    with pytest.raises(Malformed, match="from 1 to 500"):
        limit_of({"limit": text}, LIMITS)


def test_pages_put_end_to_end_are_the_list() -> None:
    everything = list(range(1, 8))
    seen: list[int] = []
    after = 0
    for _ in everything:
        found = [number for number in everything if number > after][:4]
        listing = page(found, 3, lambda number: number, lambda number: number_cursor(b"h", number))
        seen += listing.items
        if listing.next_cursor is None:
            break
        after = number_of({"cursor": listing.next_cursor}, b"h", 100) or 0
    assert seen == everything


def test_a_place_beyond_all_times_is_refused() -> None:
    far = place_cursor(datetime.max.replace(tzinfo=UTC) - timedelta(days=1), UUID(int=1))
    assert place_of({"cursor": far})
    with pytest.raises(Malformed):
        place_of({"cursor": "cH" + "_" * 32})
