from typing import Any

import pytest

from understudy.domain.errors import Invalid
from understudy.http.requests import answer_request, cancel_reason, event_request, start_request
from understudy.runtime.calls import AnswerRequest, EventRequest, StartRequest


def pointers(read: Any, body: Any) -> list[str]:
    with pytest.raises(Invalid) as refused:
        read(body)
    return [fault.pointer for fault in refused.value.faults]


def test_a_start_is_read_with_its_defaults() -> None:
    assert start_request({"definition": "order"}) == StartRequest("order")
    assert start_request({"definition": {"name": "x"}, "input": [1], "key": "k", "labels": {"team": "blue"}}) == (
        StartRequest({"name": "x"}, [1], "k", {"team": "blue"})
    )
    assert start_request({"definition": "order", "key": None, "labels": None, "input": None}) == StartRequest("order")


def test_every_fault_of_a_start_is_told_at_once() -> None:
    body = {"definition": 1, "key": "k" * 256, "labels": {"a b": "x", "ok": 1, "long": "x" * 256}, "inputs": {}}
    assert pointers(start_request, body) == [
        "/definition",
        "/key",
        "/labels/a b",
        "/labels/ok",
        "/labels/long",
        "/inputs",
    ]


def test_an_unknown_field_names_the_nearest() -> None:
    with pytest.raises(Invalid) as refused:
        start_request({"definition": "order", "lables": {}})
    assert "'labels'" in refused.value.faults[0].message


@pytest.mark.parametrize("body", [None, [], "order", 3, {}])
def test_a_start_needs_an_object_with_a_definition(body: Any) -> None:
    assert pointers(start_request, body) == [""]


def test_labels_are_few_and_small() -> None:
    assert start_request({"definition": "o", "labels": {f"k{n}": "v" * 255 for n in range(32)}})
    assert pointers(start_request, {"definition": "o", "labels": {f"k{n}": "" for n in range(33)}}) == ["/labels"]
    assert pointers(start_request, {"definition": "o", "labels": {"": "x"}}) == ["/labels/"]
    assert pointers(start_request, {"definition": "o", "labels": {"a" * 64: "x"}}) == ["/labels/" + "a" * 64]
    assert pointers(start_request, {"definition": "o", "labels": ["a"]}) == ["/labels"]


def test_an_answer_completes_unless_it_says_otherwise() -> None:
    assert answer_request({}) == AnswerRequest()
    assert answer_request({"outcome": "fail", "error": "no"}) == AnswerRequest("fail", None, "no")
    assert pointers(answer_request, {"outcome": "maybe"}) == ["/outcome"]
    assert pointers(answer_request, {"outcome": None}) == ["/outcome"]
    assert pointers(answer_request, {"outcome": []}) == ["/outcome"]


def test_an_event_has_a_type_without_wildcards() -> None:
    assert event_request({"type": "order.paid", "key": "7", "id": "e1", "data": {"a": 1}}) == (
        EventRequest("order.paid", "7", "e1", {"a": 1})
    )
    assert pointers(event_request, {"type": "order.*"}) == ["/type"]
    assert pointers(event_request, {"type": "#"}) == ["/type"]
    assert pointers(event_request, {"type": ""}) == ["/type"]
    assert pointers(event_request, {"type": "x" * 256, "key": "k" * 256, "id": ""}) == ["/type", "/key", "/id"]
    assert pointers(event_request, {}) == [""]


def test_a_cancellation_may_have_a_reason() -> None:
    assert cancel_reason({}) is None
    assert cancel_reason({"reason": "duplicate"}) == "duplicate"
    assert pointers(cancel_reason, {"reason": 1}) == ["/reason"]
    assert pointers(cancel_reason, {"reason": "x" * 1_001}) == ["/reason"]
    assert pointers(cancel_reason, {"why": "x"}) == ["/why"]
