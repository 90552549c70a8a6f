"""The encodings of the web (https://encoding.spec.whatwg.org): what their labels mean, and bytes to text by one.

Labels are webencodings'. The decoders are Python's, mended where they read less than the standard's.
"""

from __future__ import annotations

import codecs
from contextlib import suppress
from functools import lru_cache

import webencodings
from webencodings.labels import LABELS

SEVERAL_BYTES = frozenset(
    ("utf-8", "utf-16-le", "utf-16-be", "gb18030", "big5hkscs", "euc_jp", "iso2022_jp", "cp932", "cp949", "replacement")
)
_MORE = {"koi8-u": {0xAE: "ў", 0xBE: "Ў"}, "cp1255": {0xCA: "\u05ba"}}  # where Python has lines of tables, and nothing
_EURO = {"gb18030": b"\x80", "big5hkscs": b"\xa3\xe1"}
_AS_MICROSOFT = str.maketrans("〜‖−¢£¬", "～∥－￠￡￢")  # the same characters of JIS X 0208, as browsers read them

_MAX_MENDED = 10_000
"""Errors of a body up to which the handlers are called, a microsecond each."""


@lru_cache(maxsize=1024)
def codec(label: str) -> str | None:
    """The codec for a label of the web (`latin1` is windows-1252 there); None if the web knows no such encoding.

    Names are Python's, besides `x-user-defined` and `replacement`. Python's further labels (cp932, utf_8) are
    understood, its further codecs are not: some (punycode, unicode_escape) are slow or do more than decode.
    """
    label = label.strip("\t\n\f\r \"';")
    try:
        name = _of_the_web(label) or codecs.lookup(label).name
    except (LookupError, ValueError):  # ValueError: a NUL or a surrogate in the label
        return None
    return _of_the_web(name) or (name if name in _names() else None)


def decoded_as(body: bytes, name: str) -> str:
    """The body as read by a codec that `codec` named; what it does not read becomes U+FFFD."""
    if name == "replacement":  # for encodings that browsers refuse, as HZ, whose text would pass for ASCII
        return "\ufffd" if body else ""
    if name not in SEVERAL_BYTES:
        return codecs.charmap_decode(body, "replace", _table(name))[0]
    text = body.decode(name, "replace")
    japanese = name in ("euc_jp", "iso2022_jp")
    if (japanese or name in _EURO) and 0 < text.count("\ufffd") <= _MAX_MENDED:
        text = body.decode(name, f"{__name__}.{'japanese' if japanese else 'euro'}")
    return text.translate(_AS_MICROSOFT) if japanese else text


def _of_the_web(label: str) -> str | None:
    found = webencodings.lookup(label)
    if found is None:
        return label if label in ("x-user-defined", "replacement") else None
    return "gb18030" if found.name == "gbk" else str(found.codec_info.name)  # a superset


@lru_cache(maxsize=1)
def _names() -> frozenset[str | None]:
    return frozenset(map(_of_the_web, LABELS))


@lru_cache(maxsize=64)
def _table(name: str) -> str:
    """The 256 characters of an encoding of single bytes. 80 to 9F are control characters where they are no others."""
    if name == "x-user-defined":
        return "".join(chr(byte if byte < 0x80 else 0xF700 + byte) for byte in range(256))
    table = [bytes([byte]).decode(name, "replace") for byte in range(256)]
    for byte in range(0x80, 0xA0):
        if table[byte] == "\ufffd":
            table[byte] = chr(byte)
    for byte, character in _MORE.get(name, {}).items():
        table[byte] = character
    return "".join(table)


def _japanese(error: UnicodeError) -> tuple[str, int]:
    """Rows of JIS X 0208 that Python's table lacks (① ㈱ 髙), read as Shift_JIS, where it has them."""
    assert isinstance(error, UnicodeDecodeError)
    start = error.start
    row, cell = (byte & 0x7F for byte in (error.object[start : start + 2] + b"\0")[:2])
    if 0x21 <= row <= 0x7E and 0x21 <= cell <= 0x7E and (error.object[start] ^ error.object[start + 1]) < 0x80:
        lead = (row + 1) // 2 + (0x70 if row < 0x5F else 0xB0)
        trail = cell + 0x7E if row % 2 == 0 else cell + (0x20 if cell >= 0x60 else 0x1F)
        with suppress(UnicodeDecodeError):
            return bytes([lead, trail]).decode("cp932"), start + 2
    return "\ufffd", error.end


def _euro(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    euro = _EURO.get(error.encoding, b"")
    if euro and error.object.startswith(euro, error.start):
        return "€", error.start + len(euro)
    return "\ufffd", error.end


codecs.register_error(f"{__name__}.japanese", _japanese)
codecs.register_error(f"{__name__}.euro", _euro)
