"""Asking the near-duplicate index: what looks like this picture, and which evaluation pictures are in the set?

python -m dedup query PICTURE --recipe recipes/real.toml        (= openwit query PICTURE …)
python -m dedup query PICTURE --index out/real/5_dedup/index
python -m dedup overlap --recipe recipes/real.toml              (= openwit overlap …)
python -m dedup overlap --recipe recipes/real.toml --pictures test_set.tar --review test_set.json
python -m dedup decontaminate --recipe recipes/real.toml        (= openwit decontaminate …)
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core import command
from core.claim import check
from core.errors import UsageError
from core.exclusive import exclusive
from core.files import join, names_in, publishing, shown
from core.manifest import read_manifest
from core.recipe import Recipe, read
from dedup import clean
from dedup import overlap as overlaps
from dedup.allpairs import K64, K256
from dedup.decontaminate import decontaminate
from dedup.hashes import fingerprints
from dedup.index import MAX_K, Index
from dedup.pictures import read_picture
from dedup.review import by_set, read_review

VERBS = ("query", "overlap", "decontaminate")
LOCK = "_overlap"  # a folder beside the stages'; one overlap at a time holds it


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; exit status 0 also where nothing matches."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] not in VERBS:
        print((__doc__ or "").strip(), file=sys.stderr)
        return 2
    verb = words[0]
    parser = command.arguments(verb, __doc__ or "")
    if verb == "query":
        parser.add_argument("picture", help="an image file")
        parser.add_argument("--index", help="folder of the index; default: that of the recipe's dedup stage")
        parser.add_argument("--distance", type=int, default=K64, choices=range(MAX_K + 1), help="differing bits of 64")
    elif verb == "overlap":
        add_pictures(parser)
        parser.add_argument("--review", action="append", default=[], help="a file that the contact sheet saved")
        parser.add_argument("--most", type=int, default=overlaps.MOST, help="candidates kept of a picture")
    options = parser.parse_args(words[1:])
    does = {"query": query, "overlap": overlap, "decontaminate": write_drop_list}[verb]
    return command.exit_status(verb, lambda: does(options), options.debug)


def add_pictures(parser: argparse.ArgumentParser) -> None:
    """The words that name evaluation sets."""
    parser.add_argument(
        "--pictures",
        action="append",
        default=[],
        metavar="[NAME=]PATH",
        help="a tar or a folder of pictures, CLIP_benchmark's folder, or Parquet; may be given several times; default: "
        "the recipe's eval.pictures",
    )


def query(options: argparse.Namespace) -> None:
    """Print the images of an index that look like a picture, a line each, nearest first."""
    picture = options.picture
    index = Index.open(options.index or _index_of(read(options.recipe, options.set)))
    try:
        asked = fingerprints([read_picture(picture, picture)])
    except FileNotFoundError:
        raise UsageError(f"there is no picture {picture}: give the path of an image file") from None
    matches = index.query_prints(asked, options.distance)[0]
    for match in matches:
        how = " of its mirror image" if match.mirrored else ""
        print(f"{match.image_id}  {match.d64} of 64 and {match.d256} of 256 bits{how} differ")
    if asked["flags"][0]:
        print(f"{picture} is too flat to be told from others by its hash")
    elif not matches:
        print(f"none of {len(index)} images is within {options.distance} of 64 and {K256} of 256 bits")


def overlap(options: argparse.Namespace) -> None:
    """Write the table OVERLAP of a recipe's dataset and some evaluation sets, and say in a line what is in it."""
    recipe = read(options.recipe, options.set)
    check(recipe)
    if options.most < 1:
        raise UsageError(f"--most {options.most}: give how many candidates of a picture are kept, 1 or more")
    sets = asked_sets(options, recipe)
    reviews = [read_review(path, overlaps.DETECTOR) for path in options.review]
    dataset = _of_one_dedup(dataset_of(recipe))
    path = join(recipe.out, overlaps.FILE)
    with exclusive(join(recipe.out, LOCK), "overlap"):  # two at once would each write a table without the other's sets
        hashed = [overlaps.hashed(one) for one in sets]
        judged = by_set(reviews, {one.of.name: one.digest for one in hashed})
        before = _before(recipe.out, dataset) if overlaps.FILE in names_in(recipe.out) else None
        table = overlaps.overlap(hashed, dataset, judged, options.most, before)
        with publishing(path) as file:
            pq.write_table(table, file, compression="zstd", write_page_checksum=True)
        clean.write_clean(recipe.out, table, {one.of.name: one.keys for one in hashed}, before)
    names = {one.of.name for one in hashed}
    known = before[1]["sets"] if before else {}
    for one in hashed:
        if (reviewer := known.get(one.of.name, {}).get("reviewer")) and one.of.name not in judged:
            print(
                f"overlap: {one.of.name} was judged by {reviewer}, and is not any more: this run has no --review of it"
            )
    if others := sorted(known.keys() - names):
        print(f"overlap: {', '.join(others)} in {shown(path)} stays as it is")
    rows = [row for row in overlaps.leaked(table).to_pylist() if row["eval_set"] in names]
    for one in hashed if len(hashed) > 1 else []:
        print(
            f"overlap: {_said({row['key'] for row in rows if row['eval_set'] == one.of.name}, [one])} of {one.of.name}"
        )
    print(f"overlap: {_said({(row['eval_set'], row['key']) for row in rows}, hashed)} → {shown(path)}")


def _before(out: str, dataset: overlaps.Dataset) -> tuple[pa.Table, dict[str, Any]] | None:
    """What the table has of other sets; None, which is said, where it is of another run of dedup."""
    path = join(out, overlaps.FILE)
    table, about = overlaps.read_overlap(path)
    if about["dedup"] == dataset.dedup.digest:
        return table, about
    print(f"overlap: {shown(path)} was of another run of dedup: ask again about {', '.join(sorted(about['sets']))}")
    clean.forget(out, about["sets"])
    return None


def _said(found: set[Any], hashed: Sequence[overlaps.Hashed]) -> str:
    asked, flat, others = (sum(n) for n in zip(*((len(o.keys), o.flat, o.others) for o in hashed), strict=True))
    said = f"{len(found)} of {asked} evaluation pictures are in the dataset"
    said += f", {flat} too flat to tell" if flat else ""
    return said + (f", {others} other files beside them" if others else "")


def asked_sets(options: argparse.Namespace, recipe: Recipe) -> list[overlaps.EvalSet]:
    """The evaluation sets that a command line names, or the recipe's own. UsageError where there is none."""
    words = options.pictures or ([recipe.pictures] if recipe.pictures else [])
    if not words:
        raise UsageError(f"{recipe.path} gives no eval.pictures: say with --pictures which tar is asked about")
    return overlaps.sets_of(words)


def dataset_of(recipe: Recipe) -> overlaps.Dataset:
    """The stages of a recipe that overlap reads. UsageError where dedup is not done."""
    fetch, dedup, pack = (read_manifest(recipe.folder(stage)) for stage in ("fetch", "dedup", "pack"))
    if dedup is None:
        raise UsageError(f"{recipe.folder('dedup')} holds no manifest, so no fingerprints: run openwit dedup first")
    return overlaps.Dataset(dedup, fetch, pack)


def _of_one_dedup(dataset: overlaps.Dataset) -> overlaps.Dataset:
    """The same without a pack of another run of dedup, which is said: it holds other images for the same pictures."""
    if dataset.pack is None or dataset.pack.facts.get("inputs", {}).get("dedup") in (None, dataset.dedup.digest):
        return dataset
    print(
        f"overlap: {shown(dataset.pack.folder)} is of another run of dedup, so what is in the shards is not known and "
        "all leaks count: run openwit pack, then this again"
    )
    return replace(dataset, pack=None)


def write_drop_list(options: argparse.Namespace) -> None:
    """Write the ids of all images that overlap found to be leaks, for pack.drop."""
    recipe = read(options.recipe, options.set)
    check(recipe)
    path, images, pictures = decontaminate(recipe.out, dataset_of(recipe).dedup)
    print(
        f"decontaminate: {images} images hold {pictures} evaluation pictures → {shown(path)}; write "
        f'drop = ["{shown(path)}"] below [pack] in {recipe.path}, and run openwit pack again'
    )


def _index_of(recipe: Recipe) -> str:
    return join(recipe.folder("dedup"), "index")


if __name__ == "__main__":
    command.exit_now(main)
