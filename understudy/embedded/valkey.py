import asyncio
import re
import signal
from pathlib import Path

from understudy.embedded.binaries import find_valkey
from understudy.embedded.child import Step
from understudy.embedded.privileges import account_for, as_account, make_private
from understudy.embedded.server import Server

_START_SECONDS = 60.0
_ANSWER_SECONDS = 0.5


class Valkey(Server):
    """A private Valkey or Redis.

    Durable: keeps an append-only file, flushed each second, and asks for a password, kept in
    `<directory>/valkey.password`. Otherwise (tests) it keeps nothing and trusts everybody on this machine.
    """

    def __init__(self, directory: Path, *, binary: Path | None = None, durable: bool = True, port: int = 0) -> None:
        super().__init__(directory, "valkey", "Valkey", port=port, stop_steps=(Step(signal.SIGTERM, 10.0),))
        self._binary = binary
        self._durable = durable
        self._password = ""

    def url(self, database: int = 0) -> str:
        """Where the numbered database (0 to 15) answers."""
        password = f":{self._password}@" if self._password else ""
        return f"redis://{password}127.0.0.1:{self.port}/{database}"

    async def _launch(self) -> None:
        data = self._folder.path
        account = account_for(data)
        binary = await asyncio.to_thread(find_valkey, self._binary)
        self._password = self._folder.password() if self._durable else ""
        make_private(data, account)
        keep = ["--appendonly", "yes", "--appendfsync", "everysec"] if self._durable else ["--appendonly", "no"]
        options = ["--bind", "127.0.0.1", "--dir", str(data), "--daemonize", "no", "--save", "", *keep]
        # The command line is for everybody to read; "-" takes further settings from the standard input.
        secret = f"requirepass {self._password}\n".encode() if self._password else b""

        def spawn(port: int) -> None:
            command = [str(binary), "--port", str(port), *options, "-"]
            words = as_account(command, account, data=data, death_signal=signal.SIGTERM)
            self._child.spawn(words, inherit=self._folder.lock, stdin=secret)

        await self._listen(spawn, self._answers, _START_SECONDS)

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                facts = await self._facts()
        except (OSError, TimeoutError):
            return False
        # A stranger may have taken the port while ours was starting.
        is_ours = facts.get("process_id") == str(self._child.pid)
        self.version = facts.get("valkey_version") or facts.get("redis_version", "")
        return is_ours and facts.get("loading") == "0"

    async def _facts(self) -> dict[str, str]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            authenticate = f"AUTH {self._password}\r\n" if self._password else ""
            writer.write(f"{authenticate}INFO\r\nQUIT\r\n".encode())
            text = (await reader.read()).decode("utf-8", "replace")
        finally:
            writer.close()
        return dict(re.findall(r"^(\w+):([^\r\n]*)", text, re.MULTILINE))
