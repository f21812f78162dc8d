import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from understudy.domain.definition import (
    Definition,
    HttpActivity,
    WaitActivity,
    decode_definition,
    encode_definition,
)
from understudy.domain.validation import InvalidDefinition, faults_of, parse_definition

EXAMPLE = Path(__file__).parents[2] / "examples" / "order-fulfilment.json"

EVERYTHING: dict[str, Any] = {
    "name": "everything",
    "description": "Every field there is.",
    "input": True,
    "start": "call",
    "timeout": "P1D",
    "activities": [
        {
            "id": "call",
            "type": "http",
            "description": "",
            "request": {
                "method": "POST",
                "url": "https://example.com:8443/a?b=${input.b}",
                "headers": {"accept": "application/json", "x-token": "${secrets.TOKEN}"},
                "query": {"page": 1, "tags": ["a", "${input.tag}", True], "exact": "${input.exact}"},
                "body": None,
            },
            "expect": [200, 404],
            "on_unknown": "park",
            "timeout": "1.5s",
            "deadline": "PT1H",
            "retry": {
                "max_attempts": 1,
                "initial": "0s",
                "factor": 1,
                "max": "1h",
                "jitter": "none",
                "on": ["timeout"],
                "never": ["http.status.5*"],
            },
            "catch": [{"errors": ["http.*", "timeout"], "next": "form"}],
            "next": "announce",
            "max_visits": 5,
        },
        {
            "id": "form",
            "type": "http",
            "request": {"method": "PUT", "url": "http://[::1]:80", "form": {"a": "b", "c": [1]}},
        },
        {
            "id": "text",
            "type": "http",
            "request": {"method": "PATCH", "url": "${input.base}/x", "text": "${input.text}"},
        },
        {"id": "announce", "type": "event", "event": "a.b", "data": None, "key": "${input.key}"},
        {"id": "nap", "type": "wait", "for": "${input.nap}"},
        {"id": "until", "type": "wait", "until": "2026-11-25T08:30:00Z"},
        {"id": "hear", "type": "wait", "event": {"type": "paid", "key": "k"}, "timeout": "1d"},
        {
            "id": "choose",
            "type": "decision",
            "cases": [{"when": "input.again", "next": "call"}, {"when": "true", "next": "ask"}],
            "otherwise": "@fail",
        },
        {
            "id": "ask",
            "type": "manual",
            "title": "t",
            "instructions": "i",
            "form": {"type": "object"},
            "assignee": "ann",
            "timeout": "2d",
        },
        {"id": "shape", "type": "transform", "output": [None, {"a": "$${b}"}], "next": "@end"},
    ],
    "output": None,
}


def example() -> Any:
    return json.loads(EXAMPLE.read_bytes())


@pytest.mark.parametrize("raw", [example(), EVERYTHING], ids=["example", "everything"])
def test_a_definition_is_encoded_with_exactly_what_its_author_wrote(raw: Any) -> None:
    assert faults_of(raw) == []
    definition = parse_definition(raw)
    body = encode_definition(definition)
    assert json.loads(body) == raw
    assert decode_definition(body) == definition


def test_activities_become_values_of_their_type() -> None:
    activities = {activity.id: activity for activity in parse_definition(EVERYTHING).activities}
    call, nap = activities["call"], activities["nap"]
    assert isinstance(call, HttpActivity)
    assert call.request.body is None
    assert isinstance(activities["form"], HttpActivity)
    assert activities["form"].request.body is msgspec.UNSET
    assert isinstance(nap, WaitActivity)
    assert nap.for_ == "${input.nap}"


def test_a_stored_definition_is_closed_too() -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        decode_definition(b'{"name": "x", "activities": [], "more": 1}')


def test_a_definition_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        parse_definition(EVERYTHING).name = "other"  # type: ignore[misc]  # that it is refused is what is tested


def test_a_faulty_definition_is_not_parsed_and_tells_all_its_faults() -> None:
    with pytest.raises(InvalidDefinition, match="definition: The field 'name' is missing") as caught:
        parse_definition({"activities": [{"id": "a", "type": "transform"}]})
    assert [fault.pointer for fault in caught.value.faults] == ["/activities/0", ""]


def test_every_valid_definition_has_the_types_that_the_structs_expect() -> None:
    assert isinstance(msgspec.convert(example(), Definition), Definition)
