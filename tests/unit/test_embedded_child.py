import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from understudy.embedded.child import Child, Step
from understudy.embedded.errors import ServerUnavailable
from understudy.embedded.polling import until

STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); signal.pause()"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "child.log"


@pytest.fixture
def inherited(tmp_path: Path) -> Iterator[int]:
    with (tmp_path / "lock").open("w") as file:
        yield file.fileno()


def contents(path: Path) -> bytes:
    return path.read_bytes()


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


async def test_a_child_that_ignores_the_first_step_is_killed(log: Path, inherited: int) -> None:
    child = Child("A child", log)
    child.spawn(python(STUBBORN), inherit=inherited)
    assert child.exit_code is None
    assert await until(lambda: "ready" in child.output(), 10)
    await child.stop(Step(signal.SIGTERM, 0.05))
    assert child.exit_code == -signal.SIGKILL
    await child.stop()


async def test_a_child_that_was_never_started_can_be_stopped(log: Path) -> None:
    child = Child("A child", log)
    await child.stop(Step(signal.SIGTERM, 1))
    assert (child.pid, child.exit_code) == (0, None)


async def test_a_failure_tells_the_last_lines_of_this_run_and_the_log(log: Path, inherited: int) -> None:
    child = Child("A child", log)
    child.spawn(python("print('of an earlier run')"), inherit=inherited)
    await child.finish(10)
    child.spawn(python("for n in range(50): print('line', n)\nexit(3)"), inherit=inherited)
    with pytest.raises(ServerUnavailable, match=f"A child failed with exit code 3. The last lines of {log}:") as caught:
        await child.finish(10)
    told = str(caught.value)
    assert "line 49" in told
    assert "line 9\n" not in told
    assert "earlier" not in told
    assert b"of an earlier run" in contents(log)


async def test_a_child_that_does_not_finish_is_killed(log: Path, inherited: int) -> None:
    child = Child("A child", log)
    child.spawn(python(STUBBORN), inherit=inherited)
    with pytest.raises(ServerUnavailable, match="took longer"):
        await child.finish(0.01)
    assert child.exit_code == -signal.SIGKILL


async def test_a_child_reads_its_input_and_nothing_of_our_environment(
    log: Path, inherited: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c fsync=off")
    child = Child("A child", log)
    program = (
        "import os, sys; os.fstat(int(sys.argv[1])); print(sys.stdin.read(), 'PGOPTIONS' in os.environ, os.getcwd())"
    )
    child.spawn([*python(program), str(inherited)], inherit=inherited, stdin=b"secret")
    await child.finish(10)
    assert child.output() == "secret False /\n"


async def test_a_long_log_is_put_aside(log: Path, inherited: int) -> None:
    with log.open("wb") as file:
        file.truncate(10_000_001)
    child = Child("A child", log)
    child.spawn(python("print('fresh')"), inherit=inherited)
    await child.finish(10)
    assert contents(log) == b"fresh\n"
    assert len(contents(log.with_suffix(".log.1"))) == 10_000_001
