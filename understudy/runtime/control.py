"""The supervisor's own door: a unix socket in the data folder, for the user who started it alone.

One request a connection, as a line of JSON; the answer is a line for each change, the last of which is settled.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from msgspec import DecodeError, Meta, Struct, json

from understudy.runtime.cluster import Cluster
from understudy.runtime.worker_place import WorkerView

NAME = "cluster.sock"
LINE_SIZE_MAX = 1024 * 1024
REQUEST_SECONDS = 5.0
PATH_LENGTH_MAX = 100
WORKERS_MAX = 1000


class ControlError(Exception):
    """The supervisor cannot be reached, or another one is there already; the message says which."""


class Request(Struct, frozen=True, forbid_unknown_fields=True):
    """How many workers are wanted; without a number, only what there is is asked for."""

    workers: Annotated[int, Meta(ge=0, le=WORKERS_MAX)] | None = None


class Report(Struct, frozen=True):
    """The places as they are."""

    workers: tuple[WorkerView, ...]
    is_settled: bool


class Control:
    """Listens for requests about a cluster."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._cluster = cluster
        self._folder = folder
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            ControlError: another supervisor has this folder.
        """
        listener = _listener(self._folder)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=LINE_SIZE_MAX)

    async def stop(self) -> None:
        """Take no more requests; safe twice and unstarted."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        _remove(self._folder)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                request = json.decode(await reader.readline(), type=Request)
            if request.workers is not None:
                self._cluster.scale(request.workers)
            while True:
                report = Report(self._cluster.views, self._cluster.is_settled or request.workers is None)
                writer.write(json.encode(report) + b"\n")
                await writer.drain()
                if report.is_settled:
                    return
                await self._cluster.change()
        except (DecodeError, ValueError, TimeoutError, ConnectionError):
            return  # whoever asked has gone, or asks in another language
        finally:
            writer.close()


async def ask(folder: Path, request: Request) -> AsyncIterator[Report]:
    """What the supervisor on a data folder reports, until it is settled.

    Raises:
        ControlError: there is none, or it ended meanwhile.
    """
    try:
        with _Door(folder) as path:
            reader, writer = await asyncio.open_unix_connection(path, limit=LINE_SIZE_MAX)
    except OSError:
        raise ControlError(f"no supervisor runs on {folder}; `understudy node up` starts one") from None
    try:
        writer.write(json.encode(request) + b"\n")
        while line := await reader.readline():
            report = json.decode(line, type=Report)
            yield report
            if report.is_settled:
                return
        raise ControlError("the supervisor ended meanwhile")
    except (ConnectionError, DecodeError):
        raise ControlError("the supervisor ended meanwhile") from None
    finally:
        writer.close()


def _listener(folder: Path) -> socket.socket:
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    with _Door(folder) as path:
        if _is_answered(path):
            raise ControlError(f"another supervisor runs on {folder}: use it, or another UNDERSTUDY_DATA_DIR")
        _remove(folder)
        listener = socket.socket(socket.AF_UNIX)
        try:
            os.fchmod(listener.fileno(), 0o600)  # the socket's file is made with these rights
            listener.bind(path)
        except OSError as error:
            listener.close()
            raise ControlError(f"cannot listen in {folder}: {error.strerror}") from None
    return listener


def _remove(folder: Path) -> None:
    with suppress(FileNotFoundError):
        (folder / NAME).unlink()


class _Door:
    """The path of the socket; one that is too long for the kernel is gone around by way of its open folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._descriptor: int | None = None

    def __enter__(self) -> str:
        path = str(self._folder / NAME)
        if len(os.fsencode(path)) <= PATH_LENGTH_MAX:
            return path
        self._descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        return f"/proc/self/fd/{self._descriptor}/{NAME}"

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)


def _is_answered(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True
