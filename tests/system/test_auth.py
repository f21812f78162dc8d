from base64 import b64encode
from collections.abc import Iterator

import pytest

from tests.system.client import Client, assert_problem, define, manual, transform
from tests.system.dev import Dev

KEYS = "reader:r-key-1:viewer,ci:c-key-2,boss:b-key-3:admin"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """A program that asks for keys."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "keys").write_text(KEYS + "\n", encoding="utf-8")
    running = Dev(folder, {"API_KEYS_FILE": str(folder / "keys")})
    running.start()
    yield running
    assert running.stop() == 0


def _basic(name: str, key: str) -> str:
    return "Basic " + b64encode(f"{name}:{key}".encode()).decode()


async def test_nobody_comes_in_without_a_key(guarded: Dev) -> None:
    async with Client(guarded.url) as api:
        for method, path in (
            ("GET", "/processes"),
            ("POST", "/processes"),
            ("GET", "/admin/nodes"),
            ("GET", "/definitions"),
            ("GET", "/nowhere"),
        ):
            answer = await api.call(method, path)
            assert_problem(answer, 401)
            assert "WWW-Authenticate" in answer.headers


@pytest.mark.parametrize(
    "header",
    [
        "Bearer wrong",
        "Bearer ",
        "Bearer",
        "Basic !!!",
        "Basic " + b64encode(b"ci").decode(),
        _basic("ci", "wrong"),
        _basic("boss", "c-key-2"),
        "Digest c-key-2",
        "c-key-2",
        "Bearer c-key-2x",
        "Bearer C-KEY-2",
    ],
)
async def test_nobody_comes_in_with_a_wrong_one(guarded: Dev, header: str) -> None:
    async with Client(guarded.url, Authorization=header) as api:
        assert_problem(await api.call("GET", "/processes"), 401)


@pytest.mark.parametrize("header", ["Bearer c-key-2", "bearer c-key-2", _basic("ci", "c-key-2")])
async def test_bearer_and_basic_come_in(guarded: Dev, header: str) -> None:
    async with Client(guarded.url, Authorization=header) as api:
        assert (await api.run(define(transform("a", 1))))["state"] == "COMPLETED"


async def test_a_viewer_only_reads(guarded: Dev) -> None:
    async with Client(guarded.url, Authorization="Bearer c-key-2") as operator:
        started = await operator.start(define(manual("ask")))
        await operator.waiting(started["id"])
    async with Client(guarded.url, Authorization="Bearer r-key-1") as viewer:
        assert (await viewer.process(started["id"]))["state"] == "WAITING"
        assert await viewer.history(started["id"])
        assert (await viewer.call("GET", "/definitions")).status == 200
        assert_problem(await viewer.cancel(started["id"]), 403)
        assert_problem(await viewer.answer(started["id"], "ask", {}), 403)
        assert_problem(await viewer.post("/processes", {"definition": define(transform("a", 1))}), 403)
        assert_problem(await viewer.publish(define(transform("a", 1))), 403)
        assert_problem(await viewer.post("/events", {"type": "e"}), 403)
        assert_problem(await viewer.call("GET", "/admin/nodes"), 403)
        assert (await viewer.process(started["id"]))["state"] == "WAITING"


async def test_a_key_without_a_role_is_an_operator(guarded: Dev) -> None:
    async with Client(guarded.url, Authorization="Bearer c-key-2") as api:
        for path in ("/admin/nodes", "/admin/actors", "/admin/actors/01920000-0000-7000-8000-000000000000"):
            assert_problem(await api.call("GET", path), 403)


async def test_an_admin_may_everything(guarded: Dev) -> None:
    async with Client(guarded.url, Authorization=_basic("boss", "b-key-3")) as api:
        assert (await api.call("GET", "/admin/nodes")).status == 200
        assert (await api.run(define(transform("a", 1))))["state"] == "COMPLETED"


async def test_probes_need_no_key(guarded: Dev) -> None:
    async with Client(guarded.url) as api:
        for path in ("/livez", "/readyz"):
            assert (await api.call("GET", path)).status == 200
    async with Client(guarded.url, Authorization="Bearer wrong") as api:
        assert (await api.call("GET", "/livez")).status == 200


async def test_keys_are_never_logged(guarded: Dev) -> None:
    text = guarded.log_text()
    for key in ("r-key-1", "c-key-2", "b-key-3"):
        assert key not in text


async def test_the_log_says_who_called(guarded: Dev) -> None:
    async with Client(guarded.url, Authorization="Bearer c-key-2") as api:
        process = await api.run(define(transform("a", 1)))
    lines = [line for line in guarded.log_lines(process["id"]) if line["event"] == "http.request"]
    assert {line["caller"] for line in lines} == {"ci"}


async def test_an_open_service_refuses_web_pages_of_others(api: Client) -> None:
    for headers in (
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "evil.example"},
    ):
        assert_problem(await api.call("GET", "/processes", headers=headers), 403)
        assert_problem(await api.call("POST", "/events", {"type": "e"}, headers=headers), 403)
