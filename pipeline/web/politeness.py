"""Politeness: one budget a registered domain, however many of its hosts and pictures are asked for."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MAX_HOLD_SECONDS = 3_600.0
"""The longest pause that a server's Retry-After can ask for."""

DEFAULT_HOLD_SECONDS = 60.0
"""The pause after "too many requests" that does not say how long."""

MAX_CRAWL_DELAY_SECONDS = 60.0
"""The longest time between two requests that a robots.txt can ask for."""


class RateLimiter:
    """At most `rate` requests a second begin at a domain, and at most `concurrency` of them are under way.

    `async with budget.turn("example.com"):` waits for a turn, first come first served, and holds it for one request.
    `clock` (seconds, monotonic) and `sleep` are arguments for the tests' sake.
    """

    def __init__(
        self,
        rate: float,
        concurrency: int = 1,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._domains: defaultdict[str, _Domain] = defaultdict(lambda: _Domain(1 / rate, concurrency))

    @asynccontextmanager
    async def turn(self, domain: str) -> AsyncIterator[None]:
        """One request's turn at a domain."""
        state = self._domains[domain]
        async with state.seats:
            async with state.door:
                while (wait := state.opens_at - self._clock()) > 0:  # again: it may have been held meanwhile
                    await self._sleep(wait)
                state.opens_at = self._clock() + state.interval
            yield

    def hold(self, domain: str, seconds: float | None) -> None:
        """No turn at the domain for so many seconds (at most MAX_HOLD_SECONDS; None: DEFAULT_HOLD_SECONDS)."""
        pause = DEFAULT_HOLD_SECONDS if seconds is None else min(seconds, MAX_HOLD_SECONDS)
        state = self._domains[domain]
        state.opens_at = max(state.opens_at, self._clock() + pause)

    def slow_down(self, domain: str, crawl_delay: float) -> None:
        """At least so many seconds (at most MAX_CRAWL_DELAY_SECONDS) between the turns at the domain from now on."""
        state = self._domains[domain]
        state.interval = max(state.interval, min(crawl_delay, MAX_CRAWL_DELAY_SECONDS))


class _Domain:
    def __init__(self, interval: float, concurrency: int) -> None:
        self.interval = interval  # seconds between the beginnings of two requests
        self.opens_at = float("-inf")  # when, on the budget's clock, the next one may begin
        self.seats = asyncio.Semaphore(concurrency)
        self.door = asyncio.Lock()  # one waits at a time, so that the others keep their order


def retry_after(value: str, now: datetime) -> float | None:
    """Seconds from `now` (aware) that a Retry-After header asks to wait, never negative; None if it is neither form.

    Source: RFC 9110 section 10.2.3: delay-seconds, or an HTTP date.
    """
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:10])
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # OverflowError: a year, a day or an hour of twenty digits
        return None
    if date.tzinfo is None:  # "-0000"
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - now).total_seconds())
