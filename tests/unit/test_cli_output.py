"""What is printed at 80 columns and in a pipe."""

import io
from typing import Any

import pytest
from rich.console import RenderableType

from understudy.cli import drawing, output
from understudy.cli.output import Paper, compact, table
from understudy.cli.process import history_table

ID = "01a2109e-5e3c-7c49-8cb8-e43fad58f5df"
COLUMNS = ("process", "definition", "state", "node", "activity", "age")
ROW = (ID, "a-rather-long-definition", "IN_PROGRESS", "worker-host-1", "reserve_goods", "12 s")


@pytest.fixture(params=[True, False], ids=["terminal", "pipe"])
def paper(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Paper:
    made = Paper(highlight=False, file=io.StringIO(), force_terminal=request.param, width=80, color_system=None)
    monkeypatch.setattr(output, "console", made)
    monkeypatch.setattr(drawing, "console", made)
    return made


def printed(paper: Paper, value: RenderableType) -> list[str]:
    assert isinstance(paper.file, io.StringIO)
    paper.print(value)
    return paper.file.getvalue().splitlines()


def test_ids_and_states_stand_whole(paper: Paper) -> None:
    lines = printed(paper, table(COLUMNS, [ROW]))
    [line] = [line for line in lines if ID in line]
    assert "IN_PROGRESS" in line
    assert "…" not in "".join(lines)
    if paper.is_terminal:
        assert max(map(len, lines)) <= 80
    else:
        assert line.split("  ")[0] == ID
        assert len(lines) == 2


def test_an_error_is_told_by_type_and_message(paper: Paper) -> None:
    data: dict[str, Any] = {"error": {"type": "http.timeout", "message": "[no] answer\x1b[31m"}}
    row = {"seq": 1, "at": "2026-11-25T08:30:00.123456Z", "type": "x", "activity": None, "attempt": None, "data": data}
    lines = "".join(line.strip() for line in printed(paper, history_table([row])))
    assert "http.timeout: " in " ".join(lines.split())
    assert "\x1b[31m" not in lines


def test_long_values_are_cut_on_a_terminal_only(paper: Paper) -> None:
    assert (len(compact("x" * 100)) < 100) is paper.is_terminal


def test_moments_fit_a_terminal_and_are_whole_elsewhere(paper: Paper) -> None:
    shown = drawing.moment("2001-02-03T04:05:06.123456Z")
    assert shown == ("2001-02-03" if paper.is_terminal else "2001-02-03T04:05:06.123456Z")


def test_the_last_frame_ends_with_a_line_break(paper: Paper) -> None:
    with pytest.raises(KeyboardInterrupt), output.drawing("frame"):
        raise KeyboardInterrupt
    assert isinstance(paper.file, io.StringIO)
    assert "frame" in paper.file.getvalue()
    assert paper.file.getvalue().rstrip("\x1b[?25h").endswith("\n")
