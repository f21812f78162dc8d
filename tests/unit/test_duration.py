from datetime import UTC, datetime, timedelta, timezone

import pytest

from understudy.domain.duration import DURATION_MAX, DurationError, parse_duration
from understudy.domain.instant import InstantError, parse_instant


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500ms", timedelta(milliseconds=500)),
        ("30s", timedelta(seconds=30)),
        ("1.5s", timedelta(seconds=1.5)),
        ("5m", timedelta(minutes=5)),
        ("2h", timedelta(hours=2)),
        ("7d", timedelta(days=7)),
        ("0s", timedelta()),
        ("3650d", DURATION_MAX),
        ("PT30S", timedelta(seconds=30)),
        ("P2D", timedelta(days=2)),
        ("P1DT2H3M4.5S", timedelta(days=1, hours=2, minutes=3, seconds=4.5)),
        ("PT1H", timedelta(hours=1)),
        ("PT0S", timedelta()),
    ],
)
def test_a_duration_is_read(text: str, expected: timedelta) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "s",
        "-5s",
        "+5s",
        "5 s",
        " 5s",
        "5s\n",
        "5S",
        "5w",
        "1e3s",
        "1h30m",
        "٣s",
        "P",
        "PT",
        "P1DT",
        "P1M",
        "P1Y",
        "P1W",
        "-PT1S",
        "pt1s",
        "PT1,5S",
        "PT5",
        "1" * 13 + "s",
        "NaNs",
        "infs",
        ".5s",
        "5.s",
    ],
)
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(DurationError, match="'30s'"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["3650.1d", "999999999999d", "P999999999999D", "P3650DT1S"])
def test_a_duration_has_a_maximum(text: str) -> None:
    with pytest.raises(DurationError, match="at most 3650 days"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-25T08:30:00Z", datetime(2026, 11, 25, 8, 30, tzinfo=UTC)),
        ("2026-11-25t08:30:00.25z", datetime(2026, 11, 25, 8, 30, 0, 250_000, tzinfo=UTC)),
        ("2026-11-25 08:30:00+02:00", datetime(2026, 11, 25, 8, 30, tzinfo=timezone(timedelta(hours=2)))),
    ],
)
def test_an_instant_is_read_with_its_offset(text: str, expected: datetime) -> None:
    assert parse_instant(text) == expected
    assert parse_instant(text).utcoffset() == expected.utcoffset()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tomorrow",
        "2026-11-25",
        "2026-11-25T08:30:00",
        "2026-W48-3",
        "20261125T083000Z",
        "2026-02-30T00:00:00Z",
        "08:30:00Z",
        "2026-11-25T24:30:00Z",
        "2026-11-25T08:30Z",
        "2026-11-25T08:30:00+99:00",
        "2026-11-25T08:30:00Z\n",
    ],
)
def test_what_is_no_instant_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InstantError, match="RFC 3339"):
        parse_instant(text)
