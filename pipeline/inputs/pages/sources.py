"""Which URL an image element names: by its src, or by what a script of lazy loading will put there.

The first usable of: the attributes that scripts of lazy loading read (data-src and its kin, then data-srcset and its
kin, on the image or on a <source> of its <picture>), src, srcset, the <source>s, any other attribute whose value is a
URL of a picture, the copy of the image in a <noscript> beside it. A lazy attribute comes before src because src is
then what stands there until the script has run: one grey picture for a whole page. Where there is none, src comes
before srcset: the other ways into the data (WAT archives, URL tables) know only that, and the same picture gets the
same image_id whichever way it came.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Set
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

from pipeline.inputs.pages.placeholders import PICTURE, blank, unfilled, words_of
from pipeline.inputs.pages.templates import Attributes, filled
from pipeline.web.urls import normalise


class Judged(NamedTuple):
    """The image that a value names."""

    url: str  # as normalise gives it; how it starts in the page where that is none
    failure: str | None  # data_uri | url_invalid | no_url | placeholder
    doubtful: bool = False  # its name may be that of a placeholder


class Named(NamedTuple):
    """What names an image."""

    source: str  # the attribute: src, srcset, data-src …
    judged: Judged


class Where(NamedTuple):
    """What URLs of a page are relative to, and what no image of it is called."""

    base: str
    page: str


_PENDING = re.compile(r"[?&]is-pending-load=1(?=&|$)")  # Jetpack's, on the URL of the very picture
_WIX = re.compile(r"https://static\.wixstatic\.com/media/[^/?]+(?=/v1/)")


def judge(value: str, where: Where) -> Judged:
    """The image that one URL of a page names."""
    value = value.strip()
    if value[:5].lower() == "data:":
        return Judged(value[:100], "data_uri")
    if unfilled(value) or value[:6].lower() == "about:":
        return Judged(value[:100], "no_url")
    if "is-pending" in value:
        value = _PENDING.sub("", value)
    url = normalise(value, where.base)
    if url is None:
        return Judged(value[:100], "url_invalid")
    bare = url.rstrip("?")
    is_folder = bare[-1] == "/" and (bare.count("/") == 3 or where.page.startswith(bare))
    if bare == where.base or bare == where.page or is_folder:
        return Judged(value[:100], "no_url")  # what "#", "?" and "." become, and the site's front page
    if "blur_" in url and (preview := _WIX.match(url)):
        url = preview[0]  # which is the picture itself
    is_blank = blank(url)
    return Judged(url, "placeholder" if is_blank == "yes" else None, is_blank == "perhaps")


# ── which attributes there are ──

_LAZY_NAMES = (
    "data-src data-lazy-src data-original data-lazy data-img-src data-original-src data-lazyload data-echo data-unveil"
    " data-deferred data-ks-lazyload data-spai data-breeze data-pagespeed-high-res-src lazyload loadlate v-lazy"
    " zoomfile file"  # Discuz
)
_LAZY = _LAZY_NAMES.split()
_USED = range(len(_LAZY))  # ranks of those that are known
_LAZY_NAME = re.compile(r".*(?:src|lazy[\w-]*)$", re.ASCII)
_LAZY_SET = re.compile(r".*[\w-](?:srcset|bgset|imgset)$", re.ASCII)

# Words of attribute names that say that the value is not the picture, or that it is the picture in another size.
_ANOTHER = words_of(
    "active after ajax alt alternate alternative audio author avatar back backside badge before blank blur blurred"
    " caption credit cursor description dynsrc embed empty err error facebook fallback filename flag flip frame"
    " gravatar hover hovered href icon icons iframe inactive label link lo loader loading logo longdesc low lowres"
    " lowsrc lqip map marker mask mouseout mouseover name next onerror other out over overlay page pdf permalink"
    " placeholder player poster prev previous profile rollover script second secondary selected share sound spinner"
    " srcdoc swatch swf target tiny title twitter user video vimeo watermark youtube"
)
_LARGER = words_of(
    "2x 3x big desktop download enlarge full fullscreen fullsize gallery hi hidpi high highres hires large lightbox"
    " magnify max media modal pin pinterest popup print retina xl zoom zoomed"
)
_SMALLER = words_of("cropped default medium mini mobile normal phone preview small tablet thumb thumbnail")
_KNOWN = words_of(
    "alt aria-describedby aria-hidden aria-label aria-labelledby border class content crossorigin data-sizes decoding"
    " fetchpriority height href hspace id importance itemprop ismap lang loading longdesc name referrerpolicy rel role"
    " sizes src srcset style tabindex title type typeof usemap value vspace width xlink:href xml:lang"
)
_WORDS = re.compile(r"[a-z0-9]+")
_SUFFIX = re.compile(r"(?<=[a-z])(?:src|srcset|img|image|url)$")


MAX_NAME_CHARS = 64  # of an attribute; none that a script of lazy loading reads is longer


class AttributeKind(NamedTuple):
    """What the name of an attribute says about its value."""

    lazy: int | None  # rank among those with a URL that scripts of lazy loading read; None: none of them
    lazy_set: bool  # one of those with a srcset that they read
    guess: int | None  # rank among those whose value may be the picture's URL; None: whatever it is, it is not that


_NOTHING = AttributeKind(None, False, None)


@lru_cache(maxsize=4_096)
def _kind(name: str) -> AttributeKind:
    if name in _LAZY:
        return AttributeKind(_LAZY.index(name), False, None)
    words = _words(name)
    if name in _KNOWN or name.startswith("on") or not words.isdisjoint(_ANOTHER):
        return _NOTHING
    if not words.isdisjoint(_LARGER):
        return AttributeKind(None, False, 1)
    if not words.isdisjoint(_SMALLER):
        return AttributeKind(None, False, 2)
    if _LAZY_SET.match(name):
        return AttributeKind(None, True, None)
    return AttributeKind(len(_LAZY) if _LAZY_NAME.match(name) else None, False, 0)


def _words(name: str) -> set[str]:
    return {form for word in _WORDS.findall(name) for form in (word, _SUFFIX.sub("", word))}


# ── what names an image ──


Sources = Callable[[bool], Named | None]
"""What the <source>s of an image's <picture> name: asked with True for a script, with False at once."""


def choose(attributes: Attributes, sources: Sources, where: Where, shared: Set[str]) -> Named:
    """What names an image best. Its judgement says why there is none where nothing does.

    `shared` holds URLs that stand in the src of several pictures of the page.
    """
    if _KNOWN.issuperset(attributes) and not sources(True):  # most images: nothing comes before src
        src = Named("src", judge(attributes.get("src") or "", where))
        if src.judged.failure is None and not src.judged.doubtful and src.judged.url not in shared:
            return src
    doubtful = failed = None
    is_shown: bool | None = None  # whether src is a picture; None: that was not asked yet
    for name in _in_order(attributes, sources, where):
        if name.source == "src" and name.judged.url in shared:
            name = Named("src", name.judged._replace(failure="placeholder"))
        if name.judged.failure:
            failed = name if failed is None or name.source == "src" else failed
        elif name.judged.doubtful:
            doubtful = doubtful or name
        elif not _may_be_no_picture(name):
            return name
        else:
            is_shown = _src_is_a_picture(attributes, where, shared) if is_shown is None else is_shown
            if not is_shown:
                return name
    if doubtful and _awaits_a_script(attributes, sources):
        doubtful = doubtful._replace(judged=doubtful.judged._replace(failure="placeholder"))
    return doubtful or failed or Named("", Judged("", "no_url"))


_OF_SERVICES = re.compile(  # words of hosts and folders, and parameters, that URLs of pictures without extension have
    r"[/.-](?:images?|img|photos?|pics?|pictures?|media|thumbs?|uploads?|assets|cdn)\d{0,3}[/.-]"
    r"|[?&](?:w|h|width|height|fm|fmt|wx_fmt|format|auto|fit|crop|resize|quality|q)=|[/,][wh]_\d|\d{2,4}x\d{2,4}"
)


def _may_be_no_picture(name: Named) -> bool:
    """Whether a script may load something else from an image's attribute: a video, a map, a page in a frame.

    What has no extension of a picture is one in an attribute whose use is known if its URL is like those of services.
    """
    url = name.judged.url
    if name.source in ("src", "srcset", "source srcset") or _kind(name.source).lazy_set or PICTURE.search(url):
        return False
    return name.source not in _LAZY or _OF_SERVICES.search(url) is None


def _awaits_a_script(attributes: Attributes, sources: Sources) -> bool:
    """Whether a script was to fill a template and put that in the place of src."""
    templates = [name for name, value in attributes.items() if value and unfilled(value)]
    kinds = [_kind(name) for name in templates if len(name) <= MAX_NAME_CHARS]
    source = sources(True)
    is_template = source is not None and source.judged.failure == "no_url"
    return is_template or any(kind.lazy is not None or kind.lazy_set for kind in kinds)


def _src_is_a_picture(attributes: Attributes, where: Where, shared: Set[str]) -> bool:
    """Whether src shows one for sure, as far as a URL can tell."""
    url, failure, doubtful = judge(attributes.get("src") or "", where)
    return not failure and not doubtful and url not in shared and PICTURE.search(url) is not None


def rival(attributes: Attributes, sources: Sources, where: Where) -> str | None:
    """Which picture an image shows by what a script will put in its src: equal for sizes of the same picture."""
    others = {name: value for name, value in attributes.items() if name not in ("src", "srcset")}
    for name in _in_order(others, lambda for_script: sources(True), where, guesses=1):
        if not name.judged.failure:
            return stem(name.judged.url)
    return None


_SIZE = re.compile(r"[-_@](?:\d{0,4}[xw]\d{0,4}|scaled)$")


def stem(url: str) -> str:
    """The name of a URL's picture without folder, size, extension and query; without an extension the whole URL."""
    name = url.partition("?")[0].rpartition("/")[2]
    extension = PICTURE.search(name)
    return _SIZE.sub("", name[: extension.start()]) if extension else url


def _in_order(attributes: Attributes, sources: Sources, where: Where, guesses: int = 3) -> Iterator[Named]:
    """All that names an image, the best first; of the ranks of guesses as many as asked for."""
    kinds = [
        (kind, name, filled(value, attributes, by_default=kind.lazy_set or kind.lazy in _USED))
        for name, value in attributes.items()
        if value and len(name) <= MAX_NAME_CHARS and (kind := _kind(name)) is not _NOTHING
    ]
    lazy = [(kind.lazy, name, value) for kind, name, value in kinds if kind.lazy is not None]
    src = attributes.get("src") or ""
    for _, name, value in sorted(lazy, key=itemgetter(0)):
        if "is-pending-load" in value and src:  # Jetpack's: src has the very picture, and this some of its query
            yield Named("src", judge(src, where))
        if url := _url_for_script(name, value):
            yield Named(name, _trusted(judge(url, where)))
    for kind, name, value in kinds:
        if kind.lazy_set and (url := largest(value)):
            yield Named(name, _trusted(judge(url, where)))
    if source := sources(True):
        yield source
    if src.strip():
        yield Named("src", judge(filled(src, attributes), where))
    if url := largest(attributes.get("srcset") or ""):
        yield Named("srcset", judge(url, where))
    if source := sources(False):
        yield source
    for rank in range(guesses):
        for kind, name, value in kinds:
            if kind.guess == rank and (url := _picture_in(value)):
                yield Named(name, judge(url, where))


def _trusted(judged: Judged) -> Judged:
    """Not doubtful: nobody loads a placeholder late."""
    return judged._replace(doubtful=False) if judged.doubtful else judged


_PAGE = re.compile(
    r"\.(?:html?|mp4|webm|mov|m3u8|mp3|ogg|pdf|js|css|json|xml|swf)(?:$|[?#])"
    r"|//(?:[\w-]+\.)*(?:youtube(?:-nocookie)?\.com|youtu\.be|vimeo\.com|dailymotion\.com)/"
    r"|//(?:[\w-]+\.)*(?:player|video|videos)\.|/video\.php\?"
    r"|/(?:embed|iframe|oembed|player)(?:$|[/?#])|/maps/?\?|[?&]output=embed(?:&|$)",
    re.IGNORECASE,
)


def _url_for_script(name: str, value: str) -> str:
    """The URL in an attribute that scripts of lazy loading read: "" for flags, numbers, links to pages and players."""
    if url := _picture_in(value):
        return url
    value = value.strip()
    if value.endswith("/") and (name not in _LAZY or "//" not in value):
        return ""  # a folder; Squarespace's full URLs may end so
    return value if ("/" in value or "?" in value) and value[0] not in "{[(<" and not _PAGE.search(value) else ""


_IN_CSS = re.compile(r"url\(\s{0,9}[\"']?([^\"')]+)[\"']?\s{0,9}\)\s{0,9};?")
_SETS = re.compile(r"\s\d{1,5}(?:\.\d{1,5})?[wx]\s{0,99}(?:,|$)")
_INTERCHANGE = re.compile(r"\[\s{0,9}([^\s,\[\]]+)\s{0,9},")  # of Foundation: [small.jpg, small], [large.jpg, large]


def _picture_in(value: str) -> str:
    """The URL with a picture's extension in an attribute's value: alone, in a srcset, in CSS, in JSON; else ""."""
    value = value.strip()
    if value[:1] in ("{", "[") and value[:2] not in ("{{", "{%", "[["):
        rules = _INTERCHANGE.findall(value)
        return _largest_in_json(value) or next((url for url in reversed(rules) if PICTURE.search(url)), "")
    if css := _IN_CSS.fullmatch(value):
        value = css[1]
    if value[:1] in ("'", '"') and value[-1] == value[0]:  # a string in an expression of Vue's
        value = value[1:-1]
    if _SETS.search(value):
        return largest(value)
    several = value.split("|", 2)  # b-lazy: one|another for fine screens
    if len(several) == 2 and all(map(PICTURE.search, several)):
        value = several[0]
    is_url = PICTURE.search(value) and "<" not in value and (" " not in value or "/" in value)
    return value if is_url else ""


def _largest_in_json(value: str) -> str:
    """The URL of the largest picture in a value that is JSON, by its width or its key, the first of equals."""
    try:
        todo: list[tuple[Any, float]] = [(json.loads(value), 1.0)]
    except (ValueError, RecursionError):
        return ""
    best, largest_size = "", -1.0
    while todo:
        item, size = todo.pop()
        if isinstance(item, str) and size > largest_size and (url := _picture_in_string(item)):
            best, largest_size = url, size
        elif isinstance(item, dict):
            width = item.get("width", item.get("w"))
            size = float(width) if isinstance(width, int) and 0 < width < 100_000 else size
            inner = [(part, size * _weight(key)) for key, part in item.items() if _words(key[:99]).isdisjoint(_ANOTHER)]
            todo += reversed(inner)
        elif isinstance(item, list):
            todo += [(part, size) for part in reversed(item)]
    return best


def _picture_in_string(text: str) -> str:
    url = largest(text) if _SETS.search(text) else text.strip()
    return url if PICTURE.search(url) else ""


def _weight(key: str) -> float:
    """What the key of a picture in JSON says about its size: "640", "large"."""
    number = re.fullmatch(r"(\d{1,5})(?:[wx]|px)?", key[:9])
    if number:
        return float(number[1])
    words = _words(key[:99])
    return 2.0 if not words.isdisjoint(_LARGER) else 0.5 if not words.isdisjoint(_SMALLER) else 1.0


_CANDIDATE = re.compile(r"[\s,]*([^\s,]\S*)(?:\s+([^,]*))?")
_DESCRIPTOR = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)[wx]\s*")


def largest(srcset: str) -> str:
    """The URL of a srcset's largest image, by its w or x descriptor, the first of equals; "" if there is none.

    Source: https://html.spec.whatwg.org/#parse-a-srcset-attribute; a candidate with a bad descriptor counts as 1x.
    """
    best, size, at = "", -1.0, 0
    while match := _CANDIDATE.match(srcset, at):
        url, descriptor, at = match[1], match[2] or "", match.end()
        if url.endswith(","):  # then there is no descriptor, and the next candidate starts here
            url, descriptor, at = url.rstrip(","), "", match.end(1)
        number = _DESCRIPTOR.fullmatch(descriptor)
        if (value := float(number[1]) if number else 1.0) > size:
            best, size = url, value
    return best
