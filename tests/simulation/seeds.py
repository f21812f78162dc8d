"""What a seed stands for: most are a swarm of faults; every tenth loses commits in failovers as well."""

from msgspec.structs import replace

from tests.simulation.nemesis import draw_profile
from tests.simulation.run import Settings

TRAVEL_EVERY = 10


def settings_of(seed: int) -> Settings:
    """The run that a seed stands for."""
    profile = draw_profile(seed)
    if seed % TRAVEL_EVERY == 0:
        profile = replace(profile, actions=(*profile.actions, "travel back"))
    return Settings(profile=profile)
