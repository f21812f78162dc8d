import asyncio
from datetime import datetime, timedelta

import pytest

from tests.system.client import Client, activity_of, decision, define, http, manual, quick, transform, wait
from tests.system.target import Reply, Target


async def test_activities_follow_each_other_in_the_order_of_the_list(api: Client) -> None:
    process = await api.run(define(transform("a", 1), transform("b", 2), transform("c", 3)))
    assert [found["id"] for found in process["activities"]] == ["a", "b", "c"]
    assert process["output"] == 3


async def test_next_jumps(api: Client) -> None:
    definition = define(transform("a", 1, next="c"), transform("b", 2, next="@end"), transform("c", 3, next="b"))
    process = await api.run(definition)
    assert [found["id"] for found in process["activities"]] == ["a", "c", "b"]
    assert process["output"] == 2


async def test_start_names_the_first_one(api: Client) -> None:
    definition = define(transform("a", 1, next="@end"), transform("b", 2, next="a"), start="b")
    process = await api.run(definition)
    assert [found["id"] for found in process["activities"]] == ["b", "a"]


async def test_end_completes_at_once(api: Client) -> None:
    definition = define(decision("choose", ("input", "@end"), otherwise="more"), transform("more", 2))
    assert [found["id"] for found in (await api.run(definition, True))["activities"]] == ["choose"]


async def test_fail_fails_with_the_output_of_who_jumped(api: Client) -> None:
    process = await api.run(define(transform("refuse", {"why": "${input}"}, next="@fail")), "no stock")
    assert process["state"] == "FAILED"
    assert process["output"] is None
    error = process["error"]
    assert (error["type"], error["category"], error["details"]) == ("failed", "execution", {"why": "no stock"})
    assert activity_of(process, "refuse")["state"] == "COMPLETED"


async def test_a_loop_runs_until_its_condition(api: Client) -> None:
    definition = define(
        transform("count", "${has(activities.count.output) ? activities.count.output + 1 : 1}"),
        decision("more", ("activities.count.output < 5", "count"), otherwise="@end"),
    )
    process = await api.run(definition)
    # Entering an activity again clears its output, so it cannot count by itself.
    assert process["state"] == "FAILED"
    assert process["error"]["type"] == "limit.visits"


async def test_a_loop_carries_its_state_through_another_activity(api: Client) -> None:
    definition = define(
        transform("begin", 0),
        transform("next_number", "${(has(activities.keep.output) ? activities.keep.output : 0) + 1}"),
        transform("keep", "${activities.next_number.output}"),
        decision("more", ("activities.keep.output < 5", "next_number"), otherwise="@end"),
        output="${activities.keep.output}",
    )
    process = await api.run(definition)
    assert (process["state"], process["output"]) == ("COMPLETED", 5)
    executions = await api.executions(process["id"])
    assert [found["visit"] for found in executions if found["id"] == "keep"] == [1, 2, 3, 4, 5]
    assert [found["output"] for found in executions if found["id"] == "keep"] == [1, 2, 3, 4, 5]
    assert len({found["execution_id"] for found in executions}) == len(executions) == 16
    assert activity_of(process, "keep")["visit"] == 5


async def test_max_visits_bounds_a_loop(api: Client) -> None:
    process = await api.run(define(transform("a", 1), transform("b", 2, next="a", max_visits=3)))
    assert process["error"]["type"] == "limit.visits"
    executions = await api.executions(process["id"])
    assert [found["state"] for found in executions if found["id"] == "b"] == ["COMPLETED"] * 3 + ["FAILED"]


async def test_the_limit_of_visits_can_be_caught(api: Client) -> None:
    definition = define(
        transform("a", 1, max_visits=2, next="a", catch=[{"errors": ["limit.visits"], "next": "out"}]),
        transform("out", "${activities.a.error.type}"),
    )
    assert (await api.run(definition))["output"] == "limit.visits"


async def test_catch_matches_by_glob_and_the_first_wins(api: Client, target: Target) -> None:
    call = http(
        "call",
        target.reply("/x", Reply(404)),
        catch=[
            {"errors": ["http.timeout", "http.status.5*"], "next": "a"},
            {"errors": ["nothing", "http.*.404"], "next": "b"},
            {"errors": ["*"], "next": "c"},
        ],
    )
    definition = define(
        call, transform("a", "a", next="@end"), transform("b", "b", next="@end"), transform("c", "c", next="@end")
    )
    process = await api.run(definition)
    assert (process["state"], process["output"], process["error"]) == ("COMPLETED", "b", None)
    assert activity_of(process, "call")["state"] == "FAILED"
    assert activity_of(process, "call")["error"]["type"] == "http.status.404"


async def test_what_no_entry_matches_fails_the_process(api: Client, target: Target) -> None:
    call = http("call", target.reply("/x", Reply(404)), catch=[{"errors": ["http.status.5*"], "next": "a"}])
    process = await api.run(define(call, transform("a", 1)))
    assert process["error"]["type"] == "http.status.404"


async def test_catch_may_end_or_fail(api: Client, target: Target) -> None:
    target.reply("/x", Reply(404))
    url = target.url + "/x"
    done = await api.run(define(http("call", url, catch=[{"errors": ["*"], "next": "@end"}])))
    assert done["state"] == "COMPLETED"
    failed = await api.run(define(http("call", url, catch=[{"errors": ["*"], "next": "@fail"}])))
    assert failed["error"]["type"] == "failed"


async def test_a_caught_activity_can_be_entered_again(api: Client, target: Target) -> None:
    call = http("call", target.reply("/x", Reply(404), Reply(200)), catch=[{"errors": ["*"], "next": "repair"}])
    definition = define(
        call,
        transform("done", "${has(activities.call.error)}", next="@end"),
        transform("repair", 1, next="call"),
    )
    process = await api.run(definition)
    assert (process["state"], process["output"]) == ("COMPLETED", False)
    assert activity_of(process, "call")["visit"] == 2


async def test_deadline_covers_all_attempts_and_the_backoff(api: Client, target: Target) -> None:
    policy = {"max_attempts": 10, "initial": "1h", "max": "1h", "jitter": "none"}
    process = await api.run(define(http("call", target.reply("/x", Reply(503)), retry=policy, deadline="200ms")))
    assert process["error"]["type"] == "deadline"
    assert process["error"]["category"] == "timeout"
    assert activity_of(process, "call")["state"] == "FAILED"


async def test_deadline_aborts_a_call_in_flight(api: Client, target: Target) -> None:
    call = http("call", target.reply("/x", Reply(gate=asyncio.Event())), deadline="500ms")
    caught = {**call, "catch": [{"errors": ["deadline"], "next": "late"}]}
    process = await api.run(define(caught, transform("late", "late")))
    assert process["output"] == "late"
    async with asyncio.timeout(10):
        await target.broken_off.wait()


async def test_deadline_ends_a_manual_activity(api: Client) -> None:
    process = await api.run(define(manual("ask", deadline="80ms", timeout="1h")))
    assert process["error"]["type"] == "deadline"


async def test_the_timeout_of_a_process_cannot_be_caught(api: Client) -> None:
    definition = define(
        manual("ask", catch=[{"errors": ["*"], "next": "caught"}]), transform("caught", 1), timeout="120ms"
    )
    process = await api.run(definition)
    assert process["state"] == "FAILED"
    assert process["error"]["type"] == "timeout"
    assert process["error"]["category"] == "timeout"
    assert activity_of(process, "ask")["state"] == "FAILED"
    assert [found["id"] for found in process["activities"]] == ["ask"]
    lasted = datetime.fromisoformat(process["ended_at"]) - datetime.fromisoformat(process["started_at"])
    assert lasted >= timedelta(milliseconds=120)


async def test_the_timeout_of_a_process_aborts_a_call(api: Client, target: Target) -> None:
    url = target.reply("/x", Reply(gate=asyncio.Event()))
    process = await api.run(define(http("call", url, retry=quick(3)), timeout="500ms"))
    assert process["error"]["type"] == "timeout"
    async with asyncio.timeout(10):
        await target.broken_off.wait()
    assert len(target.requests) == 1


async def test_the_output_is_a_template_over_everything(api: Client) -> None:
    definition = define(
        transform("a", 1),
        transform("b", 2),
        output={"sum": "${activities.a.output + activities.b.output}", "id": "${process.id}", "key": "${process.key}"},
    )
    process = await api.run(definition, None, key="k-1")
    assert process["output"] == {"sum": 3, "id": process["id"], "key": "k-1"}


async def test_an_output_without_a_value_fails_the_process(api: Client) -> None:
    definition = define(
        decision("skip", ("true", "@end"), otherwise="a"), transform("a", 1), output="${activities.a.output}"
    )
    process = await api.run(definition)
    assert process["state"] == "FAILED"
    assert process["error"]["type"] == "expression"


async def test_an_output_of_null_is_a_template_too(api: Client) -> None:
    process = await api.run(define(transform("a", 1), output=None))
    assert process["output"] is None


@pytest.mark.parametrize("number", [1, 150])
async def test_long_chains_of_pure_activities(api: Client, number: int) -> None:
    process = await api.run(define(*(transform(f"a{index}", index) for index in range(number))))
    assert process["output"] == number - 1
    assert len(process["activities"]) == number


async def test_states_are_seen_from_within(api: Client) -> None:
    definition = define(
        transform("a", "${[activities.a.state, activities.b.state, activities.c.state]}"),
        wait("b", for_="10ms"),
        transform("c", "${[activities.a.state, activities.b.state, has(activities.c.output)]}"),
        output="${[activities.a.output, activities.c.output]}",
    )
    process = await api.run(definition)
    assert process["output"] == [["RUNNING", "PENDING", "PENDING"], ["COMPLETED", "COMPLETED", False]]
