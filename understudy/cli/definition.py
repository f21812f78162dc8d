"""`understudy definition`: validate and publish."""

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from understudy.cli.output import Format, complain, run_loop, say
from understudy.cli.process import client
from understudy.domain.json_guard import JsonError, decode_json
from understudy.domain.validation import faults_of

app = typer.Typer(help="Check and publish definitions.", no_args_is_help=True)

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
    published = run_loop(_publish(name, raw))
    say(published, output, f"{published['name']}@{published['version']}")


async def _publish(name: str, raw: Any) -> Any:
    async with client() as api:
        return await api.call("PUT", f"/definitions/{quote(name, safe='')}", raw)
