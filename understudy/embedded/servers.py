import asyncio
from pathlib import Path
from types import TracebackType
from typing import Self

from understudy.embedded.postgres import Postgres
from understudy.embedded.valkey import Valkey


class Embedded:
    """A private PostgreSQL and a private Valkey on one data folder."""

    def __init__(
        self,
        directory: Path,
        *,
        durable: bool = True,
        pg_bin_dir: Path | None = None,
        valkey_binary: Path | None = None,
    ) -> None:
        self.postgres = Postgres(directory, bin_dir=pg_bin_dir, durable=durable)
        self.valkey = Valkey(directory, binary=valkey_binary, durable=durable)

    @property
    def postgres_url(self) -> str:
        return self.postgres.url()

    @property
    def redis_url(self) -> str:
        return self.valkey.url()

    async def start(self) -> None:
        """Start both at once, or neither.

        Raises:
            FolderInUse: when another process runs its servers on the folder.
            ServerUnavailable: when one of them cannot be had or does not start.
        """
        try:
            outcomes = await asyncio.gather(self.postgres.start(), self.valkey.start(), return_exceptions=True)
        except asyncio.CancelledError:
            await self.stop()
            raise
        failures = [outcome for outcome in outcomes if outcome is not None]
        if failures:
            await self.stop()
            raise failures[0]

    async def stop(self) -> None:
        """Stop both; harmless when they do not run."""
        await asyncio.gather(self.postgres.stop(), self.valkey.stop())

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
