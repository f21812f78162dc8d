import asyncio
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.system.client import Client, assert_problem, define, manual, pointers, transform, unique, wait

MIB = 1024 * 1024


def _text(size: int) -> str:
    """A value that has `size` bytes as JSON."""
    return "x" * (size - 2)


async def test_a_body_of_more_than_2_mib_is_413(api: Client) -> None:
    for path in ("/processes", "/events", "/definitions:validate"):
        answer = await api.call("POST", path, raw=b'{"type": "e", "data": "' + b"x" * (2 * MIB) + b'"}')
        assert_problem(answer, 413)
    assert (await api.run(define(transform("a", 1))))["state"] == "COMPLETED"


async def test_it_is_refused_before_it_is_sent(api: Client) -> None:
    parts = urlsplit(api.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(
        b"POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n"
    )
    async with asyncio.timeout(15):
        head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    writer.close()
    await writer.wait_closed()


async def test_a_chunked_body_is_bounded_too(api: Client) -> None:
    async def endless() -> Any:
        for _ in range(300):
            yield b"x" * 10_000

    async with api._session.post(
        api.url + "/events", data=endless(), headers={"Content-Type": "application/json"}
    ) as response:
        assert response.status == 413


async def test_an_input_of_1_mib_passes_and_one_byte_more_does_not(api: Client) -> None:
    definition = define(transform("a", "${size(input)}"))
    assert (await api.run(definition, _text(MIB)))["output"] == MIB - 2
    assert_problem(await api.post("/processes", {"definition": definition, "input": _text(MIB + 1)}), 413)


async def test_an_event_and_an_answer_have_the_same_limit(api: Client) -> None:
    kind = unique("e")
    started = await api.start(
        define(manual("ask"), wait("w", event={"type": kind}), output="${size(activities.w.output)}")
    )
    await api.waiting(started["id"], "ask")
    assert_problem(await api.answer(started["id"], "ask", {"output": _text(MIB + 1)}), 413)
    assert (await api.answer(started["id"], "ask", {"output": _text(MIB)})).status == 202
    await api.waiting(started["id"], "w")
    assert_problem(await api.post("/events", {"type": kind, "data": _text(MIB + 1)}), 413)
    assert (await api.post("/events", {"type": kind, "data": _text(MIB)})).body["delivered"] == 1
    assert (await api.ended(started["id"]))["output"] == MIB - 2


async def test_an_output_over_1_mib_fails_with_limit_output(api: Client) -> None:
    definition = define(transform("a", {"x": "${input}", "y": "${input}"}))
    process = await api.run(definition, "x" * 600_000)
    assert process["state"] == "FAILED"
    assert process["error"]["type"] in {"limit.output", "expression"}


async def test_an_output_just_over_the_limit_is_called_so(api: Client) -> None:
    # Shorter than the limit in characters, longer in bytes.
    process = await api.run(define(transform("a", "${input + input}")), "é" * 300_000)
    assert process["error"]["type"] == "limit.output"
    assert process["error"]["category"] == "execution"


async def test_the_output_of_a_process_has_the_same_limit(api: Client) -> None:
    definition = define(transform("a", "${input}"), output="${activities.a.output + activities.a.output}")
    process = await api.run(definition, "é" * 300_000)
    assert process["state"] == "FAILED"
    assert process["error"]["type"] == "limit.output"


async def test_a_definition_has_at_most_200_activities(api: Client) -> None:
    most = define(*(transform(f"a{number}", number) for number in range(200)))
    assert (await api.publish(most)).status == 201
    assert (await api.run(most["name"]))["output"] == 199
    more = define(*(transform(f"a{number}", number) for number in range(201)))
    assert pointers(await api.publish(more)) == ["/activities"]


async def test_a_definition_has_at_most_256_kib(api: Client) -> None:
    large = define(transform("a", _text(256 * 1024)))
    assert pointers(await api.publish(large)) == [""]
    assert_problem(await api.post("/processes", {"definition": large}), 422)
    fitting = define(transform("a", _text(255 * 1024)))
    assert (await api.publish(fitting)).status == 201


async def test_an_expression_has_at_most_4096_characters(api: Client) -> None:
    def sized(length: int) -> str:
        return "${" + "1" + " " * (length - 1) + "}"

    assert (await api.run(define(transform("a", sized(4096)))))["output"] == 1
    assert pointers(await api.publish(define(transform("a", sized(4097))))) == ["/activities/0/output"]


async def test_an_expression_is_at_most_50_deep(api: Client) -> None:
    assert (await api.run(define(transform("a", "${" + "(" * 40 + "1" + ")" * 40 + "}"))))["output"] == 1
    assert pointers(await api.publish(define(transform("a", "${" + "(" * 60 + "1" + ")" * 60 + "}"))))


async def test_json_is_at_most_64_deep(api: Client) -> None:
    def nested(depth: int) -> Any:
        value: Any = 1
        for _ in range(depth):
            value = [value]
        return value

    # The body itself is the first level.
    assert (await api.run(define(transform("a", "${input}")), nested(62)))["output"] == nested(62)
    answer = await api.post("/processes", {"definition": define(transform("a", 1)), "input": nested(64)})
    assert_problem(answer, 422)


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63), 0, 2**53 + 1])
async def test_integers_of_64_bits_are_exact(api: Client, number: int) -> None:
    assert (await api.run(define(transform("a", "${input}")), number))["output"] == number


async def test_labels_and_keys_are_bounded(api: Client) -> None:
    definition = define(transform("a", 1))
    for fields in (
        {"key": "x" * 256},
        {"labels": {"x" * 64: "y"}},
        {"labels": {"x": "y" * 256}},
        {"labels": {f"l{number}": "x" for number in range(33)}},
    ):
        assert_problem(await api.post("/processes", {"definition": definition, **fields}), 422)
    process = await api.run(definition, key="x" * 255, labels={"x" * 63: "y" * 255})
    assert process["state"] == "COMPLETED"


async def test_a_history_has_at_most_50_000_rows(api: Client) -> None:
    activities = [transform(f"a{number}", 0, max_visits=1_000_000) for number in range(200)]
    activities[-1]["next"] = "a0"
    started = await api.start(define(*activities))
    process = await api.until(started["id"], lambda found: found["state"] == "FAILED")
    assert process["error"]["type"] == "limit.history"
    page = await api.get(f"/processes/{started['id']}/history?after=49900&limit=500")
    assert page["items"][-1]["type"] == "process.failed"
    assert page["items"][-1]["seq"] <= 50_000
    assert [row["seq"] for row in page["items"]] == list(range(49_901, page["items"][-1]["seq"] + 1))
