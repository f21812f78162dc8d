from understudy.config import Config
from understudy.domain.cache import NO_CACHE, NoCache
from understudy.domain.ports import Clock
from understudy.persistence.cache import REST_SECONDS, RedisCache

OFF = "off"


def open_cache(config: Config, clock: Clock, *, rest_seconds: float = REST_SECONDS) -> RedisCache | NoCache:
    """A cache with connections of its own, where the configuration says; `rest_seconds` follow each failure."""
    if config.cache_url == OFF:
        return NO_CACHE
    return RedisCache(config.cache_url or config.redis_url, clock, rest_seconds=rest_seconds)
