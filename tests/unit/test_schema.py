import functools
import time
from typing import Any

import pytest

from understudy.domain.fault import Fault
from understudy.domain.schema import FAULTS_MAX, Schema, SchemaError, _refuse
from understudy.domain.schema_cost import REFERENCES_MAX

ORDER = {
    "type": "object",
    "required": ["id"],
    "properties": {"id": {"type": "integer"}, "tags": {"items": {"type": "string"}}, "a/b": {"minimum": 3}},
    "additionalProperties": False,
}


def test_a_value_that_fits_has_no_faults() -> None:
    assert Schema(ORDER).faults({"id": 1, "tags": ["x"]}) == []
    assert Schema(True).faults(None) == []
    assert Schema({}).faults([1]) == []


def test_every_fault_is_named_with_the_pointer_of_the_value() -> None:
    faults = Schema(ORDER).faults({"tags": ["x", 1], "a/b": 1, "more": 1}, "/input")
    assert sorted(faults) == [
        Fault("/input", '"id" is a required property'),
        Fault("/input", "Additional properties are not allowed ('more' was unexpected)"),
        Fault("/input/a~1b", "1 is less than the minimum of 3"),
        Fault("/input/tags/1", '1 is not of type "string"'),
    ]
    assert Schema(False).faults(1, "/x") == [Fault("/x", "False schema does not allow 1")]


def test_the_number_of_faults_and_the_length_of_messages_are_bounded() -> None:
    faults = Schema({"items": {"type": "string"}}).faults([1] * 1000)
    assert len(faults) == FAULTS_MAX
    [fault] = Schema({"type": "integer"}).faults("x" * 100_000)
    assert len(fault.message) < 400


def test_of_a_large_value_only_the_first_fault_is_named() -> None:
    assert Schema({"items": {"type": "string"}}).faults(["x"] + [1] * 200_000) == [
        Fault("/1", '1 is not of type "string"')
    ]


def test_formats_are_not_asserted() -> None:
    assert Schema({"format": "email"}).faults("nobody") == []


@pytest.mark.parametrize("value", [object(), {1: 2}, "\ud800", {"a": float("nan")}, 2**70, {"\ud800": 1}])
def test_a_value_that_is_not_clean_json_is_a_fault(value: Any) -> None:
    [fault] = Schema({}).faults(value, "/input")
    assert fault.pointer.startswith("/input")


@pytest.mark.parametrize(
    ("schema", "pointer", "reason"),
    [
        (5, "", "object or a boolean"),
        (None, "", "object or a boolean"),
        ("{}", "", "object or a boolean"),
        ({"type": "strin"}, "/type", "strin"),
        ({"properties": {"a": {"minLength": -1}}}, "/properties/a/minLength", "minimum"),
        ({"allOf": 1, "items": {"properties": 1}, "prefixItems": {}}, "/", "not of type"),
        ({"pattern": "("}, "/pattern", "malformed"),
        ({"pattern": "(?=a)"}, "/pattern", "look-around"),
        ({"pattern": r"(a)\1"}, "/pattern", "back references"),
        ({"pattern": r"(\w{100}){100}"}, "/pattern", "too large"),
        ({"$ref": "http://127.0.0.1:9/x"}, "/$ref", "leads out"),
        ({"$ref": "file:///etc/passwd"}, "/$ref", "leads out"),
        ({"$ref": "other.json"}, "/$ref", "leads out"),
        ({"anyOf": [{"$dynamicRef": "http://127.0.0.1:9/x#a"}]}, "/anyOf/0/$dynamicRef", "leads out"),
        ({"not": {"$id": "http://127.0.0.1:9/x"}}, "/not/$id", "whole schema"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "/$schema", "dialect"),
        ({"$schema": "http://127.0.0.1:9/x"}, "/$schema", "dialect"),
        ({"$ref": "#/$defs/none"}, "", "does not exist"),
        ({"$ref": 5}, "/$ref", "string"),
        ({"default": "\ud800"}, "/default", "surrogate"),
        ({"const": 2**64}, "/const", "64 bits"),
        (functools.reduce(lambda inner, _: {"not": inner}, range(10_000), {}), "/not" * 63, "nested deeper"),
        (
            {"allOf": [{"$ref": "#/$defs/x"}] * (REFERENCES_MAX + 1), "$defs": {"x": {}}},
            "/allOf/500/$ref",
            "at most 500",
        ),
    ],
)
def test_what_is_no_usable_schema_is_refused(schema: Any, pointer: str, reason: str) -> None:
    with pytest.raises(SchemaError, match=reason) as caught:
        Schema(schema)
    assert caught.value.pointer.startswith(pointer)


def test_a_schema_with_an_id_and_references_into_itself_is_fine() -> None:
    schema = Schema(
        {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": "https://example.com/tree",
            "$ref": "#/$defs/a~1%20b",
            "$defs": {
                "a/ b": {
                    "$anchor": "tree",
                    "properties": {"leaf": {"type": "integer"}, "children": {"items": {"$ref": "#tree"}}},
                    "patternProperties": {"^x": {"$ref": "#/$defs/list/prefixItems/1"}},
                    "additionalProperties": False,
                    "propertyNames": {"maxLength": 10},
                },
                "list": {"prefixItems": [True, {"type": "string"}]},
            },
        }
    )
    assert schema.faults({"leaf": 1, "children": [{"children": [{"leaf": 2}]}], "x": "y"}) == []
    assert [fault.pointer for fault in schema.faults({"children": [{"children": [{"leaf": "x"}]}]})] == [
        "/children/0/children/0/leaf"
    ]
    assert schema.faults({"x": 1})
    assert schema.faults("no object") == []


def test_data_inside_a_schema_is_not_taken_for_references() -> None:
    data = {"$ref": "http://127.0.0.1:9/x"}
    assert Schema({"const": data, "examples": [data], "properties": {"$ref": {"const": 1}}}).faults(data | {"$ref": 1})


def bomb(depth: int, keyword: str, leaf: Any) -> dict[str, Any]:
    doubled = {f"d{n}": {keyword: [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(depth)}
    return {"$ref": "#/$defs/d0", "$defs": {**doubled, f"d{depth}": leaf}}


def nested(depth: int) -> Any:
    return functools.reduce(lambda inner, _: [inner, inner], range(depth), 1)


def chain(length: int) -> dict[str, Any]:
    links = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}]} for n in range(length)}
    return {"$ref": "#/$defs/d0", "$defs": {**links, f"d{length}": True}}


TREE = {"anyOf": [{"items": {"$ref": "#"}, "minItems": 9}, {"items": {"$ref": "#"}, "minItems": 8}]}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (bomb(40, "allOf", {"type": "integer"}), "x"),
        (bomb(40, "anyOf", {"type": "integer"}), "x"),
        (bomb(40, "oneOf", True), 1),
        (TREE, nested(12)),
        (
            functools.reduce(
                lambda inner, _: {"unevaluatedProperties": False, "if": inner, "then": True}, range(30), {}
            ),
            {"a": 1},
        ),
        ({"$ref": "#"}, 1),
        ({"not": {"$ref": "#"}}, 1),
        ({"dependentSchemas": {"a": {"$dynamicRef": "#here"}}, "$dynamicAnchor": "here"}, {"a": 1}),
        (chain(400), 1),
    ],
)
def test_a_schema_bomb_is_a_fault_and_stalls_nobody(schema: Any, value: Any) -> None:
    started = time.perf_counter()
    [fault] = Schema(schema).faults(value, "/input")
    assert fault == Fault("/input", "The schema takes too many steps to check this value.")
    assert time.perf_counter() - started < 2


def test_unevaluated_properties_are_checked() -> None:
    schema = Schema(
        {"allOf": [{"properties": {"a": True}}], "unevaluatedProperties": False, "$defs": {"x": {"allOf": [True]}}}
    )
    assert schema.faults({"a": 1}) == []
    assert [fault.pointer for fault in schema.faults({"b": 1})] == [""]


@pytest.mark.parametrize("target", ["#/enum/0", "#/enum/x", "#/enum/0/allOf", "#/enum/0/properties/p", "#nowhere"])
def test_a_reference_into_data_never_raises(target: str) -> None:
    data = {
        "allOf": 1,
        "dependentSchemas": 1,
        "properties": {"p": 1},
        "patternProperties": 1,
        "prefixItems": 1,
        "$ref": 1,
    }
    try:
        schema = Schema({"enum": [data], "not": {"$ref": target}})
    except SchemaError:
        return
    schema.faults({"p": 1})


def test_nothing_would_be_fetched_even_if_a_reference_slipped_through() -> None:
    with pytest.raises(ValueError, match="not fetched"):
        _refuse("http://127.0.0.1:9/x")


def test_a_reference_for_the_first_elements_is_followed() -> None:
    schema = Schema({"prefixItems": [{"$ref": "#/$defs/i"}, True], "$defs": {"i": {"type": "integer"}}})
    assert schema.faults([1, "x", "y"]) == []
    assert [fault.pointer for fault in schema.faults(["x"])] == ["/0"]
