"""The reference of the command line names every command and every option."""

from collections.abc import Iterator
from pathlib import Path

import typer

from understudy.cli.app import app

REFERENCE = (Path(__file__).parents[2] / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")


def commands(command: object, *words: str) -> Iterator[tuple[str, list[str]]]:
    """Every command in full with its own options."""
    if nested := getattr(command, "commands", None):
        for name, inner in nested.items():
            yield from commands(inner, *words, name)
        return
    options = [option for parameter in command.params for option in parameter.opts]  # type: ignore[attr-defined] # of click
    yield " ".join(words), [option for option in options if option.startswith("--")]


def test_every_command_and_option_is_described() -> None:
    anywhere = {"--help", "--output"}
    missing = [
        place
        for name, options in commands(typer.main.get_command(app))
        for place in (f"`understudy {name}", *(f"{option} of {name}" for option in options if option not in anywhere))
        if place.split(" of ")[0] not in REFERENCE
    ]
    assert missing == []
