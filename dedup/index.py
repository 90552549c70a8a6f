"""A persistent index of near-duplicates: which images look like this one? Answered from a folder of flat files.

63 bits are three bands of 21. Two hashes within 5 bits differ in at most one bit of some band, so it is enough to look
where a band of the query, or that band with one bit flipped, occurs: 66 look-ups. For each band the folder holds all
hashes sorted with that band on top, and the row each belongs to: 36 bytes a view, mapped and not read, beside 48 for
its id and ph256. Among 10 million hashes, queries asked together take half a millisecond each.

An image has a row as it is, and one more within its plain border where it has one. Mirrored copies are found because
the picture that is asked about is mirrored too.

    manifest.json       definition of the hashes, rows, images, sha256 and length of each file: written last
    image_id.npy        uint8 [n, 16], ascending: a row number is a place in it
    ph256.npy           uint8 [n, 32]
    band0.npy …         uint64 [n], ascending: the ph64, band first
    rows0.npy …         uint32 [n], the row of each
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from core.errors import Failure, UsageError
from core.files import filesystem, is_local, join, publish, publishing, remove, to_json
from dedup.allpairs import K64, K256, Rows, spans
from dedup.hashes import HASH_DEF, INFORMATIVE, Hashes, columns, cut, fingerprints, hamming, hamming256, permuted, words
from dedup.tables import FINGERPRINT
from dedup.views import AS_IS, INNER, Prints, Views, views

MAX_K = 5  # differing bits up to which one flipped bit in one of three bands finds all
MATCH = np.dtype([("query", np.int64), ("row", np.int64), ("d64", np.uint8)])

_FORMAT = "openwit near-duplicate index 2"
_MAX_ROWS = 1 << 32  # row numbers are uint32
_BANDS = cut(INFORMATIVE, 3)
_WIDTH = len(_BANDS[0])
_ARRAYS = ("image_id", "ph256", *(f"{kind}{band}" for band in range(len(_BANDS)) for kind in ("band", "rows")))
_MANIFEST = "manifest.json"
_QUERIES = 4096  # looked up together


class Match(NamedTuple):
    """An image of the index that looks like the one asked for."""

    image_id: str  # 32 hex
    d64: int  # differing bits of 64, of the nearest views of both
    d256: int  # and of 256
    mirrored: bool = False  # whether only the mirror image of the one asked for looks like it


def build(folder: str, tables: Iterable[pa.Table]) -> None:
    """Write the index of all unflagged images of some fingerprint tables; the same images give the same bytes.

    Flagged images (flat, or without content of their own) are counted in the manifest and left out: too much looks like
    them. Failure if an image comes twice.
    """
    needed = ["image_id", *AS_IS, *INNER, "flags"]
    parts = [columns(table.select(needed)) for table in chain([FINGERPRINT.empty_table()], tables)]
    images = {name: np.concatenate([part[name] for part in parts]) for name in needed}
    rows = np.flatnonzero(images["flags"] == 0)
    rows = rows[np.lexsort(words(images["image_id"][rows]).byteswap().T[::-1])]
    seen = views(images, rows, (AS_IS, INNER))
    order = np.lexsort(words(images["image_id"][seen.row]).byteswap().T[::-1])  # stable: as it is before its inner view
    seen = seen.take(order)
    _check_rows(folder, images["image_id"][rows], len(order))
    remove(join(folder, _MANIFEST))  # from here until it is written again there is no index
    arrays = _arrays(images["image_id"], seen)
    files = {f"{name}.npy": _write(join(folder, f"{name}.npy"), array) for name, array in arrays}
    counts = {"rows": len(order), "images": len(rows), "flagged": len(images["flags"]) - len(rows)}
    publish(join(folder, _MANIFEST), to_json({"format": _FORMAT, "hash_def": HASH_DEF, **counts, "files": files}))


class Index:
    """An index opened to be asked: its files are mapped, not read."""

    def __init__(self, arrays: dict[str, NDArray[Any]], images: int) -> None:
        self._arrays, self._images = arrays, images

    @classmethod
    def open(cls, folder: str, verify: bool = True) -> Index:
        """The index in a local folder, compared with its manifest.

        With `verify` every byte is read (84 a row), without it only the lengths of the files are looked at.
        UsageError where there is no index; Failure where its hashes are defined otherwise or a file is not what was
        written.
        """
        if not is_local(folder):
            raise UsageError(f"{folder} is not a local folder: copy the index to a disk of this machine first")
        path = Path(filesystem(folder)[1])
        files, images = _read_manifest(path)
        for name, (length, sha256) in files.items():
            _check_file(path / name, length, sha256 if verify else None)
        return cls({name: np.load(path / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}, images)

    def __len__(self) -> int:
        """Images, not rows."""
        return self._images

    def query(self, ph64: ArrayLike, k: int = K64) -> NDArray[Any]:
        """All rows within k bits (0 to 5) of each query: MATCH [m], sorted by query and row.

        ph64 is one hash or uint64 [q]; `query` is the place in it. Only 64 bits are looked at: among millions of images
        some matches are chance, see `query_image`.
        """
        if not 0 <= k <= MAX_K:
            raise UsageError(f"a distance of {k} bits cannot be looked up: choose 0 to {MAX_K}")
        queries = np.atleast_1d(np.asarray(ph64, np.uint64))
        found = [np.empty(0, MATCH)]
        for band in range(len(_BANDS)):
            for start in range(0, len(queries), _QUERIES):
                found += self._in_band(band, queries, np.arange(start, min(start + _QUERIES, len(queries))), k)
        return np.unique(np.concatenate(found))

    def query_image(self, image: Image.Image, k: int = K64, k256: int = K256) -> list[Match]:
        """The images that look like a decoded one, nearest first; none for an image that is flagged itself."""
        return self.query_prints(fingerprints([image]), k, k256)[0]

    def query_prints(self, asked: Prints, k: int = K64, k256: int = K256) -> list[list[Match]]:
        """The same for each of several pictures, as `fingerprints` gives them."""
        seen = views(asked, np.flatnonzero(asked["flags"] == 0))
        near = self.query(seen.ph64, k)
        d256 = hamming256(seen.ph256[near["query"]], self._arrays["ph256"][near["row"]])
        near, d256 = near[d256 <= k256], d256[d256 <= k256]
        ids = self._arrays["image_id"][near["row"]]
        found: list[dict[str, Match]] = [{} for _ in asked["flags"]]
        for at, id_, d64, d in zip(near["query"], ids, near["d64"], d256, strict=True):
            match = Match(id_.tobytes().hex(), int(d64), int(d), bool(seen.mirrored[at]))
            of_image = found[seen.row[at]]
            of_image[match.image_id] = min(of_image.get(match.image_id, match), match, key=_nearness)
        return [
            sorted(matches.values(), key=lambda match: (match.d256, match.d64, match.image_id)) for matches in found
        ]

    def _in_band(self, band: int, queries: Hashes, asked: Rows, k: int) -> list[NDArray[Any]]:
        """What differs from the queries number `asked` in at most k bits, and in at most k // 3 of this band."""
        hashes, rows = self._arrays[f"band{band}"], self._arrays[f"rows{band}"]
        wanted = _rotated(queries[asked], band)
        below = np.uint64(64 - _WIDTH)
        flips = [0, *(1 << bit for bit in range(64 - _WIDTH, 64))] if k >= len(_BANDS) else [0]
        probes = ((wanted[:, None] ^ np.array(flips, np.uint64)) >> below << below).ravel()
        first = np.searchsorted(hashes, probes)
        counts = np.searchsorted(hashes, probes | np.uint64((1 << int(below)) - 1), side="right") - first
        found = []
        for which, at in spans(counts):
            query, place = which // len(flips), first[which] + at
            distance = hamming(wanted[query], hashes[place])
            near = distance <= k
            match = np.empty(int(near.sum()), MATCH)
            match["query"], match["row"] = asked[query[near]], rows[place[near]]
            match["d64"] = distance[near]
            found.append(match)
        return found


def _nearness(match: Match) -> tuple[bool, int, int]:
    return match.mirrored, match.d256, match.d64


def _rotated(ph64: Hashes, band: int) -> Hashes:
    return permuted(ph64, _BANDS[band])


def _arrays(image_id: NDArray[np.uint8], seen: Views) -> Iterator[tuple[str, NDArray[Any]]]:
    """The files of an index, one in memory at a time, as `_ARRAYS` names them."""
    yield "image_id", image_id[seen.row]
    yield "ph256", seen.ph256
    for band in range(len(_BANDS)):
        rotated = _rotated(seen.ph64, band)
        order = np.argsort(rotated, kind="stable")
        yield f"band{band}", rotated[order]
        yield f"rows{band}", order.astype(np.uint32)


def _check_rows(folder: str, image_id: NDArray[np.uint8], rows: int) -> None:
    if rows >= _MAX_ROWS:
        raise Failure(f"{folder} would hold {rows} views of images: an index holds up to {_MAX_ROWS - 1}, build two")
    twice = np.flatnonzero((image_id[1:] == image_id[:-1]).all(axis=1))
    if len(twice):
        name = image_id[twice[0]].tobytes().hex()
        raise Failure(f"image {name} is in the fingerprint tables for {folder} twice: give each table once")


def _write(path: str, array: NDArray[Any]) -> dict[str, Any]:
    """What the manifest says about the file."""
    with publishing(path) as file:
        np.lib.format.write_array(file, array, allow_pickle=False)
    return {"bytes": file.length, "sha256": file.sha256}


def _read_manifest(folder: Path) -> tuple[dict[str, tuple[int, str]], int]:
    """Length and sha256 of each file of an index that this program can read, and how many images it holds."""
    path = folder / _MANIFEST
    if not path.is_file():
        raise UsageError(f"{folder} holds no {_MANIFEST}, so no whole index: give the folder that dedup wrote")
    try:
        said = json.loads(path.read_bytes())
        format_, hash_def = said["format"], said["hash_def"]
        files = {name: (file["bytes"], file["sha256"]) for name, file in said["files"].items()}
        images = said.get("images", 0)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Failure(f"{path} is damaged: remove it and run openwit dedup again") from None
    if format_ != _FORMAT or set(files) != {f"{name}.npy" for name in _ARRAYS}:
        raise Failure(f"{path} describes {format_}, not {_FORMAT}: remove it and run openwit dedup again")
    if hash_def != HASH_DEF:
        raise Failure(
            f"{folder} was made with the hashes {hash_def}, this program makes {HASH_DEF}: "
            "remove it and run openwit dedup again, or install that version of Pillow"
        )
    return files, images


def _check_file(path: Path, length: int, sha256: str | None) -> None:
    """Failure unless the file has the length, and where a sha256 is given the bytes, that were written."""
    found = path.stat().st_size if path.is_file() else 0
    if found != length or (sha256 is not None and _sha256(path) != sha256):
        how = f"{found} bytes, {length} were written" if found != length else "not the bytes that were written"
        raise Failure(f"{path} is damaged ({how}): remove it and run openwit dedup again")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
