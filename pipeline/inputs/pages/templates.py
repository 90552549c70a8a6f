"""URLs with `{width}` and its kin in them, filled as lazysizes' RIaS and Shopify's scripts fill them.

Source: https://github.com/aFarkas/lazysizes/tree/gh-pages/plugins/rias. `{width}` is one of data-widths, else of the
script's own; `{height}` goes with it by the ratio that the element states; any other `{name}` is data-name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

MAX_WIDTH = 2_048
"""Pixels: the largest of the widths up to this fills a `{width}`, else the smallest of them."""
DEFAULT_WIDTH = 1_944
"""The largest of the script's own widths up to that: 180, 360, 540, 720, 900, 1080, 1296, 1512, 1728, 1944, 2160 …"""

Attributes = Mapping[str, str | None]

_MAX_CHARS = 10_000  # of a value; a longer one is no URL
_NAMED = re.compile(  # not {{name}}, ${name}, #{name}, which are others' templates
    r"(?<![{$#])(?:\{|%7B)\s{0,9}(\.?)([a-z][a-z0-9]{0,40})\s{0,9}(?:\}|%7D)(?!\})", re.IGNORECASE | re.ASCII
)
_PLAIN = re.compile(r"[\w.,:;=+~@!/-]{1,100}", re.ASCII)
_RATIO = re.compile(r"\s{0,9}(\d{1,5}(?:\.\d{1,20})?)(?:\s{0,9}[/:]\s{0,9}(\d{1,5}(?:\.\d{1,20})?))?\s{0,9}", re.ASCII)
_RATIO_NAMES = ("data-aspectratio", "data-aspect-ratio", "data-ratio")


def filled(value: str, attributes: Attributes, by_default: bool = False) -> str:
    """A URL with what stands in braces filled in, as far as its element says with what.

    `by_default`: a `{width}` also where it does not say; then the value is one that such a script reads.
    """
    if ("{" not in value and "%7" not in value) or len(value) > _MAX_CHARS:
        return value
    offered, ratio = _width(attributes), _ratio(attributes)
    width = offered or (DEFAULT_WIDTH if by_default else None)

    def what(placeholder: re.Match[str]) -> str:
        dot, name = placeholder[1], placeholder[2].lower()  # {.width} is Adobe's, whose script leaves it out by default
        if name == "width" and (offered if dot else width):
            return f"{dot}{offered if dot else width}"
        if name == "height" and width and ratio and not dot:
            return str(round(width / ratio))
        own = "" if dot else (attributes.get(f"data-{name}") or "").strip()
        return own if _PLAIN.fullmatch(own) and own not in ("true", "false") else placeholder[0]

    return _NAMED.sub(what, value)


def _width(attributes: Attributes) -> int | None:
    """The largest useful one of the widths that an element offers, or the one that it states."""
    offered = attributes.get("data-widths") or attributes.get("data-cmp-widths")
    own = (attributes.get("data-width") or "")[:5]
    return _useful(offered[:1_000] if offered else "") or (int(own) if own.isdecimal() else None)


@lru_cache(maxsize=256)  # the images of a page offer the same ones
def _useful(offered: str) -> int | None:
    widths = [int(width) for width in re.findall(r"\d{1,5}", offered)]
    return max((width for width in widths if width <= MAX_WIDTH), default=min(widths)) if widths else None


def _ratio(attributes: Attributes) -> float | None:
    """Width by height, as an element states it: 1.5, 3/2, 3:2."""
    for name in _RATIO_NAMES:
        if found := _RATIO.fullmatch((attributes.get(name) or "")[:99]):
            width, height = float(found[1]), float(found[2] or 1)
            if width and height:
                return width / height
    return None
