"""A small encyclopedia of shapes and colours, as MediaWiki exports one: what the demo takes its queries from."""

from __future__ import annotations

import bz2
import gzip
from collections.abc import Iterator
from html import escape
from random import Random

from demo.captions import ENGLISH, Said
from demo.pictures import CLASSES, COLOURS, SHAPES, TEXTURES, Thing

TEXT = 6  # sentences about a class
NAMESPACE = "http://www.mediawiki.org/xml/export-0.11/"


def dump(seed: int) -> bytes:
    """The dump, bz2: an article a class, shape, colour and texture; a redirect and a talk page, which are none."""
    articles = list(_articles(seed))
    pages = [_page(number, title, text) for number, (title, text) in enumerate(articles, start=1)]
    pages.append(_page(len(pages) + 1, "Disc", "#REDIRECT [[Circle]]", redirect="Circle"))
    pages.append(_page(len(pages) + 1, "Talk:Circle", "Is a circle a disc? ~~~~", namespace=1))
    xml = f'<mediawiki xmlns="{NAMESPACE}" version="0.11" xml:lang="en">\n{"".join(pages)}</mediawiki>\n'
    return bz2.compress(xml.encode())


def views(seed: int) -> bytes:
    """An hour of page views, gzip: the classes and the shapes are what is read."""
    rng = Random(f"{seed} views")
    titles = [thing.name.capitalize() for thing in CLASSES] + [shape.capitalize() for shape in SHAPES]
    lines = [f"en {title.replace(' ', '_')} {rng.randint(80, 400)} 0\n" for title in sorted(titles)]
    return gzip.compress("".join(lines).encode(), mtime=0)


def _page(number: int, title: str, text: str, namespace: int = 0, redirect: str = "") -> str:
    to = f'    <redirect title="{escape(redirect)}" />\n' if redirect else ""
    return (
        f"  <page>\n    <title>{escape(title)}</title>\n    <ns>{namespace}</ns>\n    <id>{number}</id>\n{to}"
        f"    <revision>\n      <id>{number}</id>\n      <model>wikitext</model>\n      <format>text/x-wiki</format>\n"
        f'      <text xml:space="preserve">{escape(text)}</text>\n    </revision>\n  </page>\n'
    )


def _articles(seed: int) -> Iterator[tuple[str, str]]:
    rng = Random(f"{seed} encyclopedia")
    for thing in CLASSES:
        yield thing.name.capitalize(), _of_class(thing, rng)
    for shape in SHAPES:
        kinds = ", ".join(f"the [[{colour} {shape}]]" for colour in COLOURS)
        yield shape.capitalize(), _essay(f"A '''{shape}''' is a shape. Its kinds are {kinds}.", shape, rng)
    for colour in COLOURS:
        kinds = ", ".join(f"the [[{colour} {shape}]]" for shape in SHAPES)
        yield (
            colour.capitalize(),
            _essay(f"'''{colour.capitalize()}''' is a colour. It is seen in {kinds}.", colour, rng),
        )
    for texture in TEXTURES:
        yield texture.capitalize(), _essay(f"What is '''{texture}''' has a texture.", f"{texture} cloth", rng)


def _of_class(thing: Thing, rng: Random) -> str:
    """What is said of a class, with the marks of wikitext that the reader has to take out."""
    opening = f"{{{{Infobox shape | colour = {thing.colour} }}}}\nA '''{thing.name}''' is a [[{thing.shape}]]"
    sentences = [f"{opening} that is [[{thing.colour}]].<ref>''On {thing.shape}s'', page {rng.randint(1, 400)}.</ref>"]
    for _ in range(TEXT):
        said = Said(thing, rng.choice((1, 1, 2, 3)), rng.choice(("large", "small")), rng.choice(TEXTURES))
        it, scene = ENGLISH.phrase(said), rng.choice(tuple(ENGLISH.scenes.values()))
        sentences.append(rng.choice(_SENTENCES).format(it=it, scene=scene, name=thing.name))
    return "\n\n".join(sentences) + f"\n\n== See also ==\n* [[{thing.colour}]]\n\n[[Category:Shapes]]"


def _essay(opening: str, about: str, rng: Random) -> str:
    sentences = [rng.choice(_ESSAYS).format(about=about) for _ in range(3)]
    return "\n\n".join((opening, *sentences))


_SENTENCES = (
    "A painter who wants a {name} to be seen puts {it} {scene}.",
    "In a picture of a {name} one may find {it} {scene}.",
    "The {name} is known from drawings that show {it} {scene}.",
    "An old painting of the {name} shows {it} {scene}.",
    "Nobody knows who painted the first {name}; the oldest picture has {it} {scene}.",
)
_ESSAYS = (
    "Many pictures show the {about} in the middle, some on the left side or on the right side.",
    "A large {about} fills a picture, a small {about} stands in its corner.",
    "Painters have drawn the {about} above the sea, in front of the hills and under the night sky.",
    "The {about} is often painted on a wooden table, beside a wooden fence or in front of a brick wall.",
    "Drawings of the {about} on a striped background are older than those on a checked background.",
)
