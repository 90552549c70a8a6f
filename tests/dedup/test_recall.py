"""What all this finds among real pictures: photos and what people made of them."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image, ImageOps, UnidentifiedImageError

from core.tars import tar_members
from dedup.allpairs import edges
from dedup.groups import groups
from dedup.hashes import fingerprints
from dedup.index import Index, build
from dedup.pictures import read_picture as asked
from tests.dedup.made import Column, scene, table

# Edits that leave a photo what it is. Not among them: rotations and flips upside down, which no hash of this kind
# sees (dihedral_flipy is left to right), and thumbnail_or_crop, where some thumbnails show another part of the picture.
FOUND = (
    r"copy|same_photo_other_file|resize|format_\w+|gray|colour_mode_\w+|(shrink|blur|sharpen)-a-(little|lot)"
    r"|square-\d+x\d+|high-contrast|high-saturation|hflip|dihedral_flipy"
)
NOT_FOUND = r"rotation|dihedral_(?!flipy)\S+"


class Pictures(NamedTuple):
    names: list[str]
    column: Column
    kinds: dict[str, list[tuple[int, int]]]  # kind of edit → rows of original and edited


def decoded(path: Path) -> Image.Image | None:
    """The picture as it would be stored: upright, on white, in colours; None where it is not a picture."""
    try:
        with Image.open(path) as image:
            image.draft("RGB", (512, 512))
            upright = ImageOps.exif_transpose(image).convert("RGBA")
    except (UnidentifiedImageError, OSError):
        return None
    upright.thumbnail((512, 512))
    return Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright).convert("RGB")


def photo(name: str) -> str:
    """Whose likeness a file is, by its name."""
    if name == "imagededup/alpha_channel_image.png":  # as anyone can see
        return "ukbench00120"
    number = re.search(r"ukbench\d+", name)
    return number[0] if number else "/".join(name.split("/")[: 2 if name.startswith("kde") else 1])


@pytest.fixture(scope="module")
def pictures(data: Path) -> Iterator[Pictures]:
    folder = data / "neardup"
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*.*"))}
    images = {name: image for name, path in found.items() if (image := decoded(path)) is not None}
    names = list(images)
    column = fingerprints(list(images.values()))
    digests = [hashlib.sha256(found[name].read_bytes()).digest() for name in names]
    sizes = np.array([image.size for image in images.values()], np.int32)
    column |= {
        "image_id": np.array([list(hashlib.sha256(name.encode()).digest()[:16]) for name in names], np.uint8),
        "sha256": np.array([list(digest) for digest in digests], np.uint8),
        "width": sizes[:, 0],
        "height": sizes[:, 1],
        "bytes": np.array([found[name].stat().st_size for name in names]),
    }
    kinds = defaultdict(list)
    with (folder / "pairs.tsv").open(newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            kinds[row["kind"]].append((names.index(row["a"]), names.index(row["b"])))
    yield Pictures(names, column, kinds)


def kept_by(pictures: Pictures) -> dict[str, str]:
    column = pictures.column
    found = groups(table(column), edges(column))[0].to_pylist()
    name_of = {row.tobytes(): name for row, name in zip(column["image_id"], pictures.names, strict=True)}
    return {name_of[row["image_id"]]: name_of[row["kept_by"]] for row in found}


def test_what_is_the_same_photo_ends_in_one_group(pictures: Pictures) -> None:
    keeper = kept_by(pictures)
    checked = 0
    for kind, pairs in pictures.kinds.items():
        for a, b in pairs:
            a_name, b_name = pictures.names[a], pictures.names[b]
            if re.fullmatch(FOUND, kind):
                assert keeper[a_name] == keeper[b_name], (kind, b_name)
                checked += 1
            elif re.fullmatch(NOT_FOUND, kind):
                assert keeper.get(a_name) != keeper.get(b_name, b_name), (kind, b_name)
                checked += 1
    assert checked > 40


def test_most_thumbnails_are_found(pictures: Pictures) -> None:
    keeper = kept_by(pictures)
    pairs = pictures.kinds["thumbnail_or_crop"]
    found = [keeper.get(pictures.names[a], "") == keeper.get(pictures.names[b]) for a, b in pairs]
    assert sum(found) >= 0.6 * len(pairs)


def test_different_photos_are_never_in_one_group(pictures: Pictures) -> None:
    keeper = kept_by(pictures)
    assert len(keeper) > 40
    assert {name: photo(name) for name in keeper} == {name: photo(kept) for name, kept in keeper.items()}


def test_the_index_finds_what_the_edges_hold(pictures: Pictures, data: Path, tmp_path: Path) -> None:
    build(str(tmp_path), [table(pictures.column)])
    index = Index.open(str(tmp_path))
    for kind in ("resize", "format_webp", "shrink-a-lot"):
        for a, b in pictures.kinds[kind]:
            image = decoded(data / "neardup" / pictures.names[b])
            assert image is not None
            matches = index.query_image(image)
            by_id = {
                row.tobytes().hex(): name for row, name in zip(pictures.column["image_id"], pictures.names, strict=True)
            }
            assert pictures.names[a] in {by_id[match.image_id] for match in matches}
            assert {photo(by_id[match.image_id]) for match in matches} == {photo(pictures.names[a])}


# ── copies of hundreds of pictures and more ──


def saved(image: Image.Image, quality: int = 90) -> Image.Image:
    to = io.BytesIO()
    image.save(to, "JPEG", quality=quality)
    return Image.open(to).convert("RGB")


def resized(image: Image.Image, i: int) -> Image.Image:
    width, height = image.size
    scale = (0.5, 0.75, 1.5)[i % 3]
    return saved(image.resize((round(width * scale), round(height * scale)), Image.Resampling.LANCZOS))


def bordered(image: Image.Image, i: int) -> Image.Image:
    x, y = (round(side * (3, 8, 15)[i % 3] / 100) for side in image.size)
    return saved(ImageOps.expand(image, (x, y), ("white", "black", "grey", "gold")[i % 4]), 60 + i % 36)


COPIES: dict[str, Callable[[Image.Image, int], Image.Image]] = {
    "resized": resized,
    "saved again": lambda image, i: saved(image, 30 + i % 60),
    "mirrored": lambda image, i: saved(ImageOps.mirror(image)),
    "bordered": bordered,
    "mirrored, bordered": lambda image, i: bordered(ImageOps.mirror(image), i),
}


def as_column(images: list[Image.Image], ids: int) -> Column:
    rng = np.random.default_rng(ids)
    n = len(images)
    return fingerprints(images) | {
        "image_id": rng.integers(0, 256, (n, 16), dtype=np.uint8),
        "sha256": rng.integers(0, 256, (n, 32), dtype=np.uint8),
    }


@pytest.mark.parametrize("count", [300, pytest.param(1000, marks=pytest.mark.slow)])
def test_drawn_copies_are_found_and_nothing_else(count: int) -> None:
    drawn = [scene(seed, 160, 120) for seed in range(count)]  # no two are alike
    original = as_column(drawn, 0)
    assert not original["flags"].any()
    for number, (kind, edit) in enumerate(COPIES.items(), start=1):
        copy = as_column([edit(image, i) for i, image in enumerate(drawn)], number)
        found = edges({name: np.concatenate([values, copy[name]]) for name, values in original.items()})
        pairs = {(i, j - len(drawn)) for i, j in zip(found["i"].tolist(), found["j"].tolist(), strict=True)}
        assert {(i, j) for i, j in pairs if i != j} == set(), kind
        assert len(pairs) >= 0.99 * len(drawn), kind
        assert found["mirrored"].all() == ("mirrored" in kind), kind


def test_copies_of_real_photos_are_found_and_no_others(data: Path) -> None:
    """150 photos as the web has them, and 3,781 small product shots, many on a plain background."""
    paths = sorted((data / "web" / "photos.test").rglob("*.jpg"))
    photos = [image for path in paths if (image := decoded(path)) is not None]
    for image in photos:
        image.thumbnail((256, 256))
    for kind, edit in COPIES.items():
        copies = [edit(image, i) for i, image in enumerate(photos)]
        column = as_column([*photos, *copies], 0)
        usable = np.flatnonzero(column["flags"][: len(photos)] == 0)
        found = edges(column)
        pairs = {(i, j - len(photos)) for i, j in zip(found["i"].tolist(), found["j"].tolist(), strict=True)}
        assert all(i == j for i, j in pairs), kind
        least = 0.98 if "," in kind else 0.99  # two edits at once
        assert len(pairs) >= least * len(usable) > 140, (kind, len(pairs), len(usable))
    clothes = tar_members(str(data / "cls" / "clothing_72px.tar"), 1 << 20)
    shots = [asked(io.BytesIO(body), "a shot") for _, body in clothes]
    assert len(edges(as_column(shots, 1))) == 1  # of 7 million pairs; they are one photo
