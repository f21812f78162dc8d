"""One `understudy dev` for all tests; each test has a client and a service of the outside world of its own."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.system.client import Client
from tests.system.dev import Dev
from tests.system.target import Target

SECRETS = {"TOKEN": "tok-5d1f0c9a7e", "OTHER": "oth-88ab2c64f1", "PIN": "4711904711", "ODD": 'p/w+&= %é"\\q'}
SETTINGS = {
    "EGRESS_ALLOW": "127.0.0.1",
    "LOG_LEVEL": "debug",
    **{f"SECRET_{name}": value for name, value in SECRETS.items()},
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker("servers")


@pytest.fixture(scope="session")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """The whole program, started once."""
    running = Dev(tmp_path_factory.mktemp("dev"), SETTINGS)
    running.start()
    yield running
    assert running.stop() == 0


@pytest.fixture
async def api(dev: Dev) -> AsyncIterator[Client]:
    async with Client(dev.url) as client:
        yield client


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    served = Target()
    await served.start()
    yield served
    await served.stop()


@pytest.fixture
def secrets() -> dict[str, str]:
    """What the settings of `dev` hold under `secrets`."""
    return SECRETS
