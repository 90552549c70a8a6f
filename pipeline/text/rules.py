"""The filter's rules: plain functions of one row that say whether its text cannot be describing its image.

A new rule is a function here, its name in RULES and a row in tests/pipeline/text/test_rules.py. The CLIP paper names
two kinds of texts to reject, automatic file names and camera settings (section 2.2, of YFCC100M); LAION-400M and
DataComp count letters and words; the rest are texts that were seen again and again where captions should be.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, NotRequired, TypedDict

import msgspec

from pipeline.text import boilerplate
from pipeline.text.credits import is_credit
from pipeline.text.words import UNSPACED


class Row(TypedDict):
    """What the rules look at of a candidate."""

    text: str  # clean, white space folded
    text_source: NotRequired[str]  # alt | title | figcaption …
    image_url: str
    lang: str | None
    lang_score: float | None  # 0 to 1


_UNSPACED = re.compile(f"[{UNSPACED}]")  # two such letters count as a word: a Latin word of six says about as much
_SYLLABLE = re.compile(f"[{UNSPACED}\uac00-\ud7a3]")  # with Hangul, which has spaces but short words
_SIGNS = (  # digits and symbols, as a range of a regular expression; not: letters and the marks on them
    r"\d\u0021-\u0040\u005b-\u0060\u007b-\u00a9\u00ab-\u00b4\u00b6-\u00b9\u00bb-\u00bf\u00d7\u00f7"
    r"\u2000-\u2bff\u3001-\u3004\u3008-\u3030\ufe30-\ufe4f\uff01-\uff20\ufffd\U0001f000-\U0001faff"
)
_DIGIT_OR_SYMBOL = re.compile(f"[{_SIGNS}]")
_LETTER = re.compile(r"[^\W\d_]")
_SPACED_WORD = re.compile(r"[^\W_]\S*")  # from its first letter or digit to the next space
_DIGIT = re.compile(r"\d")
_IMAGE_FILE = r"\.(?:jpe?g|jfif|png|gif|webp|bmp|tiff?|svg|ico|heic|avif|raw|cr2|nef|arw|dng|psd|pdf|mp4|mov|avi)"


def _word_count(text: str) -> int:
    """Runs between spaces that hold a letter or digit; two letters of a script without spaces count as one."""
    if text.isascii():
        return len(_SPACED_WORD.findall(text))
    spaced, unspaced = _UNSPACED.subn(" ", text)
    return len(_SPACED_WORD.findall(spaced)) + unspaced // 2


# ── language ──


def language_not_wanted(row: Row, thresholds: Thresholds) -> bool:
    """The text is in another language than those asked for. CLIP's texts are English (its model card)."""
    return bool(thresholds.languages) and row["lang"] not in thresholds.languages


def language_unsure(row: Row, thresholds: Thresholds) -> bool:
    """Neither the text nor its page tells the language: of a lone text that it knows nothing of, it is English, 0.12.

    With 0.25 an English page of five texts or more keeps nine in ten of its captions below 30 characters, and a foreign
    one loses 96 in 100 (benchmarks/results/language.md).
    """
    return bool(thresholds.languages) and (row["lang_score"] or 0.0) < thresholds.min_lang_score


# ── length ──


def too_short(row: Row, thresholds: Thresholds) -> bool:
    """Fewer characters than min_chars; a syllable or Chinese character counts as three (LAION-400M: 5, DataComp: 6)."""
    text = row["text"]
    if len(text) >= thresholds.min_chars:
        return False
    return len(text) + 2 * len(_SYLLABLE.findall(text)) < thresholds.min_chars


def too_few_words(row: Row, thresholds: Thresholds) -> bool:
    """Fewer words than min_words (DataComp: 2 in its image-based, 3 in its basic filter)."""
    return _word_count(row["text"]) < thresholds.min_words


def too_long(row: Row, thresholds: Thresholds) -> bool:
    """More characters than max_chars: an article. CLIP reads 76 tokens, some 300 characters of English."""
    return len(row["text"]) > thresholds.max_chars


# ── texts that name a file, a page, a date, a camera ──

_FILE_NAME = re.compile(  # with what forums say of an attachment: "dog.jpg (781x451)", "dog.jpg [12.5 KB]"
    rf"\S{_IMAGE_FILE}(?:\W?| ?[(\[][\d.,:x×* ]{{1,15}}(?:[KM]B|px|bytes)?[)\]])$", re.IGNORECASE
)


def is_a_filename(row: Row, thresholds: Thresholds) -> bool:
    """Ends like the name of a picture: "beach-2.jpg", "My Holiday 014.JPG". Not a title of four words or more that was
    kept as one: "Red-crowned crane at the lake.jpg"."""
    text = row["text"]
    end = text[-30:]
    if "." not in end or _FILE_NAME.search(end) is None:
        return False
    words = [word.strip("\"'“”‘’(),;:-") for word in text.rpartition(".")[0].split()]
    return not words[-1:] or not words[-1].isalpha() or sum(word.replace("-", "").isalpha() for word in words) < 4


_CAMERA_NAME = re.compile(
    r"(?:fb[ _-])?(?:mv)?(?:img|imgp|imag|dsc[nfi]?|dcp|cimg|pict|pxl|gopr|mvi|hpim|sany|scan"
    r"|screen[ _-]?shot|screen capture|captura de pantalla|capture d['’]écran|schermata|schermafbeelding|skärmavbild"
    r"|bildschirmfoto|zrzut ekranu|ekran görüntüsü|снимок экрана|スクリーンショット|截屏|屏幕截图|whatsapp[ -]image"
    r"|(?:sam|vid|kic|snap|stil|signal|received)(?=[\s_-]?\d{3})|[pstc](?=\d{6})"
    r"|(?:shutterstock|adobe ?stock|fotolia|istock(?:photo)?|depositphotos|gettyimages|dreamstime|pexels|pixabay)"
    r"(?=[\s_-]?\d{4}))"
    r"(?:[\s_.:,()-]++|\d++"
    r"|(?:at|um|om|kl|de|alle|[àa]|am|pm|edit|edited|copy|web|small|large|hdr|wa(?=\d)|[a-z])(?![a-z]))*+",
    re.IGNORECASE,
)


def is_a_camera_name(row: Row, thresholds: Thresholds) -> bool:
    """What a camera, a phone or a screenshot tool calls its files: "IMG_1234", "P1010001" (CLIP, 2.2)."""
    text = row["text"]
    return _DIGIT.search(text) is not None and _CAMERA_NAME.fullmatch(text) is not None


_URL = re.compile(
    r"(?:https?://|www\.)\S+|\S+@[\w-]+\.[\w.-]+|\b[\w-]+\.(?:com|net|org|info|co\.uk|de|fr|ru|jp|cn|io)\b(?:[/?#:]\S*)?",
    re.IGNORECASE,
)
_DOT_WITHIN = re.compile(r"\w\.[^\W\d]")


def is_a_url(row: Row, thresholds: Thresholds) -> bool:
    """Nothing but addresses of pages or people: fewer than three letters are left without them."""
    text = row["text"]
    if len(text) > 300 or not _DOT_WITHIN.search(text):
        return False
    rest, found = _URL.subn(" ", text)
    return found > 0 and len(_LETTER.findall(rest)) < 3


_TIME_WORDS = re.compile(
    r"\b(?:jan|feb|mar|apr|may|jun|jul|aug|sept?|oct|nov|dec|january|february|march|april|june|july|august|september"
    r"|october|november|december|mon|tue|wed|thu|fri|sat|sun|(?:mon|tues|wednes|thurs|fri|satur|sun)day|am|pm|at|the|of|on"
    r"|st|nd|rd|th|utc|gmt|est|pst|cet|januar|februar|märz|mai|juni|juli|oktober|dezember|janvier|février|(?-i:mars)|avril|juin"
    r"|juillet|août|septembre|octobre|novembre|décembre|de|enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre"
    r"|octubre|noviembre|diciembre|um|uhr|posted|updated|published|px|kb|mb|cm|mm|usd|eur|gbp|chf|kr|zł|kč|руб|грн|x)\b|[年月日時分円元원]",
    re.IGNORECASE,
)


def is_a_number_or_date(row: Row, thresholds: Thresholds) -> bool:
    """A date, a time, a price, a size: digits, and no letters but those of months, days and units."""
    text = row["text"]
    if len(text) > 60 or not _DIGIT.search(text):
        return False
    return _LETTER.search(_TIME_WORDS.sub(" ", re.sub(r"\d+", " ", text))) is None


_EXPOSURE = re.compile(
    r"(\b1/\d{1,5} ?(?:s|secs?|seconds?)\b|\biso ?:? ?\d{2,6}|\b[+-]?\d(?:\.\d+)? ?ev\b"  # [1] of exposures alone
    r"|\b(?:exposure(?: (?:time|bias|program))?|aperture|shutter(?: speed)?|focal length|metering(?: mode)?"
    r"|white balance|did not fire|exif)\b)"
    r"|(\bf ?/ ?\d+(?:\.\d+)?)|\b1/\d{1,5}\b|\b\d{1,4}(?:\.\d)? ?mm\b"  # [2] of a lens as well
    r"|\b(flash|lens|camera|canon|nikon|sony|olympus|panasonic|fuji(?:film)?|pentax|leica|kodak|casio|samsung"  # [3]
    r"|eos|powershot|ixus|coolpix|lumix|finepix|cyber-?shot)\b",
    re.IGNORECASE,
)


def is_camera_settings(row: Row, thresholds: Thresholds) -> bool:
    """Exposure data instead of a description: "Canon EOS 5D, f/2.8, 1/250 s, ISO 400" (CLIP, 2.2). A camera or lens
    may be what the picture shows: its name, with millimetres and f-number, is none."""
    text = row["text"]
    if not _DIGIT.search(text):
        return False
    found = list(_EXPOSURE.finditer(text))
    if len(found) < 2 or not any(match[1] or match[2] for match in found):
        return False
    if any(match[3] for match in found) and not any(match[1] for match in found):
        return False
    words: list[str] = re.findall(r"\w+", _EXPOSURE.sub(" ", text))
    return sum(word.isalpha() and len(word) > 1 for word in words) < 3


# ── texts that are about nothing ──


# Where editors put who made the picture: sources of texts as the table candidate has them.
_CAPTIONS = frozenset({"figcaption", "wp-caption-text", "thumbcaption", "gallerytext", "tr-caption"})


def is_a_credit(row: Row, thresholds: Thresholds) -> bool:
    """Who made the picture, not what it shows: "Photo: Jane Doe / Flickr", "© 2019 Example Ltd"."""
    text = row["text"]
    return len(text) < 100 and is_credit(text, row.get("text_source") in _CAPTIONS) and _word_count(text) <= 8


def _bare(text: str) -> str:
    """Words without digits, symbols and case: "Photo #12" -> "photo"."""
    return " ".join(_DIGIT_OR_SYMBOL.sub(" ", text.casefold()).split())


_BOILERPLATE = frozenset(_bare(phrase) for phrase in f"{boilerplate.ENGLISH},{boilerplate.OTHERS}".split(","))


def is_boilerplate(row: Row, thresholds: Thresholds) -> bool:
    """Said of any picture: "image", "Photo 1", "click here to enlarge", "kein Bild", "图片"."""
    text = row["text"]
    return len(text) < 60 and _bare(text) in _BOILERPLATE


_YEARS = re.compile(r"[(\[]\d{4}(?:[-–/]\d{2,4})?[)\]]")
_JOINER = re.compile(r"(?<=[^\W_])[-–.,'’/·:](?=[^\W_])")
_TWO_LETTERS = re.compile(rf"[^\s{_SIGNS}][\d.'’·-]*+[^\s{_SIGNS}]")


def mostly_symbols(row: Row, thresholds: Thresholds) -> bool:
    """Letters are fewer than min_letter_share of what is not space: "*** 50% OFF!!! ***". Unless it reads as a name
    with numbers, "1977 Dodge W200", "Krabi Airport (2007-02-551)": a word of two letters, at most two digits for
    each letter and half a symbol, those within words and numbers apart."""
    text = row["text"]
    size = len(text) - text.count(" ")
    share = thresholds.min_letter_share
    if size - len(_DIGIT_OR_SYMBOL.findall(text)) >= share * size:
        return False
    rest = _JOINER.sub("", _YEARS.sub("", text)).replace(" ", "")
    signs, digits = len(_DIGIT_OR_SYMBOL.findall(rest)), len(_DIGIT.findall(rest))
    letters, symbols = len(rest) - signs, signs - digits
    if letters and letters >= share * len(rest):  # a title with its year
        return False
    return _TWO_LETTERS.search(text) is None or digits > 2 * letters or 2 * symbols > letters


_RUN = re.compile(r"(\w)\1{9}")


def repetitive(row: Row, thresholds: Thresholds) -> bool:
    """One letter ten times in a row, or few distinct words among the first 50 (4 at least; after Gopher's rules)."""
    text = row["text"]
    if any(run[1].isalpha() for run in _RUN.finditer(text)):
        return True
    said = text.casefold().replace(",", " ").split()[:50]
    return len(said) >= 4 and len(set(said)) < thresholds.min_distinct_words * len(said)


_ELEMENTS = (
    "a|abbr|article|aside|b|big|blockquote|body|br|button|center|cite|code|del|div|dl|dt|dd|em|embed|figcaption|figure"
    "|font|footer|form|h[1-6]|head|header|hr|html|i|iframe|img|input|ins|li|link|meta|nav|noscript|object|ol|option|p"
    "|param|picture|pre|script|section|select|small|source|span|strike|strong|style|sub|sup|svg|table|tbody|td|textarea"
    "|th|thead|tr|tt|u|ul|video"
)
_MARKUP = re.compile(  # "<Parasite> poster", "<Swan Lake>" are titles, as they are written in Korean
    rf"<(?:{_ELEMENTS}|{_ELEMENTS.upper()})\s*/?>|</\w|<[a-zA-Z][\w:-]*\s[^<>]*=|(?i:\[/?(?:caption|img|url|gallery)\b"
    r"[^\]]{0,200}\])|\[/[biuBIU]\]|\{\{|\}\}|<%|%>|\$\{|<!--|\bfunction ?\w*\([\w$, ]{0,80}\) ?(?:\{|return\b)"
    r"|javascript:|(?:^|[;{}>] ?)var \w+ ?=|\bvar \w+ ?=[^;]{0,200};|(?i:\b(?:href|src|class|style|width)=[\"'])"
    r"|\{ ?[\"'][@a-zA-Z-]{1,40}[\"'] ?:|\{ ?[@a-zA-Z-]{1,40} ?: ?[\"'\[{]"  # JSON and objects; not "{a: 1, b: 2}"
    r"|\{ ?[a-z-]{2,40} ?:(?:[^{};]{0,200};|[^{}:;]{0,200}(?:\}|$))"  # CSS
)
_MARKUP_SIGN = re.compile(r"[<>\[{}(=:]")  # one of these is in all of it


def has_markup(row: Row, thresholds: Thresholds) -> bool:
    """Rests of HTML, templates or code that cleaning could not undo."""
    text = row["text"]
    return _MARKUP_SIGN.search(text) is not None and _MARKUP.search(text) is not None


_MOJIBAKE = re.compile("[\ufffd\u0080-\u009f]|[ÃÂ][\u00a0-\u00bf]|â€|ï»¿|Ð[\u00a0-\u00bf]Ñ")


def broken_encoding(row: Row, thresholds: Thresholds) -> bool:
    """Characters that were lost (U+FFFD), or UTF-8 that was read as windows-1252: "CafÃ©"."""
    text = row["text"]
    return not text.isascii() and _MOJIBAKE.search(text) is not None


# ── addresses of pictures that are no photographs of anything ──

_NOTHING = "(?:spacer|blank|transparent|clear|pixel|1x1|1px)"
_NOTHING_ELSE = rf"{_NOTHING}(?:[_-]?{_NOTHING}){{0,3}}(?:[_-]?\d{{0,4}}\.(?:gif|php)|\d{{0,2}}\.png)\b"
_ADVERTS = r"b\.scorecardresearch\.com/|doubleclick\.net/|google-analytics\.com/|facebook\.com/tr\b"
_PIXEL_URL = re.compile(  # alternatives that begin with letters are told apart fast
    rf"/(?:{_NOTHING_ELSE}|(?:img|image|px|gif)[_-]{_NOTHING_ELSE}"
    r"|(?:webbug|beacon|counter|__utm)[_-]?\d{0,4}\.(?:gif|php)\b|(?:piwik|matomo)\.php|pagead/"
    r"|/(?:pixel|beacon|track(?:ing|er)?|stats?|counter|analytics)\.[\w.-]+/(?![^?]*\.(?:jpe?g|webp)\b)"
    rf"|{_ADVERTS})|\.(?:{_ADVERTS})"
)


def is_tracking_pixel(row: Row, thresholds: Thresholds) -> bool:
    """The image's address is one of counters and spacers. Words such as "transparent" make one only where they are all
    of its name: "dog_transparent.png" is a dog."""
    return _PIXEL_URL.search(row["image_url"].lower()) is not None


_SIZE = r"(8|12|16|20|24|32|48)x\1"
_NOT_JPEG = r"(?![^?]*\.jpe?g\b)"  # nobody draws icons as JPEG; photographs of icons, bullets and Sprite are
_ICON_URL = re.compile(
    rf"[/_.-](?:(?:icons?|favicons?|sprites?|emojis?|smil(?:ie|ey)s?|bullets?)/{_NOT_JPEG}"
    rf"|sprites?[_.-]{_NOT_JPEG}|(?:favicon|apple-touch-icon|ajax-loader|captcha)(?:[/_.-]|$)|{_SIZE}\.(?:png|gif|webp)\b"
    r"|(?:32x32|48x48)\.jpe?g\b|gravatar\.com/avatar/|wp-includes/images/)"
)


def is_an_icon(row: Row, thresholds: Thresholds) -> bool:
    """The image's address is one of icons, sprites, emoji and avatars. A size counts at the end of a square picture's
    name: "poster-16x20.jpg" is measured in inches."""
    return _ICON_URL.search(row["image_url"].lower()) is not None


_NOT_A_BITMAP = (".svg", ".svgz", ".ico", ".cur", ".pdf", ".swf", ".mp4", ".webm", ".mov", ".htm", ".html")
_CONVERTED = re.compile(r"\bf(?:or)?m(?:at)?=(?:png|jpe?g|webp)\b")


def is_not_a_bitmap(row: Row, thresholds: Thresholds) -> bool:
    """The address's path ends like one of drawings, icons, films or pages, and not of photographs. (Drawings could be
    fetched: on the web they are logos and symbols for the most part.)"""
    path, _, query = row["image_url"].lower().partition("?")
    return path.endswith(_NOT_A_BITMAP) and not _CONVERTED.search(query)


Rule = Callable[[Row, "Thresholds"], bool]

RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        too_long,
        is_tracking_pixel,
        is_an_icon,
        is_not_a_bitmap,
        is_a_filename,
        is_a_camera_name,
        is_boilerplate,
        is_a_url,
        is_a_number_or_date,
        is_camera_settings,
        is_a_credit,
        has_markup,
        broken_encoding,
        too_short,
        too_few_words,
        mostly_symbols,
        repetitive,
        language_not_wanted,
        language_unsure,
    )
}


class Thresholds(msgspec.Struct, frozen=True, kw_only=True):
    """The recipe's [filter] table."""

    rules: list[str] = msgspec.field(default_factory=lambda: list(RULES))  # those switched on, in the order asked
    languages: list[str] = msgspec.field(default_factory=lambda: ["en"])  # as lid.176 names them; empty = any
    min_lang_score: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.25  # of lang_score
    min_words: Annotated[int, msgspec.Meta(ge=0)] = 2
    min_chars: Annotated[int, msgspec.Meta(ge=0)] = 6
    max_chars: Annotated[int, msgspec.Meta(ge=1)] = 1_000
    min_letter_share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5  # of the characters that are not space
    min_distinct_words: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.4  # share of distinct words among all

    def __post_init__(self) -> None:
        for name in self.rules:
            if name not in RULES:
                raise ValueError(f"there is no rule {name!r}; known are {', '.join(RULES)}")


def verdict(row: Row, thresholds: Thresholds) -> str | None:
    """The name of the first rule that drops the row, None if all let it pass."""
    return next((name for name in thresholds.rules if RULES[name](row, thresholds)), None)
