import asyncio
import re
import shutil
import signal
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from understudy.embedded.child import Child, Step
from understudy.embedded.errors import ServerUnavailable
from understudy.embedded.management import Management
from understudy.embedded.polling import until
from understudy.embedded.privileges import Account, account_for, as_account, make_private
from understudy.embedded.server import Server

_DEBIAN = Path("/usr/lib/rabbitmq")
_NODE = "understudy@localhost"
_START_SECONDS = 120.0
_EPMD_SECONDS = 10.0
_EPMD_TRIED = 5
_ANSWER_SECONDS = 1.0
_CONTROL_SECONDS = 60.0

# What Erlang says between nodes stays on this machine, as does what the control program listens on.
_LOOPBACK_ONLY = "-kernel inet_dist_use_interface {127,0,0,1}"
_AMQP_GREETING = b"AMQP\x00\x00\x09\x01"
_METHOD_FRAME = b"\x01"


class _Ports(NamedTuple):
    distribution: int
    management: int


class RabbitMQ(Server):
    """A private RabbitMQ with an Erlang port mapper of its own: other brokers on the machine are never met.

    Durable: asks for a password, kept in `<directory>/rabbitmq.password`. Otherwise (tests) everybody on this machine
    is `guest`, and there is the management API. In both forms durable queues survive the broker's death.
    """

    def __init__(self, directory: Path, *, binary: Path | None = None, durable: bool = True, port: int = 0) -> None:
        # With the management API the broker sits idle for five seconds after it has put everything away.
        patience_seconds = 30.0 if durable else 1.5
        stop_step = Step(signal.SIGTERM, patience_seconds)
        super().__init__(directory, "rabbitmq", "RabbitMQ", port=port, stop_steps=(stop_step,))
        self._binary = binary
        self._durable = durable
        self._user, self._password = "guest", "guest"
        self._ports = _Ports(0, 0)
        self._mapper = Child("epmd", self._folder.log.with_name("epmd.log"))
        self._mapper_port = 0

    def url(self, vhost: str = "/") -> str:
        """Where the virtual host answers."""
        return f"amqp://{self._user}:{self._password}@127.0.0.1:{self.port}/{quote(vhost, safe='')}"

    @property
    def management(self) -> Management:
        """The management API of a server that is not durable, as a user who may do everything."""
        return Management(f"http://{self._user}:{self._password}@127.0.0.1:{self._ports.management}")

    async def start(self) -> None:
        if not self._child.is_running:
            await self._mapper.stop()
        await super().start()

    async def stop(self) -> None:
        await self._child.stop(*self._stop_steps)
        await self._mapper.stop(Step(signal.SIGTERM, 5.0))
        await super().stop()

    async def kill(self) -> None:
        await self._child.stop()
        await self._mapper.stop()
        await super().kill()

    async def control(self, *words: str) -> str:
        """What `rabbitmqctl` answers.

        Raises:
            ServerUnavailable: when it fails.
        """
        binary = await asyncio.to_thread(find_rabbitmq, self._binary)
        program = Child("rabbitmqctl", self._folder.log.with_name("rabbitmqctl.log"))
        command = [*self._environment(binary), str(binary.with_name("rabbitmqctl")), "-n", _NODE, *words]
        account = account_for(self._folder.path)
        program.spawn(
            as_account(command, account, data=self._folder.path, death_signal=signal.SIGKILL),
            inherit=self._folder.lock,
        )
        await program.finish(_CONTROL_SECONDS)
        return program.output()

    async def _launch(self) -> None:
        data = self._folder.path
        account = account_for(data)
        binary = await asyncio.to_thread(find_rabbitmq, self._binary)
        if self._durable:
            self._user, self._password = "understudy", self._folder.password()
        make_private(data, account)
        _remove_half_made(data)
        if not self._port_is_fixed and self.port and not _is_free(self.port):
            self.port = 0
        if self._port_is_fixed and not _is_free(self.port):
            raise ServerUnavailable(f"RabbitMQ cannot listen on port {self.port}: Address already in use")
        await self._start_mapper(binary, account)

        def spawn(port: int) -> None:
            self._ports = _Ports(*_free_ports(2))
            self._write_settings(account)
            command = [*self._environment(binary, port), str(binary)]
            words = as_account(command, account, data=data, death_signal=signal.SIGTERM)
            self._child.spawn(words, inherit=self._folder.lock)

        await self._listen(spawn, self._answers, _START_SECONDS)
        (data / "complete").touch()

    async def _start_mapper(self, binary: Path, account: Account | None) -> None:
        """Start the port mapper ourselves, so that it ends with us: Erlang would start one that outlives the broker."""
        program = shutil.which("epmd", path=_search_path(binary))
        if program is None:
            raise ServerUnavailable("Erlang's epmd is missing: install the Debian package erlang-base.")
        for _ in range(_EPMD_TRIED):
            (self._mapper_port,) = _free_ports(1)
            command = [program, "-port", str(self._mapper_port), "-address", "127.0.0.1"]
            self._mapper.spawn(
                as_account(command, account, data=self._folder.path, death_signal=signal.SIGKILL),
                inherit=self._folder.lock,
            )
            await until(lambda: not (self._mapper.is_running and _is_free(self._mapper_port)), _EPMD_SECONDS)
            if self._mapper.is_running:
                return
        raise self._mapper.failure("epmd did not start")

    def _write_settings(self, account: Account | None) -> None:
        settings = {
            "log.console": "true",
            "log.file": "false",
            "default_user": self._user,
            "default_pass": self._password,
        }
        if not self._durable:
            settings |= {"management.tcp.ip": "127.0.0.1", "management.tcp.port": str(self._ports.management)}
        plugins = "[].\n" if self._durable else "[rabbitmq_management].\n"
        lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
        for name, text in (("rabbitmq.conf", lines), ("enabled_plugins", plugins), ("env.conf", "")):
            path = self._folder.path / name
            path.unlink(missing_ok=True)
            path.touch(mode=0o600)
            path.write_text(text, encoding="ascii")
            if account is not None:
                shutil.chown(path, account.uid, account.gid)

    def _environment(self, binary: Path, port: int = 0) -> list[str]:
        """The words that run a program of RabbitMQ on our folder and with nothing of the system's settings."""
        data = self._folder.path
        variables = {
            "PATH": _search_path(binary),
            "HOME": data,  # of the cookie by which Erlang nodes know each other
            "LANG": "C.UTF-8",
            "RUNNING_UNDER_SYSTEMD": "true",  # then the script becomes the broker and does not stay its parent
            "RABBITMQ_LOG": "-color",
            "RABBITMQ_NODENAME": _NODE,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": port,
            "RABBITMQ_DIST_PORT": self._ports.distribution,
            "RABBITMQ_CONF_ENV_FILE": data / "env.conf",
            "RABBITMQ_CONFIG_FILE": data / "rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": data / "enabled_plugins",
            "RABBITMQ_MNESIA_BASE": data / "mnesia",
            "RABBITMQ_LOG_BASE": data / "log",
            "RABBITMQ_GENERATED_CONFIG_DIR": data / "config",
            "RABBITMQ_SCHEMA_DIR": data / "schema",
            "RABBITMQ_PID_FILE": data / "pid",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _LOOPBACK_ONLY,
            "RABBITMQ_CTL_ERL_ARGS": _LOOPBACK_ONLY,
            "ERL_EPMD_PORT": self._mapper_port,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_CRASH_DUMP_SECONDS": 0,
        }
        return ["/usr/bin/env", "-i", *(f"{name}={value}" for name, value in variables.items())]

    async def _answers(self) -> bool:
        # Its own log tells it from a stranger who has taken the port, and that the management API listens, too.
        output = self._child.output()
        if "Server startup complete" not in output:
            return False
        if found := re.search(r"Starting RabbitMQ ([\d.]+)", output):
            self.version = found[1]
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                try:
                    writer.write(_AMQP_GREETING)
                    return await reader.readexactly(1) == _METHOD_FRAME
                finally:
                    writer.close()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return False


def find_rabbitmq(binary: Path | None = None) -> Path:
    """The program named, or the one of the installed package; never its wrapper, which serves the system's broker.

    Raises:
        ServerUnavailable: when there is none.
    """
    if binary is not None:
        if not binary.is_file():
            raise ServerUnavailable(f"{binary} is no RabbitMQ server.")
        return binary
    versions = sorted(_DEBIAN.glob("lib/rabbitmq_server-*/sbin/rabbitmq-server"), key=_version, reverse=True)
    for candidate in (_DEBIAN / "bin" / "rabbitmq-server", *versions):
        if candidate.is_file():
            return candidate
    raise ServerUnavailable("No RabbitMQ found: install the Debian package rabbitmq-server.")


def _version(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path.parent.parent.name)]


def _search_path(binary: Path) -> str:
    """Where Erlang is found: where the package puts it beside RabbitMQ, or in the usual places."""
    return f"{binary.parents[2] / 'erlang' / 'bin'}:/usr/local/bin:/usr/bin:/bin"


def _remove_half_made(data: Path) -> None:
    """A first start that was cut off may have left a broker without its user; it held nothing yet."""
    if not (data / "complete").exists():
        shutil.rmtree(data / "mnesia", ignore_errors=True)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
