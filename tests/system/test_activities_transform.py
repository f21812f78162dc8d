from typing import Any

import pytest

from tests.system.client import Client, define, transform

GIVEN = {"n": 3, "f": 1.5, "s": "text", "l": [1, 2], "m": {"a": None}, "t": True, "z": None}


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("${input.n}", 3),
        ("${input.f}", 1.5),
        ("${input.l}", [1, 2]),
        ("${input.m}", {"a": None}),
        ("${input.z}", None),
        ("${input.t}", True),
        ("n=${input.n} f=${input.f} l=${input.l} m=${input.m} t=${input.t} z=${input.z} s=${input.s}",
         'n=3 f=1.5 l=[1,2] m={"a":null} t=true z=null s=text'),
        ("$${input.n}", "${input.n}"),
        ("a $${b} ${input.n}", "a ${b} 3"),
        ("${'}'}", "}"),
        ("${{'a': input.n}}", {"a": 3}),
        ({"deep": [{"x": "${input.n * 2}"}, "${input.s + '!'}"]}, {"deep": [{"x": 6}, "text!"]}),
        (7, 7),
        (None, None),
        ("", ""),
        ("plain", "plain"),
        ([], []),
    ],
)  # fmt: skip
async def test_a_template_becomes_a_value(api: Client, template: Any, value: Any) -> None:
    process = await api.run(define(transform("shape", template)), GIVEN)
    assert process["state"] == "COMPLETED", process["error"]
    assert process["output"] == value
    assert type(process["output"]) is type(value)


async def test_large_and_odd_values_survive(api: Client) -> None:
    given = {
        "big": 2**63 - 1,
        "small": -(2**63),
        "tiny": 5e-324,
        "text": "Ünïcödé 🎭 \u2028 \\ \" ' / \u0001",
        "": {"": [[[]]]},
        "a/b~c": {"$ref": 1, "${x}": 2},
    }
    process = await api.run(define(transform("shape", "${input}")), given)
    assert process["input"] == given
    assert process["output"] == given


@pytest.mark.parametrize("template", ["${input.absent}", "${input.s + 1}", "${1 / 0}", "${input.l[9]}"])
async def test_an_expression_without_a_value_fails(api: Client, template: str) -> None:
    process = await api.run(define(transform("shape", template)), GIVEN)
    assert process["state"] == "FAILED"
    error = process["error"]
    assert (error["type"], error["category"], error["attempt"]) == ("expression", "validation", 1)
    assert error["message"]
