"""Pages of real sites give exactly their pairs; hostile ones give rows that keep their promises, or none."""

import csv
import html
import json
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ids import fold
from pipeline.inputs.archives.warc import Page
from pipeline.inputs.pages.around import MAX_TEXT_CHARS
from pipeline.inputs.pages.extract import Found, candidates
from pipeline.web.urls import normalise
from tests.conftest import SITES

URL = "http://a.test/d/page.html"


def found(body: str, url: str = URL, headers: tuple[tuple[str, str], ...] = ()) -> list[Found]:
    return list(candidates(Page(url, body.encode("utf-8", "surrogatepass"), "utf-8", headers, 0, None)))


@pytest.mark.parametrize("host", SITES)
def test_exactly_the_pairs_of_a_site(data: Path, host: str) -> None:
    site, name = data / "web" / f"{host}.test", f"{host}.test"
    truth: dict[str, set[tuple[str | None, str]]] = defaultdict(set)
    with (data / "web" / f"{name}.pairs.tsv").open(newline="", encoding="utf-8") as table:
        for row in csv.DictReader(table, delimiter="\t"):
            if row["alt"].strip():
                truth[row["page"]].add((normalise("/" + row["img"], f"http://{name}/"), fold(row["alt"])))
    taken: dict[str, set[tuple[str | None, str]]] = defaultdict(set)
    for path in sorted(site.rglob("*.htm*")):
        page = str(path.relative_to(site))
        for one in candidates(Page(f"http://{name}/{page}", path.read_bytes(), None, (), 0, None)):
            if one.text_source == "alt":
                taken[page].add((one.image_url, one.text))
    assert taken == truth
    assert len(truth) > 0


def test_hostile_html(data: Path) -> None:
    strings = json.loads((data / "hostile" / "blns" / "blns.json").read_text())
    for path in sorted((data / "hostile" / "html5lib" / "tokenizer").glob("*.test")):
        strings += [case["input"] for case in json.loads(path.read_text()).get("tests", [])]
    assert len(strings) > 1_000
    for text in strings:
        for body in (
            text,
            f"<img src=a.jpg alt='{html.escape(text)}'>",
            f"<img alt=A src='{text}",
            f"{text}<img src=a alt=A>",
        ):
            assert all(row.text == fold(row.text) for row in found(body))


def test_texts_survive(data: Path) -> None:
    """A text in an attribute comes back as the reader of the page would see it."""
    for text in json.loads((data / "hostile" / "blns" / "blns.json").read_text()):
        expected = fold(text.replace("\0", "\ufffd"))
        rows = found(f'<img src=a.jpg alt="{html.escape(text)}">')
        assert [row.text for row in rows if not row.reason] == ([expected] if expected else [])


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([None, "utf-8", "utf-16", "gb18030", "iso-2022-jp", "hex", "\0"]))
def test_no_bytes_raise(body: bytes, charset: str | None) -> None:
    for prefix in (b"", b"<img src=", b"<img src=a alt=", b"<figure><img src=a><figcaption>", b"<base href="):
        rows = list(candidates(Page(URL, prefix + body, charset, (("x-robots-tag", "noai"),), 0, None)))
        assert all(
            bool(row.reason) != bool(row.text) or row.reason in ("repeated_on_page", "text_too_long") for row in rows
        )
        assert all(len(row.text) <= MAX_TEXT_CHARS for row in rows)
