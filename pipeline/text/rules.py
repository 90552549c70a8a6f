"""The filter's rules: plain functions of one row that say whether its text cannot be describing its image.

A new rule is a function here, its name in RULES and a row in tests/pipeline/text/test_rules.py. The CLIP paper names
two kinds of texts to reject, automatic file names and camera settings (section 2.2, of YFCC100M); LAION-400M and
DataComp count letters and words; the rest are texts that were seen again and again where captions should be.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, TypedDict

import msgspec

from pipeline.text import boilerplate
from pipeline.text.words import UNSPACED


class Row(TypedDict):
    """What the rules look at of a candidate."""

    text: str  # white space folded
    image_url: str
    lang: str | None
    lang_score: float | None  # 0 to 1


_UNSPACED = re.compile(f"[{UNSPACED}]")  # two such letters count as a word: a Latin word of six says about as much
_SYLLABLE = re.compile(f"[{UNSPACED}\uac00-\ud7a3]")  # with Hangul, which has spaces but short words
_DIGIT_OR_SYMBOL = re.compile(  # not: letters and the marks on them
    r"[\d\u0021-\u0040\u005b-\u0060\u007b-\u00a9\u00ab-\u00b4\u00b6-\u00b9\u00bb-\u00bf\u00d7\u00f7"
    r"\u2000-\u2bff\u3001-\u3004\u3008-\u3030\ufe30-\ufe4f\uff01-\uff20\ufffd\U0001f000-\U0001faff]"
)
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
    """The language was hardly recognised: of a text that it knows nothing of, the model says English, 0.12.

    0.2 loses 3 % of English captions and two thirds of the foreign ones that pass for English (11,000 captions of
    children's drawings in 66 languages).
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

_FILE_NAME = re.compile(rf"\S{_IMAGE_FILE}\W?$", re.IGNORECASE)


def is_a_filename(row: Row, thresholds: Thresholds) -> bool:
    """Ends like the name of a picture: "beach-2.jpg", "My Holiday 014.JPG"."""
    return _FILE_NAME.search(row["text"][-12:]) is not None


_CAMERA_NAME = re.compile(
    r"(?:fb[ _-])?(?:mv)?(?:img|imgp|imag|dsc[nfi]?|dcp|cimg|pict|pxl|gopr|mvi|vid|sam|kic|hpim|sany|scan|snap|stil"
    r"|screen[ -]?shot|screen capture|captura de pantalla|bildschirmfoto|whatsapp image|signal|received"
    r"|[pstc](?=\d{6}))"
    r"(?:[\s_.:,()-]++|\d++|(?:at|um|[àa]|am|pm|edit|edited|copy|web|small|large|hdr|wa(?=\d)|[a-z])(?![a-z]))*+",
    re.IGNORECASE,
)


def is_a_camera_name(row: Row, thresholds: Thresholds) -> bool:
    """What a camera, a phone or a screenshot tool calls its files: "IMG_1234", "P1010001" (CLIP, 2.2)."""
    text = row["text"]
    return _DIGIT.search(text) is not None and _CAMERA_NAME.fullmatch(text) is not None


_URL = re.compile(
    r"(?:https?://|www\.)\S+|\S+@[\w-]+\.[\w.-]+|\b[\w-]+\.(?:com|net|org|info|co\.uk|de|fr|ru|jp|cn|io)\b\S*",
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
    r"|st|nd|rd|th|utc|gmt|est|pst|cet|januar|februar|märz|mai|juni|juli|oktober|dezember|janvier|février|mars|avril|juin"
    r"|juillet|août|septembre|octobre|novembre|décembre|de|enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre"
    r"|octubre|noviembre|diciembre|um|uhr|posted|updated|published|px|kb|mb|cm|mm|usd|eur|x)\b|[年月日時分]",
    re.IGNORECASE,
)


def is_a_number_or_date(row: Row, thresholds: Thresholds) -> bool:
    """A date, a time, a price, a size: digits, and no letters but those of months, days and units."""
    text = row["text"]
    if len(text) > 60 or not _DIGIT.search(text):
        return False
    return _LETTER.search(_TIME_WORDS.sub(" ", re.sub(r"\d+", " ", text))) is None


_EXPOSURE = re.compile(
    r"\bf ?/ ?\d+(?:\.\d+)?|\b1/\d{1,5} ?(?:s|secs?|seconds?)?\b|\biso ?:? ?\d{2,6}|\b\d{1,4}(?:\.\d)? ?mm\b"
    r"|\b[+-]?\d(?:\.\d+)? ?ev\b|\b(?:exposure(?: (?:time|bias|program))?|aperture|shutter(?: speed)?|focal length"
    r"|flash|metering(?: mode)?|white balance|did not fire|lens|camera|exif|canon|nikon|sony|olympus|panasonic"
    r"|fuji(?:film)?|pentax|leica|kodak|casio|samsung|eos|powershot|ixus|coolpix|lumix|finepix|cyber-?shot)\b",
    re.IGNORECASE,
)


def is_camera_settings(row: Row, thresholds: Thresholds) -> bool:
    """Exposure data instead of a description: "Canon EOS 5D, f/2.8, 1/250 s, ISO 400" (CLIP, 2.2)."""
    text = row["text"]
    if not _DIGIT.search(text):
        return False
    rest, found = _EXPOSURE.subn(" ", text)
    return found >= 2 and sum(word.isalpha() and len(word) > 1 for word in re.findall(r"\w+", rest)) < 3


# ── texts that are about nothing ──

_CREDIT = re.compile(  # "Photo: Jane Doe / Flickr", where every word is a name, or what opens nothing but credits
    r"(?i:(?:photo(?:graph)?|image|picture|art|foto|bild)(?: credits?)?(?: ?[:/©]| by| courtesy(?: of)?| via))"
    r"(?:\s(?:[^\Wa-z_]\S*+|[^\w\s]\S*+|by|of|for|and|via|de|la|van|von|der))+"
    r"|(?i:(?:(?:photo|image|picture) )?(?:courtesy of\b|(?:credits?|source|courtesy|quelle|fuente|crédit|fonte) ?:)"
    r"|©|\(c\)|copyright\b|getty images).*"
)


def is_a_credit(row: Row, thresholds: Thresholds) -> bool:
    """Who made the picture, not what it shows: "Photo: Jane Doe / Flickr", "© 2019 Example Ltd"."""
    text = row["text"]
    return len(text) < 100 and _CREDIT.fullmatch(text) is not None and _word_count(text) <= 8


def _bare(text: str) -> str:
    """Words without digits, symbols and case: "Photo #12" -> "photo"."""
    return " ".join(_DIGIT_OR_SYMBOL.sub(" ", text.casefold()).split())


_BOILERPLATE = frozenset(_bare(phrase) for phrase in f"{boilerplate.ENGLISH},{boilerplate.OTHERS}".split(","))


def is_boilerplate(row: Row, thresholds: Thresholds) -> bool:
    """Said of any picture: "image", "Photo 1", "click here to enlarge", "kein Bild", "图片"."""
    text = row["text"]
    return len(text) < 60 and _bare(text) in _BOILERPLATE


def mostly_symbols(row: Row, thresholds: Thresholds) -> bool:
    """Letters are fewer than min_letter_share of what is not space: "*** 50% OFF!!! ***"."""
    text = row["text"]
    size = len(text) - text.count(" ")
    return size - len(_DIGIT_OR_SYMBOL.findall(text)) < thresholds.min_letter_share * size


_RUN = re.compile(r"(\S)\1{9}")


def repetitive(row: Row, thresholds: Thresholds) -> bool:
    """One character ten times in a row, or few distinct words among the first 50 (4 at least; after Gopher's rules)."""
    text = row["text"]
    if _RUN.search(text):
        return True
    said = text.casefold().split()[:50]
    return len(said) >= 4 and len(set(said)) < thresholds.min_distinct_words * len(said)


_MARKUP = re.compile(
    r"</?[a-z][a-z0-9]*(?:\s[^<>]*)?/?>|\[/?(?:caption|img|url|b|gallery)\b[^\]]{0,200}\]|\{\{|\}\}|<%|%>|\$\{|<!--"
    r"|\bfunction ?\(|javascript:|\bvar \w+ ?=|\b(?:href|src|class|style|width)=[\"']"
    r"|[{;] ?(?:color|margin|padding|display|font-size) ?:",
    re.IGNORECASE,
)
_MARKUP_SIGN = re.compile(r"[<>\[{}(=:]")  # one of these is in all of it


def has_markup(row: Row, thresholds: Thresholds) -> bool:
    """Rests of HTML, templates or code. Not entities such as &amp;: CLIP's tokenizer undoes them."""
    text = row["text"]
    return _MARKUP_SIGN.search(text) is not None and _MARKUP.search(text) is not None


_MOJIBAKE = re.compile("[\ufffd\u0080-\u009f]|[ÃÂ][\u00a0-\u00bf]|â€|ï»¿|Ð[\u00a0-\u00bf]Ñ")


def broken_encoding(row: Row, thresholds: Thresholds) -> bool:
    """Characters that were lost (U+FFFD), or UTF-8 that was read as windows-1252: "CafÃ©"."""
    text = row["text"]
    return not text.isascii() and _MOJIBAKE.search(text) is not None


# ── addresses of pictures that are no photographs of anything ──

_PIXEL_URL = re.compile(  # all of it starts with one of four characters, which makes it fast
    r"[/_.-](?:(?:spacer|blank|transparent|1x1|1px|(?<=/)(?:clear|pixel|webbug|beacon|counter))[_-]?\d*\.(?:gif|png|php)\b"
    r"|/(?:pixel|beacon|track(?:ing|er)?|stats?|counter|analytics|b\.scorecardresearch)\.[\w.-]+/"
    r"|facebook\.com/tr\b|doubleclick\.net/|google-analytics\.com/|pagead/|__utm\.gif|(?:piwik|matomo)\.php)"
)


def is_tracking_pixel(row: Row, thresholds: Thresholds) -> bool:
    """The image's address is one of counters and spacers."""
    return _PIXEL_URL.search(row["image_url"].lower()) is not None


_ICON_URL = re.compile(
    r"[/_.-](?:(?:icons?|favicons?|sprites?|emojis?|smil(?:ie|ey)s?|bullets?)/"
    r"|(?:favicon|sprites?|apple-touch-icon|ajax-loader|captcha)(?:[/_.-]|$)"
    r"|(?:8|12|16|20|24|32|48)x(?:8|12|16|20|24|32|48)(?!\d)|gravatar\.com/avatar/|wp-includes/images/)"
)


def is_an_icon(row: Row, thresholds: Thresholds) -> bool:
    """The image's address is one of icons, sprites, emoji and avatars."""
    return _ICON_URL.search(row["image_url"].lower()) is not None


_NOT_A_BITMAP = re.compile(r"\.(?:svgz?|ico|cur|pdf|swf|mp4|webm|mov|html?)(?:\?|$)")


def is_not_a_bitmap(row: Row, thresholds: Thresholds) -> bool:
    """The address ends like one of drawings, icons, films or pages, and not of photographs. (Drawings could be fetched:
    on the web they are logos and symbols for the most part.)"""
    return _NOT_A_BITMAP.search(row["image_url"].lower()) is not None


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
    min_lang_score: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.2
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
