"""The frontier: each URL once, nearest first, and a choice among equals that neither order nor alphabet makes."""

from __future__ import annotations

import random
from collections import Counter

from pipeline.livecrawl.frontier import Found, Frontier

SITE = "http://a.test"
PAGES = [f"{SITE}/{i:03d}.html" for i in range(200)]


def everything(frontier: Frontier) -> list[Found]:
    found = []
    while one := frontier.pop():
        found.append(one)
    return found


def discovered(urls: list[str], seed: int = 1, most: int = 1000, share: int = 1000) -> tuple[Frontier, list[str]]:
    frontier = Frontier("a.test", seed, most)
    frontier.discover(urls, 1, "link", f"{SITE}/", share)
    return frontier, [one.url for one in everything(frontier)]


def test_nearest_first_and_each_once_by_the_shortest_way() -> None:
    frontier = Frontier("a.test", 1, 1000)
    frontier.add(f"{SITE}/", 0, "seed")
    frontier.discover([f"{SITE}/far"], 3, "link", f"{SITE}/x", 9)
    frontier.discover([f"{SITE}/near", f"{SITE}/", f"{SITE}/near"], 1, "sitemap", f"{SITE}/s.xml", 9)
    frontier.discover([f"{SITE}/far", "http://www.a.test/far"], 2, "link", f"{SITE}/y", 9)
    found = [(one.depth, one.url, one.found_by) for one in everything(frontier)]
    assert found == [
        (0, f"{SITE}/", "seed"),
        (1, f"{SITE}/near", "sitemap"),
        (2, "http://www.a.test/far", "link"),
        (2, f"{SITE}/far", "link"),
    ]
    frontier.discover([f"{SITE}/near"], 1, "link", f"{SITE}/z", 9)
    assert frontier.pop() is None, "what was taken out does not come back"


def test_among_equals_a_hash_of_the_seed_decides() -> None:
    shuffled = random.Random(1).sample(PAGES, len(PAGES))
    one, same, other = (discovered(urls, seed)[1] for urls, seed in ((PAGES, 1), (shuffled, 1), (PAGES, 2)))
    assert one == same != other and sorted(one) == sorted(other) == PAGES
    thirds = Counter(PAGES.index(url) * 3 // len(PAGES) for url in one[:90])
    assert min(thirds.values()) >= 15, "the alphabet has no say in it"


def test_a_full_frontier_takes_no_link_but_where_redirects_lead() -> None:
    frontier, kept = discovered(PAGES, most=50)
    assert kept == discovered(PAGES)[1][:50] and frontier.beyond == 150
    frontier.discover([f"{SITE}/more"], 2, "link", f"{SITE}/", 9)
    assert frontier.pop() is None and frontier.beyond == 151
    frontier.add(f"{SITE}/moved", 1, "redirect", kept[0], 1)
    frontier.add(f"{SITE}/moved", 1, "redirect", kept[1], 1)
    assert [(one.url, one.hops) for one in everything(frontier)] == [(f"{SITE}/moved", 1)]


def test_one_page_has_its_share() -> None:
    frontier, kept = discovered(PAGES, share=20)
    assert kept == discovered(PAGES)[1][:20] and frontier.beyond == 180
    frontier.discover(PAGES, 2, "link", f"{SITE}/next", 20)
    assert len(everything(frontier)) == 20, "of what is new"


def test_other_domains_are_counted_and_left_out() -> None:
    elsewhere = ["http://b.test/", "http://nota.test/", "http://a.test.b.test/", "http://192.0.2.1/", "http://b.test/"]
    frontier, kept = discovered([*elsewhere, f"{SITE}/", "https://a.test:8443/", "http://x.y.a.test/"])
    assert set(kept) == {f"{SITE}/", "https://a.test:8443/", "http://x.y.a.test/"} and frontier.elsewhere == 4
