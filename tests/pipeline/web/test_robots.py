"""robots.txt: RFC 9309's rules and examples, real files, hostile files, and one request an origin.

How an answer can end without one is in test_robots_replies.py.
"""

import asyncio
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.web.robots import MAX_ROBOTS_BYTES, Robots, RobotsReply, Rules, judge, parse

HOST = "https://example.com"
ALLOW_ALL, DISALLOW_ALL = b"", b"User-agent: *\nDisallow: /\n"


def refusal(text: str | bytes, path: str) -> str:
    body = text.encode() if isinstance(text, str) else text
    return judge(RobotsReply(http_status=200, body=body)).refusal(HOST + path)[0]


@pytest.mark.parametrize(
    ("text", "path", "allowed"),
    [
        ("", "/a.jpg", True),
        ("User-agent: *\nDisallow:", "/a.jpg", True),
        ("User-agent: *\nDisallow: /", "/a.jpg", False),
        ("User-agent: *\nDisallow: /", "/robots.txt", True),
        ("User-agent: *\nDisallow: /private/", "/private/a.jpg", False),
        ("User-agent: *\nDisallow: /private/", "/public/a.jpg", True),
        # whose group it is: section 2.2.1
        ("User-agent: OpenWIT\nDisallow: /", "/a.jpg", False),
        ("user-agent:openwit # us\ndisallow:/", "/a.jpg", False),
        ("User-agent: OpenWIT/2.0\nDisallow: /", "/a.jpg", False),
        ("User-agent: OtherBot\nDisallow: /", "/a.jpg", True),
        ("User-agent: Open\nDisallow: /", "/a.jpg", True),
        ("User-agent: OpenWIT-Video\nDisallow: /", "/a.jpg", True),
        ("User-agent: *bot*\nDisallow: /", "/a.jpg", True),
        ("User-agent: *\nDisallow: /\n\nUser-agent: openwit\nAllow: /", "/a.jpg", True),
        ("User-agent: *\nAllow: /\n\nUser-agent: openwit\nDisallow: /", "/a.jpg", False),
        ("User-agent: OtherBot\nUser-agent: OpenWIT\nDisallow: /", "/a.jpg", False),
        (
            "User-agent: OpenWIT\nDisallow: /a\nUser-agent: X\nDisallow: /\nUser-agent: OpenWIT\nDisallow: /b",
            "/b",
            False,
        ),
        (
            "User-agent: OpenWIT\nDisallow: /a\nUser-agent: X\nDisallow: /\nUser-agent: OpenWIT\nDisallow: /b",
            "/c",
            True,
        ),
        ("Disallow: /", "/a.jpg", True),
        # which rule counts: section 2.2.2, the longest; allow where they are equal
        ("User-agent: *\nDisallow: /img\nAllow: /img/free", "/img/free/a.jpg", True),
        ("User-agent: *\nAllow: /img\nDisallow: /img/paid", "/img/paid/a.jpg", False),
        ("User-agent: *\nDisallow: /img\nAllow: /img", "/img/a.jpg", True),
        # wildcards: section 2.2.3
        ("User-agent: *\nDisallow: *.gif$", "/a.gif", False),
        ("User-agent: *\nDisallow: *.gif$", "/a.gif?x", True),
        ("User-agent: *\nDisallow: /*/thumbs/", "/x/thumbs/a.jpg", False),
        ("User-agent: *\nDisallow: /a%3cd.html", "/a%3Cd.html", False),
        ("User-agent: *\nDisallow: /foo/bar/ツ", "/foo/bar/%E3%83%84", False),
        ("\ufeffUser-agent: *\nDisallow: /", "/a.jpg", False),
        ("User-agent: *\rDisallow: /\r", "/a.jpg", False),
        ("<html><body>Disallow: /</body></html>", "/a.jpg", True),
    ],
)
def test_rules(text: str, path: str, allowed: bool) -> None:
    assert refusal(text, path) == ("" if allowed else "robots_disallowed")


@pytest.mark.parametrize(
    ("text", "delay"),
    [
        ("", 0),
        ("User-agent: *\nCrawl-delay: 2.5", 2.5),
        ("User-agent: OtherBot\nCrawl-delay: 9", 0),
        ("User-agent: *\nCrawl-delay: nan", 0),
        ("User-agent: *\nCrawl-delay: -1", 0),
    ],
)
def test_crawl_delay(text: str, delay: float) -> None:
    assert Rules(parsed=parse(text.encode())).crawl_delay == delay


def test_only_the_beginning_is_read_and_no_half_line_of_it() -> None:
    head = b"User-agent: *\nDisallow: /a\n#"
    for end_of_line in (b"\n", b"\r"):
        fill = b"x" * (MAX_ROBOTS_BYTES - len(head) - len(b"\nDisallow: /"))
        body = head + fill + end_of_line + b"Disallow: /private/and/more\nDisallow: /later\n"
        assert body[:MAX_ROBOTS_BYTES].endswith(b"Disallow: /")
        assert refusal(body, "/a.jpg") == "robots_disallowed"
        assert refusal(body, "/b.jpg") == refusal(body, "/later") == ""
    assert refusal(b"User-agent: *\nDisallow: /" + b"x" * MAX_ROBOTS_BYTES, "/a.jpg") == ""


def test_real_files(data: Path) -> None:
    files = sorted((data / "hostile/robots").iterdir())
    refused = {file.name: refusal(file.read_bytes(), "/images/a.jpg") for file in files}
    assert len(refused) >= 300
    assert set(refused.values()) == {"", "robots_disallowed"}


@pytest.mark.parametrize(
    "line",
    ["User-agent: bot{}", "useragent bot{}", "User  agent\tbot{}", "\u2003USER-AGENT : bot{} # x", "user agent:{}"],
)
def test_a_flood_of_robots_costs_no_more_than_its_length(line: str) -> None:
    """Each rule of a group holds for each of its robots: 3,000 of both would be 9 million rules."""
    names = "".join(line.format(i) + "\n" for i in range(3_000))
    rules = "".join(f"Disallow: /{i}\n" for i in range(3_000))
    begun = time.process_time()
    assert refusal(names + rules + "User-agent: *\nDisallow: /a.jpg", "/a.jpg") == "robots_disallowed"
    assert time.process_time() - begun < 2


@given(
    st.text()
    | st.lists(st.sampled_from(["User-agent", ":", "*", "openwit", "Disallow", "/", "$", "\n", "%", "#"])).map("".join)
)
def test_no_text_raises(text: str) -> None:
    assert refusal(text.encode("utf-8", "replace"), "/a/b.jpg?c=d") in ("", "robots_disallowed")


@given(st.binary())
def test_no_bytes_raise(body: bytes) -> None:
    assert refusal(body, "/a/b.jpg?c=d") in ("", "robots_disallowed")


class Server:
    """Answers for robots.txt, slowly, and remembers who asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def fetch(self, url: str) -> RobotsReply:
        self.asked.append(url)
        await asyncio.sleep(0.01)
        return RobotsReply(http_status=200, body=DISALLOW_ALL if "closed" in url else ALLOW_ALL)


def test_one_request_an_origin_however_many_ask() -> None:
    server = Server()
    urls = [f"https://{host}/{i}.jpg" for i in range(20) for host in ("closed.test", "open.test", "open.test:8443")]
    urls.append("http://open.test/a.jpg")

    async def ask_all() -> list[str]:
        robots = Robots(server.fetch)
        rules = await asyncio.gather(*map(robots.rules, urls))
        await asyncio.gather(*map(robots.rules, urls))
        return [each.refusal(url)[0] for each, url in zip(rules, urls, strict=True)]

    assert asyncio.run(ask_all()) == ["robots_disallowed" if "closed" in url else "" for url in urls]
    origins = ("http://open.test", "https://closed.test", "https://open.test", "https://open.test:8443")
    assert sorted(server.asked) == [f"{origin}/robots.txt" for origin in origins]


def test_who_gives_up_waiting_spoils_nothing_for_the_others() -> None:
    server = Server()

    async def ask() -> str:
        robots = Robots(server.fetch)
        impatient = asyncio.create_task(robots.rules("https://closed.test/1.jpg"))
        patient = asyncio.create_task(robots.rules("https://closed.test/2.jpg"))
        await asyncio.sleep(0)
        impatient.cancel()
        rules = await patient
        return rules.refusal("https://closed.test/2.jpg")[0]

    assert asyncio.run(ask()) == "robots_disallowed"
