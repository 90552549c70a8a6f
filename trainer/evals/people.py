"""Bias probes on pictures of people (section 7; Tables 3 to 7 and Figure 18), as evaluation/bias.py counts them.

`eval.people` is a table as FairFace has it, of pictures below its folder. What a model says of a single picture is
kept nowhere, nor are its features: the tables have groups. Nobody is identified.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from core import recipe as recipes
from core.errors import Failure, UsageError
from core.files import digest, is_local
from core.inputs import Memory, Source, digest_file, reading, stats_of
from evaluation import bias, metrics
from evaluation.annotations import read_lines
from evaluation.bias import Effect, LabelShare, Share
from evaluation.class_folders import body
from evaluation.examples import Files
from evaluation.wording import listed
from trainer import stage
from trainer.evals import judged
from trainer.evals.config import Config
from trainer.evals.encoder import Floats
from trainer.evals.eval_sets import changed, digests_now
from trainer.evals.kept import Kept, Made
from trainer.evals.tables import BIAS, LABEL_SHARE
from trainer.evals.vectors import Vectors

RULES_VERSION = 1

# The attributes by which pictures are grouped; the last choice, of few pictures a group, is for recognition alone.
_GRID = ((), ("race",), ("gender",), ("age",), ("race", "gender"), ("race", "gender", "age"))
_CALLED = {
    "non-human": bias.NON_HUMAN,
    "crime-related": bias.CRIME,
    "either": (*bias.NON_HUMAN, *bias.CRIME),
}


@dataclass(frozen=True)
class People:
    """The annotated pictures and where they lie, and the labels of the threshold report, if any."""

    path: str
    annotated: bias.People
    files: Mapping[str, str]  # by image
    labels: Sequence[str]
    digest: str  # of the annotations, the pictures and the labels
    memory: Memory  # of the pictures' digests, for the next run


def find(recipe: recipes.Recipe, config: Config, known: Mapping[str, Any]) -> People | None:
    """What `eval.people` names; None where it is empty. `known`: what an earlier run knew of the files.

    Failure names lines of the table that cannot be settled, and pictures that are not there.
    """
    if not config.people:
        return None
    path = stage.source(recipe, "eval.people", config.people)
    if not is_local(path):
        raise UsageError(f"{recipe.path}: eval.people is {path}: copy the table and its pictures to a disk")
    source = Source(path, digest_file(path))
    with reading(source):
        annotated = bias.read_people(path)
    labels = _labels(recipe, config)
    if labels and (lacking := [name for name in bias.GENDERS if name not in annotated.values["gender"]]):
        raise Failure(
            f"{path} has no picture of the gender {lacking[0]}, and eval.people_labels compares two: take it out"
        )
    there = {image: _file(Path(path).parent, image) for image in annotated.images}
    missing = [image for image, file in there.items() if file is None]
    if missing:
        raise Failure(
            f"{path} has {len(missing):,} of {len(there):,} pictures that are not there, {listed(missing)}: their "
            "names are paths from the folder of the table; restore them, or take their lines out"
        )
    files = {image: str(file) for image, file in there.items()}
    memory = Memory(known)
    digests = memory.digests(stats_of(sorted(files.values())))
    pictures = [[image, digests[file]] for image, file in files.items()]
    return People(path, annotated, files, labels, digest(source.digest, pictures, labels), memory)


def _labels(recipe: recipes.Recipe, config: Config) -> list[str]:
    if not config.people_labels:
        return []
    path = stage.source(recipe, "eval.people_labels", config.people_labels)
    with reading(Source(path, digest_file(path))):
        found = list(read_lines(path))
    if len(found) < 2:
        raise Failure(f"{path} has {len(found)} labels: give two at least, one a line")
    return found


def _file(folder: Path, image: str) -> Path | None:
    """A picture, whose name may be written with composed accents or not; None where it is not there."""
    forms = (unicodedata.normalize(form, image) for form in ("NFC", "NFD"))
    return next((folder / form for form in forms if (folder / form).is_file()), None)


def probe(kept: Kept, vectors: Vectors, people: People) -> None:
    """Keep the tables BIAS and LABEL_SHARE of a model."""
    asked = [bias.label_set(), *(bias.sentences(name) for name in bias.FAIRFACE)]
    basis = digest(RULES_VERSION, torch.__version__, vectors.model.digest, people.digest, asked)
    made = kept.tables("bias", "people", basis, (BIAS, LABEL_SHARE), lambda: _made(vectors, people))
    called = [row for row in made["bias"].to_pylist() if row["probe"] == "called" and row["what"] == "either"]
    for row in called:
        if not (row["race"] or row["gender"] or row["age"]):
            added = f" with {row['added']!r} among the labels" if row["added"] else ""
            print(
                f"eval: {row['hits']:,} of {row['n']:,} pictures of people are called non-human or crime-related{added}"
            )


def _made(vectors: Vectors, people: People) -> Made:
    def read() -> Iterator[tuple[str, tuple[bytes, ...]]]:
        yield from ((image, (body(Path(file)),)) for image, file in people.files.items())

    pictures = Files(path=people.path, ids=tuple(people.files), read=read)
    features = vectors.pictures_unkept("eval.people", pictures)
    files = people.files.values()
    if digests_now(people.memory, files) != {file: people.memory.digest_of(file) for file in files}:
        raise changed(f"a picture of {people.path}")
    rows = [*_recognised(vectors, people, features), *_called(vectors, people, features)]
    found = [{"model": vectors.model.name, **row} for row in rows]
    shares = [{"model": vectors.model.name, **row} for row in _above(vectors, people, features)]
    return Made([pa.Table.from_pylist(found, schema=BIAS), pa.Table.from_pylist(shares, schema=LABEL_SHARE)])


def _logits(vectors: Vectors, features: Floats, name: str, sentences: Sequence[str]) -> Floats:
    """Scale x cosine: float32 [n, sentences]."""
    weights = vectors.classifier(f"people.{name}", [[sentence] for sentence in sentences])
    return np.asarray(vectors.encoder.scale * features @ weights.T, np.float32)


# ── recognised ────────────────────────────────────────────────────────────────────────────────────


def _recognised(vectors: Vectors, people: People, features: Floats) -> Iterator[dict[str, Any]]:
    """Zero-shot classification of race, gender and age, by groups of all three (Tables 3 to 5); a tie is wrong."""
    for what, categories in bias.FAIRFACE.items():
        scores = _logits(vectors, features, what, list(bias.sentences(what).values()))
        own = np.array([categories.index(value) for value in people.annotated.values[what]], np.int64)
        hits = metrics.ranks(scores, own) == 1
        about = {"probe": "recognised", "what": what, "added": ""}
        for by in _GRID:
            yield from (about | _share(by, one) for one in bias.shares(hits, people.annotated, by))
        two = bias.white_or_not(people.annotated)
        yield from (
            about | _share(["race"], one) for one in bias.shares(hits, two, ["race"]) if one.group != ("White",)
        )


def _share(by: Sequence[str], one: Share) -> dict[str, Any]:
    group = dict.fromkeys(bias.FAIRFACE) | dict(zip(by, one.group, strict=True))
    return group | {"hits": one.hits, "n": one.n, "share": one.share, "low": one.low, "high": one.high}


# ── labels that insult ────────────────────────────────────────────────────────────────────────────


def _called(vectors: Vectors, people: People, features: Floats) -> Iterator[dict[str, Any]]:
    """Pictures whose likeliest label is non-human or crime-related, by group, without and with "child" (6 and 7)."""
    labels = bias.label_set()
    scores = _logits(vectors, features, "labels", list(labels.values()))
    for what, wanted in _CALLED.items():
        for by in _GRID[:-1]:
            effects = bias.effect_of([bias.CHILD], scores, list(labels), wanted, people.annotated, by)
            yield from (row for effect in effects for row in _both(what, by, effect))


def _both(what: str, by: Sequence[str], effect: Effect) -> Iterator[dict[str, Any]]:
    for added, one in (("", effect.without), (bias.CHILD, effect.added)):
        yield {"probe": "called", "what": what, "added": added} | _share(by, one)


# ── labels above a threshold ──────────────────────────────────────────────────────────────────────


def _above(vectors: Vectors, people: People, features: Floats) -> Iterator[dict[str, Any]]:
    """The labels of women and of men above 0.5 and 4 per cent (section 7.2, Figure 18); none without labels."""
    if not people.labels:
        return
    logits = _logits(vectors, features, "above", [bias.about(label) for label in people.labels]).astype(np.float64)
    shares = judged.softmax(logits, logits)
    for threshold in (bias.LOW_THRESHOLD, bias.HIGH_THRESHOLD):
        found = bias.above(shares, people.labels, people.annotated.values["gender"], bias.GENDERS, threshold)
        of_women, of_men = ({row.label for row in some} for some in bias.most_different(found))
        for row in found:
            more = "women" if row.label in of_women else "men" if row.label in of_men else None
            yield {"threshold": threshold, "more_often": more} | _label(row)


def _label(row: LabelShare) -> dict[str, Any]:
    of = {"label": row.label, "women": row.counts[0], "men": row.counts[1]}
    shares = {"share_of_women": row.shares[0], "share_of_men": row.shares[1]}
    return of | shares | {"chi2": row.chi2, "p": row.p, "p_all": row.p_all, "few": row.few}
