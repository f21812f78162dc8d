"""Asking the nodes of the cluster what is alive on them.

This is not the guarded client of the executors: nodes live at private addresses, which that one must refuse, and the
addresses come from PostgreSQL alone, never from a user.
"""

import asyncio
from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

import aiohttp
import structlog
from msgspec import DecodeError, json

from understudy.domain.errors import NotFound, Unreachable
from understudy.domain.live import ActorFilter, ActorView, KnownNodes, LiveActors, LiveReport, NodeView
from understudy.domain.views import SessionView

log = structlog.get_logger("peers")

ACTORS_PATH = "/actors"
PATIENCE_SECONDS = 1.0
ANSWER_SIZE_MAX = 8 * 1024 * 1024
CONNECTIONS_MAX = 200
NOTHING = ActorFilter(limit=0)

_decode = json.Decoder(LiveReport).decode


class Lives(Protocol):
    """The lives of nodes, as PostgreSQL knows them."""

    async def observe(self) -> list[SessionView]:
        """All sessions that are not dead, and dead ones that still own processes."""
        ...

    async def drain(self, session_id: UUID) -> bool:
        """Ask a session to drain; false when there is none that lives."""
        ...


class Witness(Protocol):
    """The node that runs beside the asker, which needs no connection."""

    @property
    def session_id(self) -> UUID:
        """The node's session."""
        ...

    def report(self, wanted: ActorFilter) -> LiveReport:
        """The actors that a filter lets through."""
        ...


class PeerClient:
    """Speaks to the internal endpoints of nodes."""

    def __init__(self, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._patience_seconds = patience_seconds
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Get ready."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX),
            timeout=aiohttp.ClientTimeout(total=self._patience_seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def stop(self) -> None:
        """Close the connections; safe twice and unstarted."""
        if self._session is not None:
            await self._session.close()

    async def ask(self, node: SessionView, wanted: ActorFilter) -> LiveReport | None:
        """What a node tells; None when it does not answer in time, or another one does."""
        assert self._session is not None
        if node.address is None or node.admin_token is None:
            return None
        try:
            async with self._session.post(
                f"{node.address}{ACTORS_PATH}",
                data=json.encode(wanted),
                headers={"Authorization": f"Bearer {node.admin_token}", "Content-Type": "application/json"},
                allow_redirects=False,
            ) as response:
                content = await response.content.read(ANSWER_SIZE_MAX) if response.status == 200 else b""
                while content and not response.content.at_eof() and len(content) < ANSWER_SIZE_MAX:
                    content += await response.content.read(ANSWER_SIZE_MAX - len(content))
            report = _decode(content)
        except (aiohttp.ClientError, OSError, TimeoutError, DecodeError, ValueError) as error:
            log.info("node_silent", node=node.node, session_id=str(node.session_id), reason=f"{error!r:.200}")
            return None
        return report if report.session == node.session_id else None


class Peers:
    """What is alive in the whole cluster; `own` is the node in this process, if there is one."""

    def __init__(self, lives: Lives, client: PeerClient, own: Witness | None = None) -> None:
        self._lives = lives
        self._client = client
        self._own = own

    async def nodes(self) -> KnownNodes:
        """Every node that is known.

        Raises:
            Unreachable: PostgreSQL does not answer.
        """
        sessions = await self._lives.observe()
        reports = await self._reports([session for session in sessions if session.state != "dead"], NOTHING)
        return KnownNodes(
            nodes=tuple(_view(session, reports.get(session.session_id)) for session in sessions),
            unanswered=_silent(reports),
        )

    async def actors(self, wanted: ActorFilter) -> LiveActors:
        """The live actors that a filter lets through, in the order of their process ids.

        Raises:
            Unreachable: PostgreSQL does not answer.
        """
        sessions = [
            session
            for session in await self._lives.observe()
            if session.state != "dead" and wanted.node in (None, session.node, str(session.session_id))
        ]
        reports = await self._reports(sessions, wanted)
        found = [actor for report in reports.values() if report is not None for actor in report.actors]
        # A node that was declared dead and does not know it shows what its successor has: the higher epoch is right.
        found.sort(key=lambda actor: (actor.process_id, -actor.epoch))
        return LiveActors(tuple(found[: wanted.limit]), _silent(reports))

    async def actor(self, process_id: UUID) -> ActorView | None:
        """The live actor of a process.

        Raises:
            Unreachable: PostgreSQL does not answer, or no node has it of those that answered while others did not.
        """
        found = await self.actors(ActorFilter(process_id=process_id, limit=1))
        if found.actors:
            return found.actors[0]
        if found.unanswered:
            raise Unreachable(f"nodes did not answer: {', '.join(map(str, found.unanswered))}")
        return None

    async def drain(self, node_id: UUID) -> NodeView:
        """Ask a node to drain; the node as it is then.

        Raises:
            NotFound: no node that lives has this id.
            Unreachable: PostgreSQL does not answer.
        """
        if not await self._lives.drain(node_id):
            raise NotFound(f"no live node {node_id}")
        for node in (await self.nodes()).nodes:
            if node.id == node_id:
                return node
        raise NotFound(f"no live node {node_id}")

    async def _reports(self, sessions: Sequence[SessionView], wanted: ActorFilter) -> dict[UUID, LiveReport | None]:
        answers = await asyncio.gather(*(self._ask(session, wanted) for session in sessions))
        return {session.session_id: answer for session, answer in zip(sessions, answers, strict=True)}

    async def _ask(self, session: SessionView, wanted: ActorFilter) -> LiveReport | None:
        if self._own is not None and self._own.session_id == session.session_id:
            return self._own.report(wanted)
        return await self._client.ask(session, wanted)


def _silent(reports: dict[UUID, LiveReport | None]) -> tuple[UUID, ...]:
    return tuple(session_id for session_id, report in reports.items() if report is None)


def _view(session: SessionView, report: LiveReport | None) -> NodeView:
    return NodeView(
        id=session.session_id,
        node=session.node,
        state=session.state,
        started_at=session.started_at,
        beat_seq=session.beat_seq,
        lease_ok=session.lease_ok,
        live_actors=None if report is None else report.live_actors,
        address=session.address,
        beat_age_seconds=None if session.beat_age_seconds is None else round(session.beat_age_seconds, 3),
        memory_bytes=None if report is None else report.memory_bytes,
    )
