"""Sitemaps: the URLs that a site itself lists (https://www.sitemaps.org/protocol.html), plain XML or gzip.

Read as a stream with every bound of its own, since the file may have been made to hurt: no DTD, hence no entities.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from xml.parsers import expat

from pipeline.web.urls import MAX_URL_CHARS

MAX_SITEMAP_BYTES = 10 << 20
"""Of a sitemap as it is sent; almost all are compressed."""
MAX_SITEMAP_XML_BYTES = 50 << 20
"""Of its XML, by the protocol."""
MAX_SITEMAP_URLS = 50_000
"""In one sitemap, by the protocol."""
MAX_SITEMAP_ELEMENTS = 1_000_000
"""In one sitemap: 20 for each of so many URLs."""
MAX_SITEMAP_DEPTH = 16
"""Of nested elements; the protocol has three."""

_STEP_BYTES = 1 << 16  # fed to the parser at once; it holds a tag until it has ended, so no tag may be longer


@dataclass
class Sitemap:
    """What a sitemap names, as written there, in its order."""

    pages: list[str] = field(default_factory=list)
    sitemaps: list[str] = field(default_factory=list)  # where it is an index
    problem: str = ""  # why the rest of it was not read


class _Refused(Exception):
    """The file goes beyond a bound."""


def parse(body: bytes) -> Sitemap:
    """The sitemap in a response's body, up to what is wrong with it. Never raises."""
    reader = _Reader()
    try:
        reader.read(body)
    except (_Refused, expat.ExpatError, zlib.error) as error:
        reader.found.problem = str(error)
    return reader.found


class _Reader:
    def __init__(self) -> None:
        self.found = Sitemap()
        self._path: list[str] = []  # names of the open elements, without their prefix
        self._elements = 0
        self._text = ""  # of the <loc> at hand
        self._parser = expat.ParserCreate("utf-8")  # by the protocol; what the file declares is not looked at
        self._parser.buffer_text = True
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters

    def read(self, body: bytes) -> None:
        inflate = zlib.decompressobj(31) if body.startswith(b"\x1f\x8b") else None
        rest, total = body, 0
        while rest and not (inflate and inflate.eof):
            if inflate:
                step = inflate.decompress(rest, _STEP_BYTES)
                rest = inflate.unconsumed_tail
            else:
                step, rest = rest[:_STEP_BYTES], rest[_STEP_BYTES:]
            total += len(step)
            if total > MAX_SITEMAP_XML_BYTES:
                raise _Refused(f"more than {MAX_SITEMAP_XML_BYTES} bytes of XML")
            before = self._parser.CurrentByteIndex
            self._parser.Parse(step, False)
            if len(step) == _STEP_BYTES and self._parser.CurrentByteIndex == before:
                raise _Refused(f"a tag of more than {_STEP_BYTES} bytes")
        self._parser.Parse(b"", True)

    def _doctype(self, *_: object) -> None:
        raise _Refused("a DTD")

    def _start(self, name: str, _: object) -> None:
        if len(self._path) >= MAX_SITEMAP_DEPTH:
            raise _Refused(f"elements nested deeper than {MAX_SITEMAP_DEPTH}")
        self._elements += 1
        if self._elements > MAX_SITEMAP_ELEMENTS:
            raise _Refused(f"more than {MAX_SITEMAP_ELEMENTS} elements")
        self._path.append(name.rpartition(":")[2])
        self._text = ""

    def _characters(self, text: str) -> None:
        if self._path[-1] == "loc" and len(self._text) <= MAX_URL_CHARS:
            self._text += text[: MAX_URL_CHARS + 1]

    def _end(self, _: str) -> None:
        parent = self._path[-2] if len(self._path) > 1 else ""
        names = {"url": self.found.pages, "sitemap": self.found.sitemaps}.get(parent)
        if self._path.pop() == "loc" and names is not None:
            if len(names) == MAX_SITEMAP_URLS:
                raise _Refused(f"more than {MAX_SITEMAP_URLS} URLs")
            names.append(self._text.strip())
