"""The files that a recipe names: patterns, variables, links and stores; what is said of those that are not there."""

import os
import sys
from pathlib import Path

import fsspec
import pytest

from core.credentials import public
from core.errors import UsageError
from core.recipe import Recipe, files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.warc", "b.warc", "c.txt", "deep/d.warc"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        ([], []),
        (["a.warc"], ["a.warc"]),
        (["*.warc"], ["a.warc", "b.warc"]),
        (["**/*.warc"], ["a.warc", "b.warc", "deep/d.warc"]),
        (["b.warc", "[ab].warc", "c.txt"], ["a.warc", "b.warc", "c.txt"]),
        (["*"], ["a.warc", "b.warc", "c.txt"]),
    ],
)
def test_patterns_stand_for_files_in_order_and_once(patterns: list[str], found: list[str], folder: Path) -> None:
    listed = files([f"{folder}/{pattern}" for pattern in patterns], "mine.toml", "crawl.warc")
    assert listed == [f"{folder}/{name}" for name in found]


def test_patterns_may_name_variables_and_object_stores(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARCS", str(folder))
    assert files(["${WARCS}/a.warc"], "mine.toml", "crawl.warc") == [f"{folder}/a.warc"]
    for name in ("a", "b"):
        fsspec.filesystem("memory").pipe_file(f"/recipe/{name}.warc", b"")
    assert files(["memory://recipe/*.warc"], "mine.toml", "crawl.warc") == [
        "memory:///recipe/a.warc",
        "memory:///recipe/b.warc",
    ]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("out/*", ["out/_SUCCESS", "out/part-0.csv", "out/part-1.csv"]),
        ("out/*.csv", ["out/part-0.csv", "out/part-1.csv"]),
        ("**/*.csv", ["out/part-0.csv", "out/part-1.csv"]),
        ("**", ["out/_SUCCESS", "out/part-0.csv", "out/part-1.csv"]),
        ("out/.*", ["out/.part-0.csv.crc", "out/.part-1.csv.crc"]),
        (".git/*", [".git/a.csv"]),
        ("out/.part-0.csv.crc", ["out/.part-0.csv.crc"]),
    ],
)
def test_patterns_stand_for_no_hidden_files(pattern: str, found: list[str], tmp_path: Path) -> None:
    """As in a shell: Spark and Hadoop leave a checksum beside each part."""
    names = ["part-0.csv", ".part-0.csv.crc", "part-1.csv", ".part-1.csv.crc", "_SUCCESS"]
    memory = fsspec.filesystem("memory")
    for name in (".git/a.csv", *(f"out/{name}" for name in names)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
        memory.pipe_file(f"/hidden/{name}", b"")
    listed = files([f"{tmp_path}/{pattern}"], "mine.toml", "crawl.urls")
    assert listed == [f"{tmp_path}/{name}" for name in found]
    if "**" not in pattern:
        stored = files([f"memory://hidden/{pattern}"], "mine.toml", "crawl.urls")
        assert stored == [f"memory:///hidden/{name}" for name in found]
    for stored_folder in (f"{tmp_path}/out", "memory://hidden/out"):
        with pytest.raises(UsageError, match=rf"for example {stored_folder}/\*\.csv \(2 of its 2 files\)"):
            files([stored_folder], "mine.toml", "crawl.urls")


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("none.xyz", "which is not there ({} has no such name): correct the path"),
        ("*.gz", "which is not there ({} has no such name): correct the path"),
        ("a.wrac", "which is not there (there is a.warc, b.warc in {}): correct the path"),
        ("deap/*.warc", "which is not there (there is deep in {}): correct the path"),
        ("no/such/*.warc", "which is not there ({} has no such name): correct the path"),
        ("deep\\d.warc", "which is not there: write / between folders, not \\"),
        ("C:\\data\\*.warc", "which is not there: write / between folders, not \\"),
        ("de*", "which matches only folders: append /* for the files in them"),
        ("deep", "which is a folder: name the files in it, for example {}/deep/*.warc (1 of its 1 files)"),
        ("packed/", "which is a folder: name the files in it, for example {}/packed/*.warc.gz (2 of its 3 files)"),
        ("above", "which is a folder: name the files in it, for example {}/above/**/*.csv.gz (1 of its 1 files)"),
        ("empty", "which is a folder without files: name files, or a pattern of them"),
        ("lost.warc", "which is a link to what is not there: correct the link"),
        ("pipe", "which is no file that can be read twice (a pipe or a device): write what it gives to a file"),
    ],
)
def test_a_path_that_stands_for_no_file_is_refused_with_its_remedy(pattern: str, says: str, folder: Path) -> None:
    for name in ("packed/a.warc.gz", "packed/b.warc.gz", "packed/README", "above/below/t.csv.gz"):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_bytes(b"")
    (folder / "empty").mkdir()
    with pytest.raises(UsageError) as error:
        if pattern in {"lost.warc", "pipe"}:
            (folder / "lost.warc").symlink_to(folder / "nowhere")
            os.mkfifo(folder / "pipe")
        files([f"{folder}/a.warc", f"{folder}/{pattern}"], "mine.toml", "crawl.warc")
    assert str(error.value) == f"mine.toml: crawl.warc names {folder}/{pattern}, {says.format(folder)}"


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("data[1].warc", ["data[1].warc"]),
        ("data[12].warc", ["data1.warc"]),
        ("set[1]/*.warc", ["set[1]/e.warc"]),
        ("set[1]/**/*.warc", ["set[1]/e.warc", "set[1]/of/f.warc"]),
        ("what?.csv", ["what?.csv"]),
        ("st*r.csv", ["st*r.csv"]),
        ("*.csv", ["st*r.csv", "what?.csv"]),
    ],
)
def test_a_name_that_is_there_is_no_pattern(pattern: str, found: list[str], tmp_path: Path) -> None:
    for name in (
        "data[1].warc",
        "data1.warc",
        "set[1]/e.warc",
        "set[1]/of/f.warc",
        "set1/g.warc",
        "what?.csv",
        "st*r.csv",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(b"")
    for start in (f"{tmp_path}", f"file://{tmp_path}"):
        assert files([f"{start}/{pattern}"], "mine.toml", "crawl.warc") == [f"{tmp_path}/{name}" for name in found]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("linked/*.warc", "linked/d.warc"),
        ("linked/d.warc", "linked/d.warc"),
        ("*/d.warc", "deep/d.warc"),
        ("**/d.warc", "deep/d.warc"),
        ("away/*.warc", "away/h.warc"),
        ("**/h.warc", "away/h.warc"),
    ],
)
def test_folders_that_are_links_are_gone_into_once(
    pattern: str, found: str, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    away = tmp_path_factory.mktemp("disk")
    (away / "h.warc").write_bytes(b"")
    (folder / "away").symlink_to(away)
    (folder / "linked").symlink_to("deep")
    (folder / "deep" / "round").symlink_to("..")  # back to where it began
    assert files([f"{folder}/{pattern}"], "mine.toml", "crawl.warc") == [f"{folder}/{found}"]


def test_links_to_one_file_are_files_of_their_own(folder: Path) -> None:
    (folder / "e.warc").symlink_to("a.warc")
    assert files([f"{folder}/*.warc"], "mine.toml", "crawl.warc") == [f"{folder}/{n}.warc" for n in "abe"]


def test_a_tilde_is_the_home_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert files(["~/a.warc", "~/deep/*"], "mine.toml", "crawl.warc") == [f"{folder}/a.warc", f"{folder}/deep/d.warc"]
    assert Recipe("mine.toml", {"run": {"out": "~/out"}}).out == f"{folder}/out"


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("", "mine.toml: crawl.urls names , which is empty: give a path"),
        (
            "s3://bucket/*.parquet",
            "s3://bucket/*.parquet is read by s3fs, which is not here: pip install s3fs, then run",
        ),
        (
            "hf://datasets/a/b/c.parquet",
            "is read by huggingface_hub, which is not here: pip install huggingface_hub, then",
        ),
        (
            "simplecache::gs://bucket/a",
            "simplecache::gs://bucket/a is read by gcsfs, which is not here: pip install gcsfs",
        ),
        ("gs://bucket/a.parquet", "is read by gcsfs, which is not here: pip install gcsfs, then run again"),
        ("s4://bucket/a", "s4://bucket/a is on no file system that is known (Protocol not known: s4): correct it"),
        (
            "http://me:secret@127.0.0.1:1/a.parquet?X-Amz-Signature=secret",
            "mine.toml: crawl.urls names http://127.0.0.1:1/a.parquet, which cannot be looked for (ClientConn",
        ),
        (
            "ftp://me:secret@127.0.0.1:1/a.csv",
            "mine.toml: crawl.urls names ftp://127.0.0.1:1/a.csv, which cannot be looked for (ConnectionRefused",
        ),
    ],
)
def test_what_cannot_be_reached_is_said(path: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("s3fs", "huggingface_hub", "gcsfs"):
        monkeypatch.setitem(sys.modules, package, None)
    for protocol in ("s3", "hf", "gs"):
        monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, protocol, raising=False)
    with pytest.raises(UsageError) as error:
        files([path], "mine.toml", "crawl.urls")
    assert says in str(error.value) and "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/data/what?#.csv", "/data/what?#.csv"),
        ("https://host.test/a/b.parquet?X-Amz-Signature=1#x", "https://host.test/a/b.parquet"),
        ("https://me:pass@host.test/b.parquet", "https://host.test/b.parquet"),
        ("ftp://me@host.test/b@c.parquet", "ftp://host.test/b@c.parquet"),
        ("s3://bucket/what?.parquet", "s3://bucket/what?.parquet"),
    ],
)
def test_a_url_is_shown_without_its_secrets(path: str, said: str) -> None:
    assert public(path) == said


def test_relative_paths_are_those_of_the_working_directory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert files(["a.warc"], "mine.toml", "crawl.warc") == [os.fspath(folder / "a.warc")]


@pytest.mark.parametrize(
    "path", ["zip://a.csv::https://user:secret@h.test/b.zip?sig=secret", "tar://a.warc::/data/b.tar"]
)
def test_a_file_within_another_is_not_read(path: str) -> None:
    with pytest.raises(UsageError, match=r"r\.toml: crawl\.urls names (zip|tar)://.*, a file within another") as error:
        files([path], "r.toml", "crawl.urls")
    assert "secret" not in str(error.value)
