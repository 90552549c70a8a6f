"""Bytes of a web page to text, with the character encoding that a browser would find.

Order (https://html.spec.whatwg.org/#determining-the-character-encoding): byte order mark, Content-Type header, a
<meta> near the start, an XML declaration, a guess. What is declared is checked against the body: UTF-8 is recognised
whatever is declared, and a declaration that the body clearly contradicts does not count. Labels and their encodings
are those of decoders.py, the guess is Firefox's (by chardetng).
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

from chardetng_py import EncodingDetector

from pipeline.inputs.pages.decoders import SEVERAL_BYTES, codec, decoded_as

PRESCAN_BYTES = 16_384
"""How far a <meta> is looked for. The standard's 1,024 is for pages that are still arriving."""
GUESS_BYTES = 16_384
"""What a guess looks at, from the first byte on that is not ASCII, long runs of ASCII shortened."""
CLEARLY_BROKEN = 8
"""Errors of decoding that contradict a declaration, if they are also more than the characters that did decode."""
CLEARLY_UTF8 = 8
"""Characters beyond ASCII that make a body UTF-8 although a legacy encoding is declared. A character of GBK is valid
UTF-8 by chance in one case of ten. Of windows-1252 one is enough: nobody means "Ã©"."""

_WESTERN = "cp1252"
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_BE, "utf-16-be"), (codecs.BOM_UTF16_LE, "utf-16-le"))
_UTF16_TAG = ((re.compile(rb"(?:[\t\n\r ]\0)*<\0"), "utf-16-le"), (re.compile(rb"(?:\0[\t\n\r ])*\0<"), "utf-16-be"))

_COMMENT = re.compile(rb"<!--.*?(?:-->|\Z)", re.DOTALL)
_META = re.compile(rb"<meta[\s/]([^>]*+)>", re.IGNORECASE)
_ATTRIBUTE = re.compile(rb"([^\s/=\"'>]+)(?:\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s>]+)))?")
_IN_CONTENT = re.compile(rb"charset\s*+=\s*+[\"']?+\s*+([^\s\"';,]+)", re.IGNORECASE)
_XML = re.compile(rb"\s*<\?xml\s[^>]*?\bencoding\s*=\s*[\"']([^\"'>]*)[\"']")


def decode(body: bytes, declared: str | None, url: str = "") -> str:
    """The page's text. `declared` is the Content-Type header's charset; what does not decode becomes U+FFFD.

    The host of `url` is a hint where the encoding has to be guessed.
    """
    for mark, marked in _MARKS:
        if body.startswith(mark):
            return body[len(mark) :].decode(marked, "replace")
    for tag, wide in _UTF16_TAG:
        if tag.match(body):
            return body.decode(wide, "replace")
    names = _declarations(body, declared)
    if body.isascii():
        name = next(names, None) or (_guess(body, url) if b"\x1b$" in body else "utf-8")
        return decoded_as(body, name)
    utf8 = body.decode("utf-8", "replace")
    errors = utf8.count("\ufffd")
    errors -= body.count(b"\xef\xbf\xbd") if errors else 0
    for name in names:
        if not errors and (name in ("utf-8", _WESTERN) or _beyond_ascii(utf8) >= CLEARLY_UTF8):
            return utf8
        if name == _WESTERN:  # what people declare who do not know better, and it never fails to decode
            name = _script(body) or name
        text = utf8 if name == "utf-8" else decoded_as(body, name)
        broken = errors if name == "utf-8" else text.count("\ufffd")
        if broken < CLEARLY_BROKEN or broken <= _beyond_ascii(text) - broken:
            return text
    return utf8 if _beyond_ascii(utf8) - errors > errors else decoded_as(body, _guess(body, url))


def declared_in(body: bytes) -> str | None:
    """The codec that the page declares among its first PRESCAN_BYTES: <meta charset="…">, http-equiv, else <?xml."""
    head = body[:PRESCAN_BYTES]
    xml = _XML.match(head)
    for label in (*_meta_labels(head), xml and xml[1]):
        name = codec(label.decode("latin-1")) if label else None
        if name:  # it was read as ASCII, so it cannot be UTF-16
            return "utf-8" if name.startswith("utf-16") else _WESTERN if name == "x-user-defined" else name
    return None


def _meta_labels(head: bytes) -> Iterator[bytes]:
    for meta in _META.finditer(_COMMENT.sub(b"", head)):
        values: dict[bytes, bytes] = {}
        for name, *value in _ATTRIBUTE.findall(meta[1]):
            values.setdefault(name.lower(), b"".join(value))
        label = values.get(b"charset")
        if label is None and values.get(b"http-equiv", b"").lower() == b"content-type":
            content = _IN_CONTENT.search(values.get(b"content", b""))
            label = content and content[1]
        if label:
            yield label


def _declarations(body: bytes, declared: str | None) -> Iterator[str]:
    name = codec(declared) if declared else None
    if name and not (name.startswith("utf-16") and b"\0" not in body):  # all markup of UTF-16 has zeros
        yield name
    if name := declared_in(body):
        yield name


def _beyond_ascii(text: str) -> int:
    return len(text) - len(text.encode("ascii", "ignore"))


# ── the guess ──

_NOT_ASCII = re.compile(rb"[\x80-\xff\x1b]")
_LONG_ASCII = re.compile(rb"([\0-\x7f]{32})[\0-\x7f]++(?<=([\0-\x7f]{32}))", re.DOTALL)
_QUOTES = re.compile(rb"[\xab\xbb\xa1\xbf]")
_WORD = re.compile(r"[^\W\d_]{3,}|[^\W\d_a-zA-Z]{2}")
_DOMAIN = re.compile(r"https?://(?:[^/?#]*\.)?([a-z][a-z0-9-]*)\.?(?::\d*)?(?=[/?#]|\Z)", re.IGNORECASE | re.ASCII)
_HTML = re.compile(rb"<html\s([^>]{0,1000})", re.IGNORECASE)
_LANG = re.compile(rb"\blang\s*=\s*[\"']?\s*([a-z]{2,3}(?:[-_](?:tw|hk|hant))?)\b", re.IGNORECASE)
_WEST = "us"  # a domain where one expects windows-1252: another encoding is found there only if it is another script
_COUNTRY = {  # languages, and a top-level domain where one expects their encoding; not English: templates say so
    **{name: name for name in ("bg", "hr", "hu", "lt", "lv", "mk", "pl", "ro", "ru", "sk", "th", "tr")},
    **{"ar": "sa", "be": "by", "cs": "cz", "el": "gr", "et": "ee", "fa": "ir", "he": "il", "iw": "il", "ja": "jp"},
    **{"ko": "kr", "sl": "si", "sr": "rs", "uk": "ua", "vi": "vn", "zh": "cn"},
    **dict.fromkeys(("zh-tw", "zh-hk", "zh-hant"), "tw"),
    **dict.fromkeys(("ca", "da", "de", "es", "eu", "fi", "fo", "fr", "ga", "gl"), _WEST),
    **dict.fromkeys(("is", "it", "nb", "nl", "nn", "no", "pt", "sv"), _WEST),
}


def _guess(body: bytes, url: str) -> str:
    """The codec for a body that declares none and is not UTF-8.

    Firefox's detector takes a single "«" for a letter of Eastern Europe where it has no reason to expect the West. So
    another encoding needs words that windows-1252 would read as others: two where only the detector speaks for it, one
    where the place does too, or where the detector is sure of it at the least likely place.
    """
    sample = _sample(body)
    place = _place(body, url)
    name = _detect(sample, place)
    if name == _WESTERN:
        return name
    expected = _detect(b"", place) != _WESTERN or _detect(sample, _WEST) == name
    return name if _other_words(sample, name) >= (1 if expected else 2) else _WESTERN


def _script(body: bytes) -> str | None:
    """The codec of a body that is said to be windows-1252, but is clearly in another script; else None."""
    sample = _sample(body)
    name = _detect(sample, _WEST)
    return name if name != _WESTERN and _other_words(sample, name) >= 3 else None


def _sample(body: bytes) -> bytes:
    """What is not ASCII, with a word or two around it: markup says nothing and takes most of the detector's time."""
    first = _NOT_ASCII.search(body)
    start = max(0, first.start() - 32) if first else 0
    sample = body[start : start + 16 * GUESS_BYTES]
    return (sample if body.isascii() else _LONG_ASCII.sub(rb"\1 \2", sample))[:GUESS_BYTES]


def _detect(sample: bytes, place: str | None) -> str:
    detector = EncodingDetector()
    detector.feed(sample, last=len(sample) < GUESS_BYTES)  # a character that is cut at the end is no error
    return codec(detector.guess(tld=place.encode() if place else None, allow_utf8=False)) or _WESTERN


def _place(body: bytes, url: str) -> str | None:
    """A top-level domain: of the language that <html lang> names, else the one of the URL."""
    html = _HTML.search(body[:PRESCAN_BYTES])
    lang = _LANG.search(html[1]) if html else None
    if lang:
        name = lang[1].decode().lower().replace("_", "-")
        if name in _COUNTRY:
            return _COUNTRY[name]
    domain = _DOMAIN.match(url)
    return domain[1].lower() if domain else None


def _other_words(sample: bytes, name: str) -> int:
    """Words that windows-1252 would read as others, each once. What is « » ¡ ¿ there may stand beside a word."""
    sample = sample if name in SEVERAL_BYTES else _QUOTES.sub(b" ", sample)
    words = {word for word in _WORD.findall(decoded_as(sample, name)) if not word.isascii()}
    return len(words.difference(_WORD.findall(decoded_as(sample, _WESTERN))))
