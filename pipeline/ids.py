"""Ids of images and pairs, and the texts that they are made of."""

from __future__ import annotations

import hashlib
import re


def fold(text: str) -> str:
    """White space folded: every run of it (as Unicode has it) one space, none at the ends."""
    return " ".join(text.split())


def image_id(image_url: str) -> bytes:
    """16 bytes: the image's name everywhere, and its place among the shards."""
    return hashlib.sha256(image_url.encode("utf-8", "surrogatepass")).digest()[:16]


def pair_id(image_url: str, text: str) -> bytes:
    """16 bytes, fixed at crawl: masking or cleaning the text later does not change them."""
    return hashlib.sha256(f"{image_url}\n{fold(text)}".encode("utf-8", "surrogatepass")).digest()[:16]


def ids_of(image_url: str, text: str) -> dict[str, bytes]:
    """Both ids of a candidate, as its table names them."""
    return {"image_id": image_id(image_url), "pair_id": pair_id(image_url, text)}


_HEX_ID = re.compile(r"[0-9a-f]{32}")


def is_hex_id(text: str) -> bool:
    """Whether a person gave an id (32 hex characters) where a URL may also stand."""
    return _HEX_ID.fullmatch(text) is not None
