from typing import Any

import pytest

from tests.system.client import (
    Answer,
    Client,
    assert_problem,
    decision,
    define,
    http,
    manual,
    pointers,
    transform,
    unique,
    wait,
)


async def _faults(api: Client, definition: Any) -> dict[str, str]:
    answer = await api.post("/definitions:validate", definition)
    assert answer.status == 200, answer
    assert answer.body["valid"] == (not answer.body["errors"])
    return {fault["pointer"]: fault["message"] for fault in answer.body["errors"]}


async def test_publishing_makes_versions(api: Client) -> None:
    first = define(transform("a", 1))
    second = {**first, "activities": [transform("a", 2)]}
    answers = [await api.publish(content) for content in (first, first, second, second, first)]
    assert [answer.status for answer in answers] == [201, 200, 201, 200, 200]
    assert [answer.body["version"] for answer in answers][:4] == [1, 1, 2, 2]
    assert answers[0].body == {
        "name": first["name"],
        "version": 1,
        "created_at": answers[0].body["created_at"],
        "definition": first,
    }
    assert answers[0].body == answers[1].body
    assert answers[0].headers["Location"].startswith(f"/definitions/{first['name']}")


async def test_the_order_of_keys_does_not_make_a_version(api: Client) -> None:
    definition = define(transform("a", {"x": 1, "y": 2}))
    await api.publish(definition)
    turned = {key: definition[key] for key in reversed(definition)}
    assert (await api.publish(turned)).status == 200


async def test_reading_a_definition(api: Client) -> None:
    first = define(transform("a", 1))
    second = {**first, "description": "better"}
    for content in (first, second):
        await api.publish(content)
    path = f"/definitions/{first['name']}"
    assert (await api.get(path))["definition"] == second
    assert (await api.get(f"{path}?version=1"))["definition"] == first
    assert (await api.get(f"{path}?version=2"))["version"] == 2
    versions = await api.get(f"{path}/versions")
    assert [found["version"] for found in versions["items"]] == [2, 1]
    assert versions["next_cursor"] is None


async def test_what_is_not_there(api: Client) -> None:
    definition = define(transform("a", 1))
    await api.publish(definition)
    for path in (
        f"/definitions/{unique()}",
        f"/definitions/{unique()}/versions",
        f"/definitions/{definition['name']}?version=2",
        "/definitions/Not-A-Name",
    ):
        assert_problem(await api.call("GET", path), 404)
    for version in ("0", "x", "-1", "99999999999"):
        assert_problem(await api.call("GET", f"/definitions/{definition['name']}?version={version}"), 400)


async def test_the_list_pages_by_cursor(api: Client) -> None:
    names = sorted(unique("list") for _ in range(5))
    for name in names:
        await api.publish({"name": name, "activities": [transform("a", 1)]})
    seen: list[str] = []
    cursor = ""
    while True:
        page = await api.get(f"/definitions?limit=2{cursor}")
        assert len(page["items"]) <= 2
        seen += [found["name"] for found in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert len(seen) == len(set(seen))
    assert [name for name in seen if name in names] == names


async def test_a_process_is_pinned_to_its_version(api: Client) -> None:
    first = define(manual("ask"), transform("a", 1))
    await api.publish(first)
    started = await api.start(first["name"])
    await api.waiting(started["id"])
    await api.publish({**first, "activities": [transform("a", 2)]})
    await api.answer(started["id"], "ask", {})
    pinned = await api.ended(started["id"])
    assert pinned["definition"] == {"name": first["name"], "version": 1}
    assert pinned["output"] == 1
    latest = await api.run(first["name"])
    assert (latest["definition"]["version"], latest["output"]) == (2, 2)


async def test_an_older_version_can_be_started(api: Client) -> None:
    first = define(transform("a", 1))
    await api.publish(first)
    await api.publish({**first, "activities": [transform("a", 2)]})
    assert (await api.run(f"{first['name']}@1"))["output"] == 1
    for name in (f"{first['name']}@3", unique()):
        assert_problem(await api.post("/processes", {"definition": name}), 404)


async def test_the_name_in_the_path_is_that_of_the_definition(api: Client) -> None:
    definition = define(transform("a", 1))
    other = unique()
    answer = await api.call("PUT", f"/definitions/{other}", definition)
    assert pointers(answer) == ["/name"]
    assert_problem(await api.call("GET", f"/definitions/{other}"), 404)
    assert_problem(await api.call("GET", f"/definitions/{definition['name']}"), 404)


async def test_a_faulty_definition_is_refused_everywhere(api: Client) -> None:
    definition = define(transform("a", "${input.}"))
    refused: list[Answer] = [await api.publish(definition), await api.post("/processes", {"definition": definition})]
    assert pointers(refused[0]) == ["/activities/0/output"]
    assert pointers(refused[1]) == ["/definition/activities/0/output"]
    assert_problem(await api.call("GET", f"/definitions/{definition['name']}"), 404)
    assert (await api.get(f"/processes?definition={definition['name']}"))["items"] == []


async def test_every_fault_is_named_at_once(api: Client) -> None:
    definition = {
        "name": "Bad Name",
        "inputs": {},
        "timeout": "soon",
        "activities": [
            {"id": "a", "type": "transform", "output": "${activities.gone.output}", "nxt": "b"},
            {"id": "a", "type": "htp"},
            {"id": "b", "type": "decision", "cases": [], "otherwise": "nowhere"},
            {"id": "c", "type": "wait"},
            {"id": "d", "type": "http", "request": {"method": "FETCH", "url": "ftp://x/"}, "timeout": "-1s"},
            {"id": "e", "type": "wait", "for": "1s", "until": "2030-01-01T00:00:00Z"},
            {"id": "f", "type": "transform", "output": "${1 +}", "max_visits": 0, "next": "@end"},
            {"id": "g", "type": "transform", "output": 1},
        ],
        "output": "${secrets.TOKEN}",
    }
    faults = await _faults(api, definition)
    assert {
        "/name",
        "/inputs",
        "/timeout",
        "/activities/0/output",
        "/activities/0/nxt",
        "/activities/1/id",
        "/activities/1/type",
        "/activities/2/cases",
        "/activities/2/otherwise",
        "/activities/3",
        "/activities/4/request/method",
        "/activities/4/request/url",
        "/activities/4/timeout",
        "/activities/5/until",
        "/activities/6/output",
        "/activities/6/max_visits",
        "/activities/7",
        "/output",
    } <= faults.keys()
    assert "'input'" in faults["/inputs"]
    assert "'next'" in faults["/activities/0/nxt"]
    assert "'http'" in faults["/activities/1/type"]


@pytest.mark.parametrize(
    ("activity", "pointer"),
    [
        ({"id": "A", "type": "transform", "output": 1}, "/activities/0/id"),
        ({"id": "a" * 64, "type": "transform", "output": 1}, "/activities/0/id"),
        ({"type": "transform", "output": 1}, "/activities/0"),
        ({"id": "a", "type": "transform"}, "/activities/0"),
        ({"id": "a", "type": "parallel", "branches": {}}, "/activities/0/type"),
        ({"id": "a", "type": "fail", "error": "x"}, "/activities/0/type"),
        (transform("a", 1, compensate_with="a"), "/activities/0/compensate_with"),
        (transform("a", 1, catch=[{"errors": [], "next": "@end"}]), "/activities/0/catch/0/errors"),
        (transform("a", 1, catch=[{"errors": ["*"], "next": "b"}]), "/activities/0/catch/0/next"),
        (transform("a", 1, retry={"max_attempts": 0}), "/activities/0/retry/max_attempts"),
        (transform("a", 1, retry={"jitter": "some"}), "/activities/0/retry/jitter"),
        (transform("a", 1, retry={"attempts": 3}), "/activities/0/retry/attempts"),
        (http("a", "not a url"), "/activities/0/request/url"),
        (http("a", "http://user:pw@example.com/"), "/activities/0/request/url"),
        (http("a", "http://x/", "${input.m}"), "/activities/0/request/method"),
        (http("a", "http://x/", "POST", request={"body": 1, "text": "x"}), "/activities/0/request/text"),
        (http("a", "http://x/", request={"headers": {"bad name": "x"}}), "/activities/0/request/headers/bad name"),
        (http("a", "http://x/", request={"body": 1}), "/activities/0/request/body"),
        (http("a", "http://x/", expect=[]), "/activities/0/expect"),
        (http("a", "http://x/", on_unknown="ignore"), "/activities/0/on_unknown"),
        (wait("a", for_="a while"), "/activities/0/for"),
        (wait("a", until="2030-13-01"), "/activities/0/until"),
        (wait("a", event={"key": "x"}), "/activities/0/event"),
        (manual("a", form={"type": "nothing"}), "/activities/0/form/type"),
        (manual("a", form={"$ref": "https://example.com/schema"}), "/activities/0/form/$ref"),
        (decision("a", ("input.", "@end")), "/activities/0/cases/0/when"),
        (decision("a", ("true", "gone")), "/activities/0/cases/0/next"),
        (transform("a", "${secrets.TOKEN}"), "/activities/0/output"),
        (transform("a", "${nothing.x}"), "/activities/0/output"),
        (transform("a", {"x": [0, "${f(1)}"]}), "/activities/0/output/x/1"),
        (transform("a", "${activities.b.output}"), "/activities/0/output"),
        (transform("a", "${activities.a.result}"), "/activities/0/output"),
    ],
)
async def test_the_pointer_names_the_exact_value(api: Client, activity: dict[str, Any], pointer: str) -> None:
    faults = await _faults(api, define(activity))
    assert pointer in faults, faults
    assert len(faults) == 1, faults


@pytest.mark.parametrize("raw", [None, [], "x", 7, True, {}, {"name": "a", "activities": []}, {"name": "a"}])
async def test_anything_can_be_asked_about(api: Client, raw: Any) -> None:
    assert await _faults(api, raw)


async def test_a_good_one_has_no_faults(api: Client) -> None:
    definition = define(
        http("call", "http://10.0.0.1/x", "POST", request={"headers": {"a": "Bearer ${secrets.X}"}}),
        decision("d", ("activities.call.output.body.n > 1", "m"), otherwise="w"),
        manual("m", form={"type": "object"}, next="@end"),
        wait("w", for_="P2D", next="@fail"),
        description="all",
        timeout="PT1H30M",
        input={"type": "object", "$defs": {"n": {"type": "integer"}}, "properties": {"n": {"$ref": "#/$defs/n"}}},
        start="call",
        output="${activities.m.output}",
    )
    assert await _faults(api, definition) == {}


async def test_validating_stores_nothing(api: Client) -> None:
    definition = define(transform("a", 1))
    assert await _faults(api, definition) == {}
    assert_problem(await api.call("GET", f"/definitions/{definition['name']}"), 404)


async def test_the_input_is_checked_against_its_schema(api: Client) -> None:
    schema = {
        "type": "object",
        "required": ["id"],
        "properties": {"id": {"type": "integer"}, "sku": {"type": "string"}},
    }
    definition = define(transform("a", "${input.id}"), input=schema)
    await api.publish(definition)
    for reference in (definition, definition["name"]):
        answer = await api.post("/processes", {"definition": reference, "input": {"id": "x", "sku": 1}})
        assert set(pointers(answer)) == {"/input/id", "/input/sku"}
        assert "/input" in pointers(await api.post("/processes", {"definition": reference}))
        assert (await api.run(reference, {"id": 5}))["output"] == 5
    assert len((await api.get(f"/processes?definition={definition['name']}"))["items"]) == 2
