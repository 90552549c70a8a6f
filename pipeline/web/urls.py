"""URLs as the whole project means them: WHATWG-normalised http(s) without fragment; and whose domain they are of.

WHATWG and not RFC 3986, because that is what made the picture appear in the page author's browser.
"""

from __future__ import annotations

from functools import cache, lru_cache
from ipaddress import ip_address

import ada_url
from publicsuffixlist import PublicSuffixList

MAX_URL_CHARS = 2_083
"""The longest URL that every browser has opened (Internet Explorer's limit): longer ones are sessions or attacks."""

_ESCAPED_CHARS = 6  # of a character that is not ASCII, at least: %C3%A9


def normalise(url: str, base: str | None = None) -> str | None:
    """The absolute URL that a browser would ask for, ASCII, without fragment; None where it would be no http(s) URL.

    `url` is as found in the page; `base` (absolute) resolves a relative one. None also for URLs that carry a user
    name or password, and for those longer than MAX_URL_CHARS after normalising.
    Source: https://url.spec.whatwg.org/#concept-basic-url-parser
    """
    if _is_too_long(url):
        return None
    try:
        found = ada_url.normalize_url(_scalars(url)) if base is None else ada_url.join_url(base, _scalars(url))
    except ValueError:
        return None
    normal = found.partition("#")[0]
    if len(normal) > MAX_URL_CHARS or not normal.startswith(("http://", "https://")):
        return None
    if "@" in _authority(normal) or ("xn--" in normal and not _is_punycode(host_of(normal))):
        return None
    return normal


def host_of(url: str) -> str:
    """The host of a normalised URL: a lower-case ASCII name or an address, without port and without brackets."""
    authority = _authority(url)
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    return authority.partition(":")[0]


def origin_of(url: str) -> str:
    """Scheme, host and port of a normalised URL (`https://example.com:8443`): what one robots.txt speaks for."""
    return f"{url.partition('//')[0]}//{_authority(url)}"


@lru_cache(maxsize=65_536)  # 17 µs a host without it, and hosts come in runs
def registered_domain(host: str) -> str:
    """The name that someone registered: public suffix plus one label (`img.bbc.co.uk` -> `bbc.co.uk`).

    The private part of the list counts: each `user.github.io` is its own domain. An address, and a host that is
    itself a public suffix or has a single label, stands for itself; an unknown top level is a suffix of one label.
    Source: https://publicsuffix.org/list/, as bundled with publicsuffixlist.
    """
    name = host.rstrip(".")
    return name if is_address(name) else _suffixes().privatesuffix(name) or name


@lru_cache(maxsize=65_536)
def _domain_of_host(host: str) -> str:
    return registered_domain(host)


def domain_of(url: str) -> str:
    """The registered domain of a normalised URL."""
    return _domain_of_host(host_of(url))


def is_address(host: str) -> bool:
    """Whether a host (as `host_of` gives it) is an IPv4 or IPv6 address and not a name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_too_long(url: str) -> bool:
    """Whether so much of a URL has to be escaped that it will be longer than MAX_URL_CHARS, wherever that stands.

    In a host it costs quadratic time: a page of 5 MB whose hosts have 5,000 Chinese characters each takes 12 s.
    """
    if len(url) <= MAX_URL_CHARS // _ESCAPED_CHARS:
        return False
    kept = url.partition("#")[0]
    foreign = len(kept) - len(kept.encode("ascii", "ignore"))
    return foreign * _ESCAPED_CHARS + kept.count("%") > MAX_URL_CHARS


def _authority(normal: str) -> str:
    return normal.split("/", 3)[2]


def _scalars(text: str) -> str:
    """Lone surrogates, which UTF-8 cannot carry, become U+FFFD, as a browser has it (Infra standard, "convert")."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _is_punycode(host: str) -> bool:
    """Whether each `xn--` label decodes, as UTS #46 asks: ada lets those through that it cannot decode."""
    return not any(label.startswith("xn--") for label in ada_url.idna_to_unicode(host).split("."))


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()
