"""What leaked: which evaluation pictures are in the dataset, and what that does to the accuracies (paper, section 5).

`openwit overlap` says which pictures leaked, and the table of zero-shot examples which of them were classified right;
the two are joined by the pictures' names, where they are of the same pictures (by digest).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from core.files import join, names_in
from core.manifest import Manifest
from core.recipe import Recipe
from dedup import overlap
from dedup.allpairs import K64, K256
from evaluation import leaks, paper
from report import evals, models
from report.by_set import OWN
from report.examples import Rows, in_order
from report.figures import shift
from report.figures.canvas import Drawn
from report.figures.shift import Leak
from report.thumbnails import Chunks, Thumbnail, find_image, thumbnail

SHOWN = 12  # leaked pictures


@dataclass(frozen=True)
class Overlap:
    """What `openwit overlap` wrote about the dataset that is there now."""

    table: pa.Table
    sets: Mapping[str, Mapping[str, Any]]  # by evaluation set: asked, flat, pictures, threshold, reviewer
    pack: str | None  # the digest of the pack that it was asked about, "" for none; None: the table does not say

    def is_of(self, pack: str) -> bool:
        """Whether it was asked about the pack of this digest, as far as is known."""
        return self.pack is None or self.pack == pack

    def nearest(self) -> dict[tuple[str, str], dict[str, Any]]:
        """(set, key) → the nearest image of each picture that leaked."""
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for row in overlap.leaked(self.table).to_pylist():  # sorted by distance within a picture
            found.setdefault((row["eval_set"], row["key"]), row)
        return found


@dataclass(frozen=True)
class SetLeaks:
    """One evaluation set. `numbers` is None where there is nothing to compare, and `why` says so."""

    name: str
    asked: int  # pictures that were compared with the dataset
    flat: int  # of them, too flat for a hash
    found: int  # of them, in the dataset
    threshold: str  # which candidates count, and who said so
    numbers: Mapping[str, Any] | None = None  # a row of `evaluation.leaks.summary`
    within: leaks.Stratified | None = None
    without_result: int = 0  # leaked pictures that were not evaluated
    why: str = ""
    others: Mapping[str, leaks.Split] = field(default_factory=dict)  # by other models, on the same pictures
    judged: bool = False  # whether the threshold is a person's

    @property
    def leak(self) -> Leak:
        """As figure 17 and the model card take it, in per cent and points."""
        if self.numbers is None:
            return Leak(self.name, 100 * self.found / self.asked)
        keys = ("all_minus_clean", "overlap_minus_clean", "low", "high")
        change, difference, low, high = (None if self.numbers[key] is None else 100 * self.numbers[key] for key in keys)
        return Leak(self.name, 100 * self.numbers["contamination"], change, difference, low, high, self.numbers["p"])


@dataclass(frozen=True)
class Section:
    """The part of the page."""

    sets: Sequence[SetLeaks]
    shown: Rows = field(default_factory=list)  # some leaked pictures beside the images
    packed: bool = True  # whether it is known which images are in the shards
    outdated: bool = False  # whether the shards that are there now are others
    figure: Drawn | None = None

    @property
    def asked(self) -> int:
        """Pictures of all sets."""
        return sum(one.asked for one in self.sets)

    @property
    def found(self) -> int:
        """Of them, in the dataset."""
        return sum(one.found for one in self.sets)


def read(recipe: Recipe, dedup: Manifest) -> Overlap | None:
    """What overlap found; None where it was not run on this dedup."""
    if overlap.FILE not in names_in(recipe.out):
        return None
    table, about = overlap.read_overlap(join(recipe.out, overlap.FILE))
    return Overlap(table, about["sets"], about["pack"]) if about["dedup"] == dedup.digest else None


def section(
    recipe: Recipe, dedup: Manifest, chunks: Chunks, pack: Manifest | None, results: Manifest | None, seed: int
) -> Section | None:
    """The part of the page; None where overlap was not run on this dedup."""
    found = read(recipe, dedup)
    if found is None:
        return None
    sets = by_set(found, results)
    known = pc.any(pc.is_valid(found.table["packed"])).as_py() is not False or not found.table.num_rows
    return Section(
        sets,
        _shown(recipe, found, chunks, pack, seed),
        known,
        not found.is_of(pack.digest if pack else ""),
        figure(sets),
    )


def by_set(found: Overlap, results: Manifest | None) -> list[SetLeaks]:
    """Each evaluation set that overlap was asked about, with its statistics where its pictures were classified.

    The corrections for several tests are over the sets that have statistics.
    """
    leaked: dict[str, set[str]] = {name: set() for name in found.sets}
    for name, key in found.nearest():
        leaked[name].add(key)
    by_model, same = _answers(found, results) if results else ({}, set())
    answers = {name: some[OWN] for name, some in by_model.items() if OWN in some}
    digests = evals.digests_by_set(results) if results else {}
    why = {
        name: _why_not(name, leaked[name], answers.get(name, {}), said, name in same, digests.get(name, {}))
        for name, said in found.sets.items()
    }
    compared = {name: leaked[name] & answers[name].keys() for name in sorted(found.sets) if not why[name]}
    numbers = leaks.summary(
        [leaks.split(name, _right(answers[name]), overlapping) for name, overlapping in compared.items()]
    )
    rows = {row["name"]: row for row in numbers}
    return [
        SetLeaks(
            name=name,
            asked=said["asked"],
            flat=said["flat"],
            found=len(leaked[name]),
            threshold=_threshold(said, _judged(found.table, name)),
            numbers=rows.get(name),
            within=_within(answers[name], leaked[name]) if name in rows else None,
            without_result=len(leaked[name] - answers[name].keys()) if name in rows else 0,
            why=why[name],
            others=_others(by_model[name], compared[name]) if name in rows else {},
            judged=bool(said["reviewer"]),
        )
        for name, said in sorted(found.sets.items())
    ]


def _others(by_model: Mapping[str, evals.Answers], overlapping: set[str]) -> dict[str, leaks.Split]:
    """The other models that were evaluated on the same pictures as the recipe's own."""
    own = by_model[OWN].keys()
    some = {name: answers for name, answers in by_model.items() if name != OWN and answers.keys() == own}
    return {name: leaks.split(name, _right(answers), overlapping) for name, answers in some.items()}


def _answers(found: Overlap, results: Manifest) -> tuple[dict[str, dict[str, evals.Answers]], set[str]]:
    """By set and model the answers, and the sets whose pictures are those that were evaluated, by digest.

    Of the sets of eval.sets overlap's digest says nothing: they are joined by name, and held against some digests.
    """
    digest = results.facts.get("inputs", {}).get("pictures")
    same = {name for name, said in found.sets.items() if digest and said["pictures"] == digest}
    of_tar = {OWN: evals.answers(results)} if same else {}
    return evals.answers_by_set(results, found.sets.keys() - same) | dict.fromkeys(same, of_tar), same


def _why_not(
    name: str,
    leaked: set[str],
    answers: evals.Answers,
    said: Mapping[str, Any],
    same: bool,
    digests: Mapping[str, str],
) -> str:
    """Why a set has no statistics; empty where it has.

    `said`: what overlap said of it; `same`: whether that is known to be of the same pictures; `digests`: of the files
    that were evaluated, by id.
    """
    if not answers:
        return "eval has no results of these pictures, so what the leak does to an accuracy is not known."
    known, others = overlap.same_and_others(said, digests)
    if others and not same:
        return (
            f"Other pictures were evaluated under the names of those that were asked about, {others[0]} for one, as "
            "if two splits had the same names: ask openwit overlap about the pictures that eval reads."
        )
    strange = sorted(leaked - answers.keys())
    if strange and not known and not same:
        return (
            f"Pictures that leaked were not evaluated under that name: {len(strange):,}, {strange[0]} for one: "
            "ask openwit overlap about the pictures that eval reads, under the same names."
        )
    some = said.get("known_by", {})  # tables of before do not say it
    if some and answers.keys().isdisjoint(some) and not same:
        return (
            f"The pictures that were asked about were not evaluated under those names, {min(some)} for one: ask "
            "openwit overlap about the pictures that eval reads, under the same names."
        )
    if said["asked"] < len(answers):
        return (
            f"Only {said['asked']:,} pictures were asked about, and {len(answers):,} evaluated, so the others are not "
            "known to be clean: ask openwit overlap about all that eval reads."
        )
    if not same and (missing := overlap.not_asked(name, said, answers)):
        return (
            f"Not all pictures that were evaluated were asked about, {missing[0]} for one, so they are not known to be "
            "clean: ask openwit overlap about the pictures that eval reads, under the same names."
        )
    if leaked.issuperset(answers):
        return "All of its pictures that were evaluated are in the dataset, so there is no clean part to compare with."
    return ""


def _right(answers: evals.Answers) -> dict[str, bool]:
    return {key: right for key, (right, _) in answers.items()}


def _judged(table: pa.Table, name: str) -> int:
    of_set = pc.equal(table["eval_set"], name)
    return int(pc.sum(pc.and_(of_set, pc.is_valid(table["verdict"]))).as_py() or 0)


def _threshold(said: Mapping[str, Any], judged: int) -> str:
    if not said["reviewer"]:
        return (
            f"Nobody has judged the candidates: those count that differ in at most {K64} of 64 and {K256} of 256 bits, "
            "as dedup has it. Of small pictures this misses copies (openwit sheet)."
        )
    pairs = f"{judged:,} {'pair' if judged == 1 else 'pairs'}"
    return (
        f"{said['reviewer']} judged {pairs} by eye; of the others those count that differ in at most "
        f"{said['threshold']} of 256 bits."
    )


def _within(answers: evals.Answers, leaked: set[str]) -> leaks.Stratified | None:
    """The difference within classes, of all pictures with an answer."""
    right, labels = zip(*answers.values(), strict=True)
    return leaks.stratified(right, [key in leaked for key in answers], labels)


def figure(sets: Sequence[SetLeaks]) -> Drawn | None:
    """Figure 17 of the sets with an overlap, and the paper's values; None where no set has one."""
    measured = [one.leak for one in sets if one.numbers is not None]
    if not any(one.change is not None for one in measured):
        return None
    of_paper = [
        Leak(name, values["overlap"].value, values["all minus clean"].value)
        for name, values in paper.table("figure_17").items()
        if "overlap" in values and "all minus clean" in values
    ]
    return shift.leaks("overlap", measured, of_paper)


def _shown(recipe: Recipe, found: Overlap, chunks: Chunks, pack: Manifest | None, seed: int) -> Rows:
    """Some pictures that leaked, chosen by hash, each beside the nearest image."""
    nearest = found.nearest()
    keys = sorted(nearest)
    chosen = [nearest[keys[i]] for i in in_order(seed, "leak", [key.encode() for _, key in keys])[:SHOWN]]
    seen: dict[tuple[str, str], Thumbnail | None] = {}
    places = models.located(recipe)
    for name, said in found.sets.items():
        wanted = {row["key"] for row in chosen if row["eval_set"] == name}
        of_set = evals.pictures(recipe, said["pictures"], wanted) or models.pictures(places.get(name), wanted)
        seen |= {(name, key): one for key, one in of_set.items()}
    return [
        {
            **row,
            "picture": seen.get((row["eval_set"], row["key"])),
            "image": thumbnail(find_image(row["image_id"], chunks, pack)),
        }
        for row in chosen
    ]
