"""Queries in texts: found at word boundaries, whatever case, punctuation and white space do."""

import io
import lzma
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import Failure
from pipeline.text.matching import Matcher
from pipeline.text.wordnet import synsets


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("dog", "Dog"),
        ("dog", "(dog)"),
        ("dog", '"dog"'),
        ("dog", "dog/cat"),
        ("dog", "dog-cat"),
        ("dog", "a dog's life"),
        ("dog", "…dog…"),
        ("New York", "new  york\u00a0city"),
        ("new york", "new\nyork"),
        ("St. Louis", "The St. Louis Arch"),
        ("Washington, D.C.", "in washington, d.c.!"),
        ("farmer's market", "A farmer’s market"),
        ("café", "CAFE\u0301"),
        ("AT&T", "AT & T"),
        ("C++", "C++11"),
        ("犬", "白い犬が走る"),
        ("แมวดำ", "รูปแมวดำ"),
        ("हिन्दी", "हिन्दी भाषा"),
        ("Nikon", "Ni\u00adkon™"),
    ],
)
def test_found(query: str, text: str) -> None:
    assert Matcher([query]).find([text]) == [[0]]


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("dog", "dogs"),
        ("dog", "hotdog"),
        ("1", "1.5 kg"),
        ("new york", "new, york"),
        ("C++", "C"),
        ("हि", "हिन्दी"),
        ("dog", ""),
    ],
)
def test_not_found(query: str, text: str) -> None:
    assert Matcher([query]).find([text]) == [[]]


def test_overlaps_and_equals_all_count_in_order() -> None:
    queries = ["york", "New York", "new york city", "Polish", "polish", "city", "new"]
    assert Matcher(queries).find(["Polish New York City, new york", "x"]) == [[0, 1, 2, 3, 4, 5, 6], []]


def test_a_query_of_nothing_is_refused() -> None:
    with pytest.raises(Failure, match="query 1 "):
        Matcher(["dog", " \u200b"])


def test_no_queries() -> None:
    assert Matcher([]).find(["a dog"]) == [[]]


def test_every_word_of_two_dictionaries_is_found_in_its_own_text(data: Path) -> None:
    words = {lemma for s in synsets(str(next((data / "queries").glob("wordnet*.deb")))) for lemma in s.lemmas}
    assert len(words) == 148_730
    package = next((data / "queries").glob("wamerican*.deb")).read_bytes()
    archive = lzma.LZMADecompressor().decompress(package[package.index(b"\xfd7zXZ", package.index(b"data.tar.xz")) :])
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        content = files.extractfile("./usr/share/dict/american-english")
        assert content
        words |= set(content.read().decode().split())
    queries = sorted(words)
    assert len(queries) == 214_816
    found = Matcher(queries).find([f"({query}," for query in queries])
    assert [query for n, query in enumerate(queries) if n not in found[n]] == []


PIECES = st.lists(
    st.sampled_from(["a", "b", "A", " ", "-", ".", "1", "é", "犬", "ร", "'"]), min_size=1, max_size=6
).map("".join)


@settings(deadline=None)
@given(st.lists(PIECES.filter(str.strip), max_size=5, unique=True), PIECES)
def test_as_one_query_at_a_time(queries: list[str], text: str) -> None:
    """The automaton of many queries says what a search for each alone would say."""
    (found,) = Matcher(queries).find([text])
    assert found == [n for n, query in enumerate(queries) if Matcher([query]).find([text]) == [[0]]]


@given(st.lists(st.text(min_size=1, max_size=8), max_size=4))
def test_any_text_can_be_asked_for(queries: list[str]) -> None:
    queries = [query for query in queries if query.isprintable() and query.strip() and "\u00ad" not in query]
    try:
        matcher = Matcher(queries)
    except Failure:
        return
    for n, found in enumerate(matcher.find([f" {query} " for query in queries])):
        assert n in found
