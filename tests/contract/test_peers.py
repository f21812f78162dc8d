"""Asking nodes what is alive on them: over real sockets, with lives and reports that tests set."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any
from uuid import UUID

import aiohttp
import pytest
import structlog

from tests.factories import T0
from understudy.domain.errors import NotFound, Unreachable
from understudy.domain.live import ActorFilter, ActorView, LiveReport
from understudy.domain.state import DefinitionRef
from understudy.domain.states import ProcessState
from understudy.domain.views import SessionView
from understudy.http.internal import create_internal_app
from understudy.http.server import HttpServer
from understudy.runtime.peers import ACTORS_PATH, PeerClient, Peers


def actor(number: int, session: UUID, epoch: int = 1) -> ActorView:
    ref = DefinitionRef("order", 1, b"\1" * 32)
    state = ProcessState.WAITING
    return ActorView(UUID(int=number), ref, None, state, "n", session, epoch, 3, 0, ("ask",), 0, T0, T0, 1.5)


class Node:
    """A node that reports what it is given; `hangs` keeps its answers back."""

    def __init__(self, number: int) -> None:
        self.session = UUID(int=1_000 + number)
        self.actors: list[ActorView] = []
        self.reported_session = self.session
        self.token = f"token-{number}"
        app = create_internal_app(self, self.token, structlog.get_logger("internal"))
        self.server = HttpServer(app, "127.0.0.1", 0)

    def report(self, wanted: ActorFilter) -> LiveReport:
        found = [
            actor
            for actor in self.actors
            if (wanted.after is None or actor.process_id > wanted.after)
            and wanted.process_id in (None, actor.process_id)
        ]
        return LiveReport(self.reported_session, len(self.actors), 4096, tuple(found[: wanted.limit]))

    def view(self, state: str = "alive", **fields: Any) -> SessionView:
        given = {"address": self.server.url, "admin_token": self.token, **fields}
        return SessionView(
            self.session,
            f"node-{self.session.int - 1_000}",
            given["address"],
            T0,
            7,
            lease_ok=True,
            state=state,
            lock_held=True,
            server_started_at=T0 - timedelta(hours=1),
            admin_token=given["admin_token"],
            beat_age_seconds=0.1234,
        )


class Book:
    """The lives of nodes, as a test writes them down."""

    def __init__(self, *sessions: SessionView) -> None:
        self.sessions = list(sessions)
        self.drained: list[UUID] = []

    async def observe(self) -> list[SessionView]:
        return self.sessions

    async def drain(self, session_id: UUID) -> bool:
        self.drained.append(session_id)
        return any(view.session_id == session_id and view.state != "dead" for view in self.sessions)


@pytest.fixture
async def nodes() -> AsyncIterator[list[Node]]:
    made = [Node(number) for number in (1, 2, 3)]
    async with AsyncExitStack() as stack:
        for node in made:
            stack.push_async_callback(node.server.stop)
            await node.server.start()
        yield made


@pytest.fixture
async def client() -> AsyncIterator[PeerClient]:
    made = PeerClient(patience_seconds=0.3)
    await made.start()
    yield made
    await made.stop()
    await made.stop()


@pytest.fixture
async def silent() -> AsyncIterator[str]:
    """A server that takes connections and says nothing."""
    gone = asyncio.Event()

    async def hold(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gone.wait()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    gone.set()
    server.close()
    await server.wait_closed()


async def test_actors_of_all_nodes_come_in_one_order_and_in_pages(nodes: list[Node], client: PeerClient) -> None:
    for number in range(9):
        node = nodes[number % 3]
        node.actors.append(actor(number + 1, node.session))
    peers = Peers(Book(*(node.view() for node in nodes)), client)
    found = await peers.actors(ActorFilter(limit=4))
    assert [one.process_id.int for one in found.actors] == [1, 2, 3, 4]
    rest = await peers.actors(ActorFilter(after=found.actors[-1].process_id))
    assert [one.process_id.int for one in rest.actors] == [5, 6, 7, 8, 9]
    assert found.unanswered == rest.unanswered == ()
    assert rest.actors[0] in nodes[1].actors


async def test_nodes_are_shown_with_what_they_tell(nodes: list[Node], client: PeerClient) -> None:
    nodes[0].actors.append(actor(1, nodes[0].session))
    peers = Peers(Book(nodes[0].view(), nodes[1].view("draining"), nodes[2].view("dead")), client)
    known = await peers.nodes()
    assert [(node.node, node.state, node.live_actors, node.memory_bytes) for node in known.nodes] == [
        ("node-1", "alive", 1, 4096),
        ("node-2", "draining", 0, 4096),
        ("node-3", "dead", None, None),
    ]
    assert known.nodes[0].beat_age_seconds == 0.123
    assert known.unanswered == ()


async def test_a_node_that_does_not_answer_is_named(nodes: list[Node], client: PeerClient, silent: str) -> None:
    first, second, third = nodes
    first.actors.append(actor(1, first.session))
    await third.server.stop()
    book = Book(first.view(), second.view(address=silent), third.view())
    peers = Peers(book, client)
    async with asyncio.timeout(5):
        found = await peers.actors(ActorFilter())
        known = await peers.nodes()
    assert [one.process_id.int for one in found.actors] == [1]
    assert found.unanswered == known.unanswered == (second.session, third.session)
    assert [node.live_actors for node in known.nodes] == [1, None, None]
    only = await peers.actors(ActorFilter(node="node-1"))
    assert only.unanswered == ()
    assert (await peers.actors(ActorFilter(node=str(second.session)))).unanswered == (second.session,)
    assert await peers.actors(ActorFilter(node="nobody")) == type(only)(())


@pytest.mark.parametrize("fields", [{"admin_token": "other"}, {"admin_token": None}, {"address": None}])
async def test_whoever_is_not_the_node_does_not_answer_for_it(
    nodes: list[Node], client: PeerClient, fields: dict[str, Any]
) -> None:
    assert (await Peers(Book(nodes[0].view(**fields)), client).nodes()).unanswered == (nodes[0].session,)


async def test_another_life_of_a_node_does_not_answer_for_this_one(nodes: list[Node], client: PeerClient) -> None:
    nodes[0].reported_session = UUID(int=5)
    assert (await Peers(Book(nodes[0].view()), client).nodes()).unanswered == (nodes[0].session,)


async def test_an_actor_is_found_wherever_it_lives(nodes: list[Node], client: PeerClient, silent: str) -> None:
    nodes[1].actors.append(actor(5, nodes[1].session))
    peers = Peers(Book(*(node.view() for node in nodes)), client)
    assert await peers.actor(UUID(int=5)) == nodes[1].actors[0]
    assert await peers.actor(UUID(int=6)) is None
    torn = Peers(Book(nodes[1].view(), nodes[2].view(address=silent)), client)
    assert await torn.actor(UUID(int=5)) == nodes[1].actors[0]
    with pytest.raises(Unreachable, match=str(nodes[2].session)):
        await torn.actor(UUID(int=6))


async def test_of_two_that_claim_a_process_the_later_owner_is_shown(nodes: list[Node], client: PeerClient) -> None:
    nodes[0].actors.append(actor(5, nodes[0].session, epoch=1))
    nodes[1].actors.append(actor(5, nodes[1].session, epoch=2))
    found = await Peers(Book(nodes[0].view(), nodes[1].view()), client).actor(UUID(int=5))
    assert found == nodes[1].actors[0]


async def test_the_node_beside_the_gateway_needs_no_connection(nodes: list[Node]) -> None:
    class Beside(Node):
        session_id = UUID(int=1_001)

    beside = Beside(1)
    beside.actors.append(actor(1, beside.session))
    peers = Peers(Book(beside.view(address=None, admin_token=None)), PeerClient(), beside)
    assert (await peers.nodes()).nodes[0].live_actors == 1
    assert (await peers.actors(ActorFilter())).actors == tuple(beside.actors)


async def test_draining_is_written_down_and_only_for_those_who_live(nodes: list[Node], client: PeerClient) -> None:
    book = Book(nodes[0].view(), nodes[1].view("dead"))
    peers = Peers(book, client)
    assert (await peers.drain(nodes[0].session)).id == nodes[0].session
    for absent in (nodes[1].session, UUID(int=9)):
        with pytest.raises(NotFound):
            await peers.drain(absent)
    assert book.drained[0] == nodes[0].session


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({}, b"{}", 401),
        ({"Authorization": "Bearer token-2"}, b"{}", 401),
        ({"Authorization": "Basic token-1"}, b"{}", 401),
        ({"Authorization": "Bearer token-1"}, b"nonsense", 400),
        ({"Authorization": "Bearer token-1"}, b"x" * 20_000, 413),
        ({"Authorization": "Bearer token-1"}, b"{}", 200),
    ],
)
async def test_the_endpoint_opens_for_its_token_only(
    nodes: list[Node], headers: dict[str, str], body: bytes, status: int
) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.post(nodes[0].server.url + ACTORS_PATH, data=body, headers=headers) as response,
    ):
        assert response.status == status
        content = await response.read()
        assert status == 200 or not content or b"token" not in content
