from uuid import UUID

from tests.system.client import Client, activity_of, define, event, unique, wait


async def test_the_output_is_the_id_of_the_event(api: Client) -> None:
    process = await api.run(define(event("announce", unique("order.approved"), data={"n": 1})))
    output = process["output"]
    assert set(output) == {"event_id"}
    assert UUID(output["event_id"])


async def test_it_reaches_everybody_who_waits(api: Client) -> None:
    kind = unique("order.approved")
    waiting = [await api.start(define(wait("approved", event={"type": kind}))) for _ in range(3)]
    for process in waiting:
        await api.waiting(process["id"])
    await api.run(define(event("announce", kind, data={"order": "${input.id}", "whole": "${input}"})), {"id": 5})
    for process in waiting:
        assert (await api.ended(process["id"]))["output"] == {"order": 5, "whole": {"id": 5}}


async def test_it_is_kept_for_one_who_comes_later(api: Client) -> None:
    kind = unique("order.approved")
    await api.run(define(event("announce", kind, key="k", data="early")))
    assert (await api.run(define(wait("approved", event={"type": kind, "key": "k"}))))["output"] == "early"


async def test_a_process_can_announce_to_itself(api: Client) -> None:
    kind = unique("self")
    process = await api.run(define(event("announce", kind, data=1), wait("heard", event={"type": kind})))
    assert process["output"] == 1


async def test_without_data_there_is_null(api: Client) -> None:
    kind = unique("bare")
    process = await api.run(define(event("announce", kind), wait("heard", event={"type": kind})))
    assert process["state"] == "COMPLETED"
    assert process["output"] is None


async def test_an_event_whose_content_has_no_value_fails(api: Client) -> None:
    process = await api.run(define(event("announce", unique("e"), data="${input.absent}")), {})
    assert process["error"]["type"] == "expression"
    assert activity_of(process, "announce")["state"] == "FAILED"
