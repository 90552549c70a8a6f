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
    ("text", "path", "allowed"),
    [  # other records don't interfere with groups: section 2.2
        ("User-agent: *\nCrawl-delay: 2\nUser-agent: other\nDisallow: /x", "/x", False),
        ("User-agent: *\nCrawl-delay: 2\nUser-agent: other\nDisallow: /x", "/y", True),
        ("User-agent: *\nContent-Signal: search=yes\nUser-agent: other\nDisallow: /x", "/x", False),
        ("User-agent: *\nLicense: https://a.test/l.xml\nUser-agent: other\nDisallow: /x", "/x", False),
        ("User-agent: *\nfoo: bar\n\nUser-agent: other\nDisallow: /x", "/x", False),
        ("User-agent: *\nSitemap: /s.xml\nUser-agent: other\nDisallow: /x", "/x", False),
        ("User-agent: openwit\nHost: a\nNoindex: /\nUser-agent: other\nDisallow: /x", "/x", False),
        ("User-agent: *\nDisallow:\nUser-agent: other\nDisallow: /x", "/x", True),  # an empty rule is one
        ("User-agent: *\nDisallow: /x\nCrawl-delay: 2\nDisallow: /y", "/y", False),
        ("User-agent: openwit\nCrawl-delay: 5\n\nUser-agent: *\nDisallow: /x", "/x", False),
        ("User-agent: openwit\nDisallow:\n\nUser-agent: *\nDisallow: /x", "/x", True),
        # who is meant
        ("User-agent: *, Googlebot\nDisallow: /x", "/x", False),
        ("User-agent: Googlebot, *\nDisallow: /x", "/x", False),
        ("User-agent: * Googlebot\nDisallow: /x", "/x", False),
        ("User-agent: OpenWIT, other\nDisallow: /x", "/x", False),
        ("User-agent: other;OpenWIT\nDisallow: /x", "/x", False),
        ("User-agent: openwit/1.0 (+http://a.test/bot)\nDisallow: /x", "/x", False),
        ("User-agent: Mozilla/5.0 (compatible; OpenWIT/1.0)\nDisallow: /x", "/x", False),
        ('User-agent: "*"\nDisallow: /x', "/x", False),
        ("User-agent: **\nDisallow: /x", "/x", False),
        ("User-agent:\nDisallow: /x", "/x", False),
        ("User-agent: *, Googlebot\nAllow: /\n\nUser-agent: *\nDisallow: /x", "/x", False),  # unclear means no
        ("User-agent: a OpenWIT\nAllow: /\n\nUser-agent: *\nDisallow: /x", "/x", False),
        ("User-agent: OpenWIT, a\nAllow: /\n\nUser-agent: *\nDisallow: /x", "/x", True),
        ("User-agent: *, a\nDisallow: /x\n\nUser-agent: OpenWIT\nAllow: /", "/x", True),
        ("User-agents: *\nDisallow: /x", "/x", False),
        ("User_Agent : *\nDisallow: /x", "/x", False),
        ("User\u2013agent: *\nDisallow: /x", "/x", False),
        ("User-agent\uff1a*\nDisallow\uff1a/x", "/x", False),
        ("User-agent: \u201c*\u201d\nDisallow: /x/", "/x/1", False),
        ("User-agent: [*]\nDisallow: /x/", "/x/1", False),
        ("User-agent: <*>\nDisallow: /x/", "/x/1", False),
        ("User-agent: \xab*\xbb, Googlebot\nDisallow: /x/", "/x/1", False),
        ("User-agent: .*\nDisallow: /x/", "/x/1", False),
        ("User-agent: [Googlebot]\nDisallow: /x/", "/x/1", True),
        ("User-agent: Googlebot/*\nDisallow: /x/", "/x/1", True),
        ("User-agent: Googlebot/OpenWIT\nDisallow: /x/", "/x/1", False),
        ("User-agent: Googlebot/OpenWIT\nAllow: /\n\nUser-agent: *\nDisallow: /x/", "/x/1", False),
        ("User-agent: *OpenWIT\nDisallow: /x/", "/x/1", False),
        ("User-agent: [OpenWIT]\nDisallow: /x/", "/x/1", False),
        ("User-agent: *OpenWIT-Video\nDisallow: /x/", "/x/1", True),
        # how a rule is written
        ("User-agent *\nDisallow /x", "/x", False),
        ("user-agent : *\ndisallow :/x # why", "/x", False),
        ("User-agent: *\nDissalow: /x", "/x", False),
        ("User-agent: *\nDisalow: /x", "/x", False),
        ("User-agent: *\nDisallowed: /x", "/x", False),
        ("User-agent: *\nDisallowing: /x", "/x", True),
        ("User-agent: *\nDisallow: x/", "/x/a.jpg", False),
        ("User-agent: *\nDisallow: https://example.com/x/", "/x/a.jpg", False),
        ("User-agent: *\nDisallow: https://chat.example.net/*", "/x", True),
        ('User-agent: *\nDisallow: "/x"', "/x", False),
        ("User-agent: *\nDisallow: /a /x", "/x", False),
        ("User-agent: *\nDisallow: /my pictures", "/my%20pictures/a.jpg", False),
        ("User-agent: * Disallow: /x Disallow: /y", "/y", False),
        ("# User-agent: * Disallow: /x\nUser-agent: *", "/x", True),
        ("User-agent: *\nDisallow: /x\nAllow:", "/x", False),
        ("User-agent: *\nDisallow: /a%2fb", "/a/b", True),
        ("User-agent: *\nDisallow: /a%2fb", "/a%2Fb", False),
        ("User-agent: *\nDisallow: /caf%c3%a9", "/caf%C3%A9", False),
        ("User-agent: *\nDisallow: /café", "/caf%C3%A9", False),
        ("User-agent: *\nDisallow: /x/;/y/", "/x/1", False),
        ("User-agent: *\nDisallow: /x/;/y/", "/y/1", False),
        ("User-agent: *\nDisallow: /x/;", "/x/1", False),
        ('User-agent: *\nDisallow: "/y/", "/x/"', "/x/1", False),
        ("User-agent: *\nDisallow: [/x/]", "/x/1", False),
        ("User-agent: *\nDisallow: \u201c/x/\u201d", "/x/1", False),
        ("User-agent: *\nDisallow: /x;id=1", "/x/1", True),
        ("User-agent: *\nDisallow: ;", "/x/1", True),
        ("User-agent: *\nDisallow: /*;", "/x/1", True),
        ("User-agent: *\nDisallow: /*;", "/x;s=1", False),
        ("User-agent: *\nDisallow: /;", "/x/1", False),
        ('"User-agent: *"\n"Disallow: /x/"', "/x/1", False),
        ('"User-agent: *\nDisallow: /x/"', "/x/1", False),
        ('"User-agent: *",\n"Disallow: /x/",', "/x/1", False),
        ('"User-agent": "*",\n"Disallow": "/x/"', "/x/1", False),
        ('"User-agent: *"\n"Disallow:"', "/x/1", True),
        ('"User-agent: Googlebot"\n"Disallow: /x/"', "/x/1", True),
        ("User-agent=*\nDisallow=/x/", "/x/1", False),
        ("User-agent;*\nDisallow;/x/", "/x/1", False),
        ("User-agent,*\nDisallow,/x/", "/x/1", False),
        ("User-agent = * Disallow = /x/", "/x/1", False),
        # in HTML, or in a string of program text
        ("User-agent: *<br>\nDisallow: /x/<br>", "/x/1", False),
        ("User-agent: *<br>\nDisallow: <br>", "/x/1", True),
        ("# ours<br />User-agent: *<br />Disallow: /x/<BR/>", "/x/1", False),
        ("<pre>User-agent: *\nDisallow: /x/\n</pre>", "/x/1", False),
        ('<pre class="a">User-agent: *\nDisallow: /x/</pre>', "/x/1", False),
        ("<p><b>User-agent:</b> *</p>\n<p><b>Disallow:</b> /x/</p>", "/x/1", False),
        ("<table><tr><td>User-agent</td><td>*</td></tr><tr><td>Disallow</td><td>/x/</td></tr>", "/x/1", False),
        ("User-agent:&nbsp;&quot;*&quot;<br>\nDisallow: /x/<br>", "/x/1", False),
        ("User-agent: *\nDisallow: /<id>/y", "/x/1", True),
        (r"User-agent: *\nDisallow: /x/", "/x/1", False),
        (r'"# ours\r\nUser-agent: *\r\n\r\nDisallow: /x/\r\n"', "/x/1", False),
        (r"User-agent: Googlebot\nDisallow: /x/", "/x/1", True),
        ("User-agent: *\nDisallow: /x\\news", "/x/1", True),
        # its bytes
        ("User-agent: *\0\nDisallow: /x", "/x", False),
        ("\0User-\0agent: *\nDis\0allow: /x\0", "/x", False),
        ("User-agent: *\nDisallow: /x".encode("utf-16"), "/x", False),
        (b"\xfe\xff" + "User-agent: *\nDisallow: /ж".encode("utf-16-be"), "/%D0%B6", False),
        ("User-agent: *\r\nDisallow: /x".encode("utf-16-le"), "/x", False),
        ("User-agent: *\nDisallow: /x".encode("utf-16-be"), "/x", False),
        ("User-agent: *\nDisallow: /x".encode("utf-32"), "/x", False),
        (b"User-agent: *\nDisallow: /caf\xe9", "/caf%C3%A9", False),
        (b"User-agent: *\nDisallow: /caf\xe9", "/caf%E9", False),
        (b"User-agent: *\nDisallow: /caf\xe9", "/cafe", True),
        (
            "User-agent: *\nDisallow: /старые-фото".encode("cp1251"),
            "/%D1%81%D1%82%D0%B0%D1%80%D1%8B%D0%B5-%D1%84%D0%BE%D1%82%D0%BE",
            False,
        ),
        (b"# caf\xe9\nUser-agent: *\nDisallow: /x", "/x", False),
        ("Sitemap: /s.xml\n\ufeffUser-agent: *\n\ufeffDisallow: /x", "/x", False),
        ("User-agent: *\u200b\nDisallow: /x", "/x", False),
        ("User-agent: *\rDisallow: /a\rDisallow: /x", "/x", False),
        ("User-agent: *\u2028Disallow: /x", "/x", False),
        ("User-agent: *\f\nDisallow: /x", "/x", False),
        ("<!doctype html><p>User-agent: *<br>Disallow: /x", "/x", True),  # a page that says "not found" with 200
        ("\n <HTML><body>\n<p>User-agent: *<br>\nDisallow: /x</p></body></HTML>", "/x", True),
    ],
)
def test_what_people_write(text: str | bytes, path: str, allowed: bool) -> None:
    assert refusal(text, path) == ("" if allowed else "robots_disallowed")


@pytest.mark.parametrize(
    ("text", "delay"),
    [
        ("", 0),
        ("User-agent: *\nCrawl-delay: 0.5", 0.5),
        ("User-agent: *\nCrawl-delay: .5", 0.5),
        ('User-agent: *\nCrawl-delay: "5"', 5),
        ("User-agent: *\nCrawl-delay=3", 3),
        ("User-agent: *\nCrawl-delay: 2 s", 2),
        ("User-agent: *\nCrawl_delay: 0,5", 0.5),
        ("User-agent: *\nCrawl-delay: 999999999999", 999999999),
        ("User-agent: *\nCrawl-delay: soon", 0),
        ("User-agent: *\nCrawl-delay: 2\nUser-agent: other\nDisallow: /x", 2),
        ("User-agent: other\nCrawl-delay: 120\nUser-agent: *\nCrawl-delay: 10\nAllow: /", 10),
        ("User-agent: other\nUser-agent: *\nCrawl-delay: 3", 3),
        ("User-agent: *\nCrawl-delay: 3\n\nUser-agent: openwit\nCrawl-delay: 1\nDisallow:", 1),
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


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("User-agent: *\nContent-Signal: search=yes,ai-train=no\nAllow: /", "opted_out"),
        ("User-agent: *\nAllow: /\ncontent-signal : ai-input=yes, AI-Train = no", "opted_out"),
        ("Content-Signal: ai-train=no\nUser-agent: other\nDisallow: /", "opted_out"),
        ("User-agent: *\nContent-Signal: ai-train=no\nUser-agent: other\nDisallow: /x", "robots_disallowed"),
        ("User-agent: other\nContent-Signal: ai-train=no\nUser-agent: *\nDisallow: /y", "opted_out"),
        ("User-agent: *\nContent-Signal: ai-train=no\nAllow: /\n\nUser-agent: openwit\nAllow: /", ""),
        ("User-agent: other\nContent-Signal: ai-train=no\nAllow: /", ""),
        ("User-agent: *\nContent-Signal: ai-train=yes, search=no\nAllow: /", ""),
        ("# Content-Signal: ai-train=no\nUser-agent: *\nAllow: /", ""),
    ],
)
def test_content_signals(text: str, reason: str) -> None:
    assert refusal(text, "/x") == reason


NAMES = ("*", "openwit", "OpenWIT/2.0", "other", "openwit-video")
RECORD = st.one_of(
    st.sampled_from(NAMES).map("User-agent: {}".format),
    st.sampled_from(("Allow: /a", "Disallow: /a", "Disallow: /", "disallow:", "Allow: /a/b", "Disallow: /a/b # c")),
    st.sampled_from(("Crawl-delay: 2", "Sitemap: /s.xml", "Content-Signal: search=no", "foo: bar", "", "# x", "oops")),
)


def forbidden(lines: list[str], path: str) -> bool:
    """RFC 9309 for records without misspellings and patterns without wildcards, read line by line."""
    groups: list[tuple[set[str], list[tuple[str, str]]]] = [(set(), [])]
    rules_since = True
    for line in lines:
        name, _, value = (part.strip() for part in line.partition("#")[0].partition(":"))
        if name == "User-agent":
            if rules_since:
                groups.append((set(), []))
            rules_since = False
            groups[-1][0].add(value.partition("/")[0].lower())
        elif name.lower() in ("allow", "disallow"):
            rules_since = True
            groups[-1][1].append((name.lower(), value))
    us = "openwit" if any("openwit" in names for names, _ in groups) else "*"
    rules = [rule for names, rules in groups if us in names for rule in rules if rule[1] and path.startswith(rule[1])]
    return bool(rules) and max(rules, key=lambda rule: (len(rule[1]), rule[0] == "allow"))[0] == "disallow"


@given(st.lists(RECORD, max_size=14), st.sampled_from(("/a", "/a/b.jpg", "/c")), st.sampled_from("\n\r"))
def test_any_mix_of_records_is_read_as_the_rfc_has_it(lines: list[str], path: str, end: str) -> None:
    assert refusal(end.join(lines), path) == ("robots_disallowed" if forbidden(lines, path) else "")


@pytest.mark.parametrize("rule", ["Disallow: /*a*b*c{}", "Disallow: " + "*a" * 500, "Disallow: /{}$", "Allow: *{}*"])
def test_a_flood_of_wildcards_costs_little_a_question(rule: str) -> None:
    body = "User-agent: *\n" + "".join(rule.format(i) + "\n" for i in range(MAX_ROBOTS_BYTES // (len(rule) + 6)))
    rules = judge(RobotsReply(http_status=200, body=body.encode()))
    begun = time.process_time()
    for i in range(10):
        rules.refusal(f"{HOST}/{'ab' * 1_000}{i}")
    assert time.process_time() - begun < 5


@pytest.mark.parametrize(
    "line",
    [
        *("User" + " " * 10**5, "allow" + " \t" * 10**5, " Allow" * 10**5, "\xa0" * 10**5 + "x"),
        *("Disallow: /b" + ", " * 10**5 + "x", "<br " * 10**5, "<" * 10**5, r"\n" * 10**5 + "x", "[" * 10**5),
    ],
)
def test_a_long_line_costs_no_more_than_its_length(line: str) -> None:
    begun = time.process_time()
    refusal(f"User-agent: *\n{line}\nDisallow: /a", "/a")
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
