"""Paths and messages without what gives access to them."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from core import credentials
from core.credentials import public, public_text, public_word
from core.recipe import expand


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(credentials, "_shown", {})
    monkeypatch.setattr(credentials, "_within", set())
    monkeypatch.setattr(credentials, "_filled_in", None)
    yield


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/data/what?#.csv", "/data/what?#.csv"),
        ("https://host.test/a/b.parquet?X-Amz-Signature=1#x", "https://host.test/a/b.parquet"),
        ("HTTPS://me:pass@host.test/b.parquet?sig=1", "HTTPS://host.test/b.parquet"),
        ("ftp://me@host.test/b@c.parquet", "ftp://host.test/b@c.parquet"),
        ("https://host.test:8080/@me/b.parquet", "https://host.test:8080/@me/b.parquet"),
        ("https://me:pa/ss@host.test/b.parquet", "https://host.test/b.parquet"),
        ("https://me:pa?s#s@host.test/b.parquet", "https://host.test/b.parquet"),
        ("https://me:p@ss@host.test/b.parquet", "https://host.test/b.parquet"),
        ("http://[::1]:80/b.csv?sig=1", "http://[::1]:80/b.csv"),
        ("http://me:pass@[2001:db8::1]/b.csv", "http://[2001:db8::1]/b.csv"),
        ("s3://key:sec/ret@bucket/what?.parquet", "s3://bucket/what?.parquet"),
        ("hdfs://me@host:9000/x.csv", "hdfs://host:9000/x.csv"),
        ("sftp://me:pass@host/x.csv", "sftp://host/x.csv"),
        ("simplecache::https://me:pass@host/x.csv?sig=1", "simplecache::https://host/x.csv"),
        ("zip://a.csv::https://me:pass@host/x.zip?sig=1", "zip://a.csv::https://host/x.zip"),
        ("zip://*.csv::filecache::ftp://me:pass@host/x.zip", "zip://*.csv::filecache::ftp://host/x.zip"),
        ("tar://a::https://h/x.tar?a=1::b#c", "tar://a::https://h/x.tar"),
    ],
)
def test_a_path_is_shown_without_its_secrets(path: str, said: str) -> None:
    assert public(path) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x is not there: correct it", "x is not there: correct it"),
        ("https://me:pass@h/x.csv?sig=1, which is not", "https://h/x.csv?…, which is not"),
        ("404, url='http://h/x?sig=1' (get 'ftp://me:pass@h/y')", "404, url='http://h/x?…' (get 'ftp://h/y')"),
        ("(see http://h/x?sig=1).", "(see http://h/x?…)."),
        ("zip://a.csv::http://me:pass@h/x?sig=1: gone", "zip://a.csv::http://h/x?…: gone"),
        ("http://h/one?sig=1 http://h/two?sig=2", "http://h/one?… http://h/two?…"),
    ],
)
def test_a_message_names_files_without_their_secrets(text: str, said: str) -> None:
    assert public_text(text) == said


@pytest.mark.parametrize(
    ("value", "written", "real", "said"),
    [  # what the recipe says, what a library prints, what a person reads
        ("t0k3n", "https://h/${X}/a.csv", "404: https://h/t0k3n/a.csv is gone", "404: https://h/${X}/a.csv is gone"),
        ("t0k3n", "https://h/${X}/*.csv", "https://h/t0k3n/b.csv", "https://h/${X}/b.csv"),
        ("t0k3n", "s3://bucket/${X}/a.csv", "bucket/t0k3n/a.csv", "bucket/${X}/a.csv"),
        ("t0k3n", "https://me:pw@h/${X}/a", "https://h/t0k3n/a", "https://h/${X}/a"),
        ("a +b/t0k3n", "https://h/${X}/a", "https://h/a%20+b/t0k3n/a", "https://h/${X}/a"),
        ("t0k3n", "simplecache::https://h/${X}/a", "https://h/t0k3n/a", "https://h/${X}/a"),
        ("t0k3n", "https://h/a?key=${X}", "https://h/a?key=t0k3n is gone", "https://h/a?… is gone"),
        ("https://me:pw@h/t0k3n", "${X}/a.csv", "https://me:pw@h/t0k3n/a.csv", "${X}/a.csv"),
        ("https://me:pw@h/t0k3n", "${X}/a.csv", "https://h/t0k3n/a.csv", "${X}/a.csv"),
        ("t0k3n-of-mine", "https://h/${X}/a.csv", "key t0k3n-of-mine is old", "key ${X} is old"),
        ("t0k3n", "/data/${X}/a.csv", "/data/t0k3n/a.csv is gone", "/data/${X}/a.csv is gone"),
        ("t0k3n", "https://h/${X}x/a.csv", "https://h/t0k3nx/a.csv is gone", "https://h/${X}x/a.csv is gone"),
        ("t0k3n", "https://h/${X}*", "https://h/t0k3nab.csv", "https://h/${X}ab.csv"),
        ("t0k3n-of-mine", "https://h/a${X}b.csv", "no at0k3n-of-mineb.csv here", "no a${X}b.csv here"),
        # a message is no riddle where the value is short, or a place on this machine
        ("1", "https://h/${X}/a.csv", "1 of 11 rows: line 1", "1 of 11 rows: line 1"),
        ("data", "s3://bucket/${X}/a.csv", "the data of /data/a is bad data", "the data of /data/a is bad data"),
        ("t0k3n", "https://h/${X}/a.csv", "https://h/t0k3ns/a.csv", "https://h/t0k3ns/a.csv"),
        ("/mnt/disk1/long-name", "${X}/a.csv", "/mnt/disk1/long-name/a.csv", "/mnt/disk1/long-name/a.csv"),
        ("*.test=127.0.0.1:80", "${X}", "*.test=127.0.0.1:80 is none", "*.test=127.0.0.1:80 is none"),
        ("", "https://h/${X}/a.csv", "https://h//a.csv", "https://h//a.csv"),
    ],
)
def test_what_was_filled_in_is_shown_as_the_recipe_has_it(
    monkeypatch: pytest.MonkeyPatch, value: str, written: str, real: str, said: str
) -> None:
    monkeypatch.setenv("X", value)
    assert expand(written, "mine.toml") == written.replace("${X}", value)
    assert public_text(real) == said
    if not real.count(" "):
        assert public(real) == said


def test_a_user_is_cut_off_where_a_library_takes_it_for_a_bucket() -> None:
    assert expand("s3://me:pw@bucket/a.csv", "mine.toml") == "s3://me:pw@bucket/a.csv"
    assert public_text('Invalid bucket name "me:pw@bucket"') == 'Invalid bucket name "bucket"'


def test_of_two_variables_the_longest_path_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A", "one")
    monkeypatch.setenv("B", "two")
    expand("https://h/${A}/${B}/x", "mine.toml")
    expand("https://h/${A}/y", "mine.toml")
    assert public("https://h/one/two/x") == "https://h/${A}/${B}/x"
    assert public("https://h/one/three/x") == "https://h/${A}/three/x"


def test_a_path_with_a_blank_in_it_is_found_whole() -> None:
    expand("https://me:it's mine@h/a file.csv?sig=it's", "mine.toml")
    assert public_text("https://me:it's mine@h/a file.csv?sig=it's is gone") == "https://h/a file.csv is gone"


def test_ten_thousand_signed_urls_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "t0k3n-of-mine")
    started = time.monotonic()
    for n in range(10_000):
        assert public(expand(f"https://h/{n}.csv?key=${{KEY}}&sig={n}", "mine.toml")) == f"https://h/{n}.csv"
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ('crawl.warc=["https://h/a?X-Amz-Signature=1","s3://k:s@b/x"]', 'crawl.warc=["https://h/a?…","s3://b/x"]'),
        ("--set=eval.pictures=ftp://me:pass@h/x.tar", "--set=eval.pictures=ftp://h/x.tar"),
        ('engine.conf={"fs.s3a.secret.key" = "abc"}', "engine.conf=…"),
        ('--set=engine.options={"key" = "abc"}', "--set=engine.options=…"),
        ("engine.workers=2", "engine.workers=2"),
    ],
)
def test_a_command_is_written_down_without_secrets(word: str, said: str) -> None:
    assert public_word(word) == said
