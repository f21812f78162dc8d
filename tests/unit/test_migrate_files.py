"""The migrations that ship."""

from understudy.persistence.migrate import Migration, shipped_migrations


def test_the_shipped_migrations_are_numbered_without_a_gap() -> None:
    names = [migration.name for migration in shipped_migrations()]

    assert names[0] == "0001_initial"
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))


def test_the_checksum_is_that_of_the_text() -> None:
    assert Migration("0001_x", "SELECT 1").checksum == Migration("0002_y", "SELECT 1").checksum
    assert Migration("0001_x", "SELECT 1").checksum != Migration("0001_x", "SELECT 1 ").checksum
