import asyncio
from typing import Any

import pytest

from tests.system.client import Client, activity_of, define, http, quick, transform
from tests.system.target import Reply, Target


async def test_the_answer_is_the_output(api: Client, target: Target) -> None:
    url = target.reply("/stock", Reply(201, {"id": "r-1", "n": [1, 2.5, None, True]}, {"X-Trace": "abc"}))
    process = await api.run(define(http("reserve", url, "POST")))
    output = process["output"]
    assert process["state"] == "COMPLETED"
    assert output["status"] == 201
    assert output["body"] == {"id": "r-1", "n": [1, 2.5, None, True]}
    assert output["headers"]["x-trace"] == "abc"


async def test_every_part_of_a_request_is_a_template(api: Client, target: Target) -> None:
    activity = http(
        "call",
        target.url + "/orders/${input.id}/lines",
        "PUT",
        request={
            "headers": {"X-Order": "order-${input.id}", "X-Count": "${input.n}"},
            "query": {"q": "${input.text}", "n": "${input.n}"},
            "body": {"n": "${input.n}", "all": "${input}", "text": "n is ${input.n}, tags are ${input.tags}"},
        },
    )
    given = {"id": "a/b ?#", "n": 3, "text": "a&b=c", "tags": ["x", "y"]}
    await api.run(define(activity), given)
    asked = await target.received()
    assert (asked.method, asked.path) == ("PUT", "/orders/a/b ?#/lines")
    assert asked.query == {"q": "a&b=c", "n": "3"}
    assert asked.headers["X-Order"] == "order-a/b ?#"
    assert asked.headers["X-Count"] == "3"
    assert asked.json == {"n": 3, "all": given, "text": 'n is 3, tags are ["x","y"]'}
    assert asked.headers["Content-Type"] == "application/json"


async def test_a_form_and_a_text_are_bodies(api: Client, target: Target) -> None:
    form = http("form", target.url + "/form", "POST", request={"form": {"a": "${input.a}", "b": 2}})
    text = http("text", target.url + "/text", "POST", request={"text": "hello ${input.a}"})
    await api.run(define(form, text), {"a": "x&y é"})
    assert [asked.body for asked in target.requests] == [b"a=x%26y+%C3%A9&b=2", "hello x&y é".encode()]
    assert target.requests[0].headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert target.requests[1].headers["Content-Type"].startswith("text/plain")


async def test_a_template_cannot_change_where_a_request_goes(api: Client, target: Target) -> None:
    url = target.reply("/in/..%2F..%2Fadmin@elsewhere:1") and target.url + "/in/${input.part}"
    await api.run(define(http("call", url)), {"part": "../../admin@elsewhere:1"})
    asked = await target.received()
    assert asked.path == "/in/../../admin@elsewhere:1"
    assert asked.headers["Host"] == f"127.0.0.1:{target.port}"


@pytest.mark.parametrize("part", ["evil.example", "@evil.example/", ":1/", "1"])
async def test_nothing_can_be_added_to_a_literal_authority(api: Client, target: Target, part: str) -> None:
    definition = define(http("call", target.url + "${input.part}"))
    answer = await api.post("/processes?wait=30s", {"definition": definition, "input": {"part": part}})
    # Refused with the definition, or at run time: in no case is anything sent elsewhere.
    assert answer.status == 422 or answer.body["state"] == "FAILED"
    assert target.requests == []


async def test_the_url_may_come_whole_from_the_input(api: Client, target: Target) -> None:
    await api.run(define(http("call", "${input.stock}/things/${input.id}")), {"stock": target.url, "id": "1 2"})
    assert (await target.received()).path == "/things/1 2"


async def test_a_secret_reaches_the_target(api: Client, target: Target, secrets: dict[str, str]) -> None:
    headers = {"authorization": "Bearer ${secrets.TOKEN}"}
    process = await api.run(define(http("call", target.url + "/x", request={"headers": headers})))
    assert process["state"] == "COMPLETED"
    assert (await target.received()).headers["Authorization"] == f"Bearer {secrets['TOKEN']}"


async def test_a_secret_that_is_not_configured_fails_the_activity(api: Client, target: Target) -> None:
    process = await api.run(define(http("call", target.url, request={"headers": {"x": "${secrets.ABSENT}"}})))
    assert process["state"] == "FAILED"
    assert process["error"]["type"] == "expression"
    assert target.requests == []


@pytest.mark.parametrize(("status", "is_success"), [(200, True), (204, True), (299, True), (304, False), (404, False)])
async def test_success_is_2xx_by_default(api: Client, target: Target, status: int, is_success: bool) -> None:
    url = target.reply("/x", Reply(status))
    process = await api.run(define(http("call", url)))
    if is_success:
        assert process["output"]["status"] == status
        assert process["output"]["body"] is None
    else:
        assert process["error"]["type"] == f"http.status.{status}"
        assert process["error"]["category"] == "external"


async def test_expect_says_which_statuses_are_success(api: Client, target: Target) -> None:
    definition = define(http("call", target.reply("/x", Reply(404, {"gone": True})), expect=[404, 410]))
    assert (await api.run(definition))["output"]["body"] == {"gone": True}
    other = define(http("call", target.reply("/y", Reply(200)), expect=[404]))
    assert (await api.run(other))["error"]["type"] == "http.status.200"


async def test_an_error_tells_what_was_answered(api: Client, target: Target) -> None:
    url = target.reply("/x", Reply(409, {"reason": "sold out"}))
    process = await api.run(define(http("call", url)))
    error = process["error"]
    assert error["type"] == "http.status.409"
    assert error["attempt"] == 1
    assert error["details"]["body"] == {"reason": "sold out"}
    assert set(error) == {"type", "category", "message", "details", "attempt"}
    assert activity_of(process, "call")["error"] == error


async def test_a_text_answer_is_a_string(api: Client, target: Target) -> None:
    url = target.reply("/x", Reply(200, "grüße".encode(), {"Content-Type": "text/plain; charset=utf-8"}))
    assert (await api.run(define(http("call", url))))["output"]["body"] == "grüße"


async def test_nobody_listening_is_a_connect_error(api: Client, target: Target) -> None:
    await target.stop()
    process = await api.run(define(http("call", target.url, retry=quick(2))))
    assert process["error"]["type"] == "http.connect"
    assert process["error"]["category"] == "external"
    assert process["error"]["attempt"] == 2


async def test_an_answer_that_never_comes_is_a_timeout(api: Client, target: Target) -> None:
    url = target.reply("/x", Reply(gate=asyncio.Event()))
    process = await api.run(define(http("call", url, timeout="150ms")))
    assert process["error"]["type"] == "http.timeout"
    assert process["error"]["category"] == "timeout"


async def test_a_connection_that_breaks_is_an_unknown_outcome(api: Client, target: Target) -> None:
    process = await api.run(define(http("call", target.reply("/x", Reply(is_reset=True)), "POST")))
    assert process["error"]["type"] == "http.unknown"
    assert len(target.requests) == 1


async def test_a_private_address_is_blocked(api: Client) -> None:
    for url in ("http://127.0.0.2:9/", "http://169.254.169.254/latest/meta-data", "http://10.0.0.1/", "http://[::1]/"):
        process = await api.run(define(http("call", url, retry=quick(3))))
        assert process["error"]["type"] == "http.blocked"
        assert process["error"]["attempt"] == 1


async def test_redirects_are_followed(api: Client, target: Target) -> None:
    target.reply("/b", Reply(200, {"at": "b"}))
    url = target.reply("/a", Reply(302, headers={"Location": "/b"}))
    assert (await api.run(define(http("call", url))))["output"]["body"] == {"at": "b"}


async def test_a_redirect_to_a_private_address_is_blocked(api: Client, target: Target) -> None:
    url = target.reply("/a", Reply(302, headers={"Location": "http://127.0.0.2:9/"}))
    assert (await api.run(define(http("call", url))))["error"]["type"] == "http.blocked"


async def test_parking_leaves_an_unknown_outcome_to_an_operator(api: Client, target: Target) -> None:
    url = target.reply("/x", Reply(is_reset=True))
    started = await api.start(define(http("call", url, "POST", on_unknown="park", retry=quick(5))))
    process = await api.waiting(started["id"], "call")
    assert process["waiting_on"][0]["kind"] == "operator"
    assert activity_of(process, "call")["state"] == "WAITING"
    assert activity_of(process, "call")["error"]["type"] == "http.unknown"
    assert len(target.requests) == 1
    await api.cancel(started["id"])
    assert (await api.ended(started["id"]))["state"] == "CANCELLED"


async def test_a_timeout_is_parked_too_and_the_deadline_goes_on(api: Client, target: Target) -> None:
    call = http("call", target.reply("/x", Reply(gate=asyncio.Event())), "POST", retry=quick(5), on_unknown="park")
    started = await api.start(define({**call, "timeout": "200ms", "deadline": "2s"}))
    process = await api.waiting(started["id"], "call")
    assert activity_of(process, "call")["error"]["type"] == "http.timeout"
    assert process["waiting_on"][0]["deadline"]
    assert (await api.ended(started["id"]))["error"]["type"] == "deadline"
    assert len(target.requests) == 1


async def test_parking_does_not_concern_definite_failures(api: Client, target: Target) -> None:
    url = target.reply("/x", Reply(503), Reply(200))
    process = await api.run(define(http("call", url, on_unknown="park", retry=quick(2))))
    assert process["state"] == "COMPLETED"


async def test_cookies_are_not_kept(api: Client, target: Target) -> None:
    first = http("first", target.reply("/a", Reply(200, headers={"Set-Cookie": "sid=1; Path=/"})))
    process = await api.run(define(first, http("second", target.url + "/b")))
    assert "Cookie" not in target.requests[1].headers
    assert "set-cookie" not in activity_of(process, "first")["output"]["headers"]


@pytest.mark.parametrize(
    ("request_fields", "given"),
    [
        ({"headers": {"x-list": "${input.v}"}}, ["a"]),
        ({"headers": {"x-line": "${input.v}"}}, "a\r\nb: c"),
        ({"query": {"q": "${input.v}"}}, {"a": 1}),
    ],
)
async def test_values_that_do_not_fit_are_refused(api: Client, target: Target, request_fields: Any, given: Any) -> None:
    process = await api.run(define(http("call", target.url + "/x", request=request_fields)), {"v": given})
    assert process["state"] == "FAILED"
    assert process["error"]["category"] == "validation"
    assert target.requests == []


async def test_each_activity_sees_what_came_before(api: Client, target: Target) -> None:
    first = http("first", target.reply("/a", Reply(200, {"id": 7})))
    second = http("second", target.url + "/b/${activities.first.output.body.id}")
    shape = transform("shape", "${activities.second.output.status + activities.first.output.body.id}")
    assert (await api.run(define(first, second, shape)))["output"] == 207
    assert target.requests[1].path == "/b/7"
