from datetime import timedelta

import pytest

from understudy.domain.retry import RETRY_AFTER_MAX, RetryPolicy, backoff, is_retryable, matches


@pytest.mark.parametrize(
    ("glob", "error_type", "expected"),
    [
        ("*", "anything.at.all", True),
        ("http.*", "http.status.404", True),
        ("http.*", "http", False),
        ("http.status.5*", "http.status.503", True),
        ("http.status.5*", "http.status.450", False),
        ("http.status.409", "http.status.409", True),
        ("http.status.40", "http.status.409", False),
        ("*.timeout", "http.timeout", True),
        ("*.timeout", "http.timeouts", False),
        ("a*b*c", "a.x.b.y.c", True),
        ("a*b*c", "a.x.c", False),
        ("ab*ba", "aba", False),
        ("*a*", "bab", True),
        ("a*b*b", "ab", False),
        ("limit.*", "limit_visits", False),
    ],
)
def test_a_glob_covers_an_error_type(glob: str, error_type: str, expected: bool) -> None:
    assert matches(["nothing", glob], error_type) is expected


def test_no_glob_covers_nothing() -> None:
    assert not matches([], "http.connect")


def test_a_glob_with_many_stars_is_matched_in_linear_time() -> None:
    assert not matches(["*a" * 100 + "b"], "a" * 10_000)


@pytest.mark.parametrize(
    "error_type",
    [
        "http.connect",
        "http.timeout",
        "http.unknown",
        "http.status.408",
        "http.status.425",
        "http.status.429",
        "http.status.500",
        "http.status.503",
        "http.status.599",
    ],
)
def test_what_may_pass_is_retried_by_default(error_type: str) -> None:
    assert is_retryable(RetryPolicy(), error_type)


@pytest.mark.parametrize(
    "error_type",
    [
        "http.status.400",
        "http.status.404",
        "http.status.4080",
        "http.status.50",
        "http.blocked",
        "http.too_large",
        "expression",
        "input",
        "limit.output",
        "timeout",
        "failed",
        "manual.rejected",
    ],
)
def test_what_would_fail_again_is_not_retried_by_default(error_type: str) -> None:
    assert not is_retryable(RetryPolicy(), error_type)


def test_on_adds_and_never_wins() -> None:
    policy = RetryPolicy(on=("http.status.404", "timeout"), never=("http.status.5*", "timeout"))
    assert is_retryable(policy, "http.status.404")
    assert is_retryable(policy, "http.connect")
    assert not is_retryable(policy, "http.status.500")
    assert not is_retryable(policy, "timeout")


@pytest.mark.parametrize("error_type", ["deadline", "cancelled"])
def test_what_ends_the_activity_is_never_retried(error_type: str) -> None:
    assert not is_retryable(RetryPolicy(on=("*",)), error_type)


def test_backoff_grows_by_the_factor_up_to_the_maximum() -> None:
    policy = RetryPolicy(jitter=False)
    waits = [backoff(policy, attempt, 0.5, None).total_seconds() for attempt in range(1, 9)]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


def test_full_jitter_takes_a_fraction_of_the_capped_backoff() -> None:
    policy = RetryPolicy(initial=timedelta(seconds=8))
    assert backoff(policy, 1, 0.0, None) == timedelta()
    assert backoff(policy, 1, 0.25, None) == timedelta(seconds=2)
    assert backoff(policy, 100, 0.5, None) == timedelta(seconds=30)


@pytest.mark.parametrize("factor", [1.0, 2.0, 1000.0])
def test_a_huge_attempt_is_capped_and_does_not_overflow(factor: float) -> None:
    policy = RetryPolicy(initial=timedelta(seconds=60), factor=factor, jitter=False)
    assert backoff(policy, 10**9, 0.0, None) == timedelta(seconds=60)


def test_no_initial_backoff_stays_none() -> None:
    policy = RetryPolicy(initial=timedelta(), factor=1000.0, jitter=False)
    assert backoff(policy, 3, 0.0, None) == timedelta()
    assert backoff(policy, 10**9, 0.0, None) == timedelta()


def test_retry_after_wins_within_bounds() -> None:
    policy = RetryPolicy()
    assert backoff(policy, 1, 0.5, timedelta(seconds=90)) == timedelta(seconds=90)
    assert backoff(policy, 1, 0.5, timedelta(days=400)) == RETRY_AFTER_MAX
    assert backoff(policy, 1, 0.5, timedelta(seconds=-5)) == timedelta()
