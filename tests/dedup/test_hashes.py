"""Fingerprints: the bits of imagehash, for every picture, in any company."""

from __future__ import annotations

from pathlib import Path

import imagehash
import numpy as np
import PIL
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from dedup import hashes
from dedup.border import within_border
from dedup.hashes import columns, fingerprints, hamming, hamming256, permuted, restored, words
from tests.dedup.made import crawl, degenerate, scene, table


def noise(seed: int, width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


PICTURES = {
    **degenerate(),
    **{f"scene_{seed}": scene(seed) for seed in range(6)},
    "framed": ImageOps.expand(scene(12), 20, "white"),
    "framed_rgba": ImageOps.expand(scene(13), (20, 9), "navy").convert("RGBA"),
    "half_framed": ImageOps.expand(noise(3, 90, 80), (0, 9, 4, 0), "grey"),
    **{f"noise_{w}x{h}": noise(w, w, h) for w, h in [(64, 64), (33, 77), (500, 3), (2, 2), (31, 32), (1, 7)]},
    "tall_1_to_8": scene(7, 60, 480),
    "palette": scene(8).quantize(16),
    "bilevel": scene(9).convert("1"),
    "cmyk": scene(10).convert("CMYK"),
    "rgba": scene(11).convert("RGBA"),
}


def expect_imagehash(images: list[Image.Image]) -> None:
    found = fingerprints(images)
    for row, image in enumerate(images):
        box = within_border(image.convert("L"))
        views = [("ph64", "ph256", image), ("mirror", "mirror256", ImageOps.mirror(image))]
        if found["inner64"][row]:
            assert box
            views.append(("inner64", "inner256", image.convert("L").crop(box)))
        for short, long, view in views:
            assert format(int(found[short][row]), "016x") == str(imagehash.phash(view))
            assert found[long][row].tobytes().hex() == str(imagehash.phash(view, hash_size=16))


@pytest.mark.parametrize("name", PICTURES)
def test_bits_are_those_of_imagehash(name: str) -> None:
    expect_imagehash([PICTURES[name]])


def test_bits_do_not_depend_on_the_company() -> None:
    expect_imagehash(list(PICTURES.values()))
    alone = [fingerprints([image]) for image in PICTURES.values()]
    together = fingerprints(list(PICTURES.values()))
    for name, column in together.items():
        np.testing.assert_array_equal(column, np.concatenate([one[name] for one in alone]), err_msg=name)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), width=st.integers(1, 90), height=st.integers(1, 90), levels=st.integers(1, 256))
def test_bits_of_any_picture(seed: int, width: int, height: int, levels: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, levels, (height, width), dtype=np.uint8)
    expect_imagehash([Image.fromarray(pixels)])


@pytest.mark.parametrize(
    ("seed", "ph64", "mirror", "ph256"),
    [
        (
            0,
            "da8ba0b272e651d6",
            "8fdef5c727930480",
            "daf28b6ea08d827f7225e63c5028d4158e7329aaafd739c38dda65885e31e0c7",
        ),
        (
            1,
            "a0eec5f0f546c49a",
            "f5b390a5b01391cf",
            "a02ae69ec583f062e56b460ac4759a5a3b9e65a53b8abdf51a940e9d6efd8242",
        ),
        (
            2,
            "c853d4fd2e836d81",
            "9d0681a8fbd638f4",
            "c8575305d466fdedae5d83996d7181e4d2ae5e1b928e7c6651a202926f19a1b9",
        ),
    ],
)
def test_bits_have_not_moved(seed: int, ph64: str, mirror: str, ph256: str) -> None:
    """Stored hashes stay comparable: if this fails, Pillow resamples in another way and HASH_DEF must say so."""
    found = fingerprints([scene(seed)])
    assert format(int(found["ph64"][0]), "016x") == ph64
    assert format(int(found["mirror"][0]), "016x") == mirror
    assert found["ph256"][0].tobytes().hex() == ph256


def test_columns_are_those_of_the_table() -> None:
    for n in (0, 2):
        found = fingerprints([scene(seed) for seed in range(n)])
        assert {name: (column.dtype.name, column.shape) for name, column in found.items()} == {
            "ph64": ("uint64", (n,)),
            "ph256": ("uint8", (n, 32)),
            "mirror": ("uint64", (n,)),
            "mirror256": ("uint8", (n, 32)),
            "inner64": ("uint64", (n,)),
            "inner256": ("uint8", (n, 32)),
            **{f"border_{side}": ("uint8", (n,)) for side in ("left", "top", "right", "bottom")},
            "gradient": ("float32", (n,)),
            "flags": ("uint8", (n,)),
        }


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("black", 3),
        ("white", 3),
        ("grey", 3),
        ("gradient_x", 3),
        ("gradient_y", 3),
        ("dot", 2),
        ("one_pixel", 3),
        ("logo", 2),
        ("stripes_x", 1),
        ("scene_0", 0),
        ("tall_1_to_8", 0),
        ("noise_64x64", 0),
    ],
)
def test_flags(name: str, flags: int) -> None:
    assert fingerprints([PICTURES[name]])["flags"][0] == flags


def test_a_flat_photo_is_flagged_by_its_gradient_alone() -> None:
    faint = scene(3).point(lambda value: 120 + value // 20)
    found = fingerprints([faint])
    assert found["flags"][0] == hashes.FLAT
    assert found["gradient"][0] < hashes.GATE


def test_gradient_is_mean_absolute_difference_of_neighbours() -> None:
    y, x = np.mgrid[0:32, 0:32]
    ramp = Image.fromarray((3 * x + 2 * y).astype(np.uint8))  # 32 × 32: resizing changes nothing
    checker = Image.fromarray(((x + y) % 2 * 255).astype(np.uint8))
    np.testing.assert_array_equal(fingerprints([ramp, checker])["gradient"], [5, 510])


def test_a_border_is_known_and_left_out() -> None:
    empty = ImageOps.expand(Image.new("L", (100, 90), 200), 12, "black")
    found = fingerprints([ImageOps.expand(scene(5), (30, 21, 3, 0), "white"), scene(5), empty])
    plain = fingerprints([scene(5)])
    assert found["inner64"].tolist() == [plain["ph64"][0], 0, 0]  # nothing within the last that may be compared
    np.testing.assert_array_equal(found["inner256"][0], plain["ph256"][0])
    borders = [found[f"border_{side}"].tolist() for side in ("left", "top", "right", "bottom")]
    assert borders == [[9, 0, 10], [9, 0, 11], [1, 0, 10], [0, 0, 11]]  # 30 of 353, 21 of 261, 3 of 353 …, rounded up


def test_distances_are_even_unless_flagged() -> None:
    """A median split gives every picture with content the same weight."""
    found = fingerprints([scene(seed) for seed in range(30)])
    assert not found["flags"].any()
    assert (hamming(found["ph64"][:, None], found["ph64"]) % 2 == 0).all()


@given(a=st.integers(0, 2**64 - 1), b=st.integers(0, 2**64 - 1))
def test_hamming(a: int, b: int) -> None:
    assert int(hamming(a, b)) == (a ^ b).bit_count()


@given(a=st.binary(min_size=32, max_size=32), b=st.binary(min_size=32, max_size=32))
def test_hamming256(a: bytes, b: bytes) -> None:
    rows = np.frombuffer(a + b, np.uint8).reshape(2, 32)
    expected = (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).bit_count()
    assert int(hamming256(rows[0], rows[1])) == expected
    assert hamming256(rows[:, None], rows).tolist() == [[0, expected], [expected, 0]]


def test_columns_of_a_table_in_pieces() -> None:
    made = crawl(20, seed=0)
    whole = table(made).select(list(made))
    pieces = [whole.slice(0, 3), whole.slice(3, 0), whole.slice(3, 17)]
    for name, column in columns(type(whole).from_batches([b for p in pieces for b in p.to_batches()])).items():
        np.testing.assert_array_equal(column, made[name], err_msg=name)
    assert columns(whole.slice(0, 0))["sha256"].shape == (0, 32)


def test_words_compare_like_bytes() -> None:
    rows = crawl(50, seed=1)["image_id"]
    rows[:20, :9] = 0  # many ties in the first word
    order = np.lexsort(words(rows).byteswap().T[::-1])
    assert [row.tobytes() for row in rows[order]] == sorted(row.tobytes() for row in rows)


@given(
    values=st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=5),
    first=st.lists(st.integers(0, 63), unique=True, max_size=64),
)
def test_permuted_moves_bits(values: list[int], first: list[int]) -> None:
    order = [*first, *sorted(set(range(64)) - set(first), reverse=True)]
    expected = [int("".join(str(value >> bit & 1) for bit in order), 2) for value in values]
    moved = permuted(np.array(values, np.uint64), first)
    assert moved.tolist() == expected
    assert restored(moved, first).tolist() == values


def test_the_definition_names_the_version_that_decides_bits() -> None:
    assert PIL.__version__ in hashes.HASH_DEF
    assert "phash" in hashes.HASH_DEF


def test_real_photos(data: Path) -> None:
    paths = sorted((data / "neardup" / "imagededup").rglob("*.jpg"))
    assert len(paths) > 10
    images = []
    for path in paths:
        if "corrupt" not in path.name:
            images.append(Image.open(path).convert("RGB"))
    expect_imagehash(images)
    assert not fingerprints(images)["flags"].any()
