"""Settings: what is read, what is refused, and that each is described."""

import re
from pathlib import Path

import pytest

from understudy.config import Config, ConfigError, read_config

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"
ROW = re.compile(r"^\| `UNDERSTUDY_(\w+)` \| (`(.*?)`|none) \| (\S.*) \|$", re.MULTILINE)


def test_every_setting_is_described_with_its_default() -> None:
    described = {match[1].lower(): match[3] or "" for match in ROW.finditer(REFERENCE.read_text(encoding="utf-8"))}
    config = Config()
    assert described == {name: str(getattr(config, name)) for name in Config.__struct_fields__ if name != "secrets"}


def test_settings_come_from_the_environment_and_flags_win() -> None:
    environment = {
        "UNDERSTUDY_PORT": "9000",
        "UNDERSTUDY_WORKERS": "3",
        "PATH": "/bin",
        "UNDERSTUDY_TEST_REDIS_URL": "x",
    }
    config = read_config(environment, workers=5, host=None)
    assert (config.port, config.workers, config.host) == (9000, 5, "127.0.0.1")


def test_a_setting_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("amqp://broker\n")
    config = read_config({"UNDERSTUDY_RABBITMQ_URL_FILE": str(tmp_path / "url")})
    assert config.rabbitmq_url == "amqp://broker"
    with pytest.raises(ConfigError, match=r"UNDERSTUDY_PORT_FILE: .*absent cannot be read: No such file"):
        read_config({"UNDERSTUDY_PORT_FILE": str(tmp_path / "absent")})


@pytest.mark.parametrize("name", ["UNDERSTUDY_NODE", "UNDERSTUDY_SECRET_TOKEN"])
def test_a_setting_and_its_file_exclude_each_other(tmp_path: Path, name: str) -> None:
    (tmp_path / "value").write_text("b")
    with pytest.raises(ConfigError, match=f"{name} is set twice: itself and as {name}_FILE"):
        read_config({f"{name}_FILE": str(tmp_path / "value"), name: "a"})


def test_secrets_keep_their_names() -> None:
    assert read_config({"UNDERSTUDY_SECRET_STOCK_TOKEN": "s"}).secrets == {"STOCK_TOKEN": "s"}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("UNDERSTUDY_PORTS", "1", "UNDERSTUDY_PORTS is not a setting; did you mean UNDERSTUDY_PORT?"),
        ("UNDERSTUDY_ELEPHANT", "1", "UNDERSTUDY_ELEPHANT is not a setting$"),
        ("UNDERSTUDY_SECRETS", "{}", "UNDERSTUDY_SECRETS is not a setting"),
        ("UNDERSTUDY_PORT", "http", "UNDERSTUDY_PORT: "),
        ("UNDERSTUDY_PORT", "65536", "UNDERSTUDY_PORT: "),
        ("UNDERSTUDY_WORKERS", "-1", "UNDERSTUDY_WORKERS: "),
        ("UNDERSTUDY_COMMIT", "never", "UNDERSTUDY_COMMIT: "),
        ("UNDERSTUDY_QUEUE_TYPE", "stream", "UNDERSTUDY_QUEUE_TYPE: "),
        ("UNDERSTUDY_LEASE_TTL", "soon", "UNDERSTUDY_LEASE_TTL is 'soon': "),
        ("UNDERSTUDY_DRAIN", "-1s", "UNDERSTUDY_DRAIN is '-1s': "),
    ],
)
def test_what_cannot_be_used_is_named(name: str, value: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_config({name: value})


def test_durations_are_read_as_seconds() -> None:
    config = read_config({"UNDERSTUDY_LEASE_TTL": "1500ms", "UNDERSTUDY_DRAIN": "PT1M", "UNDERSTUDY_IDLE": "2m"})
    assert (config.lease_ttl_seconds, config.drain_seconds, config.idle_seconds) == (1.5, 60, 120)


def test_allowed_targets_are_a_list() -> None:
    assert read_config({"UNDERSTUDY_EGRESS_ALLOW": " a.example, 10.0.0.0/8,"}).egress_allowed == (
        "a.example",
        "10.0.0.0/8",
    )
