import pytest

from understudy.executors.exchange import EgressFailure, OutgoingRequest
from understudy.executors.headers import HEADERS_MAX, answer_headers, outgoing_headers, retry_after_seconds

NOW = "Wed, 21 Oct 2015 07:28:00 GMT"


def sent(*headers: tuple[str, str], method: str = "GET", key: str = "k") -> tuple[tuple[str, str], ...]:
    request = OutgoingRequest(
        method=method, url="http://a.example", headers=headers, body=None, idempotency_key=key, timeout_seconds=1
    )
    return outgoing_headers(request, "agent/1")


def test_the_client_adds_its_own_headers() -> None:
    assert sent(("X-A", "1"), ("x-a", "2"), ("accept-encoding", "br")) == (
        ("X-A", "1"),
        ("x-a", "2"),
        ("User-Agent", "agent/1"),
        ("Accept-Encoding", "gzip, deflate"),
        ("Idempotency-Key", "k"),
    )


def test_a_user_agent_of_the_definition_wins() -> None:
    assert [value for name, value in sent(("user-agent", "own")) if name.lower() == "user-agent"] == ["own"]


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb", "a\rb", "a\x00b", "a\x7f", "\ud800", "x" * 9000])
def test_bad_values_are_refused_and_not_repeated(value: str) -> None:
    with pytest.raises(EgressFailure) as caught:
        sent(("X-Token", value))
    failure = caught.value
    assert (failure.type, failure.category, failure.is_unknown) == ("http.request", "validation", False)
    assert "X-Token" in failure.message
    assert value not in failure.message
    with pytest.raises(EgressFailure):
        sent(key=value)


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\n", "é", "x" * 300, "host", "Content-Length", "TE", "Expect"])
def test_bad_and_reserved_names_are_refused(name: str) -> None:
    with pytest.raises(EgressFailure) as caught:
        sent((name, "x"))
    assert caught.value.type == "http.request"


def test_the_amount_of_headers_is_bounded() -> None:
    sent(*[("x", "y")] * HEADERS_MAX)
    with pytest.raises(EgressFailure):
        sent(*[("x", "y")] * (HEADERS_MAX + 1))
    with pytest.raises(EgressFailure):
        sent(*[("x", "y" * 8000)] * 5)


@pytest.mark.parametrize("method", ["", "GET /", "G\r\nT", "CONNECT", "trace"])
def test_bad_methods_are_refused(method: str) -> None:
    with pytest.raises(EgressFailure):
        sent(method=method)


def test_headers_of_an_answer_are_joined_and_made_storable() -> None:
    pairs = [("X-A", "1"), ("x-a", "2"), ("Set-Cookie", "s=1"), ("B", "\udcff\udcfe"), ("C", "ü")]
    assert answer_headers(pairs) == {"x-a": "1, 2", "b": "\ufffd\ufffd", "c": "ü"}


def test_headers_of_an_answer_are_bounded() -> None:
    with pytest.raises(EgressFailure) as caught:
        answer_headers([("x", "y" * 8000)] * 5)
    assert (caught.value.type, caught.value.is_unknown) == ("http.too_large", False)


@pytest.mark.parametrize(
    ("value", "date", "seconds"),
    [
        ("120", None, 120.0),
        (" 0 ", None, 0.0),
        ("Wed, 21 Oct 2015 07:29:30 GMT", NOW, 90.0),
        ("Wed, 21 Oct 2015 07:00:00 GMT", NOW, 0.0),
        ("Wednesday, 21-Oct-15 07:29:00 GMT", NOW, 60.0),
        ("Wed, 21 Oct 2015 07:29:30 GMT", None, None),
        ("Wed, 21 Oct 2015 07:29:30", NOW, None),
        ("-1", NOW, None),
        ("1.5", NOW, None),
        ("٣", NOW, None),
        ("1" * 5000, NOW, None),
        ("soon", NOW, None),
        ("", NOW, None),
        ("Wed, 21 Oct 99999 07:29:30 GMT", NOW, None),
        ("1, 2", NOW, None),
        (None, NOW, None),
    ],
)
def test_retry_after(value: str | None, date: str | None, seconds: float | None) -> None:
    headers = {name: text for name, text in (("retry-after", value), ("date", date)) if text is not None}
    assert retry_after_seconds(headers) == seconds


def test_a_request_does_not_show_its_secrets() -> None:
    request = OutgoingRequest("GET", "http://a/s3cret", (("A", "s3cret"),), b"s3cret", "k", 1.0)
    assert "s3cret" not in repr(request)
