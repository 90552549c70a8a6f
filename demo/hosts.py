"""The hosts that have pages: their language, how their pages look, and where their pictures lie.

Each has a registered domain of its own; a few keep their pictures on hosts of others, as the web does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from demo.layouts import Words


class Host(NamedTuple):
    """A host with pages."""

    name: str
    layout: str  # one of layouts.LAYOUTS
    language: str  # one of captions.LANGUAGES
    pictures: str  # the host that its pictures lie on
    folder: str  # of the pages, "/albums/"
    all_linked: bool  # the front page links to every page, else to the first, and each links to the next
    charset: str = "utf-8"


_ENGLISH = {  # layout → names below .test
    "gallery": "gallery.kestrel art.merlin gallery.hobby photos.harrier gallery.buzzard art.osprey",
    "blog": "blog.wren notes.dunnock blog.robin diary.redstart blog.wheatear notes.whinchat",
    "shop": "shop.linnet store.siskin shop.twite store.brambling shop.serin store.crossbill",
    "magazine": "www.swallow magazine.martin www.swift weekly.hoopoe www.roller magazine.bee-eater",
    "old": "www.bittern home.spoonbill www.crane people.stork home.ibis www.egret",
}
_FOREIGN = (
    ("galerie.amsel", "gallery", "de"),
    ("blog.zaunkoenig", "blog", "de"),
    ("galeria.gorrion", "gallery", "es"),
    ("www.golondrina", "old", "es"),
    ("galerie.rossignol", "gallery", "fr"),
    ("revue.hirondelle", "magazine", "fr"),
)
_FOLDERS = {"gallery": "/albums/", "blog": "/2024/05/", "shop": "/shop/", "magazine": "/issues/", "old": "/"}
_ELSEWHERE = {  # host of pages → host of its pictures
    "blog.wren.test": "cdn.teal.test",
    "blog.robin.test": "cdn.teal.test",
    "shop.linnet.test": "media.pintail.test",
    "shop.twite.test": "media.pintail.test",
    "shop.serin.test": "static.gadwall.test",
}


def _hosts() -> Iterator[Host]:
    english = [(name, layout, "en") for layout, names in _ENGLISH.items() for name in names.split()]
    for short, layout, language in (*english, *_FOREIGN):
        name = f"{short}.test"
        own = f"img.{short.partition('.')[2]}.test" if layout == "magazine" else name
        yield Host(
            name=name,
            layout=layout,
            language=language,
            pictures=_ELSEWHERE.get(name, own),
            folder=_FOLDERS[layout],
            all_linked=layout in ("gallery", "shop", "magazine"),
            charset="windows-1252" if (layout, language) == ("old", "es") else "utf-8",
        )


HOSTS = tuple(_hosts())
ADDRESSES = {
    f"*.[{first}]*.test": f"127.0.0.{number}"
    for number, first in enumerate(("a-b", "c-f", "g", "h", "i-m", "n-r", "s", "t-z"), start=2)
}
"""Where LocalWeb serves them, by the first letter of their domain: a pattern of hosts → an address."""
SITEMAPS = ("gallery.hobby.test", "notes.dunnock.test")
"""Their last pages are linked from nowhere: only a sitemap names them."""
PRIVATE = ("art.merlin.test", "www.bittern.test")
"""They have a page below /private/, which robots.txt forbids."""
MARKED = {
    "photos.harrier.test": ('<meta name="robots" content="noimageai, noai">', "noai,noimageai"),
    "diary.redstart.test": ('<meta name="tdm-reservation" content="1">', "tdm"),
    "shop.twite.test": ('<meta name="robots" content="noai">', "noai"),
}
"""They have a page that says so that its pictures are not for us: the element of its head, the marks in it."""
LICENSED = {"art.osprey.test": "https://creativecommons.org/licenses/by/4.0/"}


WORDS: dict[str, Words] = {
    "en": Words(
        "Home",
        "Next page",
        "Previous page",
        "About us",
        "Price: $",
        "All rights reserved.",
        (
            "We went out early, before the town was awake, and took our colours with us.",
            "It rained all morning, so there was time to look at every picture twice.",
            "My neighbour asked why anybody would paint the same thing so often.",
            "There is more to see here than one thinks at first, and it is never the same twice.",
            "Somebody wrote to us about this one, and we still do not know what to answer.",
        ),
    ),
    "de": Words(
        "Startseite",
        "Nächste Seite",
        "Vorige Seite",
        "Über uns",
        "Preis: €",
        "Alle Rechte vorbehalten.",
        (
            "Wir sind früh aufgebrochen, bevor die Stadt wach war, und hatten unsere Farben dabei.",
            "Es regnete den ganzen Vormittag, und so war Zeit, jedes Bild zweimal anzusehen.",
            "Hier gibt es mehr zu sehen, als man zuerst denkt.",
        ),
    ),
    "es": Words(
        "Inicio",
        "Página siguiente",
        "Página anterior",
        "Sobre nosotros",
        "Precio: €",
        "Todos los derechos reservados.",
        (
            "Salimos temprano, antes de que el pueblo despertara, con nuestros colores en la mano.",
            "Llovió toda la mañana y hubo tiempo para mirar cada imagen dos veces.",
            "Aquí hay más que ver de lo que parece al principio.",
        ),
    ),
    "fr": Words(
        "Accueil",
        "Page suivante",
        "Page précédente",
        "À propos",
        "Prix : €",
        "Tous droits réservés.",
        (
            "Nous sommes partis tôt, avant que la ville ne s’éveille, avec nos couleurs.",
            "Il a plu toute la matinée, et nous avons regardé chaque image deux fois.",
            "Il y a ici plus à voir qu’on ne le pense d’abord.",
        ),
    ),
}
TITLES = {
    "en": {
        "gallery": "Album {}", "blog": "Notes from a walk, part {}", "shop": "Prints, page {}",
        "magazine": "Issue {}", "old": "My pictures, page {}",
    },
    "de": {"gallery": "Album {}", "blog": "Notizen, Teil {}"},
    "es": {"gallery": "Álbum {}", "old": "Mis imágenes, página {}"},
    "fr": {"gallery": "Album {}", "magazine": "Numéro {}"},
}  # fmt: skip
