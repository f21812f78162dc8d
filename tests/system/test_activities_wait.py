from datetime import datetime, timedelta

import pytest

from tests.system.client import Client, activity_of, define, event, manual, transform, unique, wait


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def test_a_wait_lasts_as_long_as_it_says(api: Client) -> None:
    process = await api.run(define(wait("pause", for_="120ms")))
    pause = activity_of(process, "pause")
    lasted = _time(pause["ended_at"]) - _time(pause["started_at"])
    assert timedelta(milliseconds=120) <= lasted < timedelta(seconds=5)
    assert pause["output"] == {"fired_at": pause["ended_at"]}


@pytest.mark.parametrize("text", ["PT0.05S", "${input.pause}", "0s"])
async def test_durations_come_in_several_forms(api: Client, text: str) -> None:
    process = await api.run(define(wait("pause", for_=text)), {"pause": "50ms"})
    assert process["state"] == "COMPLETED"


async def test_it_waits_meanwhile(api: Client) -> None:
    started = await api.start(define(wait("pause", for_="1h")))
    process = await api.waiting(started["id"], "pause")
    assert activity_of(process, "pause")["state"] == "WAITING"
    found = process["waiting_on"][0]
    assert found["kind"] == "timer"
    assert _time(found["deadline"]) - _time(found["since"]) == timedelta(hours=1)
    assert "event" not in found
    await api.cancel(started["id"])


async def test_until_a_point_in_time(api: Client) -> None:
    definition = define(
        transform("when", "${timestamp(process.started_at) + duration('200ms')}"),
        wait("pause", until="${activities.when.output}"),
    )
    process = await api.run(definition)
    assert process["state"] == "COMPLETED", process["error"]
    fired = _time(activity_of(process, "pause")["output"]["fired_at"])
    assert fired >= _time(activity_of(process, "when")["output"])


async def test_a_point_in_the_past_is_now(api: Client) -> None:
    process = await api.run(define(wait("pause", until="2001-01-01T00:00:00+02:00")))
    assert process["state"] == "COMPLETED"


@pytest.mark.parametrize(("field", "text"), [("for", "soon"), ("for", "-1s"), ("until", "tomorrow")])
async def test_what_is_no_time_fails_with_input(api: Client, field: str, text: str) -> None:
    process = await api.run(define(wait("pause", **{field: "${input.text}"})), {"text": text})
    assert process["error"]["type"] == "input"
    assert process["error"]["category"] == "validation"


async def test_an_event_ends_a_wait_with_its_content(api: Client) -> None:
    kind = unique("paid")
    started = await api.start(define(wait("paid", event={"type": kind, "key": "${input.order}"})), {"order": "o-1"})
    process = await api.waiting(started["id"], "paid")
    assert process["waiting_on"][0]["kind"] == "event"
    assert process["waiting_on"][0]["event"] == {"type": kind, "key": "o-1"}
    answer = await api.post("/events", {"type": kind, "key": "o-1", "data": {"amount": 12}})
    assert (answer.status, answer.body["delivered"]) == (202, 1)
    assert (await api.ended(started["id"]))["output"] == {"amount": 12}


async def test_an_event_that_does_not_come_is_a_timeout(api: Client) -> None:
    definition = define(wait("paid", event={"type": unique("paid")}, timeout="100ms"))
    process = await api.run(definition)
    assert process["error"]["type"] == "timeout"
    assert process["error"]["category"] == "timeout"


async def test_the_timeout_of_a_wait_can_be_caught(api: Client) -> None:
    definition = define(
        wait("paid", event={"type": unique("paid")}, timeout="50ms", catch=[{"errors": ["timeout"], "next": "remind"}]),
        transform("thanks", "thanks", next="@end"),
        transform("remind", "${activities.paid.error.type}"),
    )
    assert (await api.run(definition))["output"] == "timeout"


async def test_another_process_ends_a_wait(api: Client) -> None:
    kind = unique("done")
    waiting = await api.start(define(wait("done", event={"type": kind, "key": "7"})))
    await api.waiting(waiting["id"])
    announcing = await api.run(define(event("announce", kind, key="${input}", data={"by": "another"})), 7)
    assert announcing["state"] == "COMPLETED"
    assert (await api.ended(waiting["id"]))["output"] == {"by": "another"}


async def test_many_timers_run_side_by_side(api: Client) -> None:
    definition = define(wait("pause", for_="${input}"), manual("last"))
    started = [await api.start(definition, f"{20 * number}ms") for number in range(10)]
    for process in started:
        await api.waiting(process["id"], "last")
        await api.cancel(process["id"])
