"""JSON values and texts that hold expressions."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from understudy.domain.expression.budget import Budget
from understudy.domain.expression.errors import ExpressionError
from understudy.domain.expression.template import (
    TemplateError,
    TemplateFault,
    compile_template,
    compile_text,
)


class View(Mapping[str, Any]):
    """A map that is not a dict, as the scope holds for activities."""

    def __init__(self, **values: Any) -> None:
        self._values = values

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth - 1):
        value = [value]
    return value


SCOPE: dict[str, Any] = {
    "input": {"id": "a1", "n": 5, "x": 1.5, "flag": True, "none": None, "list": [1, {"k": "v"}], "token": "hunter2"},
    "activities": View(a=View(state="COMPLETED", output={"k": 1})),
    "big": "y" * 600_000,
    "infinite": math.inf,
    "huge": [2**63],
    "surrogate": ["\ud800"],
    "deep": nested(64),
    "own": object(),
}


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("${input.id}", "a1"),
        ("${input.n}", 5),
        ("${input.x}", 1.5),
        ("${input.flag}", True),
        ("${input.none}", None),
        ("${input.list}", [1, {"k": "v"}]),
        ("${ input.n + 1 }", 6),
        ("${{'a': {'b': '}'}}}", {"a": {"b": "}"}}),
        ("${'}' + \"{\" // }\n}", "}{"),
        ("order-${input.id}", "order-a1"),
        ("${input.id}${input.n}", "a15"),
        ("${input.n} ", "5 "),
        ("${input.x}/${input.flag}/${input.none}", "1.5/true/null"),
        ("list: ${input.list}", 'list: [1,{"k":"v"}]'),
        ("view: ${activities.a}", 'view: {"state":"COMPLETED","output":{"k":1}}'),
        ("at ${timestamp(60)} for ${duration('90s')}", "at 1970-01-01T00:01:00Z for 90s"),
        ("$${input.id}", "${input.id}"),
        ("a$${b}c${input.n}", "a${b}c5"),
        ("${input.n}$${", "5${"),
        ("$$${input.n}", "$${input.n}"),
        ("$ {x} } $", "$ {x} } $"),
        ("", ""),
        (5, 5),
        (1.5, 1.5),
        (None, None),
        (True, True),
        ({"${input.id}": "${input.n}"}, {"${input.id}": 5}),
        ({"a": [1, "${input.n}", {"b": "x${input.n}"}], "c": {"d": []}}, {"a": [1, 5, {"b": "x5"}], "c": {"d": []}}),
        ({"a": "$${x}"}, {"a": "${x}"}),
        ("${activities}", {"a": {"state": "COMPLETED", "output": {"k": 1}}}),
        ("${activities.a.output}", {"k": 1}),
        ("${[activities.a]}", [{"state": "COMPLETED", "output": {"k": 1}}]),
        ("${timestamp('2030-01-01T00:00:00.5Z')}", "2030-01-01T00:00:00.5Z"),
        ("${duration('1500ms')}", "1.5s"),
        (
            {"at": "${[timestamp(0), 1, 'a', null, {'d': duration('1s')}]}"},
            {"at": ["1970-01-01T00:00:00Z", 1, "a", None, {"d": "1s"}]},
        ),
        ({"list": "${input.list.map(i, i)}", "f": "${[0.5, true]}"}, {"list": [1, {"k": "v"}], "f": [0.5, True]}),
    ],
)
def test_rendering(template: Any, value: Any) -> None:
    result = compile_template(template).render(SCOPE)
    assert (result, type(result)) == (value, type(value))


def test_plain_values_are_passed_on_as_they_are() -> None:
    assert compile_template("${input.list}").render(SCOPE) is SCOPE["input"]["list"]
    assert compile_template({"a": "${input.list}"}).render(SCOPE)["a"] is SCOPE["input"]["list"]


@pytest.mark.parametrize(
    ("template", "references"),
    [
        (
            {"a": "${input.n}", "b": ["x ${activities.a.output} ${input.id}"]},
            {("input", "n"), ("input", "id"), ("activities", "a", "output")},
        ),
        ({"a": ["$${input.n}", 1]}, set()),
    ],
)
def test_references(template: Any, references: set[tuple[str, ...]]) -> None:
    compiled = compile_template(template)
    assert compiled.references == references
    assert compiled.is_constant is not bool(references)


@pytest.mark.parametrize("template", ["", "x", 1, None, [], {}, {"a": ["$${", {"b": None}]}])
def test_constants(template: Any) -> None:
    compiled = compile_template(template)
    assert compiled.is_constant
    assert compiled.render({}) == ({"a": ["${", {"b": None}]} if isinstance(template, dict) and template else template)


def test_all_faults_are_reported_with_their_pointers() -> None:
    template = {
        "a": "${1 +}",
        "b/c~": ["${x}", "${", "${'} "],
        "d": {"e": "one ${)} two ${y} three ${nope()} $${ four ${5u}"},
        "fine": "${z} $${",
    }
    with pytest.raises(TemplateError) as caught:
        compile_template(template)
    assert [fault.pointer for fault in caught.value.faults] == ["/a", "/b~1c~0/1", "/b~1c~0/2", "/d/e", "/d/e", "/d/e"]
    assert [fault.message for fault in caught.value.faults] == [
        "the expression ends too early: a value is expected here (column 4 of `1 +`)",
        "'${' is not closed by '}' (column 1 of ``)",
        "the string is not closed (column 1 of `'} `)",
        "unexpected ): a value is expected here (column 1 of `)`)",
        "there is no function nope() (column 1 of `nope()`)",
        "unsigned integers are not offered: leave the 'u' out (column 1 of `5u}`)",
    ]
    assert str(caught.value).startswith("/a: the expression ends too early")


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("${" + "x" * 5000 + "}", "at most 4096 characters"),
        ("${" + "x" * 5000, "at most 4096 characters"),
        ("${" + "x" * 4096 + "}", None),
        ("${'" + "x" * 5000 + "'}", "the string is not closed"),
        ("${" + "1+" * 3000, "at most 4096 characters"),
    ],
)
def test_the_length_of_an_expression_is_limited(template: str, words: str | None) -> None:
    if words is None:
        assert not compile_template(template).is_constant
    else:
        with pytest.raises(TemplateError, match=words):
            compile_template(template)


def test_the_depth_of_a_template_is_limited() -> None:
    compile_template(nested(64))
    with pytest.raises(TemplateError) as caught:
        compile_template(nested(10_000))
    assert caught.value.faults == (TemplateFault("/0" * 64, "nested deeper than 64"),)


@pytest.mark.parametrize(
    ("template", "kind", "words"),
    [
        ("${input.nope}", "missing", 'there is no "nope" in input (column 7 of `input.nope`)'),
        ("a ${input.nope}", "missing", "`input.nope`"),
        ("${infinite}", "value", "infinity and NaN cannot be written as JSON (in `infinite`)"),
        ({"a": "${[1.0 / 0.0]}"}, "value", "(in `[1.0 / 0.0]`)"),
        ("x ${infinite}", "value", "(in `infinite`)"),
        ({"a": "${huge}"}, "overflow", "(in `huge`)"),
        ("x${huge}", "overflow", "(in `huge`)"),
        ("x${huge[0]}", "overflow", "(in `huge[0]`)"),
        ("x${surrogate}", "value", "(in `surrogate`)"),
        ({"a": "${deep}"}, "limit.depth", "nested deeper than 64 (in `deep`)"),
        ("${[deep]}", "limit.depth", "(in `[deep]`)"),
        (["${big}", "${big}"], "limit.size", "longer than 1048576 characters (in `big`)"),
        ("${big}${big}", "limit.size", "(in `big`)"),
        ({"a": "${big}", "b": "${big}"}, "limit.size", "(in `big`)"),
        ({"a": "x${big}", "b": "x${big}"}, "limit.size", "(in `big`)"),
        ("${[big, big]}", "limit.size", "(in `[big, big]`)"),
        ("${[own]}", "type", "object is not a type of JSON"),
    ],
)
def test_what_cannot_be_rendered(template: Any, kind: str, words: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_template(template).render(SCOPE)
    assert caught.value.kind == kind
    assert words in caught.value.message


def test_values_at_the_limit_of_depth_are_rendered() -> None:
    assert compile_template("${deep}").render(SCOPE) == nested(64)
    assert compile_template({"a": "${deep[0]}"}).render(SCOPE) == {"a": nested(63)}


def test_no_message_quotes_a_value() -> None:
    for template in ("${int(input.token)}", "x ${input.token.y}", {"a": "${{input.token: infinite}}"}):
        with pytest.raises(ExpressionError) as caught:
            compile_template(template).render(SCOPE)
        assert "hunter2" not in caught.value.message


def test_templates_share_a_budget() -> None:
    budget = Budget(steps=10)
    template = compile_template({"a": "${input.list}"})
    template.render(SCOPE, budget)
    assert 0 < budget.spent < 10
    template.render(SCOPE, budget)
    with pytest.raises(ExpressionError, match="more than 10 steps"):
        template.render(SCOPE, budget)


@pytest.mark.parametrize(
    ("source", "prefix", "text"),
    [
        ("plain", "plain", "plain"),
        ("", "", ""),
        ("a $${b}", "a ${b}", "a ${b}"),
        ("https://host/${input.id}?n=${input.n}", "https://host/", "https://host/a1?n=5"),
        ("${input.n}", "", "5"),
        ("${input.list}", "", '[1,{"k":"v"}]'),
        ("${input.none}", "", "null"),
    ],
)
def test_texts(source: str, prefix: str, text: str) -> None:
    compiled = compile_text(source)
    assert compiled.prefix == prefix
    assert compiled.is_constant is not bool(compiled.references)
    assert compiled.render(SCOPE) == text


def test_texts_escape_what_is_inserted() -> None:
    seen: list[tuple[str, str]] = []

    def escape(before: str, value: str) -> str:
        seen.append((before, value))
        return f"<{value}>"

    text = compile_text("a${input.id}b${input.n}c")
    assert text.render(SCOPE, escape=escape) == "a<a1>b<5>c"
    assert seen == [("a", "a1"), ("a<a1>b", "5")]
    assert text.render(SCOPE, Budget()) == "aa1b5c"


def test_texts_report_faults_like_templates() -> None:
    with pytest.raises(TemplateError) as caught:
        compile_text("${1 +} ${2 +}")
    assert [fault.pointer for fault in caught.value.faults] == ["", ""]
    assert str(caught.value).startswith("the expression ends too early")
