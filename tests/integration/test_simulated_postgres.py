"""The model database of the simulation answers as the real one does: what a run asked it is asked again here."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from tests.simulation.cluster import Servers
from tests.simulation.nemesis import draw_profile
from tests.simulation.run import Evidence, Settings, simulate
from tests.simulation.sql_gateway import STATEMENTS
from tests.simulation.tables import Record
from understudy.persistence.pool import Connection, Database
from understudy.persistence.queries import load_queries
from understudy.persistence.rows import decode

UNUSED = {"definition_versions", "latest_definitions", "search_processes"}
"""Statements that nothing in a simulated run sends."""

BY_THE_CLOCK = {"due_processes", "owned_with_work", "pending_processes"}
"""What these answer depends on what time it is: virtual there, real here."""

OF_THE_MOMENT = {
    "db_now",
    "created_at",
    "p_created_at",
    "updated_at",
    "p_updated_at",
    "started_at",
    "p_started_at",
    "ended_at",
    "p_ended_at",
    "beat_age_seconds",
    "server_started_at",
    "lock_held",
    "admin_token",
    "address",
    "beaten_at",
    "pg_try_advisory_lock",
}
"""Columns that the servers fill in by themselves."""

Asked = tuple[str, tuple[Any, ...], list[Record]]


def recorded(seed: int) -> tuple[Evidence, list[Asked]]:
    """A run with faults, and everything that it asked its database, in the order in which it was done."""
    asked: list[Asked] = []

    def listen(servers: Servers) -> None:
        run = servers.postgres.run

        def note(connection: Any, name: str, arguments: tuple[Any, ...]) -> list[Record]:
            rows = run(connection, name, arguments)
            asked.append((name, arguments, rows))
            return rows

        servers.postgres.run = note  # type: ignore[method-assign] # to listen

    profile = replace(draw_profile(seed), actions=("kill", "pause", "stop", "cut postgres", "restart postgres"))
    return simulate(seed, Settings(profile=profile, prepare=listen)), asked


@pytest.mark.parametrize("seed", [1, 2])
def test_the_real_server_gives_the_same_answers(seed: int, postgres_url: str) -> None:
    evidence, asked = recorded(seed)
    assert len(asked) > 1000
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(ask_again(postgres_url, evidence, asked))


async def ask_again(url: str, evidence: Evidence, asked: list[Asked]) -> None:
    database = Database(url)
    connection = await database.connect()
    try:
        for number, (name, arguments, expected) in enumerate(asked):
            found = await connection.fetch(load_queries()[name], *arguments)
            if name not in BY_THE_CLOCK:
                real, model = comparable(found, expected)
                assert real == model, f"{number}: {name} {arguments}"
        await compare_tables(connection, evidence)
    finally:
        await connection.close()


async def compare_tables(connection: Connection, evidence: Evidence) -> None:
    server = evidence.servers.postgres
    for process in server.process.rows():
        process_id: UUID = process["process_id"]
        for name, arguments in (("process_history", (process_id, 1, 1000)), ("process_executions", (process_id,))):
            expected = server.run(None, name, arguments)  # type: ignore[arg-type] # these do not look at it
            found = await connection.fetch(load_queries()[name], *arguments)
            real, model = comparable(found, expected)
            assert real == model, f"{name} of {process_id}"


def comparable(found: list[Any], expected: list[Record]) -> tuple[list[Any], list[Any]]:
    """Both answers in the columns that do not depend on the moment, each in an order of its own."""
    names = [name for name in (found[0].keys() if found else ()) if name not in OF_THE_MOMENT]
    names = [name for name in names if expected and name in expected[0]]

    def ordered(rows: list[Any]) -> list[Any]:
        return sorted(([plain(row[name]) for name in names] for row in rows), key=repr)

    return ordered(found), ordered(expected)


def plain(value: Any) -> Any:
    if isinstance(value, bytes) and value[:1] in b'{["0123456789tfn-':
        try:
            return decode(value)
        except ValueError:
            return value
    return str(value) if isinstance(value, UUID) else value


def test_the_model_knows_every_statement() -> None:
    sent = {name for name in load_queries() if "migration" not in name}
    assert set(STATEMENTS) == sent - UNUSED
