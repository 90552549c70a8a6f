"""Bytes of a web page to text, with the character encoding that a browser would find.

Order (https://html.spec.whatwg.org/#determining-the-character-encoding): byte order mark, Content-Type header, a
<meta> near the start, a guess: UTF-8 if it is that, else windows-1252.
"""

from __future__ import annotations

import codecs
import re
from functools import lru_cache

PRESCAN_BYTES = 16_384
"""How far a <meta> is looked for. The standard's 1,024 is for pages that are still arriving."""

# The encodings of the web (https://encoding.spec.whatwg.org/#names-and-labels), as Python names them. No codec besides
# these is ever used: some of Python's (punycode, unicode_escape) are slow or do more than decode.
_ENCODINGS = """
    utf-8 utf-16-le utf-16-be cp866 cp874 cp1250 cp1251 cp1252 cp1253 cp1254 cp1255 cp1256 cp1257 cp1258
    iso8859-2 iso8859-3 iso8859-4 iso8859-5 iso8859-6 iso8859-7 iso8859-8 iso8859-10 iso8859-13 iso8859-14 iso8859-15
    iso8859-16 koi8-r koi8-u mac-roman mac-cyrillic gb18030 big5hkscs euc_jp iso2022_jp cp932 cp949
"""
_CODECS = {name: name for name in _ENCODINGS.split()} | {  # those for which the web means a larger set
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "utf-16": "utf-16-le",
}
_LABELS = {  # labels of the web that Python does not know, or knows as something else
    "windows-874": "cp874",
    "dos-874": "cp874",
    "iso-8859-8-i": "iso8859-8",
    "logical": "iso8859-8",
    "visual": "iso8859-8",
    "x-sjis": "cp932",
    "x-gbk": "gb18030",
    "x-euc-jp": "euc_jp",
    "x-x-big5": "big5hkscs",
    "x-cp1250": "cp1250",
    "x-cp1251": "cp1251",
    "x-cp1252": "cp1252",
    "x-mac-roman": "mac-roman",
    "macintosh": "mac-roman",
    "x-mac-cyrillic": "mac-cyrillic",
    "koi8-ru": "koi8-u",
    "unicode-1-1-utf-8": "utf-8",
}
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_BE, "utf-16-be"), (codecs.BOM_UTF16_LE, "utf-16-le"))

_COMMENT = re.compile(rb"<!--.*?(?:-->|\Z)", re.DOTALL)
_META = re.compile(rb"<meta[\s/]([^>]*+)>", re.IGNORECASE)
_ATTRIBUTE = re.compile(rb"([^\s/=\"'>]+)(?:\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s>]+)))?")
_IN_CONTENT = re.compile(rb"charset\s*+=\s*+[\"']?+\s*+([^\s\"';,]+)", re.IGNORECASE)


def decode(body: bytes, declared: str | None) -> str:
    """The page's text. `declared` is the Content-Type header's charset; what does not decode becomes U+FFFD."""
    for mark, marked in _MARKS:
        if body.startswith(mark):
            return body[len(mark) :].decode(marked, "replace")
    name = (codec(declared) if declared else None) or declared_in(body)
    if name is None:
        try:
            return body.decode("utf-8")
        except UnicodeDecodeError:
            name = "cp1252"
    return body.decode(name, "replace")


@lru_cache(maxsize=1024)
def codec(label: str) -> str | None:
    """The Python codec for a label of the web (`latin1` is windows-1252 there); None if the web knows no such one."""
    label = label.strip().lower()
    if label in _LABELS:
        return _LABELS[label]
    try:
        return _CODECS.get(codecs.lookup(label).name)
    except (LookupError, ValueError):  # ValueError: a NUL or a surrogate in the label
        return None


def declared_in(body: bytes) -> str | None:
    """The codec that a <meta> among the first PRESCAN_BYTES names: charset="…", or http-equiv with content="…"."""
    for meta in _META.finditer(_COMMENT.sub(b"", body[:PRESCAN_BYTES])):
        values: dict[bytes, bytes] = {}
        for name, *value in _ATTRIBUTE.findall(meta[1]):
            values.setdefault(name.lower(), b"".join(value))
        label = values.get(b"charset")
        if label is None and values.get(b"http-equiv", b"").lower() == b"content-type":
            content = _IN_CONTENT.search(values.get(b"content", b""))
            label = content and content[1]
        name = codec(label.decode("latin-1")) if label else None
        if name:
            return "utf-8" if name.startswith("utf-16") else name  # it was read as ASCII, so it cannot be UTF-16
    return None
