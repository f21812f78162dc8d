from typing import Any
from uuid import UUID

import pytest

from tests.system.client import Client, assert_problem, define, unique, wait


async def _waiting(api: Client, kind: str, key: str | None = None) -> str:
    awaited = {"type": kind} if key is None else {"type": kind, "key": key}
    started = await api.start(define(wait("w", event=awaited)))
    await api.waiting(started["id"], "w")
    return str(started["id"])


async def test_an_event_goes_to_every_process_that_waits(api: Client) -> None:
    kind = unique("e")
    waiting = [await _waiting(api, kind) for _ in range(3)]
    answer = await api.post("/events", {"type": kind, "data": {"n": 1}})
    assert answer.status == 202
    assert answer.body["delivered"] == 3
    assert UUID(answer.body["event_id"])
    for process_id in waiting:
        assert (await api.ended(process_id))["output"] == {"n": 1}


async def test_an_early_event_is_kept_for_the_first_that_comes(api: Client) -> None:
    kind = unique("e")
    answer = await api.post("/events", {"type": kind, "data": "early"})
    assert answer.body["delivered"] == 0
    assert (await api.run(define(wait("w", event={"type": kind}))))["output"] == "early"
    second = await _waiting(api, kind)
    await api.post("/events", {"type": kind, "data": "late"})
    assert (await api.ended(second))["output"] == "late"


async def test_kept_events_are_taken_one_each_oldest_first(api: Client) -> None:
    kind = unique("e")
    for number in range(3):
        await api.post("/events", {"type": kind, "data": number})
    definition = define(
        wait("a", event={"type": kind}), wait("b", event={"type": kind}), wait("c", event={"type": kind}),
        output="${[activities.a.output, activities.b.output, activities.c.output]}",
    )  # fmt: skip
    assert (await api.run(definition))["output"] == [0, 1, 2]


async def test_one_event_answers_one_wait_of_a_process(api: Client) -> None:
    kind = unique("e")
    started = await api.start(define(wait("a", event={"type": kind}), wait("b", event={"type": kind})))
    await api.waiting(started["id"], "a")
    await api.post("/events", {"type": kind, "data": 1})
    process = await api.waiting(started["id"], "b")
    assert [found["activity"] for found in process["waiting_on"]] == ["b"]
    await api.post("/events", {"type": kind, "data": 2})
    assert (await api.ended(started["id"]))["output"] == 2


@pytest.mark.parametrize(("waited", "sent"), [("k", None), (None, "k"), ("k", "K"), ("k", ""), (None, "")])
async def test_another_key_does_not_match(api: Client, waited: str | None, sent: str | None) -> None:
    kind = unique("e")
    process_id = await _waiting(api, kind, waited)
    body = {"type": kind} if sent is None else {"type": kind, "key": sent}
    assert (await api.post("/events", body)).body["delivered"] == 0
    right = {"type": kind} if waited is None else {"type": kind, "key": waited}
    assert (await api.post("/events", right)).body["delivered"] == 1
    assert (await api.ended(process_id))["state"] == "COMPLETED"


async def test_a_key_of_null_is_a_missing_key(api: Client) -> None:
    kind = unique("e")
    process_id = await _waiting(api, kind)
    assert (await api.post("/events", {"type": kind, "key": None})).body["delivered"] == 1
    assert (await api.ended(process_id))["state"] == "COMPLETED"


async def test_a_repeated_id_is_accepted_and_ignored(api: Client) -> None:
    kind, event_id = unique("e"), unique("id")
    first = await api.post("/events", {"type": kind, "id": event_id, "data": 1})
    process = await api.run(define(wait("w", event={"type": kind})))
    assert process["output"] == 1
    waiting = await _waiting(api, kind)
    again = await api.post("/events", {"type": kind, "id": event_id, "data": 2})
    assert (first.status, again.status) == (202, 202)
    assert again.body == {"event_id": first.body["event_id"], "delivered": 0}
    assert (await api.process(waiting))["state"] == "WAITING"
    await api.post("/events", {"type": kind, "id": unique("id"), "data": 3})
    assert (await api.ended(waiting))["output"] == 3


async def test_an_event_for_one_process(api: Client) -> None:
    kind = unique("e")
    first, second = await _waiting(api, kind), await _waiting(api, kind)
    answer = await api.post(f"/processes/{second}/events", {"type": kind, "data": "you"})
    assert (answer.status, answer.body["delivered"]) == (202, 1)
    assert (await api.ended(second))["output"] == "you"
    assert (await api.process(first))["state"] == "WAITING"
    await api.cancel(first)


async def test_an_early_event_for_one_process_is_kept_for_it(api: Client) -> None:
    kind, other = unique("e"), unique("e")
    definition = define(wait("a", event={"type": other}), wait("b", event={"type": kind}))
    addressed, neighbour = await api.start(definition), await api.start(definition)
    for process in (addressed, neighbour):
        await api.waiting(process["id"], "a")
    await api.post(f"/processes/{addressed['id']}/events", {"type": kind, "data": "mine"})
    await api.post("/events", {"type": other})
    assert (await api.ended(addressed["id"]))["output"] == "mine"
    await api.waiting(neighbour["id"], "b")
    await api.cancel(neighbour["id"])


async def test_an_event_does_not_reach_what_has_ended(api: Client) -> None:
    kind = unique("e")
    process = await api.run(define(wait("w", event={"type": kind}, timeout="50ms")))
    assert (await api.post("/events", {"type": kind, "data": 1})).body["delivered"] == 0
    assert await api.process(process["id"]) == process


async def test_an_event_for_nobody_is_404(api: Client) -> None:
    path = "/processes/01920000-0000-7000-8000-000000000000/events"
    assert_problem(await api.post(path, {"type": "e"}), 404)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, ""),
        ({"type": ""}, "/type"),
        ({"type": 1}, "/type"),
        ({"type": "a b"}, "/type"),
        ({"type": "e", "key": 1}, "/key"),
        ({"type": "e", "id": ""}, "/id"),
        ({"type": "e", "key": "x" * 256}, "/key"),
        ({"type": "e", "payload": 1}, "/payload"),
        ([], ""),
    ],
)
async def test_an_event_of_another_shape_is_refused(api: Client, body: Any, pointer: str) -> None:
    answer = await api.post("/events", body)
    assert [fault["pointer"] for fault in assert_problem(answer, 422)["errors"]] == [pointer]


@pytest.mark.parametrize("kind", ["order.approved", "Order_v2", "a:b", "a/b/c", "9-x"])
async def test_every_type_that_can_be_waited_for_can_be_sent(api: Client, kind: str) -> None:
    name = f"{kind}.{unique()}"
    process_id = await _waiting(api, name)
    answer = await api.post("/events", {"type": name, "data": 1})
    assert (answer.status, answer.body.get("delivered")) == (202, 1)
    assert (await api.ended(process_id))["output"] == 1


async def test_an_event_is_of_one_type_only(api: Client) -> None:
    kind = unique("e")
    process_id = await _waiting(api, kind)
    for other in (kind + "x", kind.upper(), kind[:-1]):
        assert (await api.post("/events", {"type": other})).body["delivered"] == 0
    await api.cancel(process_id)


@pytest.mark.parametrize("content", [None, 0, "", [], {"a": [1, {"b": None}]}, 2**63 - 1, 1.5])
async def test_the_content_may_be_anything(api: Client, content: Any) -> None:
    kind = unique("e")
    await api.post("/events", {"type": kind, "data": content})
    assert (await api.run(define(wait("w", event={"type": kind}))))["output"] == content
