"""Files that are given for web archives and are something else, told by their first bytes, each with what to do."""

from __future__ import annotations

import re

_UNPACK = "and name what comes out of it"
_KINDS: tuple[tuple[bytes, str], ...] = (
    (
        rb"PK(?:\x03\x04|\x05\x06)",
        "a zip file, as WACZ files are: unzip it and name the .warc.gz files in its folder archive/",
    ),
    (rb"(?:[\x50-\x5f]\x2a\x4d\x18|\x28\xb5\x2f\xfd)", f"compressed with zstd: decompress it (zstd -d) {_UNPACK}"),
    (rb"BZh[1-9]", f"compressed with bzip2: decompress it (bunzip2) {_UNPACK}"),
    (rb"\xfd7zXZ\0", f"compressed with xz: decompress it (unxz) {_UNPACK}"),
    (rb"\x04\x22\x4d\x18", f"compressed with lz4: decompress it (lz4 -d) {_UNPACK}"),
    (rb"\x1f\x8b", f"compressed with gzip twice: decompress it once (gunzip) {_UNPACK}"),
    (rb"\x1f[\x9d\xa0]", f"compressed with compress: decompress it (uncompress) {_UNPACK}"),
    (rb"7z\xbc\xaf\x27\x1c|Rar!\x1a\x07", f"a 7z or RAR file: unpack it {_UNPACK}"),
    (rb"(?s:.{257})ustar", f"a tar file: unpack it (tar -xf) {_UNPACK}"),
    (rb"PAR1", "a Parquet file: name tables of image URLs in crawl.urls"),
    (
        rb"version https://git-lfs\.github\.com/spec/",
        "the pointer of a file in Git LFS, not the file: get it (git lfs pull)",
    ),
    (rb"/annex/objects/", "the pointer of a file in git-annex, not the file: get it (git annex get)"),
    (rb"WARC/0\.\d{1,2} +\d", "a WARC of an early draft (0.9): rewrite it as WARC/1.0 (warctools)"),
    (rb"\{\s*\"log\"\s*:", "a HAR file: convert it to WARC (har2warc)"),
    (
        rb"(?i:(?:[\w-]{1,40}:[^\n]{0,2000}\n(?:[ \t][^\n]{0,2000}\n){0,9}){0,20}content-type:\s*multipart/related)",
        "an MHTML file, a page saved by a browser: crawl its site with crawl.seeds, or convert it to WARC",
    ),
    (
        rb" CDX [ -~]{1,60}\n|\{\"urlkey\":|[^\s]{1,2000}\)/[^\s]{0,2000} \d{14} [\{h]",
        "an index (CDX), not the archive that it is of: name that in crawl.warc",
    ),
    (
        rb"(?:https?://|s3://|gs://|/|[\w.-]{1,100}/|part-)[^\s]{1,500}"
        rb"\.(?:w?arc(?:\.wat|\.wet)?(?:\.gz)?|parquet)\r?\n",
        "a list of files: get the archives that it names, and name those",
    ),
    (
        rb"(?i:(?:<\?xml[^>]{0,200}>\s*)?<error>)",
        "an error message of a server, kept in the archive's place: get the archive again",
    ),
    (
        rb"(?i:(?:<\?xml[^>]{0,200}>\s*)?(?:<!--|<!doctype|<html|<head|<body|<title|<\?xml))",
        "an HTML or XML page, not an archive: if a server answered so in the archive's place, get the archive again; "
        "for pages of your own, serve them and name the site in crawl.seeds",
    ),
    (rb"[\{\[]", "a JSON file, not an archive: name WARC or ARC files in crawl.warc"),
    (rb"%PDF-", "a PDF file, not an archive: name WARC or ARC files in crawl.warc"),
)
_PATTERNS = tuple((re.compile(pattern), kind) for pattern, kind in _KINDS)


def kind_of(start: bytes) -> str | None:
    """What a file is by its first bytes, and what to do about it; None if it is none of these.

    Of a gzip file the bytes are those that come out of it. 512 bytes tell most, 16 KiB all.
    """
    start = start.removeprefix(b"\xef\xbb\xbf")
    text = start.lstrip(b" \t\r\n")
    found = (kind for pattern, kind in _PATTERNS if pattern.match(start) or pattern.match(text))
    return next(found, None)
