"""How the bytes of a text are to be decoded."""

from __future__ import annotations

import codecs

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def marked_encoding(data: bytes) -> str:
    """UTF-16 where a byte order mark says so, as Windows saves "Unicode"; else UTF-8, with or without a mark."""
    return "utf-16" if data.startswith(_UTF_16) else "utf-8-sig"
