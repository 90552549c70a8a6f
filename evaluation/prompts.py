"""The sentences about the classes of a set, of which a zero-shot classifier is made (paper, section 3.1.4).

Choices, as in the paper's Figure 4 and beside it:
- "paper": the set's own templates, as OpenAI published them;
- "single": "a photo of a {}.";
- "contextless": the bare name of the class;
- "ensemble": ImageNet's 80 templates; "selected": the 7 of them that OpenAI's notebook found by forward selection;
- "forward": those of the 80 and of the set's own that forward selection finds (evaluation/selection.py);
- "clip_benchmark": CLIP_benchmark's names and templates, to compare results with its;
- "ar", "cn", "it", "jp": ImageNet's names and templates in Arabic, Chinese, Italian, Japanese (from CLIP_benchmark);
- "babel-de" and 92 more: the names that Babel-ImageNet has in a language, without a template, for those classes of
  ImageNet that have one.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import UsageError

DATA = Path(__file__).parent / "data"
SINGLE = "a photo of a {}."
FORWARD = "forward"
CHOICES = ("paper", "single", "contextless", "ensemble", "selected", FORWARD, "clip_benchmark")
LANGUAGES = ("ar", "cn", "it", "jp")
SELECTED = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)  # in the order in which they were selected


@dataclass(frozen=True)
class Prompts:
    """Sentences by class. Their unit features are averaged, with equal weights, into the class's vector."""

    choice: str
    classes: tuple[int, ...]  # numbers of the set's classes that have a name here, ascending
    names: tuple[tuple[str, ...], ...]  # by class: its names, each of which is put into every template
    templates: tuple[str, ...]  # each with {} where a name goes

    def texts(self) -> list[list[str]]:
        """By class: its sentences, templates x names."""
        return [[t.replace("{}", name) for t in self.templates for name in some] for some in self.names]


def published(source: str) -> dict[str, dict[str, Any]]:
    """Names and templates as shipped: set → {"classes": …, "templates": …}. `source`: "clip", or one of CLIP_benchmark:
    "en", "ar", "cn", "it", "jp"."""
    path = DATA / "clip" / "prompts.json" if source == "clip" else DATA / "clip_benchmark" / f"{source}.json"
    return dict(_read(path))


@functools.cache
def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def babel() -> dict[str, tuple[list[int], list[str]]]:
    """Babel-ImageNet: language (ISO 639-1, small letters) → numbers of ImageNet's classes, their names in it."""
    found = _read(DATA / "clip_benchmark" / "babel_imagenet.json")
    return {language.lower(): (numbers, names) for language, (numbers, names) in found.items()}


def make(choice: str, names: Sequence[Sequence[str]], templates: Sequence[str], set_name: str) -> Prompts:
    """One of the choices that need no other names: `names` by class, `templates` the set's own (none: "single").

    Of "forward" these are the candidates.
    """
    ensemble = published("clip")["imagenet"]["templates"]
    of_choice: dict[str, Sequence[str]] = {
        "paper": templates or (SINGLE,),
        "single": (SINGLE,),
        "contextless": ("{}",),
        "ensemble": ensemble,
        "selected": SELECTED,
        FORWARD: tuple(dict.fromkeys([*ensemble, *templates])),
    }
    if choice not in of_choice:
        raise UsageError(
            f"there are no prompts {choice!r} for the set {set_name}: give one of {', '.join(of_choice)}, "
            f"clip_benchmark (for ImageNet also {', '.join(LANGUAGES)} and babel-LANGUAGE)"
        )
    return Prompts(choice, tuple(range(len(names))), tuple(map(tuple, names)), tuple(of_choice[choice]))


def in_language(choice: str, set_name: str) -> Prompts:
    """ImageNet's classes in another language: "ar", "cn", "it", "jp", or "babel-" and a language."""
    if choice in LANGUAGES:
        found = published(choice)["imagenet1k"]
        names = tuple((name,) for name in found["classes"])
        return Prompts(choice, tuple(range(len(names))), names, tuple(found["templates"]))
    language = choice.removeprefix("babel-")
    languages = babel()
    if language not in languages:
        raise UsageError(
            f"there are no prompts {choice!r} for the set {set_name}: Babel-ImageNet has {', '.join(sorted(languages))}"
        )
    numbers, translated = languages[language]
    return Prompts(choice, tuple(numbers), tuple((name,) for name in translated), ("{}",))


@functools.cache
def wordnet() -> tuple[tuple[str, str], ...]:
    """WordNet id and name of ImageNet's 1,000 classes, in the order of their indices. Two names stand twice."""
    lines = (DATA / "imagenet" / "classes.tsv").read_text(encoding="utf-8").splitlines()
    return tuple((wnid, name) for wnid, name in (line.split("\t") for line in lines))
