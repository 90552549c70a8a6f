"""Which pictures of evaluation sets are in the dataset? Each is compared with every image that was fetched, exactly.

Candidates are all images within `BOUND` of 256 bits, as they are, mirrored and within borders (`dedup.scan`). Whether
a candidate is a leak is said by a person, on the contact sheet (`openwit sheet`), who also sets a threshold for those
that were not judged. Without such a review a leak is what dedup would call a near-duplicate, within 4 of 64 and 40 of
256 bits: pictures that were only resized, saved again, mirrored or framed. Of small ones (32 pixels) many copies lie
between 40 and 60, among pictures that merely look alike.

Images that were dropped as duplicates are compared, too: another copy stands for them in the shards (`kept_by`). What a
hash does not see are crops and rotations: within 50 bits it finds 98 % of copies cropped by 5 % of their area and 24 %
by 10 %, none by 20 %; 45 % of those turned by 3 degrees (500 web photos).
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL.Image import Image

from core import choice
from core.errors import Failure, UsageError
from core.files import digest, is_local, open_input
from core.inputs import digest_file
from core.manifest import Manifest
from core.tables import ID, declare, read_batches, read_table
from core.tars import tar_members
from dedup.allpairs import K64, K256
from dedup.hashes import fingerprints
from dedup.listed import read_listed
from dedup.pictures import read_picture
from dedup.review import Review
from dedup.scan import COLUMNS, scan
from dedup.tables import CAPTION, FINGERPRINT, GROUP, OVERLAP
from dedup.views import Prints
from evaluation.class_folders import is_hidden
from evaluation.examples import Files, picture_digest
from evaluation.labels import is_picture, normal
from evaluation.wording import listed
from shards.format import SAMPLE

BOUND = 60  # differing bits of 256 up to which an image is a candidate
MOST = 20  # candidates of a picture: the nearest
DETECTOR = "ph256"  # how candidates are found; a learned one has another name, and distances of its own
FILE = "overlap.parquet"  # beside the stages' folders

SOME = 32  # pictures of a set that its readers know it by, the first by hash of their names

PICTURES = 256  # decoded and hashed together
MAX_BYTES = 64 << 20  # of one of them
_TARS, _NO_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"), (".zip", ".parquet", ".arrow", ".7z", ".rar")

# What is read here of the table that fetch writes.
OUTCOME = declare("outcome", 1, {"image_id": (ID, "of the image"), "image_url": (pa.string(), "as asked")})


# ── evaluation sets ───────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class EvalSet:
    """The pictures of an evaluation set: a tar, a local folder of pictures or of CLIP_benchmark's tars, or Parquet."""

    name: str
    path: str

    @functools.cached_property
    def listed(self) -> Files | None:
        """Where they lie within tables or numbered tars: under the ids that eval gives them."""
        return read_listed(self.name, self.path)

    def digest(self) -> str:
        """Identifies the pictures: of a tar its content, else their names and contents."""
        if self.listed:
            return digest(*((name, hashlib.sha256(body).hexdigest()) for name, body in self.members()))
        if not _is_folder(self.path):
            return digest_file(self.path)
        return digest(*((name, digest_file(str(file))) for name, file in _files(self.path)))

    def members(self, wanted: Collection[str] | None = None) -> Iterator[tuple[str, bytes]]:
        """Names and bytes of its files, or of those that are wanted."""
        if self.listed:
            yield from ((name, files[0]) for name, files in self.listed.bodies() if wanted is None or name in wanted)
            return
        if _is_folder(self.path):
            yield from (
                (name, file.read_bytes()) for name, file in _files(self.path) if wanted is None or name in wanted
            )
            return

        def takes(name: str) -> bool:
            return wanted is None or name in wanted

        yield from ((name, body) for name, body in tar_members(self.path, MAX_BYTES, takes) if takes(name))


def sets_of(words: Sequence[str]) -> list[EvalSet]:
    """Evaluation sets as a command line names them: PATH, or NAME=PATH. UsageError where two have one name."""
    found: dict[str, EvalSet] = {}
    for word in words:
        name, equals, path = word.partition("=")
        if not equals or "/" in name:
            name, path = _stem(word), word
        if not name or not path:
            raise UsageError(f"--pictures {word} names no pictures: write PATH, or NAME=PATH")
        if name in found:
            raise UsageError(f"two evaluation sets are called {name}: name one of them, as --pictures NAME={path}")
        found[name] = EvalSet(name, path)
    return list(found.values())


def _stem(path: str) -> str:
    name = path.rstrip("/").rpartition("/")[2]
    for ending in (".gz", ".xz", ".bz2", ".zst", ".tgz", ".tar"):
        name = name.removesuffix(ending)
    return name


def _is_folder(path: str) -> bool:
    return is_local(path) and Path(path).is_dir()


def _files(folder: str) -> list[tuple[str, Path]]:
    """The files below a folder, also through links, by their names in it (accents composed), sorted; no hidden ones.

    Failure names a link to what is not there: what it meant would not be asked about.
    """

    def below(place: Path, shown: str, above: frozenset[str]) -> Iterator[tuple[str, Path]]:
        for path in place.iterdir():
            name = f"{shown}{unicodedata.normalize('NFC', path.name)}"
            if is_hidden(path.name):
                continue
            if not path.exists():
                raise Failure(f"{path} is a link to what is not there: restore what it means, or remove it")
            if path.is_file():
                yield name, path
            elif path.is_dir() and (real := os.path.realpath(path)) not in above:
                yield from below(path, f"{name}/", above | {real})

    return sorted(below(Path(folder), "", frozenset({os.path.realpath(folder)})))


@dataclass(frozen=True)
class Hashed:
    """An evaluation set as it was hashed."""

    of: EvalSet
    digest: str
    keys: list[str]  # names of its pictures
    digests: list[str]  # of their files
    prints: Prints  # a row each
    others: int  # files that are no pictures, and are not called so: README, class numbers

    @property
    def flat(self) -> int:
        """Pictures that are too flat to be told from others."""
        return int(np.count_nonzero(self.prints["flags"]))


def hashed(one: EvalSet) -> Hashed:
    """Hash all pictures of a set. Failure where it is damaged, or what is called a picture cannot be decoded."""
    if not (one.listed or _is_folder(one.path)) and (is_picture(one.path) or one.path.lower().endswith(_NO_TARS)):
        raise Failure(f"{one.path} is no tar: give a tar or a folder of pictures, unpacked from it")
    others: list[str] = []

    def opened() -> Iterator[tuple[str, str, Image]]:
        for name, body in one.members():
            if not one.listed and any(is_hidden(part) for part in name.split("/") if part not in (".", "..")):
                others.append(name)
                continue
            try:
                yield name, picture_digest(body), read_picture(io.BytesIO(body), f"{name} in {one.path}")
            except Failure:
                if one.listed or is_picture(name):  # ids have no extension
                    raise
                others.append(name)

    keys: list[str] = []
    digests: list[str] = []
    parts = []
    pictures = opened()
    while some := list(islice(pictures, PICTURES)):
        keys += [name for name, _, _ in some]
        digests += [known for _, known, _ in some]
        parts.append(fingerprints([picture for _, _, picture in some]))
    if not keys:
        beside = f", but {len(others)} other files" if others else ""
        raise Failure(
            f"{one.path} holds no pictures{beside}: give a tar or a folder of them, or unpack what holds them"
        )
    if archives := [name for name in others if name.lower().endswith((*_TARS, *_NO_TARS))]:
        raise Failure(
            f"{one.path} holds {listed(archives)} beside its pictures: unpack what holds some of them, and move it out"
        )
    names = Counter(map(normal, keys))
    if twice := [key for key in keys if names[normal(key)] > 1]:
        raise Failure(f"{one.path} holds {twice[0]} twice: remove one of them")
    prints = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Hashed(one, one.digest(), keys, digests, prints, len(others))


# ── the table ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Dataset:
    """What the pictures are compared with: the stages of a recipe as they are now."""

    dedup: Manifest
    fetch: Manifest | None = None  # knows URLs
    pack: Manifest | None = None  # knows what is in the shards


def overlap(
    sets: Sequence[Hashed],
    dataset: Dataset,
    reviews: Mapping[str, Review],
    most: int = MOST,
    before: tuple[pa.Table, dict[str, Any]] | None = None,
) -> pa.Table:
    """The table OVERLAP: the candidates of each picture of each set, judged by the set's review where there is one.

    `before`: a table of the same dedup, as `read_overlap` gives it, whose other sets stay as they were judged.
    Failure where a review judges what is no candidate.
    """
    prints = {name: np.concatenate([one.prints[name] for one in sets]) for name in sets[0].prints}
    owners = [(one.of.name, key) for one in sets for key in one.keys]
    tables = (rows for path in dataset.dedup.paths("fingerprint") for rows in read_batches(path, FINGERPRINT, COLUMNS))
    rows: list[dict[str, Any]] = []
    for match in scan(prints, tables, BOUND, most):
        name, key = owners[match["picture"]]
        rows.append(
            {
                "eval_set": name,
                "key": key,
                "image_id": match["image_id"].tobytes(),
                "detector": DETECTOR,
                "d64": int(match["d64"]),
                "d256": int(match["d256"]),
                "mirrored": bool(match["mirrored"]),
                "bordered": bool(match["bordered"]),
            }
        )
    _judge(rows, reviews)
    said = {one.of.name: _about(one, reviews.get(one.of.name), most) for one in sets}
    if before is not None:
        rows += [row for row in before[0].to_pylist() if row["eval_set"] not in said]
        said = before[1]["sets"] | said
    _add_facts(rows, dataset)
    rows.sort(key=lambda row: (row["eval_set"], row["key"], row["d256"], row["image_id"]))
    return pa.Table.from_pylist(rows, schema=OVERLAP).replace_schema_metadata(
        {
            **OVERLAP.metadata,
            "dedup": dataset.dedup.digest,
            "pack": dataset.pack.digest if dataset.pack else "",
            "sets": json.dumps(said, sort_keys=True),
        }
    )


def _about(one: Hashed, review: Review | None, most: int) -> dict[str, Any]:
    """What readers of the table have to know of a set: how many were asked about, some of them, and the threshold.

    Of some of them names and digests, by which readers tell that they have the same pictures.
    """
    first = np.argsort(_ranks(one.of.name, one.keys), kind="stable")[:SOME]
    return {
        "asked": len(one.keys),
        "known_by": {one.keys[i]: one.digests[i] for i in first},
        "flat": one.flat,
        "others": one.others,
        "pictures": one.digest,
        "most": most,
        "threshold": review.threshold if review else K256,
        "reviewer": review.reviewer if review else "",
    }


def not_asked(name: str, about: Mapping[str, Any], keys: Collection[str]) -> list[str]:
    """Pictures among `keys` that a set was not asked about, by the names that the table says of it.

    These are the first by hash, so any of `keys` before the last of them would be one: a few missing pictures among
    many may stay unseen, a tenth of them is not.
    """
    some, listed = set(about.get("known_by", ())), list(keys)  # tables of before do not say it
    if not some or not listed:
        return []
    ranks = _ranks(name, listed)
    end = ranks.max() if len(some) == about["asked"] else _ranks(name, sorted(some)).max()
    return sorted(key for key, rank in zip(listed, ranks, strict=True) if rank <= end and key not in some)


def same_and_others(about: Mapping[str, Any], digests: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Names under which a set was asked about the pictures with these digests, and about others, of those that it says.

    digests: name → `picture_digest`.
    """
    some = about.get("known_by", {})
    both = sorted(digests.keys() & some.keys())
    return [key for key in both if digests[key] == some[key]], [key for key in both if digests[key] != some[key]]


def _ranks(name: str, keys: Iterable[str]) -> NDArray[np.uint64]:
    return choice.rank(0, "overlap_names", name, (key.encode() for key in keys))


def _add_facts(rows: list[dict[str, Any]], dataset: Dataset) -> None:
    """Which image stands for each in the pack, whether it is in the shards, its URL and the caption."""
    ids = {row["image_id"] for row in rows}
    kept_by: dict[bytes, bytes | None] = {}
    for row in _rows(dataset.dedup.paths("group"), GROUP, ["image_id", "keep", "kept_by", "reason"], ids):
        kept_by[row["image_id"]] = None if row["reason"] == "placeholder" else row["kept_by"]
    keepers = {kept_by.get(id_, id_) for id_ in ids} - {None}
    own = _rows(dataset.dedup.paths("caption"), CAPTION, ["image_id", "text"], keepers)
    captions = {row["image_id"]: row["text"] for row in reversed(list(own))}  # the first of each
    urls = _rows(dataset.fetch.paths("outcome") if dataset.fetch else [], OUTCOME, OUTCOME.names, ids)
    url_of = {row["image_id"]: row["image_url"] for row in urls}
    packed = None
    if dataset.pack:
        there = _rows(dataset.pack.paths("sample"), SAMPLE, ["image_id", "reason"], keepers)
        packed = {row["image_id"] for row in there if not row["reason"]}
    for row in rows:
        keeper = kept_by.get(row["image_id"], row["image_id"])
        row["kept_by"] = keeper
        row["packed"] = None if packed is None else keeper in packed
        row["image_url"] = url_of.get(row["image_id"])
        row["caption"] = captions.get(keeper) if keeper else None


def _rows(paths: Sequence[str], schema: pa.Schema, names: list[str], ids: Collection[Any]) -> Iterator[dict[str, Any]]:
    wanted = pa.array(sorted(ids), ID)
    for path in paths if ids else ():
        for rows in read_batches(path, schema, names):
            yield from rows.filter(pc.is_in(rows["image_id"], wanted)).to_pylist()


def _judge(rows: list[dict[str, Any]], reviews: Mapping[str, Review]) -> None:
    """The verdict of each candidate where a person gave one, and whether it counts as a leak."""
    there = {(row["eval_set"], row["key"], row["image_id"]) for row in rows}
    for name, review in reviews.items():
        if review.threshold > BOUND:
            raise Failure(
                f"{review.path} has the threshold {review.threshold}, and candidates differ in at most {BOUND} bits: "
                "set it on the contact sheet"
            )
        gone = sorted((key, id_.hex()) for key, id_ in review.verdicts if (name, key, id_) not in there)
        if gone:
            raise Failure(
                f"{review.path} judges {len(gone)} pairs that are no candidates of {name}, {' and '.join(gone[0])} for "
                "one: it is of another dataset or another set; judge on a new sheet (openwit sheet)"
            )
    for row in rows:
        if review_ := reviews.get(row["eval_set"]):
            row["verdict"], near = review_.verdicts.get((row["key"], row["image_id"])), row["d256"] <= review_.threshold
        else:
            row["verdict"], near = None, row["d64"] <= K64 and row["d256"] <= K256
        row["leak"] = near if row["verdict"] is None else row["verdict"] == "same"


# ── reading it ────────────────────────────────────────────────────────────────────────────────────


def leaked(table: pa.Table) -> pa.Table:
    """The rows of OVERLAP that count: leaks whose image, or the one that stands for it, is in the shards, if known."""
    return table.filter(pc.and_(table["leak"], pc.fill_null(table["packed"], True)))


def read_overlap(path: str) -> tuple[pa.Table, dict[str, Any]]:
    """The table and what it says of itself: {"dedup": digest, "pack": digest, "sets": {name: {"asked": …}}}.

    "pack" is that by which `packed` was said, "" where there was none; None in tables that do not say it yet.
    """
    try:
        with open_input(path) as file:
            said = {name.decode(): value.decode() for name, value in (pq.read_schema(file).metadata or {}).items()}
    except (pa.ArrowInvalid, OSError) as error:
        raise Failure(f"{path} is damaged ({error}): remove it, and run openwit overlap again") from error
    table = read_table(path, OVERLAP)
    try:
        return table, {"dedup": said["dedup"], "pack": said.get("pack"), "sets": json.loads(said["sets"])}
    except (KeyError, ValueError) as error:
        raise Failure(f"{path} does not say what it is of: remove it, and run openwit overlap again") from error
