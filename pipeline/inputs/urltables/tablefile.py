"""The file of a URL table: what it is by its first bytes and its name, and its bytes unpacked, as UTF-8."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import BinaryIO, NamedTuple, TypeVar

import pyarrow as pa

from core.credentials import public, public_text
from core.errors import UsageError
from core.files import open_input
from pipeline.web.detail import one_line, without_user

T = TypeVar("T")

CHUNK = 1 << 20  # bytes that are read at a time
_PIECE = 8192  # bytes of bzip2 or xz that are unpacked at a time: what they hold is lost if one of them is wrong
_SNIFFED = 4096  # bytes of the beginning that say what a file is

READ = "Parquet, CSV, TSV, text with tabs, JSON or JSON lines, as they are or in gzip, bzip2, xz or zstd"
_KINDS = {
    **dict.fromkeys((".parquet", ".parq", ".pq"), "parquet"),
    ".csv": "csv",
    **dict.fromkeys((".tsv", ".tab"), "tsv"),
    ".txt": "txt",
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), "json"),
}
_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_PART = re.compile(r"(?<=[a-z])\d{3,}$")  # of the parts of a table that is unloaded: photos.tsv000, photos.tsv001
_PACKED_NAMES = (".gz", ".bz2", ".xz", ".zst", ".zstd")

# What is given for a table by mistake, by its first bytes: what it is, and what to do.
_OTHERS = {
    b"ARROW1": ("an Arrow or Feather file", "write it as Parquet"),
    b"\xff\xff\xff\xff": ("an Arrow stream, as datasets.save_to_disk writes it", "write it as Parquet"),
    b"FEA1": ("a Feather file", "write it as Parquet"),
    b"ORC": ("an ORC file", "write it as Parquet"),
    b"Obj\x01": ("an Avro file", "write it as Parquet"),
    b"\x89HDF": ("an HDF5 file", "write it as Parquet"),
    b"SQLite format 3": ("an SQLite database", "export the table as CSV"),
    b"PK\x03\x04": ("a ZIP archive or an Excel sheet", "unpack it, or save the sheet as CSV UTF-8"),
    b"\xd0\xcf\x11\xe0": ("an old Excel sheet", "save it as CSV UTF-8"),
    b"%PDF": ("a PDF", "give the table itself"),
    b"version https://git-lfs": ("a pointer that Git LFS left in its place", "fetch it with git lfs pull"),
    b"\xff\xfe\x00\x00": ("text in UTF-32", "write it as UTF-8: iconv -f UTF-32 -t UTF-8"),
    b"\x00\x00\xfe\xff": ("text in UTF-32", "write it as UTF-8: iconv -f UTF-32 -t UTF-8"),
}
_PAGE = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<error")


class Damaged(Exception):
    """The bytes end or break where they should not; what came before was whole."""

    def __init__(self, error: Exception, path: str = "") -> None:
        """`path`: of the file, which the words of a store's error may hold with its credentials."""
        said = str(error) or type(error).__name__
        said = said.replace(path, "the file") if path else said
        super().__init__(one_line(without_user(public_text(said))))
        cut = isinstance(error, EOFError) or "truncated" in str(error).lower()
        self.reason = "truncated_file" if cut else "damaged_file"


def whole_ones(items: Iterable[T]) -> Iterator[T]:
    """What comes before any damage; the damage itself where it is all there is."""
    some = False
    try:
        for item in items:
            some = True
            yield item
    except Damaged:
        if not some:
            raise


class TableFile(NamedTuple):
    """A file and what is known of it before it is read."""

    path: str
    kind: str  # parquet | csv | tsv | txt | json
    packing: str = ""  # gzip | bz2 | xz | zstd
    encoding: str = ""  # utf-16-le | utf-16-be | cp1252 (of JSON), where it is not UTF-8

    @property
    def shown(self) -> str:
        """The path as messages have it."""
        return public(self.path)

    def chunks(self) -> Iterator[bytes]:
        """The unpacked bytes as UTF-8, without a byte order mark; Damaged where they break off."""
        decoder = codecs.getincrementaldecoder(self.encoding)("replace") if self.encoding else None
        first = True
        for data in _unpacked(self.path, self.packing):
            if decoder:
                data = decoder.decode(data).encode("utf-8", "replace")
            if first:
                data, first = data.removeprefix(codecs.BOM_UTF8), False
            yield data
        if decoder:
            yield decoder.decode(b"", final=True).encode()


def recognise(path: str) -> TableFile:
    """What a file is: by its first bytes, and where they are any text by its name; UsageError where it is no table."""
    with open_input(path) as file:
        raw = file.read(_SNIFFED)
    packing = next((name for magic, name in _PACKED.items() if raw.startswith(magic)), "")
    head = raw
    if packing:
        head = b""
        with suppress(Damaged):  # it is met again where the rows are read
            head = next(_unpacked(path, packing), b"")[:_SNIFFED]
    shown = public(path)
    kind = _kind_by_name(path)
    if head.startswith(b"PAR1"):
        if packing:
            raise UsageError(f"{shown} is a Parquet file inside {packing}: unpack it, Parquet is read from its end")
        return TableFile(path, "parquet")
    for magic, (what, remedy) in _OTHERS.items():
        if head.startswith(magic):
            raise UsageError(f"{shown} is no table but {what}: {remedy}")
    if head.lstrip().lower().startswith(_PAGE):
        raise UsageError(f"{shown} is no table but a page, perhaps an error of the server it came from: get it again")
    if head[257:262] == b"ustar":
        raise UsageError(f"{shown} is no table but a tar archive: unpack it")
    if not kind:
        raise UsageError(f"{shown} is no table that crawl.urls can read: give {READ}, and name it so")
    if kind == "parquet":
        what = f"it begins with {one_line(without_user(head[:20].decode('latin-1')))!r}" if head else "it is empty"
        raise UsageError(f"{shown} is no Parquet file ({what}): get it again, or name it as what it is")
    return TableFile(path, kind, packing, _encoding(head))


def _kind_by_name(path: str) -> str:
    name = public(path).lower().rsplit("/", 1)[-1].partition("?")[0]
    for suffix in _PACKED_NAMES:
        name = name.removesuffix(suffix)
    name = _PART.sub("", name)
    return next((kind for suffix, kind in _KINDS.items() if name.endswith(suffix)), "")


def _encoding(head: bytes) -> str:
    """UTF-16 by its mark, or by the zeros beside the Latin letters, beginning with the header's; empty for all else."""
    if head.startswith(codecs.BOM_UTF16_LE):
        return "utf-16-le"
    if head.startswith(codecs.BOM_UTF16_BE):
        return "utf-16-be"
    half = len(head) // 2
    even, odd = head[: 2 * half : 2], head[1 : 2 * half : 2]
    if odd[:4] == bytes(4) and odd.count(0) > 0.3 * half and even.count(0) < 0.03 * half:
        return "utf-16-le"
    return "utf-16-be" if even[:4] == bytes(4) and even.count(0) > 0.3 * half and odd.count(0) < 0.03 * half else ""


def _unpacked(path: str, packing: str) -> Iterator[bytes]:
    with open_input(path) as file:
        pieces = _pieces(file, packing)
        while True:
            try:
                data = next(pieces, b"")
            except (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException) as error:
                raise Damaged(error, path) from error
            if not data:
                return
            yield data


def _pieces(file: BinaryIO, packing: str) -> Iterator[bytes]:
    """The unpacked bytes, in pieces; all that comes before an error is given before it."""
    if packing in ("bz2", "xz"):
        yield from _streams(file, packing)
    elif packing:
        plain = gzip.GzipFile(fileobj=file) if packing == "gzip" else pa.CompressedInputStream(file, "zstd")
        with plain:
            # read1 gives what there is, where read would lose it with the error that comes after it
            yield from iter(lambda: plain.read1(CHUNK), b"")
    else:
        yield from iter(lambda: file.read(CHUNK), b"")


def _streams(file: BinaryIO, packing: str) -> Iterator[bytes]:
    """The streams of bzip2 or xz, one after the other; zeros may stand between them (of xz: four, or eight, ...).

    Python's own readers of files take anything else between two streams for the end, without a word.
    """
    data = file.read(_PIECE)
    while data:
        stream = bz2.BZ2Decompressor() if packing == "bz2" else lzma.LZMADecompressor(lzma.FORMAT_XZ)
        while not stream.eof:
            if stream.needs_input and not data and not (data := file.read(_PIECE)):
                raise EOFError("it ends before the end of its last stream: truncated")
            piece, data = stream.decompress(data, CHUNK), b""
            if piece:
                yield piece
        zeros, data = 0, stream.unused_data or file.read(_PIECE)
        while data:
            rest = data.lstrip(b"\0")
            zeros += len(data) - len(rest)
            data = rest
            if rest:
                break
            data = file.read(_PIECE)
        if packing == "xz" and zeros % 4:
            raise lzma.LZMAError("zeros between its streams that are no padding")
