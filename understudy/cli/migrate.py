"""`understudy migrate`: brings the schema up to date, or tells whether it is."""

from understudy.persistence.migrate import migrate, pending


async def apply_migrations(admin_url: str) -> list[str]:
    """Apply what is missing; the names of what was applied."""
    return await migrate(admin_url)


async def pending_migrations(admin_url: str) -> list[str]:
    """The names of the migrations that are not applied yet."""
    return await pending(admin_url)
