import pytest

from tests.system.client import Client, activity_of, decision, define, transform


def _triage(**fields: object) -> dict[str, object]:
    return define(
        decision("size", ("input.n >= 100", "big"), ("input.n >= 10", "middle"), **fields),
        transform("big", "big", next="@end"),
        transform("middle", "middle", next="@end"),
        transform("small", "small", next="@end"),
    )


@pytest.mark.parametrize(
    ("number", "case", "chosen"), [(1000, 0, "big"), (100.0, 0, "big"), (10, 1, "middle"), (9.99, None, "small")]
)
async def test_the_first_true_case_wins(api: Client, number: float, case: int | None, chosen: str) -> None:
    process = await api.run(_triage(otherwise="small"), {"n": number})
    assert process["output"] == chosen
    assert activity_of(process, "size")["output"] == {"case": case, "next": chosen}
    assert [found["id"] for found in process["activities"]] == ["size", chosen]


async def test_no_case_and_no_otherwise_is_no_match(api: Client) -> None:
    definition = define(decision("size", ("input.n > 1", "@end")))
    process = await api.run(definition, {"n": 0})
    assert process["state"] == "FAILED"
    assert process["error"]["type"] == "decision.no_match"


async def test_no_match_can_be_caught(api: Client) -> None:
    definition = define(
        decision("size", ("input.n > 1", "@end"), catch=[{"errors": ["decision.*"], "next": "caught"}]),
        transform("caught", "caught"),
    )
    assert (await api.run(definition, {"n": 0}))["output"] == "caught"


async def test_a_decision_may_end_a_process(api: Client) -> None:
    definition = define(transform("first", 1), decision("end", ("input.ok", "@end"), otherwise="@fail"))
    process = await api.run(definition, {"ok": True})
    assert process["state"] == "COMPLETED"
    assert process["output"] == {"case": 0, "next": "@end"}
    failed = await api.run(definition, {"ok": False})
    assert failed["state"] == "FAILED"
    assert failed["error"]["type"] == "failed"
    assert failed["error"]["details"] == {"case": None, "next": "@fail"}


@pytest.mark.parametrize(("when", "kind"), [("input.absent > 1", "expression"), ("input.n", "input")])
async def test_a_condition_that_is_neither_true_nor_false_fails(api: Client, when: str, kind: str) -> None:
    process = await api.run(define(decision("size", (when, "@end"), otherwise="@end")), {"n": 1})
    assert process["error"]["type"] == kind
    assert process["error"]["category"] == "validation"
