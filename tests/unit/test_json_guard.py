import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.domain import json_guard
from understudy.domain.json_guard import JsonError, check_json, decode_json


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"a": [1, -2.5, true, null, "x"]}', {"a": [1, -2.5, True, None, "x"]}),
        (b" 1 ", 1),
        (b"9223372036854775807", 2**63 - 1),
        (b"-9223372036854775808", -(2**63)),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        ('"é"'.encode(), "é"),
        (b'"1234567890123456789012345"', "1234567890123456789012345"),
        (b'"\\\\u0000"', "\\u0000"),
        (b'{"at": "2026-11-25T08:30:00Z", "url": "http://x:1/"}', {"at": "2026-11-25T08:30:00Z", "url": "http://x:1/"}),
        (b'{"a": {"x": 1}, "b": [{"x": 1}, [{"x": ":"}]]}', {"a": {"x": 1}, "b": [{"x": 1}, [{"x": ":"}]]}),
        (b'["' + b"[{" * 100 + b'"]', ["[{" * 100]),
        (b"[" + b",".join([b"[]"] * 200) + b"]", [[]] * 200),
    ],
)
def test_clean_json_is_decoded(body: bytes, expected: Any) -> None:
    assert decode_json(body) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[1,]",
        b"01",
        b"1 2",
        b"nul",
        b"'a'",
        b"\xef\xbb\xbf{}",
        b'{"a":1}\x00',
        b'"a\x00b"',
        b'"\\x"',
        b'"' + b'\\"' * 99,
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\xc0\x80"',
        '{"a":1}'.encode("utf-16"),
        b"]" * 100,
        b'{"a":1,}' + b"[" * 65,
        b"{'a'}",
    ],
)
def test_what_is_not_json_is_malformed(body: bytes) -> None:
    with pytest.raises(JsonError) as caught:
        decode_json(body)
    assert caught.value.malformed or "nested" in caught.value.message


def test_malformed_text_is_told_by_the_position_of_the_byte() -> None:
    with pytest.raises(JsonError, match=r"trailing comma in array \(byte 3\)") as caught:
        decode_json(b"[1,]")
    assert caught.value.malformed


@pytest.mark.parametrize(
    ("body", "pointer", "reason"),
    [
        (b'{"a": ["x\\u0000"]}', "/a/0", "NUL"),
        (b'{"a": {"\\u0000": 1}}', "/a", "NUL"),
        (b'{"a": "\\ud800"}', "/a", "surrogate"),
        (b'{"a": "\\udc00x"}', "/a", "surrogate"),
        (b'{"a": {"\\ud83dx": 1}}', "/a", "surrogate"),
        (b'{"a": 9223372036854775808}', "/a", "64 bits"),
        (b'{"a": -9223372036854775809}', "/a", "64 bits"),
        (b'{"a": [1, ' + b"9" * 5000 + b"]}", "/a/1", "64 bits"),
        (b'{"a": 1e999}', "/a", "finite"),
        (b'{"a~/": -1e999}', "/a~0~1", "finite"),
        (b"[" * 65 + b"]" * 65, "", "nested deeper"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "", "nested deeper"),
        (b"[" * 10_000 + b"]" * 10_000, "", "nested deeper"),
        (b"[" * 2_000_000, "", "nested deeper"),
        (b'[{"a": ":"}, {"a": 1, "a": 2}]', "", "'a' stands more than once"),
        (b'{"a": 1, "a": 2}', "", "'a' stands more than once"),
        (b'{"b": ":", "a": [{"k": 1, "\\u006b": 2}]}', "", "'k' stands more than once"),
    ],
)
def test_json_that_cannot_be_kept_is_refused(body: bytes, pointer: str, reason: str) -> None:
    with pytest.raises(JsonError, match=reason) as caught:
        decode_json(body)
    assert not caught.value.malformed
    assert caught.value.pointer == pointer


def test_64_levels_pass() -> None:
    decode_json(b"[" * 64 + b"]" * 64)
    decode_json(b'{"a":' * 64 + b'"[["' + b"}" * 64)


@pytest.mark.parametrize(
    ("value", "pointer", "reason"),
    [
        (float("nan"), "", "finite"),
        ({"a": [float("inf")]}, "/a/0", "finite"),
        ([2**63], "/0", "64 bits"),
        ({"a": (1, "\0")}, "/a/1", "NUL"),
        ({"é": "\udfff"}, "/é", "surrogate"),
        ({"\ud800": 1}, "", "surrogate"),
        ({"a": {1: 2}}, "/a", "key of type int"),
        ({"a": object()}, "/a", "type object"),
        ({"a": {1, 2}}, "/a", "type set"),
        ([b"x"], "/0", "type bytes"),
    ],
)
def test_a_value_that_is_not_clean_json_is_refused(value: Any, pointer: str, reason: str) -> None:
    with pytest.raises(JsonError, match=reason) as caught:
        check_json(value)
    assert caught.value.pointer == pointer
    assert not caught.value.malformed


def test_a_value_that_contains_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(JsonError, match="nested deeper"):
        check_json(endless)


def test_a_small_value_with_a_huge_text_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_guard, "VALUES_MAX", 1000)
    doubled: Any = 1
    for _ in range(40):
        doubled = [doubled, doubled]
    with pytest.raises(JsonError, match="more than 1000 values"):
        check_json(doubled)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    lambda values: st.lists(values, max_size=4)
    | st.dictionaries(st.text(st.characters(codec="utf-8", exclude_characters="\0")), values, max_size=4),
    max_leaves=20,
)  # fmt: skip


@settings(derandomize=True, deadline=None, max_examples=200)
@given(_JSON, st.booleans())
def test_what_is_clean_survives_the_way_through_text(value: Any, ascii_only: bool) -> None:
    check_json(value)
    assert decode_json(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:\\u0d8019e-.tn', max_size=40).map(str.encode))
def test_any_bytes_are_either_clean_json_or_a_named_error(body: bytes) -> None:
    try:
        value = decode_json(body)
    except JsonError:
        return
    check_json(value)
    assert value == json.loads(body)
