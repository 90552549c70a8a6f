"""Encodings of pages: where they are declared, what their names mean on the web, and what no name may do."""

import codecs
import re
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.inputs.archives import warc
from pipeline.inputs.pages.charset import PRESCAN_BYTES, declared_in, decode
from pipeline.inputs.pages.decoders import codec, decoded_as
from tests.pipeline.inputs.pages.languages import LANGUAGES, Language, encoded, page, pages


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
        ("windows-31j", "cp932"),
        ("ks_c_5601-1989", "cp949"),
        ("cp932", "cp932"),
        ("cp936", "gb18030"),
        ("uhc", "cp949"),
        ("utf_8", "utf-8"),
        ("latin-1", "cp1252"),
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
        (b'<?xml version="1.0" encoding="windows-1251"?><html>', "cp1251"),
        (b"\n<?xml version='1.0' encoding = 'UTF-16' ?>", "utf-8"),
        (b'<?xml version="1.0" encoding="utf-8"?><meta charset=windows-1251>', "cp1251"),
        (b"<html><?xml encoding='windows-1251'?>", None),
        (b"<meta charset=x-user-defined>", "cp1252"),
        (b"<meta charset=' \"Windows-1251\" '>", "cp1251"),
        (b"<meta charset=windows-31j>", "cp932"),
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


def standard() -> dict[str, str]:
    """The 228 labels of https://encoding.spec.whatwg.org/#names-and-labels: label -> codec."""
    table = """
        utf-8: unicode-1-1-utf-8 unicode11utf8 unicode20utf8 utf-8 utf8 x-unicode20utf8
        cp866: 866 cp866 csibm866 ibm866
        iso8859-2: csisolatin2 iso-8859-2 iso-ir-101 iso8859-2 iso88592 iso_8859-2 iso_8859-2:1987 l2 latin2
        iso8859-3: csisolatin3 iso-8859-3 iso-ir-109 iso8859-3 iso88593 iso_8859-3 iso_8859-3:1988 l3 latin3
        iso8859-4: csisolatin4 iso-8859-4 iso-ir-110 iso8859-4 iso88594 iso_8859-4 iso_8859-4:1988 l4 latin4
        iso8859-5: csisolatincyrillic cyrillic iso-8859-5 iso-ir-144 iso8859-5 iso88595 iso_8859-5 iso_8859-5:1988
        iso8859-6: arabic asmo-708 csiso88596e csiso88596i csisolatinarabic ecma-114 iso-8859-6 iso-8859-6-e
        iso8859-6: iso-8859-6-i iso-ir-127 iso8859-6 iso88596 iso_8859-6 iso_8859-6:1987
        iso8859-7: csisolatingreek ecma-118 elot_928 greek greek8 iso-8859-7 iso-ir-126 iso8859-7 iso88597 iso_8859-7
        iso8859-7: iso_8859-7:1987 sun_eu_greek
        iso8859-8: csiso88598e csisolatinhebrew hebrew iso-8859-8 iso-8859-8-e iso-ir-138 iso8859-8 iso88598
        iso8859-8: iso_8859-8 iso_8859-8:1988 visual csiso88598i iso-8859-8-i logical
        iso8859-10: csisolatin6 iso-8859-10 iso-ir-157 iso8859-10 iso885910 l6 latin6
        iso8859-13: iso-8859-13 iso8859-13 iso885913
        iso8859-14: iso-8859-14 iso8859-14 iso885914
        iso8859-15: csisolatin9 iso-8859-15 iso8859-15 iso885915 iso_8859-15 l9
        iso8859-16: iso-8859-16
        koi8-r: cskoi8r koi koi8 koi8-r koi8_r
        koi8-u: koi8-ru koi8-u
        mac-roman: csmacintosh mac macintosh x-mac-roman
        mac-cyrillic: x-mac-cyrillic x-mac-ukrainian
        cp874: dos-874 iso-8859-11 iso8859-11 iso885911 tis-620 windows-874
        cp1250: cp1250 windows-1250 x-cp1250
        cp1251: cp1251 windows-1251 x-cp1251
        cp1252: ansi_x3.4-1968 ascii cp1252 cp819 csisolatin1 ibm819 iso-8859-1 iso-ir-100 iso8859-1 iso88591
        cp1252: iso_8859-1 iso_8859-1:1987 l1 latin1 us-ascii windows-1252 x-cp1252
        cp1253: cp1253 windows-1253 x-cp1253
        cp1254: cp1254 csisolatin5 iso-8859-9 iso-ir-148 iso8859-9 iso88599 iso_8859-9 iso_8859-9:1989 l5 latin5
        cp1254: windows-1254 x-cp1254
        cp1255: cp1255 windows-1255 x-cp1255
        cp1256: cp1256 windows-1256 x-cp1256
        cp1257: cp1257 windows-1257 x-cp1257
        cp1258: cp1258 windows-1258 x-cp1258
        gb18030: chinese csgb2312 csiso58gb231280 gb2312 gb_2312 gb_2312-80 gbk iso-ir-58 x-gbk gb18030
        big5hkscs: big5 big5-hkscs cn-big5 csbig5 x-x-big5
        euc_jp: cseucpkdfmtjapanese euc-jp x-euc-jp
        iso2022_jp: csiso2022jp iso-2022-jp
        cp932: csshiftjis ms932 ms_kanji shift-jis shift_jis sjis windows-31j x-sjis
        cp949: cseuckr csksc56011987 euc-kr iso-ir-149 korean ks_c_5601-1987 ks_c_5601-1989 ksc5601 ksc_5601
        cp949: windows-949
        replacement: csiso2022kr hz-gb-2312 iso-2022-cn iso-2022-cn-ext iso-2022-kr replacement
        utf-16-be: unicodefffe utf-16be
        utf-16-le: csunicode iso-10646-ucs-2 ucs-2 unicode unicodefeff utf-16 utf-16le
        x-user-defined: x-user-defined
    """
    rows = [row.split() for row in table.strip().splitlines()]
    return {label: name.rstrip(":") for name, *labels in rows for label in labels}


def test_all_labels_of_the_standard() -> None:
    labels = standard()
    assert len(labels) == 228
    assert {label: codec(label) for label in labels} == labels
    assert {label: codec(f"\t{label.upper()} ") for label in labels} == labels


def test_every_codec_decodes_every_byte_in_linear_time() -> None:
    body = bytes(range(256)) * 8_000
    for name in sorted(set(standard().values())):
        began = time.process_time()
        assert decoded_as(body, name)
        assert decoded_as(b"\xff\x81\x1b" * 700_000, name)
        assert time.process_time() - began < 3, name


@pytest.mark.parametrize(
    ("body", "name", "text"),
    [  # where Python's decoders are not the standard's
        (b"\x81\x8d\x8f\x90\x9d\x80", "cp1252", "\x81\x8d\x8f\x90\x9d€"),
        (b"\x98\xdb\xff", "cp874", "\x98\ufffd\ufffd"),
        (b"\xae\xbe", "koi8-u", "ўЎ"),
        (b"\xca", "cp1255", "\u05ba"),
        (b"\x80\xa3\xa4", "gb18030", "€￥"),
        (b"\xa3\xe1", "big5hkscs", "€"),
        ("①〜㈱".encode("euc_jis_2004"), "euc_jp", "①～㈱"),
        (b"\xfc\xe2\xad", "euc_jp", "髙\ufffd"),
        (b"\x1b$B\x2d\x21\x1b(B!", "iso2022_jp", "①!"),
        (b"\x81<b>", "cp932", "\ufffd<b>"),  # no error takes a tag with it
        (b"\x81<b>", "gb18030", "\ufffd<b>"),
        (b"\xa1<b>", "euc_jp", "\ufffd<b>"),
        (b"A\xe9", "x-user-defined", "A\uf7e9"),
        (b"~{VPND~}", "replacement", "\ufffd"),
        (b"", "replacement", ""),
    ],
)
def test_decoders(body: bytes, name: str, text: str) -> None:
    assert decoded_as(body, name) == text


CASES = [
    pytest.param(language, name, id=f"{key}-{name}")
    for key, language in LANGUAGES.items()
    for name in language.codecs.split()
]
LIKE_THE_WEST = frozenset({"cp1250", "iso8859-2", "cp1254", "cp1257", "iso8859-13", "cp1258"})  # in most letters


@pytest.mark.parametrize(("language", "name"), CASES)
def test_undeclared(language: Language, name: str) -> None:
    """Each script and the whole West are read right at any length and on any domain."""
    for html in pages(language):
        body = encoded(html, name)
        text = decoded_as(body, name)
        assert decode(body, None, f"http://www.photos.{language.domain}/a.html") == text or name in LIKE_THE_WEST
        assert decode(body, None, "https://photos.com/a.html") == text or name in LIKE_THE_WEST


def test_undeclared_pages_in_latin_letters_beyond_the_west() -> None:
    """Encodings that share most letters with windows-1252: the domain, or <html lang>, helps where a page is short."""
    right, wrong = Counter[str](), Counter[str]()
    for language in LANGUAGES.values():
        for name in set(language.codecs.split()) & LIKE_THE_WEST:
            code = next(key for key, value in LANGUAGES.items() if value is language)
            for html in pages(language):
                marked = html.replace("<html>", f"<html lang={code}>")
                for place, url, shown in (
                    ("domain", f"http://photos.{language.domain}/", html),
                    ("lang", "http://photos.com/", marked),
                    ("nothing", "http://photos.com/", html),
                ):
                    body = encoded(shown, name)
                    (right if decode(body, None, url) == decoded_as(body, name) else wrong)[place] += 1
    assert right.total() + wrong.total() == 3 * 108
    assert wrong["domain"] <= 6 and wrong["lang"] <= 6 and wrong["nothing"] <= 18


WESTERN = "« Previous | Next »|Home » Photos|a · b|25°C|m³|© 2004|Brand®|½ cup|£5|¥500|µm|naïve|Pokémon|l’été|“a”|§ 5"


@pytest.mark.parametrize("text", [*WESTERN.split("|"), "«\xa0texte\xa0»", "«Shin» y «Nun»", "¡Un cohete! ¡Dame!"])
@pytest.mark.parametrize("domain", ["com", "fr", "us", "io", "invalid"])
def test_little_evidence_is_western(text: str, domain: str) -> None:
    html = page("Photo", (text,))
    assert decode(html.encode("cp1252"), None, f"http://a.{domain}/") == html


def russian(codec_name: str = "cp1251") -> bytes:
    return encoded(page(LANGUAGES["ru"].title, LANGUAGES["ru"].captions), codec_name)


@pytest.mark.parametrize("label", ["win-1251", "cp-1251", "none", "windows-1251", "Windows_1251", '"cp1251', "cp1251;"])
def test_labels_that_people_write(label: str) -> None:
    assert decode(russian(), label) == decoded_as(russian(), "cp1251")
    body = russian().replace(b"<head>", b'<head><meta charset="%s">' % label.encode())
    assert decode(body, None) == decoded_as(body, "cp1251")


@pytest.mark.parametrize("declared", ["iso-8859-1", "windows-1252", "us-ascii", "utf-8", "utf-16", "koi8-nonsense"])
def test_what_the_body_clearly_contradicts_does_not_count(declared: str) -> None:
    assert decode(russian(), declared) == decoded_as(russian(), "cp1251")
    for key, name in (("ja", "cp932"), ("ja", "euc_jp"), ("zh", "gb18030"), ("ko", "cp949"), ("el", "cp1253")):
        body = encoded(page(LANGUAGES[key].title, LANGUAGES[key].captions), name)
        assert decode(body, declared) == decoded_as(body, name)


def test_a_false_header_gives_way_to_the_meta() -> None:
    body = russian("koi8-r").replace(b"<head>", b"<head><meta charset=koi8-r>")
    assert decode(body, "utf-8") == body.decode("koi8-r")


@pytest.mark.parametrize(
    "declared", [None, "iso-8859-1", "windows-1252", "utf-8", "utf-16", "big5", "utf8mb4", "utf-8;"]
)
def test_utf8_is_recognised(declared: str | None) -> None:
    text = page("Château", ("Le chat noir dort près de la fenêtre fermée, là-bas à côté.",))
    assert decode(text.encode(), declared) == text


def test_nearly_utf8_is_utf8() -> None:
    text = "Le château est fermé. " * 100
    assert decode(text.encode() + "é".encode()[:1], None) == text + "\ufffd"  # cut within a character
    assert decode(text.encode() + b"caf\xe9 \x93", None) == text + "caf\ufffd \ufffd"


def test_a_short_word_of_another_encoding_is_not_utf8_by_chance() -> None:
    assert decode("联通".encode("gbk"), "gbk") == "联通"


def test_utf16_without_a_mark() -> None:
    html = "\n<html><head><meta charset=utf-8></head>Привет"
    assert decode(html.encode("utf-16-le"), None) == html
    assert decode(html.encode("utf-16-be"), "iso-8859-1") == html
    assert decode("<?xml version='1.0'?>é".encode("utf-16-le"), "utf-8") == "<?xml version='1.0'?>é"


def test_iso_2022_jp_undeclared() -> None:
    html = page(LANGUAGES["ja"].title, LANGUAGES["ja"].captions)
    assert decode(html.encode("iso2022_jp"), None) == html
    assert decode(b"plain", "hz-gb-2312") == "\ufffd"


def test_a_guess_takes_bounded_time() -> None:
    for body in (b"\xe9" * 5_000_000, "猫".encode("cp932") * 2_000_000, b"<html" * 10**6 + b"\xe9", b"\x1b$" * 10**6):
        began = time.process_time()
        decode(body, None, "http://a.test/")
        assert time.process_time() - began < 2


URLS = (
    "",
    "http://[",
    "http://[::1]/",
    "http://a.xn--p1ai./",
    "http://1.2.3.4:80/",
    "HTTP://A.RU:8080?x",
    "http://a.\u0436/",
)


@given(st.binary(), st.sampled_from(URLS), st.sampled_from((None, "utf-8", "latin1", "gbk", "utf-16", "hz-gb-2312")))
def test_no_bytes_raise(body: bytes, url: str, declared: str | None) -> None:
    assert isinstance(decode(b"\xe9" + body, declared, url), str)


def test_real_western_pages_stay_western(data: Path) -> None:
    """Saved pages, all UTF-8, as they would be in windows-1252 with nothing declared."""
    seen = 0
    for found in warc.pages(str(data / "realpages" / "realpages.warc.gz"), 10**7):
        if isinstance(found, warc.Page):
            text = decode(found.body, found.charset, found.url)
            foreign = [character for character in text if ord(character) > 127]
            if sum(len(character.encode("cp1252", "ignore")) for character in foreign) > 0.9 * len(foreign):
                body = re.sub(
                    rb"charset|encoding", b"", text.encode("cp1252", "xmlcharrefreplace"), flags=re.IGNORECASE
                )
                assert decode(body, None, found.url) == decoded_as(body, "cp1252"), found.url
                seen += 1
    assert seen > 100
