"""What people write below pictures: captions in English, German, Spanish and French that say what is to be seen.

A caption knows the class of its picture and, by chance, the size, the texture, the scene, the place, or the second
thing; it is a function of the seed, the picture, the language and the caption's number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import NamedTuple

from demo.pictures import COLOURS, SHAPES, TEXTURES, Picture, Thing
from demo.scenes import SCENES


class Said(NamedTuple):
    """What a caption says of the things themselves."""

    thing: Thing
    number: int = 1
    size: str = "medium"  # large | medium (says nothing) | small
    texture: str = "plain"  # plain says nothing


class Language(NamedTuple):
    """How a language speaks of pictures."""

    phrase: Callable[[Said], str]  # "two small red circles"
    scenes: Mapping[str, str]
    places: Mapping[str, str]  # not all of them are worth saying
    templates: tuple[str, ...]  # {it}, {scene}
    with_place: tuple[str, ...]  # {it}, {place}
    with_second: tuple[str, ...]  # {it}, {second}


def caption(picture: Picture, language: str, number: int = 0) -> str:
    """The caption of that number: 4 words or more, the first of them in upper case."""
    speech = LANGUAGES[language]
    rng = Random(f"{picture.seed} caption {language} {picture.name} {number}")
    said = Said(
        picture.thing,
        picture.number,
        picture.size if rng.random() < 0.6 else "medium",
        picture.texture if rng.random() < 0.6 else "plain",
    )
    words = {"it": speech.phrase(said), "scene": speech.scenes[picture.scene]}
    kinds = [speech.templates]
    if picture.number == 1 and picture.place in speech.places:
        words["place"] = speech.places[picture.place]
        kinds.append(speech.with_place)
    if picture.second:
        words["second"] = speech.phrase(Said(picture.second, size="small"))
        kinds += [speech.with_second] * 2
    text = rng.choice(rng.choice(kinds)).format(**words)
    return text[0].upper() + text[1:]


def name(thing: Thing, language: str) -> str:
    """The thing by its name, in lower case: "a red triangle"."""
    return LANGUAGES[language].phrase(Said(thing))


def _table(keys: tuple[str, ...], words: str) -> dict[str, str]:
    """The words, which are separated by bars, in the order of the keys."""
    return dict(zip(keys, [word.strip() for word in words.split("|")], strict=True))


_SHAPES, _COLOURS, _SCENES = SHAPES, tuple(COLOURS), tuple(SCENES)
_ASIDE = ("left", "right", "top", "bottom")

# ── English ──


def _english(said: Said) -> str:
    numeral = {1: "", 2: "two", 3: "three"}[said.number]
    size = "" if said.size == "medium" else said.size
    texture = "" if said.texture == "plain" else said.texture
    noun = said.thing.shape + ("" if said.number == 1 else "es" if said.thing.shape == "cross" else "s")
    words = " ".join(filter(None, (numeral, size, texture, said.thing.colour, noun)))
    return words if numeral else f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


ENGLISH = Language(
    phrase=_english,
    scenes=_table(
        _SCENES,
        "on a plain wall | on a striped background | on a dotted background | on a checked background"
        " | in front of a brick wall | in the middle of a meadow | above the sea | in front of the hills"
        " | under the night sky | beside a wooden fence | on a wooden table | above the roofs of the town",
    ),
    places=_table(
        _ASIDE,
        "on the left side | on the right side | near the top of the picture | near the bottom of the picture",
    ),
    templates=(
        "{it} {scene}",
        "{it}, painted {scene}",
        "a picture of {it} {scene}",
        "a painting of {it} {scene}",
        "here you can see {it} {scene}",
        "drawing that shows {it} {scene}",
        "this is {it} {scene}",
        "{it} that we saw {scene}",
    ),
    with_place=("{it} {place}", "a picture with {it} {place}", "you can see {it} {place}"),
    with_second=("{it} with {second} in the corner", "{it} and {second}", "a picture of {it} next to {second}"),
)

# ── German: adjectives end as the noun's gender asks, in the nominative throughout ──

_DE_NOUNS = _table(
    _SHAPES,
    "m Kreis Kreise | n Quadrat Quadrate | n Dreieck Dreiecke | m Stern Sterne | n Kreuz Kreuze | n Herz Herzen",
)
_DE_COLOURS = _table(_COLOURS, "rot | orangefarben | gelb | grün | blau | violett | weiß | schwarz")
_DE_WORDS = _table(("large", "medium", "small", *TEXTURES), "groß || klein || gestreift | gepunktet | kariert")


def _german(said: Said) -> str:
    gender, one, many = _DE_NOUNS[said.thing.shape].split()
    end = "e" if said.number > 1 else {"m": "er", "n": "es"}[gender]
    adjectives = (_DE_WORDS[said.size], _DE_WORDS[said.texture], _DE_COLOURS[said.thing.colour])
    numeral = {1: "ein", 2: "zwei", 3: "drei"}[said.number]
    return " ".join((numeral, *(word + end for word in adjectives if word), one if said.number == 1 else many))


GERMAN = Language(
    phrase=_german,
    scenes=_table(
        _SCENES,
        "an einer schlichten Wand | auf gestreiftem Hintergrund | auf gepunktetem Hintergrund"
        " | auf kariertem Hintergrund | vor einer Mauer aus Ziegeln | mitten auf der Wiese | über dem Meer"
        " | vor den Hügeln | unter dem Nachthimmel | neben einem Zaun aus Holz | auf einem Tisch aus Holz"
        " | über den Dächern der Stadt",
    ),
    places=_table(_ASIDE, "links im Bild | rechts im Bild | oben im Bild | unten im Bild"),
    templates=(
        "{it} {scene}",
        "hier ist zu sehen: {it} {scene}",
        "auf diesem Bild: {it} {scene}",
        "{it}, gemalt {scene}",
    ),
    with_place=("{place} ist zu sehen: {it}", "{it} {place}"),
    with_second=("{it} und daneben {second}", "{it} und in der Ecke {second}"),
)

# ── Spanish and French: adjectives follow the noun in gender and number ──

_ES_NOUNS = _table(
    _SHAPES,
    "m círculo círculos | m cuadrado cuadrados | m triángulo triángulos | f estrella estrellas | f cruz cruces"
    " | m corazón corazones",
)
_ES_COLOURS = _table(  # masculine, feminine, and both in the plural
    _COLOURS,
    "rojo roja rojos rojas | naranja naranja naranja naranja | amarillo amarilla amarillos amarillas"
    " | verde verde verdes verdes | azul azul azules azules | morado morada morados moradas"
    " | blanco blanca blancos blancas | negro negra negros negras",
)
_ES_SIZES = {"large": "grande grande grandes grandes", "small": "pequeño pequeña pequeños pequeñas"}
_ES_TEXTURES = _table(TEXTURES, "| a rayas | con lunares | a cuadros")

_FR_NOUNS = _table(
    _SHAPES,
    "m cercle cercles | m carré carrés | m triangle triangles | f étoile étoiles | f croix croix | m cœur cœurs",
)
_FR_COLOURS = _table(
    _COLOURS,
    "rouge rouge rouges rouges | orange orange orange orange | jaune jaune jaunes jaunes | vert verte verts vertes"
    " | bleu bleue bleus bleues | violet violette violets violettes | blanc blanche blancs blanches"
    " | noir noire noirs noires",
)
_FR_SIZES = {"large": "grand grande grands grandes", "small": "petit petite petits petites"}
_FR_TEXTURES = _table(TEXTURES, "| à rayures | à pois | à carreaux")


def _form(forms: str, gender: str, number: int) -> str:
    return forms.split()["mf".index(gender) + 2 * (number > 1)]


def _spanish(said: Said) -> str:
    gender, one, many = _ES_NOUNS[said.thing.shape].split()
    numeral = {1: {"m": "un", "f": "una"}[gender], 2: "dos", 3: "tres"}[said.number]
    size = _form(_ES_SIZES[said.size], gender, said.number) if said.size in _ES_SIZES else ""
    colour = _form(_ES_COLOURS[said.thing.colour], gender, said.number)
    noun = one if said.number == 1 else many
    return " ".join(filter(None, (numeral, noun, colour, size, _ES_TEXTURES[said.texture])))


def _french(said: Said) -> str:
    gender, one, many = _FR_NOUNS[said.thing.shape].split()
    numeral = {1: {"m": "un", "f": "une"}[gender], 2: "deux", 3: "trois"}[said.number]
    size = _form(_FR_SIZES[said.size], gender, said.number) if said.size in _FR_SIZES else ""
    colour = _form(_FR_COLOURS[said.thing.colour], gender, said.number)
    noun = one if said.number == 1 else many
    return " ".join(filter(None, (numeral, size, noun, colour, _FR_TEXTURES[said.texture])))


SPANISH = Language(
    phrase=_spanish,
    scenes=_table(
        _SCENES,
        "en una pared lisa | sobre un fondo de rayas | sobre un fondo de lunares | sobre un fondo de cuadros"
        " | delante de una pared de ladrillos | en medio del prado | encima del mar | delante de las colinas"
        " | bajo el cielo de la noche | junto a una valla de madera | sobre una mesa de madera"
        " | encima de los tejados del pueblo",
    ),
    places=_table(
        _ASIDE,
        "a la izquierda de la imagen | a la derecha de la imagen | en la parte de arriba | en la parte de abajo",
    ),
    templates=(
        "{it} {scene}",
        "aquí vemos {it} {scene}",
        "en la imagen hay {it} {scene}",
        "dibujo de {it} {scene}",
    ),
    with_place=("{it} {place}", "aquí hay {it} {place}"),
    with_second=("{it} junto a {second}", "{it} con {second} en una esquina"),
)

FRENCH = Language(
    phrase=_french,
    scenes=_table(
        _SCENES,
        "sur un mur tout simple | sur un fond à rayures | sur un fond à pois | sur un fond à carreaux"
        " | devant un mur de briques | au milieu de la prairie | au-dessus de la mer | devant les collines"
        " | sous le ciel de la nuit | à côté de la clôture en bois | sur une table en bois"
        " | au-dessus des toits de la ville",
    ),
    places=_table(
        _ASIDE, "à gauche de l’image | à droite de l’image | dans le haut de l’image | dans le bas de l’image"
    ),
    templates=(
        "{it} {scene}",
        "voici {it} {scene}",
        "on voit ici {it} {scene}",
        "sur cette image il y a {it} {scene}",
    ),
    with_place=("{it} {place}", "on peut voir {it} {place}"),
    with_second=("{it} avec {second} dans un coin", "{it} et {second} sur la même image"),
)

LANGUAGES: dict[str, Language] = {"en": ENGLISH, "de": GERMAN, "es": SPANISH, "fr": FRENCH}
"""By the name that lid.176 gives them (ISO 639-1)."""
