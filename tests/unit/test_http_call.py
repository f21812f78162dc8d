"""HTTP activities without a network: what is sent, and what is made of the answer."""

from datetime import datetime
from typing import Any

import pytest
from msgspec import json

from tests.factories import PROCESS_ID, T0, created, plan_of
from understudy.domain.effects import RunExecutor
from understudy.domain.failure import Category
from understudy.domain.identity import execution_id, idempotency_key
from understudy.domain.messages import ExecutorFailed, ExecutorSucceeded
from understudy.domain.ports import Assignment, ExecutorResult
from understudy.domain.state import scope_of
from understudy.executors.exchange import Answer, EgressFailure, OutgoingRequest
from understudy.executors.http_call import DETAILS_SIZE_MAX, HttpCall
from understudy.executors.request import RequestRefused, build_request
from understudy.executors.secret import REDACTED, SecretScope
from understudy.executors.target import read_target

SECRETS = {"TOKEN": "hunter2-token", "DEEP": "token", "BASE": "https://stock.example", "EMPTY": ""}
KEY = idempotency_key(PROCESS_ID, "call", 1, 3)


class Client:
    """Answers as it is told, and keeps the requests."""

    def __init__(self, answer: Answer | Exception) -> None:
        self.answer = answer
        self.requests: list[OutgoingRequest] = []

    async def send(self, request: OutgoingRequest) -> Answer:
        self.requests.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def answer(status: int = 200, body: Any = None, retry_after: float | None = None, **headers: str) -> Answer:
    return Answer(status, headers, body, 0.1, retry_after)


def assignment(request: dict[str, Any], process_input: Any = None, **fields: Any) -> Assignment:
    activity = {"id": "call", "type": "http", "request": {"method": "POST", **request}, **fields}
    plan = plan_of(activity)
    effect = RunExecutor("call", execution_id(PROCESS_ID, "call", 1), 2, KEY)
    return Assignment(effect, plan.steps["call"], scope_of(created(process_input), plan.steps), T0)


def built(request: dict[str, Any], process_input: Any = None, **fields: Any) -> OutgoingRequest:
    request.setdefault("url", "https://stock.example/x")
    return build_request(assignment(request, process_input, **fields), SecretScope(SECRETS))


async def perform(client: Client, request: dict[str, Any], process_input: Any = None, **fields: Any) -> ExecutorResult:
    request.setdefault("url", "https://stock.example/x")
    return await HttpCall(client, SECRETS)(assignment(request, process_input, **fields))


async def failed(client: Client, request: dict[str, Any], process_input: Any = None, **fields: Any) -> ExecutorFailed:
    result = await perform(client, request, process_input, **fields)
    assert isinstance(result, ExecutorFailed), result
    assert (result.activity, result.attempt) == ("call", 2)
    return result


# The URL


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("plain-1", "/orders/plain-1/items"),
        ("a/b", "/orders/a%2Fb/items"),
        ("../admin", "/orders/..%2Fadmin/items"),
        ("..\\admin", "/orders/..%5Cadmin/items"),
        ("%2e%2e", "/orders/%252e%252e/items"),
        ("%2e%2e%2f", "/orders/%252e%252e%252f/items"),
        ("a?admin=1", "/orders/a%3Fadmin%3D1/items"),
        ("a#b", "/orders/a%23b/items"),
        ("a b\r\nHost: evil", "/orders/a%20b%0D%0AHost%3A%20evil/items"),
        ("@evil.example", "/orders/%40evil.example/items"),
        ("//evil.example", "/orders/%2F%2Fevil.example/items"),
        ("ü€😀", "/orders/%C3%BC%E2%82%AC%F0%9F%98%80/items"),
        ("", "/orders//items"),
        ("...", "/orders/.../items"),
        (7, "/orders/7/items"),
        (True, "/orders/true/items"),
    ],
)
def test_a_value_stays_one_segment_of_the_path(value: Any, path: str) -> None:
    url = built({"url": "https://stock.example/orders/${input}/items"}, value).url
    assert url == f"https://stock.example{path}"
    target = read_target(url)
    assert (target.host, target.port) == ("stock.example", 443)
    assert target.raw_path.startswith("/orders/")
    assert target.raw_path.endswith("/items")


@pytest.mark.parametrize("value", [".", ".."])
def test_a_value_cannot_go_up_in_the_path(value: str) -> None:
    with pytest.raises(RequestRefused, match="may not go up"):
        built({"url": "https://stock.example/orders/${input}/items"}, value)


@pytest.mark.parametrize("value", ["a&b=c", "a#b", "a=b", "..", "."])
def test_a_value_stays_one_value_of_the_query(value: str) -> None:
    url = read_target(built({"url": "https://stock.example/x?q=${input}&r=1"}, value).url)
    assert dict(url.query) == {"q": value, "r": "1"}


@pytest.mark.parametrize("value", ["@evil.example/", ".evil.example/", ":99@evil.example", "/x", "", "#", "?a"])
def test_a_value_cannot_become_a_part_of_a_host(value: str) -> None:
    with pytest.raises(RequestRefused, match="host of the URL must be complete"):
        built({"url": "${secrets.BASE}${input}"}, value)


def test_a_whole_address_may_come_from_a_value() -> None:
    assert built({"url": "${input}"}, "https://other.example/a?b=c").url == "https://other.example/a?b=c"
    assert built({"url": "${secrets.BASE}/a/${input}"}, "b/c").url == "https://stock.example/a/b%2Fc"


def test_a_url_with_a_fragment_is_refused() -> None:
    with pytest.raises(RequestRefused, match="fragment"):
        built({"url": "${input}"}, "https://other.example/a#b")


# Query, headers, contents


def test_the_query_is_encoded_and_appended() -> None:
    request = built(
        {"url": "https://stock.example/x", "query": {"a": "${input}", "b": ["x y", "${input}"], "n": 1.5, "t": True}},
        "ü&=",
    )
    assert request.url == "https://stock.example/x?a=%C3%BC%26%3D&b=x+y&b=%C3%BC%26%3D&n=1.5&t=true"


def test_the_query_joins_one_that_is_there() -> None:
    assert built({"url": "https://stock.example/x?a=1", "query": {"b": 2}}).url == "https://stock.example/x?a=1&b=2"


def test_a_value_that_is_null_leaves_its_parameter_out() -> None:
    assert built({"query": {"a": "${input}", "b": "1"}}, None).url == "https://stock.example/x?b=1"
    assert built({"query": {"a": "${input}"}}, None).url == "https://stock.example/x"


@pytest.mark.parametrize("place", [{"query": {"a": "${input}"}}, {"form": {"a": "${input}"}}])
def test_an_object_is_no_parameter(place: dict[str, Any]) -> None:
    with pytest.raises(RequestRefused, match="must be text, a number or a boolean"):
        built(place, {"b": 1})


@pytest.mark.parametrize("value", [None, [1], {"a": 1}])
def test_a_header_is_a_text(value: Any) -> None:
    with pytest.raises(RequestRefused, match="header x-it"):
        built({"headers": {"x-it": "${input}"}}, value)


def test_a_header_may_be_a_number_or_a_boolean() -> None:
    assert ("x-it", "1.5") in built({"headers": {"x-it": "${input}"}}, 1.5).headers
    assert ("x-it", "true") in built({"headers": {"x-it": "${input}"}}, True).headers


def test_a_body_is_json() -> None:
    request = built({"body": {"a": "${input}"}}, [1, None, "ü"])
    assert request.body is not None
    assert json.decode(request.body) == {"a": [1, None, "ü"]}
    assert request.headers == (("content-type", "application/json"),)


def test_a_body_that_is_null_is_a_body() -> None:
    assert built({"body": None}).body == b"null"


def test_a_form_is_encoded() -> None:
    request = built({"form": {"a": "x&y", "b": [1, 2], "c": None}} | {"form": {"a": "x&y", "b": [1, 2]}})
    assert request.body == b"a=x%26y&b=1&b=2"
    assert request.headers == (("content-type", "application/x-www-form-urlencoded"),)


def test_a_text_is_sent_as_it_is() -> None:
    request = built({"text": "Grüße, ${input}"}, "Anna")
    assert request.body == "Grüße, Anna".encode()
    assert request.headers == (("content-type", "text/plain; charset=utf-8"),)


def test_the_author_s_content_type_wins() -> None:
    request = built({"text": "<a/>", "headers": {"Content-Type": "application/xml"}})
    assert request.headers == (("Content-Type", "application/xml"),)


def test_a_request_without_content_has_none() -> None:
    request = built({"method": "GET"})
    assert (request.method, request.body, request.headers) == ("GET", None, ())


def test_key_and_timeout_go_with_the_request() -> None:
    request = built({}, timeout="5s")
    assert (request.idempotency_key, request.timeout_seconds) == (str(KEY), 5.0)
    assert built({}).timeout_seconds == 30.0


# Secrets


def test_headers_that_hold_a_secret_are_named_and_not_shown() -> None:
    request = built({"headers": {"authorization": "Bearer ${secrets.TOKEN}", "x-it": "open"}})
    assert dict(request.headers)["authorization"] == "Bearer hunter2-token"
    assert request.secret_headers == frozenset({"authorization"})
    assert "hunter2" not in repr(request)


async def test_a_secret_that_comes_back_is_taken_out_of_everything() -> None:
    echoed = answer(
        200, {"saw": "Bearer hunter2-token", "list": ["hunter2-token"], "hunter2-token": 1}, x="hunter2-token"
    )
    result = await perform(Client(echoed), {"headers": {"authorization": "Bearer ${secrets.TOKEN}"}})
    assert isinstance(result, ExecutorSucceeded)
    assert result.output == {
        "status": 200,
        "headers": {"x": REDACTED},
        "body": {"saw": f"Bearer {REDACTED}", "list": [REDACTED], REDACTED: 1},
    }


async def test_a_secret_that_was_not_used_hides_nothing() -> None:
    result = await perform(Client(answer(200, "a token")), {})
    assert isinstance(result, ExecutorSucceeded)
    assert result.output["body"] == "a token"


async def test_the_longer_of_two_secrets_goes_first() -> None:
    request = {"headers": {"a": "${secrets.DEEP}", "b": "${secrets.TOKEN}", "c": "${secrets.EMPTY}"}}
    result = await perform(Client(answer(200, "hunter2-token")), request)
    assert isinstance(result, ExecutorSucceeded)
    assert result.output["body"] == REDACTED


async def test_errors_are_free_of_secrets() -> None:
    broken = EgressFailure("http.connect", "cannot reach hunter2-token", details={"host": "hunter2-token"})
    result = await failed(Client(broken), {"headers": {"a": "${secrets.TOKEN}"}})
    assert result.failure.message == f"cannot reach {REDACTED}"
    assert result.failure.details == {"host": REDACTED}
    refused = await failed(
        Client(answer()), {"url": "https://stock.example/${input}", "headers": {"a": "${secrets.TOKEN}"}}, ".."
    )
    assert refused.failure.type == "input"


# What is made of the answer


async def test_an_answer_is_the_output() -> None:
    client = Client(answer(201, {"id": 7}, etag="x"))
    result = await perform(client, {})
    assert isinstance(result, ExecutorSucceeded)
    assert result.output == {"status": 201, "headers": {"etag": "x"}, "body": {"id": 7}}
    assert len(client.requests) == 1


@pytest.mark.parametrize("status", [199, 300, 404, 500])
async def test_a_status_outside_of_200_to_299_is_a_failure(status: int) -> None:
    result = await failed(Client(answer(status, {"why": "no"}, retry_after=7.0)), {})
    assert (result.failure.type, result.failure.category) == (f"http.status.{status}", Category.EXTERNAL)
    assert result.failure.details == {"status": status, "headers": {}, "body": {"why": "no"}}
    assert (result.retry_after, result.is_unknown) == (7.0, False)


async def test_expected_statuses_are_the_only_successes() -> None:
    assert isinstance(await perform(Client(answer(404)), {}, expect=[404]), ExecutorSucceeded)
    assert (await failed(Client(answer(200)), {}, expect=[404])).failure.type == "http.status.200"


async def test_a_large_answer_of_a_failure_is_cut() -> None:
    result = await failed(Client(answer(500, "ü" * 100_000)), {})
    assert result.failure.details is not None
    assert len(result.failure.details["body"].encode()) <= DETAILS_SIZE_MAX


@pytest.mark.parametrize("is_unknown", [True, False])
async def test_an_unknown_outcome_is_said(is_unknown: bool) -> None:
    error = EgressFailure("http.timeout", "too late", is_unknown=is_unknown)
    result = await failed(Client(error), {})
    assert (result.failure.type, result.is_unknown, result.failure.details) == ("http.timeout", is_unknown, None)


async def test_a_request_that_cannot_be_built_is_not_sent() -> None:
    client = Client(answer())
    result = await failed(client, {"headers": {"a": "${input.missing}"}}, {})
    assert (result.failure.type, result.is_unknown) == ("expression", False)
    result = await failed(client, {"headers": {"a": "${input}"}}, {})
    assert (result.failure.type, result.failure.category) == ("input", Category.VALIDATION)
    assert client.requests == []


def test_neither_a_request_nor_an_answer_shows_its_contents() -> None:
    assert "hunter2" not in repr(answer(200, "hunter2", x="hunter2"))
    assert "hunter2" not in repr(built({"text": "${input}"}, "hunter2"))


class Counted:
    """Hears of requests."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, datetime, str | None, bool]] = []

    def count(self, host: str, at: datetime, error: str | None, *, is_repeat: bool) -> None:
        self.heard.append((host, at, error, is_repeat))


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://stock.example/${secrets.TOKEN}", "stock.example"),
        ("https://STOCK.example:443/x", "stock.example:443"),
        ("http://[::1]:8080/x", "[::1]:8080"),
        ("https://" + "a" * 300 + ".example/", "a" * 253),
        ("http://b\u00fccher.example/", "xn--bcher-kva.example"),
    ],
)
async def test_an_attempt_is_counted_under_its_host(url: str, host: str) -> None:
    counted = Counted()
    await HttpCall(Client(answer()), SECRETS, counted)(assignment({"url": url}))
    assert counted.heard == [(host, T0, None, True)]


@pytest.mark.parametrize(
    ("url", "given"), [("${secrets.BASE}/x", None), ("${input}", "https://:99999/"), ("${input}", "no where")]
)
async def test_a_host_that_is_secret_or_none_is_not_counted(url: str, given: Any) -> None:
    counted = Counted()
    await HttpCall(Client(EgressFailure("http.request", "no")), SECRETS, counted)(assignment({"url": url}, given))
    assert counted.heard == []


async def test_the_type_of_a_failure_is_counted_with_it() -> None:
    counted = Counted()
    for outcome in (answer(503), EgressFailure("http.timeout", "late")):
        await HttpCall(Client(outcome), SECRETS, counted)(assignment({"url": "https://stock.example/x"}))
    assert [error for _, _, error, _ in counted.heard] == ["http.status.503", "http.timeout"]
