"""Which caption belongs to what: those of figures, and those that content systems mark by a class.

A caption belongs to the closest element around it that can have one of its kind, as its child or deeper in it. Of
several deeper ones none counts: whose each is cannot be told. What stands in a caption (an icon, an emoji) is not what
it is about.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from selectolax.lexbor import LexborNode

MAX_CLIMB = 32
"""How many elements up a <figure>, <picture>, link or what else holds something is looked for."""

_HOLDERS: Mapping[str, frozenset[str]] = {  # class of a caption → classes of what it is the caption of
    "wp-caption-text": frozenset({"wp-caption", "gallery-item"}),  # WordPress's classic editor and its galleries
    "thumbcaption": frozenset({"thumb", "tsingle"}),  # MediaWiki; one of several pictures side by side
    "gallerytext": frozenset({"gallerybox"}),  # MediaWiki's galleries
    "tr-caption": frozenset({"tr-caption-container"}),  # Blogger
}
CAPTIONS = ", ".join(["figcaption", *(f".{name}" for name in _HOLDERS)])
"""The elements that may be captions."""
KINDS = ("figcaption", *_HOLDERS)
"""What their texts are called, in the order of the rows."""


class Captions(NamedTuple):
    """The captions of a page."""

    of: dict[tuple[int, str], LexborNode]  # by (the node that they belong to, kind)
    roles: dict[int, list[str]]  # by node: the kinds of caption that it has, and within(kind) of what it is itself


def within(kind: str) -> str:
    """What a caption of a kind is to that which stands in it."""
    return f"in {kind}"


def captions(nodes: Iterable[LexborNode]) -> Captions:
    """The captions among the elements that may be some, in the page's order."""
    classes: dict[int, frozenset[str]] = {}
    found: dict[tuple[int, str], list[tuple[bool, LexborNode]]] = {}
    roles: dict[int, list[str]] = {}
    for node in nodes:
        for kind in _kinds(node, classes):
            for level, above in enumerate(above_of(node)):
                if above.tag == "figure" if kind == "figcaption" else _HOLDERS[kind] & _classes(above, classes):
                    found.setdefault((above.mem_id, kind), []).append((level == 0, node))
                    roles.setdefault(node.mem_id, []).append(within(kind))
                    break
    of = {key: the_one for key, some in found.items() if (the_one := _the_one(some)) is not None}
    for holder, kind in of:
        roles.setdefault(holder, []).append(kind)
    return Captions(of, roles)


def _kinds(node: LexborNode, classes: dict[int, frozenset[str]]) -> Iterator[str]:
    """Of which kinds a caption is; <figcaption class=wp-caption-text> of a figure is a figcaption alone."""
    if node.tag == "figcaption" and any(above.tag == "figure" for above in above_of(node)):
        yield "figcaption"
    else:
        yield from (kind for kind in _HOLDERS if kind in _classes(node, classes))


def _the_one(some: list[tuple[bool, LexborNode]]) -> LexborNode | None:
    """The first that is a child of what it belongs to, else the only one."""
    child = next((node for is_child, node in some if is_child), None)
    return child or (some[0][1] if len(some) == 1 else None)


def _classes(node: LexborNode, known: dict[int, frozenset[str]]) -> frozenset[str]:
    if node.mem_id not in known:
        known[node.mem_id] = frozenset((node.attributes.get("class") or "").split())
    return known[node.mem_id]


def above_of(node: LexborNode) -> Iterator[LexborNode]:
    """The elements that hold a node, the closest first."""
    above = node.parent
    for _ in range(MAX_CLIMB):
        if above is None:
            return
        yield above
        above = above.parent
