"""`understudy definition`: validate, publish, list, show."""

from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from msgspec import json

from understudy.cli.drawing import moment
from understudy.cli.output import Format, complain, console, run_loop, say, table
from understudy.cli.process import client
from understudy.domain.json_guard import JsonError, decode_json
from understudy.domain.validation import faults_of

app = typer.Typer(help="Check, publish and read definitions.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="A definition in JSON.")]
Output = Annotated[Format, typer.Option("-o", "--output", help="How to print.")]


def read_definition(file: Path) -> Any:
    """The JSON value in a file."""
    try:
        return decode_json(file.read_bytes())
    except JsonError as error:
        raise typer.BadParameter(f"{file}: {error}", param_hint="FILE") from None


@app.command("validate")
def validate(file: File, output: Output = Format.TEXT) -> None:
    """Check a definition without a server; every fault at once."""
    faults = faults_of(read_definition(file))
    errors = [{"pointer": fault.pointer, "message": fault.message} for fault in faults]
    lines = [f"{fault.pointer or '/'}: {fault.message}" for fault in faults]
    say({"valid": not faults, "errors": errors}, output, "\n".join(lines) if lines else f"{file} is valid")
    raise typer.Exit(1 if faults else 0)


@app.command("publish")
def publish(file: File, output: Output = Format.TEXT) -> None:
    """Publish a definition under the name that it holds."""
    raw = read_definition(file)
    name = raw.get("name") if isinstance(raw, dict) else None
    if not isinstance(name, str):
        complain(f"{file}: /name is missing")
        raise typer.Exit(1)
    status, published = run_loop(_publish(name, raw))
    remark = "" if status == HTTPStatus.CREATED else " (unchanged)"
    say(published, output, f"{published['name']}@{published['version']}{remark}")


async def _publish(name: str, raw: Any) -> tuple[int, Any]:
    async with client() as api:
        return await api.answer("PUT", f"/definitions/{quote(name, safe='')}", raw)


@app.command("list")
def list_definitions(
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many.")] = 50,
    output: Output = Format.TEXT,
) -> None:
    """List the latest version of each definition, by name."""
    page = run_loop(_read("/definitions", {"limit": str(limit)}))
    if output is Format.JSON:
        say(page, output, "")
        return
    rows = [(found["name"], str(found["version"]), moment(found["created_at"])) for found in page["items"]]
    console.print(table(("name", "version", "published"), rows) if rows else "no definitions")


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="A definition; without a version, its latest.")],
    version: Annotated[int | None, typer.Option(min=1, help="Its version.")] = None,
    output: Output = Format.TEXT,
) -> None:
    """Print a definition as it was published."""
    name, _, wanted = name.partition("@")
    if wanted and version is not None:
        raise typer.BadParameter("the version stands twice", param_hint="--version")
    if wanted and not (wanted.isascii() and wanted.isdigit()):
        raise typer.BadParameter(f"{wanted!r} is not a version", param_hint="NAME[@VERSION]")
    chosen = wanted or version
    query = {} if chosen is None else {"version": str(chosen)}
    found = run_loop(_read(f"/definitions/{quote(name, safe='')}", query))
    content = json.format(json.encode(found["definition"])).decode()
    say(found, output, f"{found['name']}@{found['version']}  published {found['created_at'][:19]}\n{content}")


async def _read(path: str, query: dict[str, str]) -> Any:
    async with client() as api:
        return await api.call("GET", path, query=query)
