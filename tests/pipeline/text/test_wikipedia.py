"""Dumps of Wikipedia: which pages are articles, what of them is prose, how often they are read."""

import bz2
import gzip
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Failure
from pipeline.text.wikipedia import Article, articles, plain, views

PAGE = "<page><title>{}</title><ns>{}</ns><id>1</id>{}<revision><id>2</id><text>{}</text></revision></page>"
DUMP = (
    '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/"><siteinfo><sitename>W</sitename></siteinfo>'
    + PAGE.format("Dog", 0, "", "A '''dog''' &amp;amp; a [[cat]].")
    + PAGE.format("Hound", 0, '<redirect title="Dog" />', "#REDIRECT [[Dog]]")
    + PAGE.format("Talk:Dog", 1, "", "I like it")
    + PAGE.format("Empty", 0, "", "")
    + PAGE.format("Пёс", 0, "", "Пёс")
    + "</mediawiki>"
)
EXPECTED = [Article("Dog", "A '''dog''' &amp; a [[cat]]."), Article("Empty", ""), Article("Пёс", "Пёс")]


@pytest.mark.parametrize(
    "content",
    [DUMP.encode(), bz2.compress(DUMP.encode()), bz2.compress(DUMP[:500].encode()) + bz2.compress(DUMP[500:].encode())],
    ids=["plain", "bz2", "bz2 in streams"],
)
def test_articles(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "dump").write_bytes(content)
    assert list(articles(str(tmp_path / "dump"))) == EXPECTED


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("content", [DUMP.encode(), bz2.compress(DUMP.encode())], ids=["plain", "bz2"])
def test_a_dump_cut_off_is_noticed(tmp_path: Path, content: bytes, share: float) -> None:
    path = tmp_path / "dump"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(Failure, match="dump"):
        list(articles(str(path)))


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("A '''bold''' and ''slanted'' word", "A bold and slanted word"),
        ("[[dog]]s and [[Dog|the dog]], [[:Category:Dogs]]", "dogs and the dog, Category:Dogs"),
        ("[[File:A.jpg|thumb|A [[dog]] in [[New York|NY]]]]x[[Category:Dogs]][[de:Hund]]", "x"),
        ("[[Star Wars: Episode IV|Star Wars]]", "Star Wars"),
        ("{{Infobox|name={{lang|de|Hund}}|x}}A dog", "A dog"),
        ("a{{unclosed\n== Heading ==\nb", "a Heading b"),
        ("a}} b", "a}} b"),
        ("x\n{| class=wide\n| cell {{t|}}\n|}\ny", "x y"),
        ("a<ref name=x>cite [[x]]</ref> b<ref name=x />c", "a bc"),
        ("a<!-- hidden -->b<!-- open", "ab"),
        ("<math>x^2</math>a <small>b</small>", "a b"),
        ("see [http://a.test/x the page] or http://b.test/y now", "see the page or now"),
        ("== Head ==\n* one\n# two\n:: three\n; four", "Head one two three four"),
        ("A&nbsp;dog &ndash; &lt;b&gt;", "A dog – <b>"),
        ("__NOTOC__x", "x"),
        ("1 = 1 and a = b", "1 = 1 and a = b"),
    ],
)
def test_plain(markup: str, text: str) -> None:
    assert " ".join(plain(markup).split()) == text


PIECES = [
    "{{",
    "}}",
    "{|",
    "|}",
    "[[",
    "]]",
    "|",
    "<ref>",
    "</ref>",
    "<ref/>",
    "<!--",
    "-->",
    "\n==",
    "''",
    "a",
    "File:",
]


@given(st.lists(st.sampled_from(PIECES), max_size=20))
def test_any_markup_has_a_text_no_longer_than_it(pieces: list[str]) -> None:
    markup = "".join(pieces)
    assert len(plain(markup)) <= len(markup)
    assert plain(f"{markup}\n== b ==\nrest").endswith("rest") or "<!--" in pieces


def test_plain_takes_linear_time() -> None:
    started = time.process_time()
    for piece in ("{{", "}}", "[[", "[[a|", "<ref>", "<!--", "<ref ", "''", "\n==", "[http://a ", "{|\n", "<a ", "]]"):
        plain(piece * (200_000 // len(piece)))
    assert time.process_time() - started < 20


def test_views(tmp_path: Path) -> None:
    lines = [
        "de Hund 7 0",
        "en Dog 50 123",
        "en.m Dog 25 0",
        "en New_York_City 3 0",
        "en Caf%C3%A9 2 0",
        "en Café 1 0",
        "en 100%_Wolf 4 0",
        "en Star_Wars:_Episode_IV 5 0",
        "en Special:Search 900 0",
        "en User_talk:Dog 9 0",
        "en Main_Page 900 0",
        "en - 900 0",
        "en.b Dog 11 0",
        "english Dog 1 0",
    ]
    content = "\n".join(lines).encode() + b"\n"
    expected = {"Dog": 75, "New York City": 3, "Café": 3, "100% Wolf": 4, "Star Wars: Episode IV": 5}
    for data in (content, gzip.compress(content)):
        (tmp_path / "views").write_bytes(data)
        assert views(str(tmp_path / "views")) == expected
    assert views(str(tmp_path / "views"), ("de",)) == {"Hund": 7}


@pytest.mark.parametrize("content", [b"en Dog\n", b"en Dog many 0\n", gzip.compress(b"en Dog 1 0\n" * 99)[:-9]])
def test_views_that_cannot_be_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "views").write_bytes(content)
    with pytest.raises(Failure, match="page views"):
        views(str(tmp_path / "views"))


def test_real_dumps(data: Path) -> None:
    (path,) = (data / "queries").glob("enwiki-latest-*.bz2")
    found = list(articles(str(path)))
    assert len(found) == 106
    assert found[0].title == "Anarchism"
    texts = [plain(article.markup) for article in found]
    assert texts[0].split()[:6] == "Anarchism is a political philosophy that".split()  # noqa: SIM905
    left = sum(text.count(mark) for text in texts for mark in ("{{", "}}", "{|", "|}", "[[", "<ref"))
    assert left < 10, "markup left in 3 million characters"
    (path,) = (data / "queries").glob("bgwiki-*.bz2")  # UTF-16
    assert [article.title for article in articles(str(path))] == ["Григориански календар"]
