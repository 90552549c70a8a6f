"""Asking the near-duplicate index: what looks like this picture, and which evaluation pictures are in the set?

python -m dedup query PICTURE --recipe recipes/real.toml        (= openwit query PICTURE …)
python -m dedup query PICTURE --index out/real/5_dedup/index
python -m dedup overlap --recipe recipes/real.toml              (= openwit overlap …)
python -m dedup overlap --recipe recipes/real.toml --pictures test_set.tar
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import pyarrow.parquet as pq

from core import command
from core.claim import check
from core.errors import UsageError
from core.files import join, publishing, shown
from core.inputs import digest_file
from core.manifest import read_manifest
from core.recipe import Recipe, read
from dedup.allpairs import K64, K256
from dedup.hashes import fingerprints
from dedup.index import MAX_K, Index
from dedup.overlap import overlap
from dedup.pictures import read_picture

VERBS = ("query", "overlap")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; exit status 0 also where nothing matches."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] not in VERBS:
        print((__doc__ or "").strip(), file=sys.stderr)
        return 2
    verb = words[0]
    parser = command.arguments(verb, __doc__ or "")
    parser.add_argument("--distance", type=int, default=K64, choices=range(MAX_K + 1), help="differing bits of 64")
    if verb == "query":
        parser.add_argument("picture", help="an image file")
        parser.add_argument("--index", help="folder of the index; default: that of the recipe's dedup stage")
    else:
        parser.add_argument("--pictures", help="a tar of pictures; default: the recipe's eval.pictures")
    options = parser.parse_args(words[1:])
    return command.exit_status(verb, lambda: {"query": query, "overlap": overlaps}[verb](options), options.debug)


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


def overlaps(options: argparse.Namespace) -> None:
    """Write the table OVERLAP of a recipe's dataset and a tar of pictures, and say in a line what is in it."""
    recipe = read(options.recipe, options.set)
    check(recipe)
    pictures = options.pictures or recipe.pictures
    if not pictures:
        raise UsageError(f"{recipe.path} gives no eval.pictures: say with --pictures which tar is asked about")
    fetch, dedup = (read_manifest(recipe.folder(stage)) for stage in ("fetch", "dedup"))
    said = overlap(pictures, Index.open(_index_of(recipe)), options.distance, fetch.paths("outcome") if fetch else [])
    about = {  # what the report has to know of it
        **said.table.schema.metadata,
        "asked": str(said.asked),
        "pictures": digest_file(pictures),
        "dedup": dedup.digest if dedup else "",
    }
    path = join(recipe.out, "overlap.parquet")
    with publishing(path) as file:
        pq.write_table(said.table.replace_schema_metadata(about), file, compression="zstd", write_page_checksum=True)
    flat = f", {said.flat} too flat to tell" if said.flat else ""
    others = f", {said.others} other files beside them" if said.others else ""
    print(f"overlap: {said.found} of {said.asked} evaluation pictures are in the dataset{flat}{others} → {shown(path)}")


def _index_of(recipe: Recipe) -> str:
    return join(recipe.folder("dedup"), "index")


if __name__ == "__main__":
    command.exit_now(main)
