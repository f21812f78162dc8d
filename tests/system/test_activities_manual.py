from typing import Any

import pytest

from tests.system.client import Client, activity_of, assert_problem, define, manual, pointers, transform, unique

FORM = {
    "type": "object",
    "required": ["approved"],
    "properties": {"approved": {"type": "boolean"}, "n": {"type": "integer", "maximum": 5}},
    "additionalProperties": False,
}


async def _asked(api: Client, value: Any = None, **fields: Any) -> str:
    started = await api.start(define(manual("approve", **fields)), value)
    await api.waiting(started["id"], "approve")
    return str(started["id"])


async def test_the_answer_is_the_output(api: Client) -> None:
    process_id = await _asked(api, form=FORM)
    answer = await api.answer(process_id, "approve", {"outcome": "complete", "output": {"approved": True}})
    assert answer.status == 202
    process = await api.ended(process_id)
    assert process["output"] == {"approved": True}
    assert activity_of(process, "approve")["state"] == "COMPLETED"


async def test_a_person_is_shown_what_it_is_about(api: Client) -> None:
    process_id = await _asked(
        api,
        {"id": 7, "lines": [1]},
        title="Approve order ${input.id}",
        instructions="Lines: ${input.lines}",
        assignee="finance",
        timeout="2d",
    )
    found = (await api.process(process_id))["waiting_on"]
    assert len(found) == 1
    assert found[0]["activity"] == "approve"
    assert found[0]["kind"] == "manual"
    assert found[0]["title"] == "Approve order 7"
    assert found[0]["instructions"] == "Lines: [1]"
    assert found[0]["assignee"] == "finance"
    assert found[0]["deadline"] > found[0]["since"]
    await api.cancel(process_id)


async def test_the_form_refuses_and_the_activity_goes_on_waiting(api: Client) -> None:
    process_id = await _asked(api, form=FORM)
    for output, pointer in (
        ({"approved": "yes"}, "/output/approved"),
        ({}, "/output"),
        ({"approved": True, "n": 6}, "/output/n"),
        (None, "/output"),
    ):
        answer = await api.answer(process_id, "approve", {"outcome": "complete", "output": output})
        assert pointer in pointers(answer)
    assert (await api.process(process_id))["state"] == "WAITING"
    assert (await api.answer(process_id, "approve", {"output": {"approved": False}})).status == 202
    assert (await api.ended(process_id))["output"] == {"approved": False}


async def test_every_fault_of_an_answer_is_named(api: Client) -> None:
    process_id = await _asked(api, form=FORM)
    answer = await api.answer(process_id, "approve", {"output": {"approved": 1, "n": 9, "x": 0}})
    assert {"/output/approved", "/output/n"} <= set(pointers(answer))
    await api.cancel(process_id)


@pytest.mark.parametrize(
    ("body", "message", "details"),
    [
        ({"outcome": "fail", "error": {"message": "too dear", "details": {"limit": 5}}}, "too dear", {"limit": 5}),
        ({"outcome": "fail", "error": "no"}, "no", None),
        ({"outcome": "fail"}, None, None),
    ],
)
async def test_an_operator_may_answer_fail(api: Client, body: Any, message: str | None, details: Any) -> None:
    process_id = await _asked(api, form=FORM)
    assert (await api.answer(process_id, "approve", body)).status == 202
    error = (await api.ended(process_id))["error"]
    assert error["type"] == "manual.rejected"
    assert error["message"] == message or message is None
    assert error["details"] == details


async def test_a_rejection_can_be_caught(api: Client) -> None:
    definition = define(
        manual("approve", catch=[{"errors": ["manual.*"], "next": "refuse"}], next="@end"),
        transform("refuse", "refused: ${activities.approve.error.message}"),
    )
    started = await api.start(definition)
    await api.waiting(started["id"])
    await api.answer(started["id"], "approve", {"outcome": "fail", "error": {"message": "too dear"}})
    assert (await api.ended(started["id"]))["output"] == "refused: too dear"


async def test_an_empty_body_completes_with_null(api: Client) -> None:
    process_id = await _asked(api)
    assert (await api.answer(process_id, "approve")).status == 202
    process = await api.ended(process_id)
    assert (process["state"], process["output"]) == ("COMPLETED", None)


async def test_it_is_answered_once(api: Client) -> None:
    definition = define(manual("approve"), manual("again"))
    started = await api.start(definition)
    await api.waiting(started["id"], "approve")
    assert (await api.answer(started["id"], "approve", {"output": 1})).status == 202
    await api.waiting(started["id"], "again")
    assert_problem(await api.answer(started["id"], "approve", {"output": 2}), 409)
    assert (await api.answer(started["id"], "again", {"output": 3})).status == 202
    process = await api.ended(started["id"])
    assert activity_of(process, "approve")["output"] == 1
    assert_problem(await api.answer(started["id"], "again", {"output": 4}), 409)


async def test_nothing_else_can_be_answered(api: Client) -> None:
    process_id = await _asked(api)
    assert_problem(await api.answer(process_id, "nobody", {}), 404)
    assert_problem(await api.answer("01920000-0000-7000-8000-000000000000", "approve", {}), 404)
    await api.cancel(process_id)
    await api.ended(process_id)
    assert_problem(await api.answer(process_id, "approve", {}), 409)


async def test_an_activity_that_was_not_reached_is_a_conflict(api: Client) -> None:
    started = await api.start(define(manual("first"), manual("second")))
    await api.waiting(started["id"], "first")
    assert_problem(await api.answer(started["id"], "second", {}), 409)
    await api.cancel(started["id"])


async def test_a_wait_for_an_event_is_not_answered_like_this(api: Client) -> None:
    waiting = {"id": "w", "type": "wait", "event": {"type": unique("e")}}
    started = await api.start(define(waiting))
    await api.waiting(started["id"], "w")
    assert_problem(await api.answer(started["id"], "w", {}), 409)
    await api.cancel(started["id"])


async def test_nobody_answering_is_a_timeout(api: Client) -> None:
    process = await api.run(define(manual("approve", timeout="80ms")))
    assert process["error"]["type"] == "timeout"
    assert process["error"]["category"] == "timeout"
    assert activity_of(process, "approve")["state"] == "FAILED"


@pytest.mark.parametrize(
    "body", [{"outcome": "maybe"}, {"outcome": "complete", "extra": 1}, [], "x", {"outcome": None}, 7]
)
async def test_an_answer_of_another_shape_is_refused(api: Client, body: Any) -> None:
    process_id = await _asked(api)
    assert_problem(await api.answer(process_id, "approve", body), 422)
    assert (await api.process(process_id))["state"] == "WAITING"
    await api.cancel(process_id)
