"""The command line as a person or a script uses it."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from msgspec import json

from tests.system.client import Client, define, manual, transform, unique, wait
from tests.system.dev import Dev, command, environment
from understudy.cli.app import run

PATIENCE_SECONDS = 120.0


class Done(NamedTuple):
    """What a command left behind."""

    code: int
    stdout: str
    stderr: str


class Shell:
    """Runs the command in an empty folder against one service.

    Most commands run in this process, from argv to exit code, because a new interpreter takes longer than they do.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.settings = {"URL": url}
        self._thread = ThreadPoolExecutor(1)

    def close(self) -> None:
        """End the thread; safe twice."""
        self._thread.shutdown()

    def __call__(self, *arguments: str, code: int = 0) -> Done:
        """Run it here; its exit code must be this one."""
        # A thread of its own, as a test that awaits has a running loop already.
        return _checked(arguments, code, self._thread.submit(self._run, arguments).result(PATIENCE_SECONDS))

    def _run(self, arguments: tuple[str, ...]) -> Done:
        out, err = io.StringIO(), io.StringIO()
        code = 0
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.setattr(os, "environ", environment(self.settings))
            patch.setattr(sys, "argv", ["understudy", *arguments])
            patch.chdir(self.folder)
            try:
                run()
            except SystemExit as ended:
                code = int(ended.code or 0)
        return Done(code, out.getvalue(), err.getvalue())

    def spawn(self, *arguments: str, code: int = 0) -> Done:
        """Run it as a process of its own; its exit code must be this one."""
        done = subprocess.run(
            command(*arguments),
            cwd=self.folder,
            env=environment(self.settings),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )
        return _checked(arguments, code, Done(done.returncode, done.stdout, done.stderr))

    def json(self, *arguments: str, code: int = 0) -> Any:
        """What it prints with `-o json`."""
        return json.decode(self(*arguments, "-o", "json", code=code).stdout)

    def file(self, name: str, content: Any) -> str:
        """A file with JSON in it."""
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else json.encode(content))
        return name


def _checked(arguments: tuple[str, ...], code: int, done: Done) -> Done:
    assert done.code == code, (arguments, done)
    assert "Traceback" not in done.stderr + done.stdout
    return done


@pytest.fixture
def shell(dev: Dev, tmp_path: Path) -> Iterator[Shell]:
    opened = Shell(tmp_path, dev.url)
    yield opened
    opened.close()


def test_a_definition_is_validated_and_published(shell: Shell) -> None:
    definition = define(transform("a", 1))
    file = shell.file("good.json", definition)
    assert shell.json("definition", "validate", file) == {"valid": True, "errors": []}
    assert "is valid" in shell("definition", "validate", file).stdout
    published = shell.json("definition", "publish", file)
    assert (published["name"], published["version"]) == (definition["name"], 1)
    assert shell("definition", "publish", file).stdout.strip() == f"{definition['name']}@1 (unchanged)"


def test_a_faulty_definition_exits_with_1_and_names_its_faults(shell: Shell) -> None:
    file = shell.file("bad.json", define(transform("a", "${input.}", nxt="b")))
    faults = shell.json("definition", "validate", file, code=1)
    assert faults["valid"] is False
    assert {fault["pointer"] for fault in faults["errors"]} == {"/activities/0/output", "/activities/0/nxt"}
    assert "/activities/0/nxt" in shell("definition", "validate", file, code=1).stdout
    assert "/activities/0/nxt" in shell("definition", "publish", file, code=1).stderr


def test_exit_codes_reach_the_shell(shell: Shell) -> None:
    good, bad = shell.file("good.json", define(transform("a", 1))), shell.file("bad.json", {})
    assert "is valid" in shell.spawn("definition", "validate", good).stdout
    assert shell.spawn("definition", "validate", bad, code=1).stdout
    assert shell.spawn("definition", "validate", "absent.json", code=2).stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("definition", "validate", "absent.json"),
        ("definition", "validate", "broken.json"),
        ("process", "start"),
        ("process", "start", "x", "--input", "{"),
        ("process", "start", "x", "--input", "@absent.json"),
        ("process", "explode"),
        ("dev", "--port", "many"),
        ("nonsense",),
        ("process", "show"),
        ("process", "start", "x", "--label", "nope"),
        ("definition", "publish", "broken.json"),
        ("process", "list", "--limit", "0"),
        ("process", "show", "x", "-o", "xml"),
        ("--nonsense",),
        ("process", "signal", "x"),
        ("process", "signal", "x", "paid", "--data", "{"),
        ("definition", "show"),
        ("definition", "show", "x@one"),
        ("definition", "show", "x@1", "--version", "1"),
        ("definition", "list", "--limit", "0"),
    ],
)
def test_wrong_use_exits_with_2_and_a_readable_error(shell: Shell, arguments: tuple[str, ...]) -> None:
    shell.file("broken.json", b'{"a": ')
    done = shell(*arguments, code=2)
    assert done.stderr.strip()
    assert done.stdout == ""


async def test_a_process_from_start_to_history(shell: Shell, api: Client) -> None:
    definition = define(transform("a", "${input.n + 1}"))
    await api.publish(definition)
    process = shell.json(
        *("process", "start", definition["name"], "--input", '{"n": 1}', "--wait", "30s"),
        *("--key", "k-1", "--label", "team=a", "--label", "env=b=c"),
    )
    assert (process["state"], process["output"]) == ("COMPLETED", 2)
    assert (process["key"], process["labels"]) == ("k-1", {"team": "a", "env": "b=c"})
    shown = shell.json("process", "show", process["id"])
    assert shown == await api.process(process["id"])
    rows = shell.json("process", "history", process["id"])
    assert rows == await api.history(process["id"])
    assert process["id"] in shell("process", "show", process["id"]).stdout
    assert "process.completed" in shell("process", "history", process["id"]).stdout
    watched = shell.json("process", "watch", process["id"])
    assert watched["state"] == "COMPLETED"


def test_a_whole_definition_can_be_started_from_a_file(shell: Shell) -> None:
    file = shell.file("d.json", define(transform("a", "${input}")))
    given = shell.file("input.json", {"x": [1]})
    process = shell.json("process", "start", f"@{file}", "--input", f"@{given}", "--wait", "30s")
    assert process["output"] == {"x": [1]}


def test_an_idempotency_key_starts_one_process(shell: Shell) -> None:
    file, key = shell.file("d.json", define(transform("a", 1))), unique("key")
    first = shell.json("process", "start", f"@{file}", "--idempotency-key", key)
    second = shell.json("process", "start", f"@{file}", "--idempotency-key", key)
    assert first["id"] == second["id"]


def test_a_process_that_fails_exits_with_1(shell: Shell) -> None:
    file = shell.file("d.json", define(transform("a", "no stock", next="@fail")))
    process = shell.json("process", "start", f"@{file}", "--wait", "30s", code=1)
    assert process["error"]["type"] == "failed"
    assert "no stock" in shell("process", "watch", process["id"], code=1).stdout


async def test_the_list_is_filtered(shell: Shell, api: Client) -> None:
    definition = define(manual("ask"))
    started = await api.start(definition, key="k", labels={"a": "b"})
    await api.waiting(started["id"])
    name = definition["name"]
    page = shell.json("process", "list", "--definition", name, "--state", "WAITING", "--key", "k", "--label", "a:b")
    assert [found["id"] for found in page["items"]] == [started["id"]]
    assert started["id"] in shell("process", "list", "--definition", name).stdout
    assert shell.json("process", "list", "--definition", name, "--state", "FAILED")["items"] == []
    assert "no processes" in shell("process", "list", "--definition", unique()).stdout
    assert "WAITING" in shell("process", "list", "--state", "WAITNG", code=1).stderr
    await api.cancel(started["id"])


async def test_a_process_is_cancelled(shell: Shell, api: Client) -> None:
    started = await api.start(define(manual("ask")))
    await api.waiting(started["id"])
    shell("process", "cancel", started["id"], "--reason", "changed our minds")
    await api.ended(started["id"])
    assert (await api.history(started["id"]))[-1]["data"]["reason"] == "changed our minds"
    assert "CANCELLED" in shell("process", "watch", started["id"], code=1).stdout
    assert "CANCELLED" in shell("process", "cancel", started["id"], code=1).stderr


async def test_watching_ends_with_the_process(shell: Shell, api: Client) -> None:
    started = await api.start(define(wait("pause", for_="1500ms")))
    done = shell("process", "watch", started["id"])
    assert "COMPLETED" in done.stdout


async def test_a_process_is_signalled(shell: Shell, api: Client) -> None:
    started = await api.start(define(wait("paid", event={"type": "order.paid", "key": "${input}"})), "k-1")
    await api.waiting(started["id"])
    arguments = ("process", "signal", started["id"], "order.paid")
    assert shell.json(*arguments, "--key", "k-2")["delivered"] == 0
    assert "nothing waits for it now" in shell(*arguments).stdout
    file, key = shell.file("data.json", {"n": [1, None]}), unique("event")
    sent = shell.json(*arguments, "--key", "k-1", "--data", f"@{file}", "--id", key)
    assert sent["delivered"] == 1
    assert shell.json(*arguments, "--key", "k-1", "--data", "2", "--id", key) == {**sent, "delivered": 0}
    assert (await api.ended(started["id"]))["output"] == {"n": [1, None]}


async def test_a_signal_reaches_the_process_it_names(shell: Shell, api: Client) -> None:
    kind = unique("event")
    one, other = [(await api.start(define(wait("w", event={"type": kind}))))["id"] for _ in range(2)]
    for process_id in (one, other):
        await api.waiting(process_id)
    assert "delivered" in shell("process", "signal", other, kind, "-d", '"hello"').stdout
    assert (await api.ended(other))["output"] == "hello"
    assert (await api.process(one))["state"] == "WAITING"
    await api.cancel(one)


async def test_definitions_are_listed_and_shown(shell: Shell, api: Client) -> None:
    definition = define(transform("z", "${input['[bold]']}"), transform("a", 1))
    name = definition["name"]
    await api.publish(definition)
    latest = {**definition, "activities": definition["activities"][:1]}
    await api.publish(latest)
    shown = shell.json("definition", "show", name)
    assert (shown["version"], shown["definition"]) == (2, latest)
    for arguments in ((f"{name}@1",), (name, "--version", "1")):
        assert shell.json("definition", "show", *arguments)["definition"] == definition
    text = shell("definition", "show", f"{name}@1").stdout
    assert text.startswith(f"{name}@1  published 20")
    assert json.decode(text.partition("\n")[2]) == definition
    assert shell.json("definition", "list") == await api.get("/definitions?limit=50")
    page = shell.json("definition", "list", "--limit", "1")
    assert page["items"][0]["name"] in shell("definition", "list", "--limit", "1").stdout
    assert f"{name}@3" in shell("definition", "show", f"{name}@3", code=1).stderr
    assert "../processes" in shell("definition", "show", "../processes", code=1).stderr


@pytest.mark.parametrize("verb", ["show", "watch", "history", "cancel", "signal"])
def test_a_process_that_is_not_there_exits_with_1(shell: Shell, verb: str) -> None:
    process_id = "../admin/nodes" if verb == "show" else "01920000-0000-7000-8000-000000000000"
    done = shell("process", verb, process_id, *(["paid"] if verb == "signal" else []), code=1)
    assert done.stderr.startswith("error: ")
    assert done.stdout == ""


def test_nobody_listening_is_said_so(shell: Shell) -> None:
    shell.settings["URL"] = "http://127.0.0.1:9"
    done = shell("process", "list", code=1)
    assert "http://127.0.0.1:9 does not answer (Connection refused)" in done.stderr


def test_a_url_without_a_scheme_is_refused(shell: Shell) -> None:
    shell.settings["URL"] = "127.0.0.1:9"
    assert "UNDERSTUDY_URL must begin with http:// or https://" in shell("process", "list", code=1).stderr


@pytest.mark.parametrize(("place", "reason"), [("taken", "it is a file"), ("taken/below", "it would lie in a file")])
def test_a_data_folder_that_cannot_be_is_said_so(shell: Shell, place: str, reason: str) -> None:
    shell.file("taken", b"")
    for command_ in ("dev", "demo"):
        done = shell.spawn(command_, "--data", place, code=1)
        assert done.stderr == f"error: {place} cannot be used as data folder: {reason}\n"


async def test_a_waiting_process_shows_what_would_end_the_waiting(shell: Shell, api: Client) -> None:
    asked = await api.start(define(manual("ask", title="Well?")))
    heard = await api.start(define(wait("paid", event={"type": "order.paid", "key": "a key"})))
    for started in (asked, heard):
        await api.waiting(started["id"])
    shown = shell("process", "show", asked["id"]).stdout
    assert "title: Well?" in shown
    assert f"curl -X POST {shell.settings['URL']}/processes/{asked['id']}/activities/ask/resume \\\n" in shown
    assert f"process signal {heard['id']} order.paid --key 'a key'" in shell("process", "show", heard["id"]).stdout
    for started in (asked, heard):
        await api.cancel(started["id"])


def test_an_error_in_a_pipe_stands_whole_on_its_line(shell: Shell) -> None:
    output = {"long": "x" * 300}
    file = shell.file("d.json", define(transform("a", output), transform("b", "${input.no}")))
    process_id = shell("process", "start", f"@{file}", "--wait", "30s", code=1).stdout[:36]
    lines = shell("process", "history", process_id).stdout.splitlines()
    assert any("x" * 300 in line for line in lines)
    assert any("activity.failed" in line and 'expression: null has no keys: there is no "no"' in line for line in lines)
    assert all(line == line.rstrip() for line in lines)
    assert shell("process", "watch", process_id, code=1).stdout.count(process_id) == 1
    assert "\nerror   expression: " in shell("process", "watch", process_id, code=1).stdout


@pytest.mark.parametrize(
    ("name", "value"),
    [("PROT", "1"), ("PORT", "x"), ("LEASE_TTL", "soon"), ("EGRESS_ALLOW", "a b"), ("API_KEYS", "no-colon-s3cr3t")],
)
def test_a_setting_that_cannot_be_is_named(shell: Shell, name: str, value: str) -> None:
    shell.settings[name] = value
    done = shell.spawn("dev", "--ephemeral", code=1)
    assert f"UNDERSTUDY_{name}" in done.stderr
    assert "s3cr3t" not in done.stderr


def test_without_keys_it_listens_on_loopback_only(shell: Shell) -> None:
    done = shell.spawn("dev", "--ephemeral", "--port", "0", "--host", "0.0.0.0", code=1)
    assert "UNDERSTUDY_API_KEYS" in done.stderr


def test_a_port_that_is_taken_is_said_so(shell: Shell, dev: Dev) -> None:
    done = shell.spawn("dev", "--ephemeral", "--port", dev.url.rpartition(":")[2], code=1)
    assert "the port is taken; choose another with --port (0: a free one)" in done.stderr


def test_it_tells_its_version(shell: Shell) -> None:
    assert shell("--version").stdout == f"understudy {version('understudy')}\n"


def test_it_explains_itself(shell: Shell) -> None:
    for arguments in (("--help",), ("process", "--help"), ("definition", "publish", "-h")):
        assert "Usage" in shell(*arguments).stdout


def test_the_demo_completes_from_an_empty_folder(shell: Shell) -> None:
    shell.settings = {}
    done = shell.spawn("demo")
    assert "COMPLETED" in done.stdout
    assert "no gap, nothing recorded twice" in done.stdout
    assert "/activities/approve/resume" in done.stdout


def test_the_demo_survives_a_crash(shell: Shell) -> None:
    shell.settings = {}
    done = shell.spawn("demo", "--crash")
    assert "SIGKILL" in done.stdout
    assert "under 1 idempotency key and made 1 reservation" in " ".join(done.stdout.split())
    assert "no gap, nothing recorded twice" in done.stdout


def test_migrations_are_checked_and_applied(shell: Shell, empty_postgres_url: str) -> None:
    shell.settings = {"POSTGRES_ADMIN_URL": empty_postgres_url}
    assert "missing" in shell("migrate", "--check", code=1).stdout
    assert shell.json("migrate", "--check", code=1)["pending"]
    assert shell.json("migrate")["applied"]
    assert shell.json("migrate", "--check") == {"pending": []}
    assert shell.json("migrate") == {"applied": []}
    shell.settings = {}
    assert "UNDERSTUDY_POSTGRES" in shell("migrate", "--check", code=1).stderr
