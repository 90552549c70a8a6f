"""Opt-out marks: tables of headers and of meta tags."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.web.optout import ROBOTS_MARKS, TDM_MARK, header_marks, meta_marks


@pytest.mark.parametrize(
    ("value", "marks"),
    [
        ("noai", ["noai"]),
        ("NoAI, NOIMAGEAI", ["noai", "noimageai"]),
        ("noindex,nofollow", ["noindex"]),
        ("noimageindex", ["noimageindex"]),
        ("noml", ["noml"]),
        ("NOML, nofollow", ["noml"]),
        ("openwit: noml", ["noml"]),
        ("otherbot: noml", []),
        ("nomll", []),
        ("noai; noimageai", ["noai", "noimageai"]),
        ("otherbot: noml; noai", []),
        ('"noai", noml', ["noai", "noml"]),
        ("openwit:noai", ["noai"]),
        ("none", ["none"]),
        ("all", []),
        ("nofollow, nosnippet", []),
        ("", []),
        (",, ,", []),
        ("noaixyz", []),
        ("openwit: noai", ["noai"]),
        ("OpenWIT: noai, noindex", ["noai", "noindex"]),
        ("*: noai", ["noai"]),
        ("otherbot: noai", []),
        ("otherbot: nofollow, noai", []),
        ("noindex, otherbot: noai, nofollow", ["noindex"]),
        ("otherbot: noai, openwit: noindex", ["noindex"]),
        ("openwit-image: noai", []),
        ("max-snippet: 20, noai", ["noai"]),
        ("max-image-preview: none", []),
        ("openwit : max-image-preview : none", []),
        ("unavailable_after: 25 Jun 2030 15:00:00 PST, noai", ["noai"]),
        ("unavailable_after: Fri, 25 Jun 2030 15:00:00 GMT, noai", ["noai"]),
        ("otherbot: unavailable_after: 25 Jun 2030 15:00:00 PST, noai", []),
    ],
)
def test_x_robots_tag(value: str, marks: list[str]) -> None:
    assert header_marks([("X-Robots-Tag", value)]) == tuple(marks)


@pytest.mark.parametrize(
    ("headers", "marks"),
    [
        ([], []),
        ([("Content-Type", "noai")], []),
        ([("x-robots-tag", "noindex"), ("X-ROBOTS-TAG", "noai"), ("X-Robots-Tag", "noai")], ["noai", "noindex"]),
        ([("X-Robots-Tag", "otherbot: nofollow"), ("X-Robots-Tag", "noai")], ["noai"]),
        ([("tdm-reservation", "1")], [TDM_MARK]),
        ([("TDM-Reservation", " 1 "), ("tdm-policy", "https://a.test/p.json")], [TDM_MARK]),
        ([("tdm-reservation", "0")], []),
        ([("tdm-reservation", "0, 1")], [TDM_MARK]),
        ([("tdm-reservation", "0"), ("tdm-reservation", '"1"')], [TDM_MARK]),
        ([("tdm-reservation", "10")], []),
        ([("tdm-policy", "https://a.test/p.json")], []),
        ([("x-robots-tag", "otherbot: noai"), ("x-robots-tag", "noml")], ["noml"]),
        ([("tdm-reservation", "yes")], []),
        ([("tdm-reservation", "1"), ("X-Robots-Tag", "noai")], ["noai", TDM_MARK]),
    ],
)
def test_headers(headers: list[tuple[str, str]], marks: list[str]) -> None:
    assert header_marks(headers) == tuple(marks)


@pytest.mark.parametrize(
    ("name", "content", "marks"),
    [
        ("robots", "noai, noimageai", ["noai", "noimageai"]),
        ("ROBOTS", "NOINDEX", ["noindex"]),
        ("robots", "noindex nofollow", ["noindex"]),
        ("robots", "index, follow, max-image-preview: none, max-snippet:-1", []),
        ("robots", "max-snippet: 20 noindex", ["noindex"]),
        ("openwit", "noai", ["noai"]),
        ("Robots", "NoML", ["noml"]),
        (" RoBoTs ", "noai;noml", ["noai", "noml"]),
        ("OpenWIT", "noml, noimageai", ["noimageai", "noml"]),
        ("TDM-Reservation", " 1 ", [TDM_MARK]),
        ("tdm-policy", "https://a.test/p.json", []),
        ("googlebot", "noindex", []),
        ("tdm-reservation", "1", [TDM_MARK]),
        ("tdm-reservation", "0", []),
        ("description", "noai", []),
    ],
)
def test_meta(name: str, content: str, marks: list[str]) -> None:
    assert meta_marks(content, name) == tuple(marks)


def test_meta_is_about_robots_unless_said_otherwise() -> None:
    assert meta_marks("noindex, noai") == ("noai", "noindex")


@given(st.text(), st.text())
def test_no_text_raises(name: str, value: str) -> None:
    known = {*ROBOTS_MARKS, TDM_MARK}
    assert known.issuperset(header_marks([(name, value), ("x-robots-tag", value)]))
    assert known.issuperset(meta_marks(value, name))
