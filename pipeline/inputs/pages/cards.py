"""The images that a page's head shows to those who link to it: Open Graph's og:image and Twitter's twitter:image.

Source: https://ogp.me/#structured: a property of an image follows it; twitter:image falls back to og:image.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

_URLS = ("", ":url", ":secure_url", ":src")
_KINDS = ("og:image", "twitter:image")
PROPERTIES = frozenset(kind + part for kind in _KINDS for part in (*_URLS, ":alt"))
"""Names of the meta tags that say something here, in lower case."""


def cards(metas: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str, str]]:
    """(og:image or twitter:image, URL, text) of each image that has a text, out of (property, content) in order."""
    urls: dict[str, list[str]] = {kind: [] for kind in _KINDS}
    texts: dict[str, dict[int, str]] = {kind: {} for kind in _KINDS}  # by the number of their image
    first: dict[str, str] = {}  # the property that began a kind's images: another repeats the same image
    for name, content in metas:
        kind = next(kind for kind in _KINDS if name.startswith(kind))
        content = content.strip()
        if not content:
            continue
        if name == f"{kind}:alt":
            texts[kind].setdefault(max(0, len(urls[kind]) - 1), content)
        elif name == first.setdefault(kind, name):
            urls[kind].append(content)
    urls["twitter:image"] = urls["twitter:image"] or urls["og:image"][:1]
    for kind in _KINDS:
        for n, text in texts[kind].items():
            if n < len(urls[kind]):
                yield kind, urls[kind][n], text
