"""Which of several columns of URLs has the pictures: by name, by what the first rows hold, or asked for."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.inputs.urltables.urlcolumn import is_picture
from pipeline.inputs.urltables.urltable import Options, check, rows
from tests.pipeline.inputs.urltables.tables import FORMS, Columns, put, read, refused, write

PAGES = ["https://shop.test/p/1", "https://shop.test/p/2"]
PHOTOS = ["https://cdn.test/1.jpg", "https://cdn.test/2.PNG?w=600"]
BARE = ["https://cdn.test/aGVsbG8", "https://cdn.test/d29ybGQ"]  # which may be anything
SMALL = ["https://cdn.test/1_s.jpg", "https://cdn.test/2_s.jpg"]
SAID = ["A dog", "A cat"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("columns", "of_pictures"),
    [
        ({"url": PAGES, "image": PHOTOS, "caption": SAID}, "image"),
        ({"url": PAGES, "src": PHOTOS, "caption": SAID}, "src"),
        ({"url": PAGES, "image": BARE, "caption": SAID}, "image"),
        ({"img": PHOTOS, "url": PAGES, "alt": SAID}, "img"),
        ({"url": PAGES, "displayUrl": BARE, "alt": SAID}, "displayUrl"),  # Instagram
        ({"url": PAGES, "urlToImage": BARE, "text": SAID}, "urlToImage"),  # NewsAPI
        ({"text": SAID, "image": PHOTOS, "thumbnail": SMALL, "url": PAGES}, "image"),  # duckduckgo
        ({"photo_url": PAGES, "photo_image_url": BARE, "caption": SAID}, "photo_image_url"),  # Unsplash
        ({"url": PAGES, "download_url": BARE, "alt": SAID}, "download_url"),  # picsum
        ({"url": PAGES, "file": PHOTOS, "caption": SAID}, "file"),  # a name that says nothing
        ({"url": PAGES, "thumbnail": SMALL, "poster": PHOTOS, "caption": SAID}, "poster"),
        ({"url": PAGES, "thumbnail": SMALL, "caption": SAID}, "thumbnail"),
        ({"url": PAGES, "image": ["1.jpg", "2.jpg"], "file": PHOTOS, "caption": SAID}, "file"),
        ({"url": PAGES, "author_avatar": SMALL, "image": PHOTOS, "caption": SAID}, "image"),
        ({"image": PHOTOS, "caption": SAID}, "image"),
        ({"url": PHOTOS, "image": ["a", "b"], "caption": SAID}, "url"),
        ({"url": BARE, "image": ["1.jpg", "2.jpg"], "caption": SAID}, "url"),  # names of files
        ({"url": PHOTOS, "thumbnail": SMALL, "caption": SAID}, "url"),
        ({"url": [*BARE, PHOTOS[0]], "thumbnail": [*SMALL, SMALL[0]], "caption": [*SAID, "A hen"]}, "url"),
        ({"url": BARE, "license_url": PAGES, "author_avatar": SMALL, "caption": SAID}, "url"),
        ({"url": BARE, "page_url": PHOTOS, "caption": SAID}, "url"),  # whatever it is: it says page
        ({"url": BARE, "caption": SAID, "n": ["1", "2"]}, "url"),
        ({"url": ["1", "2"], "more": PHOTOS, "caption": SAID}, "url"),  # no page's either: lost by name
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(value),
)
def test_the_column_of_pictures_is_taken(tmp_path: Path, form: str, columns: Columns, of_pictures: str) -> None:
    path = write(tmp_path, form, columns)
    assert [url for url, _ in read(path)] == columns[of_pictures]
    pages = [row.page_url for row in rows(path, Options())]
    if of_pictures != "url" and "url" in columns:
        assert pages == columns["url"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("columns", "asked"),
    [
        ({"url": BARE, "thumbnail": BARE, "caption": SAID}, "url, thumbnail"),
        ({"url": PAGES, "image": PHOTOS, "src": PHOTOS, "caption": SAID}, "image, src"),
        ({"url": PAGES, "large": PHOTOS, "medium": PHOTOS, "caption": SAID}, "large, medium"),
        ({"url": PAGES, "image": BARE, "file": PHOTOS, "caption": SAID}, "image, file"),
        ({"url": [PAGES[0], *PAGES, PHOTOS[0]], "image": PHOTOS * 2, "caption": SAID * 2}, "url, image"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_columns_that_may_both_be_the_pictures_are_named(
    tmp_path: Path, form: str, columns: Columns, asked: str
) -> None:
    path = write(tmp_path, form, columns)
    said = f"{path} has several columns that may be meant, {asked}: say which it is by crawl.url_column"
    assert refused(path) == said
    check(path, Options(url_column="url"))


PEXELS: dict[str, object] = {"id": 1, "url": PAGES[0], "src": {"original": PHOTOS[0], "tiny": SMALL[0]}, "alt": "A dog"}
GIPHY: dict[str, object] = {
    "url": PAGES[0],
    "images": {"original": {"height": "1", "url": BARE[0]}},
    "alt_text": "A dog",
}
LISTED: dict[str, object] = {"url": PAGES[0], "images": [PHOTOS[0]], "caption": "A dog"}
UNSPLASH: dict[str, object] = {"links": {"html": PAGES[0]}, "urls": {"raw": BARE[0]}, "text": "A dog"}


NESTED: list[tuple[dict[str, object], str]] = [
    (PEXELS, "src.original"),
    (GIPHY, "images.original.url"),
    (LISTED, "images[0]"),
    (UNSPLASH, "urls.raw"),
]


@pytest.mark.parametrize(
    ("row", "way", "form"),
    [
        (row, way, form)
        for row, way in NESTED
        for form in ("list", "lines", "object")
        if form != "object" or "url" in row  # else it is not known which list of an object has the rows
    ],
)
def test_pictures_that_are_nested_are_refused_by_name(
    tmp_path: Path, row: dict[str, object], way: str, form: str
) -> None:
    text = {"list": json.dumps([row, row]), "object": json.dumps({"page": 1, "photos": [row, row]})}
    path = put(tmp_path, "a.json", text.get(form, f"{json.dumps(row)}\n{json.dumps(row)}\n").encode())
    said = refused(path)
    assert f"has the URLs of its pictures inside {way.partition('.')[0].partition('[')[0]} (at .{way})" in said
    assert f".image_url = .{way})" in said and said.endswith("crawl.url_column")
    if "url" in row:
        assert [url for url, _ in read(path, url_column="url")] == [PAGES[0]] * 2


@pytest.mark.parametrize(
    "row",
    [
        {"url": PHOTOS[0], "caption": "A dog", "images": [SMALL[0]]},
        {"url": BARE[0], "caption": "A dog", "author": {"profile_image": PHOTOS[0]}, "boxes": [[1, 2]]},
        {"url": BARE[0], "caption": "A dog", "image": {"path": "1.jpg"}, "links": [PAGES[0]]},
    ],
)
def test_what_is_nested_and_no_picture_of_the_row_leaves_the_url(tmp_path: Path, row: dict[str, object]) -> None:
    assert read(put(tmp_path, "a.jsonl", json.dumps(row).encode())) == [(str(row["url"]), ("A dog",))]


def test_unload_parts_are_what_the_name_says_before_their_number(tmp_path: Path) -> None:
    """Unsplash's photos.tsv000, as Redshift and Spark unload tables."""
    data = f'photo_url\tphoto_image_url\tcaption\n{PAGES[0]}\t{BARE[0]}\t5" nails, cut\n'.encode()
    for name in ("photos.tsv000", "photos.tsv0001", "photos.tsv000.gz"):
        path = put(tmp_path, name, gzip.compress(data) if name.endswith("gz") else data)
        assert read(path) == [(BARE[0], ('5" nails, cut',))]
    assert "is no table that crawl.urls can read" in refused(put(tmp_path, "photos.dat000", data))


@pytest.mark.parametrize(
    ("url", "is_one"),
    [
        ("https://a.test/dog.jpg", True),
        ("//a.test/dog.JPEG?w=5", True),
        ("https://pbs.test/media/x.jpg:large", True),
        ("https://a.test/x?format=webp&w=1", True),
        ("https://commons.test/wiki/File:A_dog.jpg", False),
        ("https://github.test/a/b/blob/main/dog.png", False),
        ("dog.jpg", False),
        ("https://a.test/dog.jpg.html", False),
        ("https://a.jpgs.test/", False),
    ],
)
def test_urls_of_pictures_and_of_their_pages(url: str, is_one: bool) -> None:
    assert is_picture(url) is is_one


def test_the_check_and_the_run_choose_alike_whatever_comes_later(tmp_path: Path) -> None:
    n = 5000
    urls: Sequence[str] = [*PAGES * 500, *(f"https://cdn.test/{i}.jpg" for i in range(n))]
    path = write(
        tmp_path, ".csv", {"url": urls, "image": PHOTOS * (len(urls) // 2), "caption": SAID * (len(urls) // 2)}
    )
    assert {url for url, _ in read(path)} == set(PHOTOS)
