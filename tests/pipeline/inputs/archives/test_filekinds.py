"""Files that are no archives are named, with what to do."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from pathlib import Path

import pytest
from fastwarc.stream_io import ZstdWriter

from pipeline.inputs.archives.warc import Problem, pages
from tests.pipeline.inputs.archives.test_warc import coded
from tests.pipeline.inputs.archives.warcs import HTML, RECORDS, read, reasons, record

WARC = b"".join(RECORDS)


def wacz() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("archive/data.warc.gz", gzip.compress(WARC))
        file.writestr("datapackage.json", "{}")
    return out.getvalue()


def tar() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as file:
        info = tarfile.TarInfo("a.warc")
        info.size = len(WARC)
        file.addfile(info, io.BytesIO(WARC))
    return out.getvalue()


KINDS = [
    (wacz(), "WACZ files are: unzip it and name the .warc.gz files in its folder archive/"),
    (coded(ZstdWriter, WARC), "compressed with zstd: decompress it (zstd -d)"),
    (b"\x5d\x2a\x4d\x18\x04\0\0\0abcd" + coded(ZstdWriter, WARC), "zstd"),  # with a dictionary
    (bz2.compress(WARC), "compressed with bzip2"),
    (lzma.compress(WARC), "compressed with xz"),
    (b"\x04\x22\x4d\x18" + b"x" * 50, "compressed with lz4"),
    (gzip.compress(gzip.compress(WARC)), "compressed with gzip twice"),
    (tar(), "a tar file: unpack it"),
    (json.dumps({"log": {"version": "1.2", "entries": []}}, indent=2).encode(), "a HAR file"),
    (b'{"log":{"version":"1.2"}}', "a HAR file"),
    (b"From: <Saved by Blink>\r\nSubject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/related;\r\n\tx", "MHTML"),
    (HTML, "an HTML or XML page, not an archive"),
    (b"\xef\xbb\xbf\n<!-- x --><html>", "an HTML or XML page, not an archive"),
    (b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>', "an error message of a server"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "Git LFS, not the file: get it"),
    (b"/annex/objects/SHA256E-s1--a.warc.gz\n", "git annex get"),
    (b"WARC/0.9 1234 response http://a.test/ 20060101000000 uuid:x message/http\r\n\r\n", "early draft"),
    (b" CDX N b a m s k r M S V g\ncom,a)/ 20140101000000", "an index (CDX)"),
    (b'com,a)/ 20140101000000 {"url": "http://a.com/"}\n', "an index (CDX)"),
    (b"crawl-data/CC-MAIN-2024-22/segments/1/warc/CC-MAIN-20240517233122-00000.warc.gz\n" * 3, "a list of files"),
    (b"PAR1" + b"\0" * 99, "name tables of image URLs in crawl.urls"),
    (b"%PDF-1.4\n", "a PDF file"),
    (b"just words\n" * 50, "neither a WARC nor an ARC file"),
    (bytes(range(256)) * 20, "neither a WARC nor an ARC file"),
]


@pytest.mark.parametrize(("data", "said"), KINDS, ids=[said for _, said in KINDS])
def test_what_a_file_is_and_what_to_do(tmp_path: Path, data: bytes, said: str) -> None:
    for stored in (data, gzip.compress(data)):
        (found,) = read(tmp_path, stored)
        assert isinstance(found, Problem) and found.reason == "not_an_archive" and said in found.detail
        assert found.lost == len(stored)


@pytest.mark.parametrize("version", [b"WARC/0.17", b"WARC/0.18", b"WARC/1.0", b"WARC/1.1", b"WARC/1.0 "])
def test_versions_that_are_read(tmp_path: Path, version: bytes) -> None:
    whole = reasons(read(tmp_path, WARC))
    assert reasons(read(tmp_path, WARC.replace(b"WARC/1.0", version))) == whole


def test_extracts_of_archives(data: Path, tmp_path: Path) -> None:
    folder = data / "warc" / "commoncrawl+whirlwind-python"
    for kind in ("wat", "wet"):
        for end in ("", ".gz"):
            *_, last = pages(str(folder / f"whirlwind.warc.{kind}{end}"), 5_000_000)
            assert isinstance(last, Problem) and last.reason == "not_an_archive"
            assert last.detail.startswith(f"a {kind.upper()} file") and "name the WARC file" in last.detail
    other = record(b'{"a": 1}', "metadata") + RECORDS[2] + record(b"text", "conversion") + RECORDS[2]
    assert reasons(read(tmp_path, other)) == ["not_a_response", "page", "not_a_response", "page"]


def test_an_archive_that_is_damaged_at_its_start_is_one(tmp_path: Path) -> None:
    for start in (b"\0" * 4 + b"x" * 100, b"\x1f\x8b\x08\0" + b"\xff" * 100, b"x"):
        found = read(tmp_path, start + b"".join(gzip.compress(one) for one in RECORDS))
        assert reasons(found)[0] == "damaged_record" and reasons(found)[1:] == reasons(read(tmp_path, WARC))
    assert reasons(read(tmp_path, b"x" + WARC)) == ["damaged_record", *reasons(read(tmp_path, WARC))]
