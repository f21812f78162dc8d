from datetime import UTC, datetime

import pytest
from aiohttp.test_utils import make_mocked_request

from understudy.domain.errors import Malformed
from understudy.domain.states import ProcessState
from understudy.http.limits import HttpLimits
from understudy.http.query import definition_of, instant_of, label_of, read_query, state_of, version_of, wait_of

LIMITS = HttpLimits()


def test_known_parameters_are_read() -> None:
    request = make_mocked_request("GET", "/processes?key=a%20b&limit=3")
    assert read_query(request, ("key", "limit")) == {"key": "a b", "limit": "3"}


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/processes?stat=FAILED", "did you mean 'state'"),
        ("/processes?x=1", "known are 'state'"),
        ("/processes?state=FAILED&state=FAILED", "twice"),
        ("/processes?state=%00", "no text"),
        ("/processes?" + "y" * 2_000 + "=1", "no query parameter"),
    ],
)
def test_a_parameter_that_cannot_be_right_is_refused(path: str, said: str) -> None:
    with pytest.raises(Malformed, match=said):
        read_query(make_mocked_request("GET", path), ("state",))


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30.0), ("30", 30.0), ("0", 0.0), ("PT1M", 60.0), ("250ms", 0.25), ("1.5", 1.5)]
)
def test_a_wait_is_a_duration_or_bare_seconds(text: str, seconds: float) -> None:
    assert wait_of({"wait": text}, LIMITS) == seconds


@pytest.mark.parametrize("text", ["61s", "60.001", "1h", "-1", "soon", "", "nan", "inf", "1e1", "9" * 40])
def test_a_wait_that_is_too_long_or_none_is_refused(text: str) -> None:
    with pytest.raises(Malformed, match="wait"):
        wait_of({"wait": text}, LIMITS)


def test_states_are_read_and_listed_when_they_are_wrong() -> None:
    assert state_of({"state": "IN_PROGRESS"}) is ProcessState.IN_PROGRESS
    for wrong in ("in_progress", "RUNNING", ""):
        with pytest.raises(Malformed, match="IN_PROGRESS"):
            state_of({"state": wrong})


def test_definitions_are_names_with_or_without_a_version() -> None:
    assert definition_of({"definition": "order"}) == ("order", None)
    assert definition_of({"definition": "order@12"}) == ("order", 12)
    for wrong in ("Order", "order@", "order@x", "order@1@2", "", "o" * 64, "order@" + "9" * 10):
        with pytest.raises(Malformed):
            definition_of({"definition": wrong})


def test_labels_are_split_at_the_first_colon() -> None:
    assert label_of({"label": "url:http://x"}) == ("url", "http://x")
    for wrong in ("plain", ":value", ""):
        with pytest.raises(Malformed):
            label_of({"label": wrong})


@pytest.mark.parametrize("text", ["2026-11-25T08:30:00Z", "2026-11-25T10:30:00+02:00", "2026-11-25T10:30:00 02:00"])
def test_times_are_read_into_utc_also_when_a_plus_sign_became_a_space(text: str) -> None:
    assert instant_of({"created_after": text}, "created_after") == datetime(2026, 11, 25, 8, 30, tzinfo=UTC)


@pytest.mark.parametrize("text", ["yesterday", "2026-11-25", "0001-01-01T00:00:00+14:00", "2026-13-01T00:00:00Z"])
def test_times_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(Malformed, match="created_before"):
        instant_of({"created_before": text}, "created_before")


def test_versions_are_positive_and_fit() -> None:
    assert version_of({}) is None
    assert version_of({"version": "3"}) == 3
    for wrong in ("0", "-1", "x", str(2**31)):
        with pytest.raises(Malformed):
            version_of({"version": wrong})
