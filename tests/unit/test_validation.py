"""Each field on its own, and the rules between the fields of one object."""

from copy import deepcopy
from typing import Any

import pytest

from understudy.domain.validation import DEFINITION_SIZE_MAX, faults_of

TRANSFORM = {"id": "a", "type": "transform", "output": 1}
HTTP = {"id": "a", "type": "http", "request": {"method": "POST", "url": "https://example.com/"}}
EVENT = {"id": "a", "type": "event", "event": "x"}
WAIT = {"id": "a", "type": "wait", "for": "1s"}
HEAR = {"id": "a", "type": "wait", "event": {"type": "x"}}
DECISION = {"id": "a", "type": "decision", "cases": [{"when": "true", "next": "@end"}]}
MANUAL = {"id": "a", "type": "manual"}
MISSING = object()


def changed(value: Any, path: str, replacement: Any) -> Any:
    """A deep copy with one field set, or taken away when the replacement is MISSING."""
    value = deepcopy(value)
    *parents, last = path.split("/")
    holder = value
    for key in parents:
        holder = holder[int(key) if isinstance(holder, list) else key]
    if replacement is MISSING:
        del holder[last]
    elif isinstance(holder, list):
        holder[int(last)] = replacement
    else:
        holder[last] = replacement
    return value


def definition(*activities: Any) -> dict[str, Any]:
    return {"name": "x", "activities": list(activities)}


def assert_fault(raw: Any, pointer: str, reason: str) -> None:
    [fault] = faults_of(raw)
    assert fault.pointer == pointer
    assert reason in fault.message


@pytest.mark.parametrize("activity", [TRANSFORM, HTTP, EVENT, WAIT, HEAR, DECISION, MANUAL])
def test_the_smallest_activity_of_each_type_is_valid(activity: Any) -> None:
    assert faults_of(definition(activity)) == []


@pytest.mark.parametrize("activity", [TRANSFORM, HTTP, EVENT, HEAR, DECISION, MANUAL])
def test_every_activity_has_the_fields_of_all(activity: Any) -> None:
    common = {
        "description": "d",
        "timeout": "1s",
        "deadline": "1m",
        "retry": {},
        "catch": [{"errors": ["*"], "next": "@fail"}],
        "next": "@end",
        "max_visits": 1,
    }
    assert faults_of(definition(activity | common)) == []


@pytest.mark.parametrize(
    ("raw", "reason"),
    [(None, "not null"), (True, "not a boolean"), (1.5, "not a number"), ("{}", "not a string"), ([], "not a list")],
)
def test_a_definition_is_an_object(raw: Any, reason: str) -> None:
    assert_fault(raw, "", reason)


@pytest.mark.parametrize(
    ("path", "value", "pointer", "reason"),
    [
        ("name", MISSING, "", "'name' is missing"),
        ("name", 1, "/name", "must be a string, not a number"),
        ("name", "Order", "/name", "lower-case"),
        ("name", "1x", "/name", "lower-case"),
        ("name", "x\n", "/name", "lower-case"),
        ("name", "x" * 64, "/name", "lower-case"),
        ("description", {}, "/description", "must be a string, not an object"),
        ("input", 1, "/input", "object or a boolean"),
        ("input", {"type": "strin"}, "/input/type", "strin"),
        ("input", {"items": {"$ref": "http://127.0.0.1:9/"}}, "/input/items/$ref", "leads out"),
        ("timeout", "soon", "/timeout", "'soon' is no duration"),
        ("timeout", "0s", "/timeout", "longer than nothing"),
        ("timeout", 5, "/timeout", "such as '30s', not a number"),
        ("timeout", "-1s", "/timeout", "no duration"),
        ("timeout", "P9999D", "/timeout", "at most 3650 days"),
        ("activities", MISSING, "", "'activities' is missing"),
        ("activities", {}, "/activities", "must be a list, not an object"),
        ("activities", [], "/activities", "at least 1"),
        ("activities/0", 1, "/activities/0", "must be an object"),
        ("titel", "x", "/titel", "no field 'titel'"),
        ("tmieout", "1s", "/tmieout", "did you mean 'timeout'"),
        ("a/b~c", 1, "/a~1b~0c", "known are 'name'"),
        ("start", 1, "/start", "must be a string"),
    ],
)
def test_a_field_of_the_definition_is_checked(path: str, value: Any, pointer: str, reason: str) -> None:
    raw = definition(TRANSFORM)
    assert_fault(raw | {path: value} if path == "a/b~c" else changed(raw, path, value), pointer, reason)


@pytest.mark.parametrize(
    ("activity", "path", "value", "pointer", "reason"),
    [
        (TRANSFORM, "id", MISSING, "", "'id' is missing"),
        (TRANSFORM, "id", "a-b", "/id", "underscores"),
        (TRANSFORM, "id", "A", "/id", "underscores"),
        (TRANSFORM, "id", None, "/id", "must be a string, not null"),
        (TRANSFORM, "type", MISSING, "", "'type' is missing"),
        (TRANSFORM, "type", ["http"], "/type", "must be a string, not a list"),
        (TRANSFORM, "type", "tranform", "/type", "did you mean 'transform'"),
        (TRANSFORM, "type", "lambda", "/type", "known are 'http'"),
        (TRANSFORM, "type", "parallel", "/type", "reserved and not available yet"),
        (TRANSFORM, "type", "for_each", "/type", "reserved and not available yet"),
        (TRANSFORM, "type", "process", "/type", "reserved and not available yet"),
        (TRANSFORM, "type", "fail", "/type", "reserved and not available yet"),
        (TRANSFORM, "compensate_with", "b", "/compensate_with", "reserved and not available yet"),
        (TRANSFORM, "output", MISSING, "", "'output' is missing"),
        (TRANSFORM, "request", {}, "/request", "no field 'request'"),
        (TRANSFORM, "deadline", "1", "/deadline", "no duration"),
        (TRANSFORM, "timeout", "0ms", "/timeout", "longer than nothing"),
        (TRANSFORM, "max_visits", 0, "/max_visits", "from 1 to 1000000"),
        (TRANSFORM, "max_visits", True, "/max_visits", "whole number"),
        (TRANSFORM, "max_visits", 1.0, "/max_visits", "whole number"),
        (TRANSFORM, "retry", [], "/retry", "must be an object"),
        (TRANSFORM, "retry", {"max_attempts": 0}, "/retry/max_attempts", "from 1 to 1000"),
        (TRANSFORM, "retry", {"factor": 0.5}, "/retry/factor", "number from 1 to 1000"),
        (TRANSFORM, "retry", {"factor": "2"}, "/retry/factor", "number from 1"),
        (TRANSFORM, "retry", {"factor": True}, "/retry/factor", "number from 1"),
        (TRANSFORM, "retry", {"initial": "x"}, "/retry/initial", "no duration"),
        (TRANSFORM, "retry", {"max": 1}, "/retry/max", "a duration"),
        (TRANSFORM, "retry", {"jitter": "some"}, "/retry/jitter", "one of 'full', 'none'"),
        (TRANSFORM, "retry", {"jitter": ["full"]}, "/retry/jitter", "one of"),
        (TRANSFORM, "retry", {"on": "*"}, "/retry/on", "must be a list, not a string"),
        (TRANSFORM, "retry", {"never": ["a b"]}, "/retry/never/0", "An error is named"),
        (TRANSFORM, "retry", {"attempts": 3}, "/retry/attempts", "did you mean 'max_attempts'"),
        (TRANSFORM, "catch", {}, "/catch", "must be a list"),
        (TRANSFORM, "catch", [{"next": "@end"}], "/catch/0", "'errors' is missing"),
        (TRANSFORM, "catch", [{"errors": ["*"]}], "/catch/0", "'next' is missing"),
        (TRANSFORM, "catch", [{"errors": [], "next": "@end"}], "/catch/0/errors", "at least 1"),
        (TRANSFORM, "catch", [{"errors": [1], "next": "@end"}], "/catch/0/errors/0", "must be a string"),
        (HTTP, "request", MISSING, "", "'request' is missing"),
        (HTTP, "request", "GET /", "/request", "must be an object"),
        (HTTP, "expect", [], "/expect", "at least 1"),
        (HTTP, "expect", [99], "/expect/0", "from 100 to 599"),
        (HTTP, "expect", ["2xx"], "/expect/0", "from 100 to 599"),
        (HTTP, "on_unknown", "stop", "/on_unknown", "'retry', 'retry_after_timeout', 'park'"),
        (EVENT, "event", MISSING, "", "'event' is missing"),
        (EVENT, "event", "${input.type}", "/event", "written out"),
        (EVENT, "event", "", "/event", "written out"),
        (EVENT, "key", 1, "/key", "must be a string"),
        (WAIT, "for", MISSING, "", "needs one of"),
        (WAIT, "for", 5, "/for", "must be a string"),
        (WAIT, "for", "-5s", "/for", "'-5s' cannot be waited for"),
        (WAIT, "until", "2026-11-25T08:30:00Z", "/until", "this one has 'for'"),
        (WAIT, "timeout", "1s", "/timeout", "Only a wait for an event"),
        (HEAR, "event", "x", "/event", "must be an object"),
        (HEAR, "event", {}, "/event", "'type' is missing"),
        (HEAR, "event", {"type": "x", "key": None}, "/event/key", "must be a string"),
        (HEAR, "event", {"type": "x", "source": "y"}, "/event/source", "known are 'type', 'key'"),
        (DECISION, "cases", MISSING, "", "'cases' is missing"),
        (DECISION, "cases", [], "/cases", "at least 1"),
        (DECISION, "cases", [{"when": "true", "next": "@end"}] * 201, "/cases", "at most 200"),
        (DECISION, "cases/0/when", "${input.x}", "/cases/0/when", "write it without ${…}"),
        (DECISION, "cases/0/when", "! ${input.x}", "/cases/0/when", "write it without ${…}"),
        (DECISION, "cases/0/when", True, "/cases/0/when", "must be a string, not a boolean"),
        (DECISION, "cases/0/goto", "a", "/cases/0/goto", "known are 'when', 'next'"),
        (DECISION, "otherwise", 1, "/otherwise", "must be a string"),
        (MANUAL, "title", 1, "/title", "must be a string"),
        (MANUAL, "form", {"properties": {"a": {"type": 1}}}, "/form/properties/a/type", "not valid"),
        (MANUAL, "assignee", [], "/assignee", "must be a string"),
    ],
)
def test_a_field_of_an_activity_is_checked(activity: Any, path: str, value: Any, pointer: str, reason: str) -> None:
    assert_fault(definition(changed(activity, path, value)), f"/activities/0{pointer}", reason)


@pytest.mark.parametrize(
    ("path", "value", "pointer", "reason"),
    [
        ("method", MISSING, "", "'method' is missing"),
        ("method", "post", "/method", "no method 'post'; did you mean 'POST'"),
        ("method", "PSOT", "/method", "did you mean 'POST'"),
        ("method", "${input.method}", "/method", "known are 'GET', 'HEAD'"),
        ("method", None, "/method", "must be a string"),
        ("url", MISSING, "", "'url' is missing"),
        ("url", 1, "/url", "must be a string"),
        ("url", "", "/url", "starts with http"),
        ("url", "example.com/x", "/url", "starts with http"),
        ("url", "ftp://example.com/", "/url", "starts with http"),
        ("url", "file:///etc/passwd", "/url", "starts with http"),
        ("url", "http${input.s}://example.com/", "/url", "starts with http"),
        ("url", "https://", "/url", "is no host"),
        ("url", "https:///path", "/url", "is no host"),
        ("url", "https://exa mple.com/", "/url", "blanks"),
        ("url", "https://example.com\\@evil/", "/url", "backslashes"),
        ("url", "https://example.com/\n", "/url", "control characters"),
        ("url", "https://user:password@example.com/", "/url", "no user name"),
        ("url", "https://example.com:0/", "/url", "port"),
        ("url", "https://example.com:65536/", "/url", "port"),
        ("url", "https://example.com:x/", "/url", "port"),
        ("url", "https://[::1/", "/url", "is no host"),
        ("url", "https://example%2ecom/", "/url", "is no host"),
        ("url", "https://example.com/#top", "/url", "fragment"),
        ("url", "https://api${input.x}/", "/url", "must be complete"),
        ("url", "https://api.example.com${input.path}", "/url", "must be complete"),
        ("url", "https://${input.host}/", "/url", "must be complete"),
        ("url", "https://example.com:${input.port}/", "/url", "must be complete"),
        ("url", "${input.scheme}://example.com/", "/url", "/ or ? follow"),
        ("url", "${input.scheme}//example.com/", "/url", "/ or ? follow"),
        ("url", "${input.base}.example.com/", "/url", "/ or ? follow"),
        ("url", "${input.base}:8080/", "/url", "/ or ? follow"),
        ("url", "${input.a}${input.b}://example.com/", "/url", "/ or ? follow"),
        ("headers", [], "/headers", "must be an object"),
        ("headers", {"a": 1}, "/headers/a", "must be a string"),
        ("headers", {"a": "b\r\nc: d"}, "/headers/a", "line breaks"),
        ("headers", {"a b": "c"}, "/headers/a b", "name of a header"),
        ("headers", {"": "c"}, "/headers/", "name of a header"),
        ("headers", {"Host": "c"}, "/headers/Host", "set by the engine"),
        ("headers", {"content-length": "1"}, "/headers/content-length", "set by the engine"),
        ("headers", {"Transfer-Encoding": "c"}, "/headers/Transfer-Encoding", "set by the engine"),
        ("headers", {"connection": "c"}, "/headers/connection", "set by the engine"),
        ("headers", {"IDEMPOTENCY-KEY": "c"}, "/headers/IDEMPOTENCY-KEY", "set by the engine"),
        ("headers", {"Accept": "a", "accept": "b"}, "/headers/accept", "'Accept' again"),
        ("query", "a=b", "/query", "must be an object"),
        ("query", {"a": None}, "/query/a", "not null"),
        ("query", {"a": ["b", {}]}, "/query/a/1", "not an object"),
        ("form", {"a": {}}, "/form/a", "not an object"),
        ("text", {}, "/text", "must be a string"),
        ("json", {}, "/json", "no field 'json'"),
    ],
)
def test_a_field_of_a_request_is_checked(path: str, value: Any, pointer: str, reason: str) -> None:
    assert_fault(definition(changed(HTTP, f"request/{path}", value)), f"/activities/0/request{pointer}", reason)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost",
        "https://example.com?x=${input.x}",
        "HTTPS://example.com/${input.id}",
        "https://bücher.example/",
        "http://[fe80::1]:8080/x",
        "${input.base}/x",
        "${input.url}",
        "https://example.com:8443/a%20b",
    ],
)
def test_a_good_url_passes(url: str) -> None:
    assert faults_of(definition(changed(HTTP, "request/url", url))) == []


def test_a_request_has_one_content_and_reading_has_none() -> None:
    both = changed(changed(HTTP, "request/body", {}), "request/text", "x")
    assert_fault(definition(both), "/activities/0/request/text", "this one has 'body'")
    for method in ("GET", "HEAD"):
        reading = changed(changed(HTTP, "request/form", {}), "request/method", method)
        assert_fault(definition(reading), "/activities/0/request/form", f"A {method} request has no content")


def test_each_surplus_kind_of_wait_is_a_fault() -> None:
    faults = faults_of(definition(HEAR | {"until": "2026-11-25T08:30:00Z", "for": "1s", "timeout": "1s"}))
    assert [fault.pointer for fault in faults] == ["/activities/0/until", "/activities/0/for"]


def test_all_faults_are_named_at_once() -> None:
    faults = faults_of(
        {
            "name": "X",
            "activities": [{"id": "A", "type": "wait", "for": "x", "next": "b"}, {"id": "c"}],
            "output": "${nput}",
        }
    )
    assert [fault.pointer for fault in faults] == [
        "/name",
        "/activities/0/id",
        "/activities/1",
        "/activities/0/next",
        "/activities/1",
        "/activities/0/for",
        "/output",
    ]


def test_an_activity_without_a_type_has_its_other_fields_checked() -> None:
    faults = faults_of(definition({"id": "a", "timeout": 1, "output": 1}))
    assert [fault.pointer for fault in faults] == ["/activities/0/timeout", "/activities/0"]


def test_there_are_at_most_200_activities() -> None:
    activities = [{"id": f"a{n}", "type": "transform", "output": n} for n in range(200)]
    assert faults_of(definition(*activities)) == []
    assert_fault(definition(*activities, TRANSFORM), "/activities", "has 201 elements; at most 200")


def test_a_definition_has_at_most_256_kib_as_json() -> None:
    raw = definition(TRANSFORM | {"output": ""})
    room = DEFINITION_SIZE_MAX - len(b'{"name":"x","activities":[{"id":"a","type":"transform","output":""}]}')
    raw["activities"][0]["output"] = "x" * room
    assert faults_of(raw) == []
    raw["activities"][0]["output"] += "x"
    assert_fault(raw, "", "at most 262144")


@pytest.mark.parametrize("value", [float("nan"), "\ud800", "a\0", 2**63, {1: 2}, object()])
def test_what_is_not_clean_json_is_the_only_fault(value: Any) -> None:
    [fault] = faults_of(definition(TRANSFORM | {"output": [value]}, TRANSFORM))
    assert fault.pointer == "/activities/0/output/0"


def test_the_number_of_faults_is_bounded() -> None:
    assert len(faults_of({f"f{n}": n for n in range(5000)})) == 100


def test_a_misspelt_type_is_recognised() -> None:
    faults = faults_of(definition({"id": "a", "typ": "wait", "for": "2s"}))
    assert faults == [
        ("/activities/0/typ", "There is no field 'typ'; did you mean 'type'?"),
        ("/activities/0", "The field 'type' is missing."),
    ]
