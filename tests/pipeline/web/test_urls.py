"""URLs: the Web Platform Tests, a table of our own rules, and agreement with the parser that aiohttp uses."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from pipeline.web.urls import MAX_URL_CHARS, host_of, is_address, normalise, origin_of, registered_domain

LONGEST = "http://a.test/" + "x" * (MAX_URL_CHARS - len("http://a.test/"))


@pytest.mark.parametrize(
    ("url", "base", "expected"),
    [
        ("HTTP://Example.COM:80/a/../b c?q=é#top", None, "http://example.com/b%20c?q=%C3%A9"),
        (" \thttps://example.com\n", None, "https://example.com/"),
        ("../img/a.jpg", "https://example.com/x/y/z.html", "https://example.com/x/img/a.jpg"),
        ("//cdn.example.com/a.jpg", "https://example.com/", "https://cdn.example.com/a.jpg"),
        ("?page=2", "https://example.com/a?page=1", "https://example.com/a?page=2"),
        ("", "https://example.com/a#b", "https://example.com/a"),
        ("http://bücher.example/", None, "http://xn--bcher-kva.example/"),
        ("http://a.test/\ud800", None, "http://a.test/%EF%BF%BD"),
        ("http://0x7f.1/", None, "http://127.0.0.1/"),
        ("http://[::FFFF:127.0.0.1]/", None, "http://[::ffff:7f00:1]/"),
        (LONGEST, None, LONGEST),
        (LONGEST + "#and a fragment", None, LONGEST),
        (LONGEST + "x", None, None),
        ("http://a.test/" + "é" * 344, None, "http://a.test/" + "%C3%A9" * 344),
        ("http://a.test/" + "é" * 345, None, None),
        ("http://a.test/" + "%" * 2_069, None, "http://a.test/" + "%" * 2_069),
        ("http://a.test/?q=é#" + "é" * 10_000, None, "http://a.test/?q=%C3%A9"),
        ("http://a.test/é/" + "x/" * 900, None, "http://a.test/%C3%A9/" + "x/" * 900),
        ("http://user@a.test/", None, None),
        ("http://user:password@a.test/", None, None),
        ("http://a.test/@home", None, "http://a.test/@home"),
        ("ftp://a.test/a.jpg", None, None),
        ("data:image/png;base64,AAAA", "http://a.test/", None),
        ("javascript:void(0)", "http://a.test/", None),
        ("file:///etc/passwd", None, None),
        ("a.jpg", None, None),
        ("a.jpg", "not a base", None),
        ("http://", None, None),
        ("http://a.test:99999/", None, None),
        ("http://xn--pokxncvks/", None, None),
        ("", None, None),
    ],
)
def test_normalise(url: str, base: str | None, expected: str | None) -> None:
    assert normalise(url, base) == expected


@pytest.mark.parametrize(
    "host", ["".join(map(chr, range(0x4E00, 0x4E00 + 5_000))), "%e4%b8%80%e4%b8%81" * 2_500, "é" * 5_000_000]
)
def test_a_host_cannot_take_long(host: str) -> None:
    began = time.process_time()
    assert [normalise(f"http://{host}.test/") for _ in range(300)] == [None] * 300
    assert time.process_time() - began < 10  # in quadratic time one of 5,000 letters takes 40 ms


def test_web_platform_tests(data: Path) -> None:
    cases = json.loads((data / "hostile/url/url/tests/urltestdata.json").read_text("utf-8", "surrogatepass"))
    counts = {"http": 0, "other scheme or user": 0, "failure": 0}
    for case in cases:
        if isinstance(case, str):  # a heading
            continue
        if case.get("failure"):
            kind, expected = "failure", None
        elif case["protocol"] not in ("http:", "https:") or case["username"] or case["password"]:
            kind, expected = "other scheme or user", None
        else:
            kind, expected = "http", case["href"].partition("#")[0]
        assert normalise(case["input"], case["base"]) == expected, case
        counts[kind] += 1
    assert all(counts.values()), counts


@given(st.text(st.sampled_from("abc.:/\\?#@[]%0x1xn--éß。 \t|{}^`\"<>'&=;$,!*~+"), max_size=30))
def test_what_is_checked_is_what_is_asked(text: str) -> None:
    """A normalised URL stays itself, and aiohttp's parser reads the same host, port and path out of it."""
    url = normalise(f"http://{text}")
    if url is None:
        return
    assert normalise(url) == url
    asked = URL(url, encoded=True)
    port = "" if asked.explicit_port is None else f":{asked.explicit_port}"
    assert asked.raw_host == host_of(url)
    assert f"{asked.scheme}://{asked.host_subcomponent}{port}" == origin_of(url)
    assert origin_of(url) + asked.raw_path_qs in (url, url.removesuffix("?"))


@given(st.text(max_size=50), st.none() | st.text(max_size=50))
def test_no_text_raises(url: str, base: str | None) -> None:
    normal = normalise(url, base)
    assert normal is None or normal.isascii()


@pytest.mark.parametrize(
    ("url", "host", "origin"),
    [
        ("http://a.test/b:c", "a.test", "http://a.test"),
        ("https://a.test:8443/", "a.test", "https://a.test:8443"),
        ("http://127.0.0.1:80801/", "127.0.0.1", "http://127.0.0.1:80801"),
        ("http://[2001:db8::1]:8080/x", "2001:db8::1", "http://[2001:db8::1]:8080"),
    ],
)
def test_host_and_origin(url: str, host: str, origin: str) -> None:
    assert (host_of(url), origin_of(url)) == (host, origin)


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("example.com", "example.com"),
        ("img.static.bbc.co.uk", "bbc.co.uk"),
        ("example.com.", "example.com"),
        ("someone.github.io", "someone.github.io"),
        ("github.io", "github.io"),
        ("co.uk", "co.uk"),
        ("www.xn--85x722f.com.cn", "xn--85x722f.com.cn"),
        ("img.photos.test", "photos.test"),  # test is no public suffix
        ("localhost", "localhost"),
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("a..b", "a..b"),
        ("", ""),
    ],
)
def test_registered_domain(host: str, domain: str) -> None:
    assert registered_domain(host) == domain


@pytest.mark.parametrize(("host", "expected"), [("1.2.3.4", True), ("::1", True), ("1.2.3", False), ("a.test", False)])
def test_is_address(host: str, expected: bool) -> None:
    assert is_address(host) is expected
