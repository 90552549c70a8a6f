"""Politeness on a clock of our own: nothing here waits."""

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.web.politeness import (
    DEFAULT_HOLD_SECONDS,
    MAX_CRAWL_DELAY_SECONDS,
    MAX_HOLD_SECONDS,
    RateLimiter,
    retry_after,
)

NOW = datetime(2025, 6, 1, 12, 0, 0, tzinfo=UTC)


class Clock:
    """Time passes when everyone is asleep, and then at once."""

    def __init__(self) -> None:
        self.now = 0.0
        self._asleep: list[tuple[float, int, asyncio.Future[None]]] = []

    async def sleep(self, seconds: float) -> None:
        alarm = asyncio.get_running_loop().create_future()
        heapq.heappush(self._asleep, (self.now + seconds, id(alarm), alarm))
        await alarm

    def run(
        self, work: Callable[[RateLimiter], Coroutine[None, None, None]], rate: float, concurrency: int = 1
    ) -> None:
        """Do some work with a budget that goes by this clock."""

        async def until_done() -> None:
            task = asyncio.create_task(work(RateLimiter(rate, concurrency, lambda: self.now, self.sleep)))
            while not task.done():
                for _ in range(20):  # until everyone sleeps
                    await asyncio.sleep(0)
                if self._asleep:
                    self.now, _, alarm = heapq.heappop(self._asleep)
                    alarm.set_result(None)
            await task

        asyncio.run(until_done())


def starts(
    domains: str,
    rate: float,
    concurrency: int = 1,
    lasts: float = 0.0,
    before: Callable[[RateLimiter], object] = lambda budget: None,
) -> list[tuple[str, float]]:
    """When the turns begin that are asked for at once, in that order: (domain, seconds)."""
    clock, begun = Clock(), list[tuple[str, float]]()

    async def ask(budget: RateLimiter, domain: str) -> None:
        async with budget.turn(domain):
            begun.append((domain, clock.now))
            await clock.sleep(lasts)

    async def all_at_once(budget: RateLimiter) -> None:
        before(budget)
        await asyncio.gather(*(ask(budget, domain) for domain in domains))

    clock.run(all_at_once, rate, concurrency)
    return begun


@pytest.mark.parametrize(
    ("rate", "concurrency", "lasts", "expected"),
    [
        (2.0, 1, 0.0, [0, 0.5, 1, 1.5]),
        (0.1, 1, 0.0, [0, 10, 20, 30]),
        (1.0, 1, 3.0, [0, 3, 6, 9]),  # one at a time, and each takes longer than the interval
        (1.0, 4, 3.0, [0, 1, 2, 3]),
        (1.0, 2, 3.0, [0, 1, 3, 4]),
    ],
)
def test_turns(rate: float, concurrency: int, lasts: float, expected: list[float]) -> None:
    assert starts("aaaa", rate, concurrency, lasts) == [("a", start) for start in expected]


def test_domains_do_not_wait_for_each_other() -> None:
    assert starts("abac", rate=1.0) == [("a", 0), ("b", 0), ("c", 0), ("a", 1)]


@pytest.mark.parametrize(
    ("asked", "pause"),
    [(7.0, 7.0), (None, DEFAULT_HOLD_SECONDS), (1e9, MAX_HOLD_SECONDS), (0.0, 0.0)],
)
def test_hold(asked: float | None, pause: float) -> None:
    assert starts("aa", 1.0, before=lambda budget: budget.hold("a", asked)) == [("a", pause), ("a", pause + 1)]


def test_a_shorter_hold_does_not_shorten_a_longer_one() -> None:
    def hold_twice(budget: RateLimiter) -> None:
        budget.hold("a", 30)
        budget.hold("a", 1)

    assert starts("a", 1.0, before=hold_twice) == [("a", 30)]


def test_hold_reaches_those_who_wait_already() -> None:
    clock, begun = Clock(), list[float]()

    async def ask(budget: RateLimiter) -> None:
        async with budget.turn("a"):
            begun.append(clock.now)

    async def hold(budget: RateLimiter) -> None:
        await clock.sleep(0.5)
        budget.hold("a", 30)

    async def together(budget: RateLimiter) -> None:
        await asyncio.gather(ask(budget), ask(budget), hold(budget))

    clock.run(together, rate=1.0)
    assert begun == [0, 30.5]


@pytest.mark.parametrize(
    ("delay", "interval"),
    [(5.0, 5.0), (0.1, 1.0), (0.0, 1.0), (1e9, MAX_CRAWL_DELAY_SECONDS)],
)
def test_slow_down(delay: float, interval: float) -> None:
    assert starts("aa", 1.0, before=lambda budget: budget.slow_down("a", delay)) == [("a", 0), ("a", interval)]


def test_a_turn_ends_with_its_request_even_if_that_fails() -> None:
    clock, begun = Clock(), list[float]()

    async def fail_twice(budget: RateLimiter) -> None:
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                async with budget.turn("a"):
                    begun.append(clock.now)
                    raise ZeroDivisionError

    clock.run(fail_twice, rate=1.0)
    assert begun == [0, 1]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 0 ", 0),
        ("99999999999999999999", 9_999_999_999),
        ("Sun, 01 Jun 2025 12:01:30 GMT", 90),
        ("Sunday, 01-Jun-25 12:01:30 GMT", 90),
        ("Sun, 01 Jun 2025 11:00:00 GMT", 0),
        ("Sun, 01 Jun 2025 14:00:10 +0200", 10),
        ("Sun, 01 Jun 2025 12:00:05 -0000", 5),
        ("-5", None),
        ("1.5", None),
        ("", None),
        ("soon", None),
        ("٣", None),
        ("Mon, 01 Jan 2024 00:00:00 +9999999999999999", None),
        (f"Mon, 01 Jan {'9' * 30} 00:00:00 GMT", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds


@given(st.text() | st.from_regex(r"\A\w{3}, \d+ \w{3} \d+ \d+:\d+:\d+ [+-]?\w+\Z"))
def test_retry_after_never_raises(value: str) -> None:
    seconds = retry_after(value, NOW)
    assert seconds is None or seconds >= 0
