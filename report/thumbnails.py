"""What the report shows instead of words: pictures out of chunks and shards as thumbnails."""

from __future__ import annotations

import base64
import hashlib
import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from core.errors import Failure
from core.files import filesystem, join
from core.manifest import Manifest, Part
from core.tables import read_table
from shards.format import CHUNK, SAMPLE, Row, as_ids, ids_in, key_of, shard_name, shard_of
from shards.merge import Run, merge_range, read_range

SIDE = 160  # pixels of a thumbnail's longer side
QUALITY = 80  # of its JPEG
MAX_PIXELS = 64 << 20  # a larger picture gets no thumbnail: it would take more than 200 MB to decode

_ONE_IMAGE = 16 << 20  # bytes that reading one image out of a chunk may hold
_BROKEN = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError)  # Pillow's ways to refuse


@dataclass(frozen=True)
class Thumbnail:
    """A small picture as a data: URL, with its size in pixels."""

    source: str
    width: int
    height: int


def thumbnail(image: bytes | None) -> Thumbnail | None:
    """A JPEG of at most SIDE pixels a side, transparency over white; None for no image, or a broken one."""
    if image is None:
        return None
    try:
        with Image.open(io.BytesIO(image), formats=("JPEG", "PNG", "WEBP")) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                return None
            opened.draft("RGB", (2 * SIDE, 2 * SIDE))  # a JPEG is decoded at a fraction of its size
            small = _over_white(opened)
    except _BROKEN:
        return None
    small.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=QUALITY)
    return Thumbnail("data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode(), *small.size)


def _over_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image.convert("RGBA"))
    return white.convert("RGB")


# ── images by their id ────────────────────────────────────────────────────────────────────────────


class Chunks:
    """The images in some chunks of a fetch, found by id. 16 + 4 bytes an image are held."""

    def __init__(self, fetch: Manifest, indexes: list[Part]) -> None:
        """`indexes` are the parts of the table "chunk" to look into; each has its tar under the same task."""
        tars = {part.task: part for part in fetch.of("chunk_tar")}
        paths = [(join(fetch.folder, tars[part.task].name), join(fetch.folder, part.name)) for part in indexes]
        self._runs = [Run(tar, index) for tar, index in paths]
        ids = [ids_in(read_table(run.index, CHUNK, ["image_id"])["image_id"]) for run in self._runs]
        self._ids = np.concatenate(ids) if ids else as_ids([])
        self._run_of = np.repeat(np.arange(len(ids), dtype=np.int32), [len(some) for some in ids])
        order = np.argsort(self._ids, kind="stable")
        self._ids, self._run_of = self._ids[order], self._run_of[order]

    def have(self, ids: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
        """Which of a column of ids are here: bool [n]."""
        return np.isin(ids_in(ids), self._ids)

    def image(self, image_id: bytes) -> bytes | None:
        """An image as fetch stored it, proven by its sha256; None where it is in none of these chunks."""
        wanted = as_ids([image_id])[0]
        at = int(np.searchsorted(self._ids, wanted))
        if at == len(self._ids) or self._ids[at] != wanted:
            return None
        run = self._runs[self._run_of[at]]
        found = merge_range([run], image_id, _after(image_id), _ONE_IMAGE, frozenset())
        return next(image for _, _, image in found)


def find_image(image_id: bytes, chunks: Chunks, pack: Manifest | None) -> bytes | None:
    """An image out of chunks, or else out of the shards."""
    image = chunks.image(image_id)
    if image is None and pack and (found := packed(pack, image_id)):
        image = found[1]
    return image


def packed(pack: Manifest, image_id: bytes) -> tuple[Row, bytes] | None:
    """An image out of the shards with its row of SAMPLE; None where it is not in them. Its id says in which shard."""
    shards = len(pack.of("shard"))
    name = shard_name(shard_of(image_id, shards), shards)
    rows = read_range([join(pack.folder, f"{name}.parquet")], SAMPLE, image_id, _after(image_id)).to_pylist()
    if not rows or rows[0]["image_offset"] is None:
        return None
    start, size = rows[0]["image_offset"], rows[0]["image_size"]
    tar = join(pack.folder, f"{name}.tar")
    fs, inner = filesystem(tar)
    image = bytes(fs.cat_file(inner, start, start + size))
    if hashlib.sha256(image).digest() != rows[0]["stored_sha256"]:
        raise Failure(
            f"{tar} is damaged: image {key_of(image_id)} at byte {start} is not the one its table knows; pack again"
        )
    return rows[0], image


def _after(image_id: bytes) -> bytes | None:
    """The next id, None after the last."""
    number = int.from_bytes(image_id, "big") + 1
    return None if number >> 128 else number.to_bytes(16, "big")
