"""The command line: nouns, verbs, and one way out. Exit code 0 done, 1 failed, 2 wrong use."""

import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from understudy.cli import definition, demo, node, process
from understudy.cli.client import ApiError
from understudy.cli.dev import serve, serve_cluster
from understudy.cli.migrate import MigrationFailed, apply_migrations, pending_migrations
from understudy.cli.output import Format, complain, run_loop, say
from understudy.cli.serving import serve_gateway
from understudy.config import Config, ConfigError, read_config
from understudy.domain.errors import UnderstudyError
from understudy.embedded.errors import ServerUnavailable
from understudy.http.server import CannotListen
from understudy.runtime.control import ControlError
from understudy.telemetry import configure_logging

app = typer.Typer(
    name="understudy",
    help="Runs business processes that must not be lost.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(process.app, name="process")
app.add_typer(definition.app, name="definition")
app.add_typer(node.app, name="node")

EXPECTED = (ApiError, ConfigError, UnderstudyError, ServerUnavailable, ControlError, MigrationFailed)
"""Errors that a person can do something about: they are shown without a trace."""


def run() -> None:
    """Run the command line and exit with its code."""
    try:
        app()
    except CannotListen as error:
        complain(f"{error}; choose another with --port (0: a free one)" if "taken" in str(error) else str(error))
        sys.exit(1)
    except EXPECTED as error:
        complain(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _config(**overrides: object) -> Config:
    config = read_config(os.environ, **overrides)
    configure_logging(config.log_level)
    return config


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"understudy {version('understudy')}")
        raise typer.Exit


@app.callback()
def main(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Runs business processes that must not be lost."""


@app.command("dev")
def dev(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the data (without it ./.understudy).")] = None,
    nodes: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Run that many worker processes, over a private RabbitMQ.")
    ] = None,
    *,
    ephemeral: Annotated[bool, typer.Option("--ephemeral", help="Keep no data.")] = False,
) -> None:
    """Run everything on a private PostgreSQL and Valkey: in one process, or with workers of their own."""
    config = _config(host=host, port=port, data_dir=None if data is None else str(data), workers=nodes)
    serving = serve if nodes is None else serve_cluster
    raise typer.Exit(run_loop(serving(config, ephemeral=ephemeral)))


@app.command("gateway")
def gateway(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
) -> None:
    """Serve the REST API; the work is done by nodes elsewhere."""
    raise typer.Exit(run_loop(serve_gateway(_config(host=host, port=port))))


@app.command("actors")
def actors(
    node_: Annotated[str | None, typer.Option("--node", help="Only those of this node, by its name or id.")] = None,
    output: Annotated[Format, typer.Option("-o", "--output", help="How to print.")] = Format.TEXT,
) -> None:
    """List the processes that are in the memory of nodes."""
    node.list_actors(node_, output)


@app.command("demo")
def run_demo(
    *,
    crash: Annotated[bool, typer.Option("--crash", help="Kill the engine half way and show it resume.")] = False,
    data: Annotated[Path | None, typer.Option(help="Folder of the data (without it ./.understudy/demo).")] = None,
) -> None:
    """Run an example process and draw it live."""
    raise typer.Exit(run_loop(demo.play(data or Path(".understudy") / "demo", crash=crash)))


@app.command("migrate")
def migrate(
    *,
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit 1 when migrations are missing.")] = False,
    output: Annotated[Format, typer.Option("-o", "--output", help="How to print.")] = Format.TEXT,
) -> None:
    """Bring the database's schema up to date."""
    config = _config()
    url = config.postgres_admin_url or config.postgres_url
    if not url:
        raise ConfigError("set UNDERSTUDY_POSTGRES_ADMIN_URL (or UNDERSTUDY_POSTGRES_URL) to the database to migrate")
    if check:
        missing = run_loop(pending_migrations(url))
        say({"pending": missing}, output, "up to date" if not missing else "missing: " + ", ".join(missing))
        raise typer.Exit(1 if missing else 0)
    applied = run_loop(apply_migrations(url))
    say({"applied": applied}, output, "up to date" if not applied else "applied: " + ", ".join(applied))
