"""A limit of requests a minute for each participant or network address."""

import time
from collections.abc import Callable

MOST_KEYS = 100_000


class RateLimit:
    """A bucket for each key, which fills at a steady rate and from which each request takes one.

    Args:
        per_minute: number of requests a minute; as many at once if there was none for a minute.
        clock: monotonic seconds.

    Example:
        >>> limit = RateLimit(2, clock=lambda: 0.0)
        >>> [limit.allows("a"), limit.allows("a"), limit.allows("a"), limit.allows("b")]
        [True, True, False, True]
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic):
        self.per_minute = per_minute
        self.clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}  # allowance, and when it was so

    def allows(self, key: str) -> bool:
        """Whether a request may be answered; it counts if so."""
        now = self.clock()
        allowance, then = self._buckets.pop(key, (float(self.per_minute), now))
        allowance = min(self.per_minute, allowance + (now - then) * self.per_minute / 60)
        is_allowed = allowance >= 1
        self._buckets[key] = (allowance - is_allowed, now)
        while len(self._buckets) > MOST_KEYS:  # those that were not seen for longest
            del self._buckets[next(iter(self._buckets))]
        return is_allowed
