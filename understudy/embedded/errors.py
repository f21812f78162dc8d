class ServerUnavailable(Exception):
    """A private server cannot be had; the message says what is missing, or why it did not start and what it logged."""


class FolderInUse(ServerUnavailable):
    """Another process runs its servers on this data folder."""
