"""Encodings of pages: where they are declared, what their names mean on the web, and what no name may do."""

import codecs
import re
import time
from pathlib import Path

import pytest

from pipeline.text.charset import PRESCAN_BYTES, codec, declared_in, decode


@pytest.mark.parametrize(
    ("body", "declared", "text"),
    [
        (b"caf\xc3\xa9", None, "café"),
        (b"caf\xe9", None, "café"),
        (b"caf\xe9 \x93x\x94", "iso-8859-1", "café “x”"),
        (b"caf\xe9", "us-ascii", "café"),
        (b"\xef\xbb\xbfcaf\xc3\xa9", "iso-8859-1", "café"),  # the mark is stronger than the header
        (b"\xff\xfec\x00\xe9\x00", None, "cé"),
        (b"\xfe\xff\x00c\x00\xe9", "utf-8", "cé"),
        ("<meta charset=koi8-r>кот".encode("koi8-r"), None, "<meta charset=koi8-r>кот"),
        ("<meta charset=koi8-r>кот".encode(), "utf-8", "<meta charset=koi8-r>кот"),  # the header than the <meta>
        ("犬".encode("shift_jis"), "x-sjis", "犬"),
        ("①".encode("cp932"), "Shift_JIS", "①"),
        ("龍\U00020000".encode("gb18030"), "GB2312", "龍\U00020000"),
        ("개".encode("cp949"), "ks_c_5601-1987", "개"),
        ("ไทย".encode("cp874"), "TIS-620", "ไทย"),
        (b"caf\xe9", "utf-8", "caf\ufffd"),
        (b"caf\xc3\xa9", "no-such-charset", "café"),
        (b"caf\xc3\xa9", "unicode_escape", "café"),
        (b"caf\xc3\xa9", "zlib", "café"),
        (b"caf\xc3\xa9", "punycode", "café"),
        (b"caf\xc3\xa9", "\0\ud800", "café"),
        (b"", None, ""),
        (b"\xef\xbb", None, "ï»"),
    ],
)
def test_decode(body: bytes, declared: str | None, text: str) -> None:
    assert decode(body, declared) == text


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("Latin1", "cp1252"),
        (" UTF8 ", "utf-8"),
        ("unicode-1-1-utf-8", "utf-8"),
        ("windows-1251", "cp1251"),
        ("x-cp1251", "cp1251"),
        ("iso-8859-9", "cp1254"),
        ("iso-8859-8-i", "iso8859-8"),
        ("big5", "big5hkscs"),
        ("utf-7", None),
        ("idna", None),
        ("rot13", None),
        ("cp037", None),
        ("", None),
    ],
)
def test_labels(label: str, name: str | None) -> None:
    assert codec(label) == name


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b'<meta charset="windows-1251">', "cp1251"),
        (b"<META\nCHARSET = 'utf-8' />", "utf-8"),
        (b'<meta content="text/html; charset=euc-jp" http-equiv=Content-Type>', "euc_jp"),
        (b'<meta name=description content="charset=euc-jp">', None),
        (b"<!-- <meta charset=euc-jp> --><meta charset=utf-16>", "utf-8"),
        (b"<metacharset=utf-8>", None),
        (b"<meta charset=nonsense><meta charset=koi8-r>", "koi8-r"),
        (b" " * PRESCAN_BYTES + b"<meta charset=koi8-r>", None),
        (b"<meta charset=", None),
    ],
)
def test_declared_in_the_page(head: bytes, name: str | None) -> None:
    assert declared_in(head) == name


def test_a_declaration_cannot_take_long() -> None:
    began = time.process_time()
    assert declared_in(b"<meta http-equiv=content-type content='charset=" + b" " * PRESCAN_BYTES + b"'>") is None
    assert declared_in(b"<meta http-equiv=content-type content='charset= \" koi8-r'>") == "koi8-r"
    assert time.process_time() - began < 1  # each pair of spaces once would be two


def test_sniffing_as_browsers_do(data: Path) -> None:
    """html5lib's cases; those with unbalanced quotes need a whole tokenizer, and such pages are then guessed right."""
    cases, wrong = 0, 0
    for path in sorted((data / "hostile" / "html5lib" / "encoding").glob("*.dat")):
        for case in re.split(rb"(?:^|\n)#data\n", path.read_bytes())[1:]:
            page, _, encoding = case.partition(b"\n#encoding\n")
            if not page.startswith(codecs.BOM_UTF8):
                cases += 1
                wrong += (declared_in(page) or "cp1252") != codec(encoding.decode())
    assert (cases, wrong) == (80, 10)
