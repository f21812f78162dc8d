"""`understudy migrate`: brings the schema up to date, or tells whether it is."""

from understudy.persistence.migrate import MigrationError, migrate, pending


class MigrationFailed(Exception):
    """The schema cannot be brought up to date; the message says why."""


async def apply_migrations(admin_url: str) -> list[str]:
    """Apply what is missing; the names of what was applied.

    Raises:
        MigrationFailed: see the message.
    """
    try:
        return await migrate(admin_url)
    except MigrationError as error:
        raise MigrationFailed(str(error)) from error


async def pending_migrations(admin_url: str) -> list[str]:
    """The names of the migrations that are not applied yet.

    Raises:
        MigrationFailed: see the message.
    """
    try:
        return await pending(admin_url)
    except MigrationError as error:
        raise MigrationFailed(str(error)) from error
