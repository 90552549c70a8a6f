"""Batches out of other people's shards: each sample once a pass, the same whatever makes them, and no loss unsaid."""

import itertools
import threading
import time
from collections import Counter
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch

from core.errors import Failure, UsageError
from tests import stores
from tests.shards.helpers import make_pack
from tests.trainer.helpers import COLOURS, pictures, write_merges
from tests.trainer.others import caption, header_at, image, img2dataset_folder, sample, web, write_tar
from trainer.data import Batch, OnDamage, SkippedSamples
from trainer.sources import shards_in
from trainer.streams import Streams, digest_of
from trainer.tokenizer import Tokenizer

SHARDS, EACH = 6, 22
N = SHARDS * EACH


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return Tokenizer(write_merges(tmp_path_factory.mktemp("merges") / "merges.gz"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return img2dataset_folder(tmp_path_factory.mktemp("others") / "data", SHARDS, EACH)


def streams(
    source: str | Path,
    tokenizer: Tokenizer,
    on_damage: OnDamage = "stop",
    seed: int = 3,
    shuffle: int = 5_000,
    readers: int = 4,
) -> Streams:
    shards = shards_in([str(source)], "a.toml", "train.shards")
    return Streams(shards, tokenizer, 16, 24, seed, on_damage, shuffle=shuffle, readers=readers)


def same(one: Batch, other: Batch) -> bool:
    equal = torch.equal(one.images, other.images) and torch.equal(one.ids, other.ids)
    return equal and np.array_equal(one.samples, other.samples) and one.skipped == other.skipped


def seen(*batches: Batch) -> Counter[int]:
    return Counter(number for batch in batches for number in batch.samples.tolist())


def losses(batches: list[Batch]) -> SkippedSamples:
    lost = SkippedSamples()
    for batch in batches:
        lost.update(batch.skipped)
    return lost


# ── what comes ────────────────────────────────────────────────────────────────────────────────────


def test_a_batch_is_of_the_same_kind_as_a_packs(folder: Path, tokenizer: Tokenizer) -> None:
    (batch,) = streams(folder, tokenizer).batches(0, 1, 70, threads=2)
    assert batch.images.shape == (70, 16, 16, 3) and batch.images.dtype == torch.uint8
    assert batch.ids.shape == (70, 24) and batch.ids.dtype == torch.int64
    assert batch.samples.shape == (70,) and batch.samples.dtype == np.int64 and not batch.skipped


def test_image_and_caption_belong_together(folder: Path, tokenizer: Tokenizer) -> None:
    (batch,) = streams(folder, tokenizer).batches(0, 1, N, threads=2)
    texts = [text_of(ids, tokenizer) for ids in batch.ids.tolist()]
    assert sorted(texts) == sorted(caption(i) for i in range(N))
    for crop, text in zip(batch.images, texts, strict=True):
        left, right = text.split(" and ")
        assert np.abs(crop[8, 1].numpy().astype(int) - COLOURS[left]).max() < 40
        assert np.abs(crop[8, 14].numpy().astype(int) - COLOURS[right]).max() < 40


def text_of(ids: list[int], tokenizer: Tokenizer) -> str:
    return tokenizer.decode(ids)


@pytest.mark.parametrize(("world", "readers", "threads"), [(1, 1, 1), (1, 4, 3), (2, 1, 2), (2, 4, 3), (3, 2, 1)])
def test_a_pass_has_every_sample_once(
    folder: Path, tokenizer: Tokenizer, world: int, readers: int, threads: int
) -> None:
    made = streams(folder, tokenizer, readers=readers)
    for passes in (1, 2):
        ranks = [made.batches(0, passes * 11, N // 11, threads, rank, world) for rank in range(world)]
        counts = seen(*itertools.chain(*ranks))
        assert len(counts) == N and set(counts.values()) == {passes}


def test_the_order_of_shards_is_the_same_on_every_machine(tokenizer: Tokenizer) -> None:
    made = Streams([f"pipe:cat {i}.tar" for i in range(8)], tokenizer, 16, 24, seed=3)
    dealt = ["".join(shard[9] for shard in made._shards_of_rank("0.0", 0, rank, 2)) for rank in range(2)]
    assert dealt == ["5074", "2631"]


def test_each_pass_and_each_seed_has_an_order_of_its_own(folder: Path, tokenizer: Tokenizer) -> None:
    one, two = streams(folder, tokenizer).batches(0, 2, N, threads=2)
    (other,) = streams(folder, tokenizer, seed=4).batches(0, 1, N, threads=2)
    orders = [tuple(batch.samples.tolist()) for batch in (one, two, other)]
    assert len(set(orders)) == 3 and len({tuple(sorted(order)) for order in orders}) == 1
    at = [np.argsort(batch.samples) for batch in (one, two)]
    same_crop = [torch.equal(one.images[i], two.images[j]) for i, j in zip(*at, strict=True)]
    assert np.mean(same_crop) < 0.7  # of two-coloured pictures many crops look alike


def test_batches_are_the_same_whatever_decodes_them(folder: Path, tokenizer: Tokenizer) -> None:
    one, three = (list(streams(folder, tokenizer).batches(0, 6, 40, threads)) for threads in (1, 3))
    assert len(one) == 6 and all(map(same, one, three))


def test_going_on_after_a_stop_is_one_order_and_another(folder: Path, tokenizer: Tokenizer) -> None:
    made = streams(folder, tokenizer)
    whole = list(made.batches(0, 6, 22, threads=2))
    again, twice = (list(made.batches(4, 6, 22, threads=2)) for _ in range(2))
    assert all(map(same, again, twice))
    assert not any(map(same, again, whole[4:]))
    assert set(seen(*made.batches(4, 10, 22, threads=2)).values()) == {1}  # a pass begins


def test_shards_are_mixed_as_far_as_readers_and_the_reservoir_reach(folder: Path, tokenizer: Tokenizer) -> None:
    shard_of: dict[int, str] = {}
    for path in sorted(folder.glob("*.tar")):
        (batch,) = streams(path, tokenizer).batches(0, 1, EACH, threads=1)
        shard_of |= dict.fromkeys(seen(batch), path.name)

    def shards(readers: int, shuffle: int) -> int:
        (first,) = streams(folder, tokenizer, readers=readers, shuffle=shuffle).batches(0, 1, EACH, threads=1)
        return len({shard_of[number] for number in first.samples.tolist()})

    assert shards(readers=1, shuffle=1) == 1
    assert shards(readers=3, shuffle=1) == 3
    assert shards(readers=1, shuffle=N) > 3


@pytest.mark.parametrize(("shards", "world"), [(1, 2), (2, 3), (3, 2), (5, 4)])
def test_fewer_and_uneven_shards_make_nobody_wait(
    tmp_path: Path, tokenizer: Tokenizer, shards: int, world: int
) -> None:
    img2dataset_folder(tmp_path, shards, each=6)
    made = streams(tmp_path, tokenizer, readers=8)
    ranks = [list(made.batches(0, 9, 4 * world, 2, rank, world)) for rank in range(world)]
    assert [len(batches) for batches in ranks] == [9] * world
    assert len(seen(*itertools.chain(*ranks))) == shards * 6


def test_a_batch_that_is_larger_than_the_data_is_an_error(tmp_path: Path, tokenizer: Tokenizer) -> None:
    img2dataset_folder(tmp_path, shards=2, each=6)
    made = streams(tmp_path, tokenizer)
    assert len(seen(next(made.batches(0, 1, 12, 1)))) == 12
    for size, times in ((13, "2"), (40, "[34]")):
        with pytest.raises(
            Failure, match=rf"train.batch_size = {size}, but the shards hold fewer .* is {times} times in one batch"
        ):
            next(made.batches(5, 6, size, 1))
    whole = list(made.batches(0, 6, 11, 1))  # its second batch goes on with the next pass, where the other eleven are
    assert all(len(batch.samples) == 11 for batch in whole)


def test_ranks_that_do_not_divide_a_batch_are_an_error(folder: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(UsageError, match="a batch of 32 cannot be shared by 3 ranks"):
        next(streams(folder, tokenizer).batches(0, 1, 32, 1, 0, 3))


def test_what_is_not_promised_is_said(folder: Path, tokenizer: Tokenizer) -> None:
    made = Streams([f"pipe:cat {folder}/00000.tar", f"{folder}/00001.tar"], tokenizer, 16, 24, 0)
    assert made.limitations().startswith(
        "2 shards are read as streams, 1 of them by commands of the recipe in a shell: a samp"
    )


def test_the_digest_knows_another_list_and_another_size(folder: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    img2dataset_folder(tmp_path / "a", 2)
    shards = [f"{tmp_path}/a/{number:05}.tar" for number in range(2)]
    digests = [digest_of(shards), digest_of(shards)]
    write_tar(tmp_path / "a" / "00001.tar", sample("0", 0))
    digests += [digest_of(shards), digest_of(shards[:1])]
    assert digests[0] == digests[1] and len(set(digests)) == 3


# ── wherever they lie ─────────────────────────────────────────────────────────────────────────────


def captions(batch: Batch) -> list[list[int]]:
    return sorted(batch.ids.tolist())


def test_a_disk_a_web_server_a_store_and_a_command_give_the_same(folder: Path, tokenizer: Tokenizer, moto: str) -> None:
    (expected,) = streams(folder, tokenizer).batches(0, 1, N, threads=2)
    with web(folder) as server, stores.used(moto):
        bucket = stores.new_bucket()
        fsspec.filesystem("s3").put(f"{folder}/", f"s3://{bucket}/a/", recursive=True)
        for source in (
            f"{server.url}/{{00000..00005}}.tar",
            f"s3://{bucket}/a",
            f"pipe:cat {folder}/{{00000..00005}}.tar",
        ):
            (batch,) = streams(source, tokenizer).batches(0, 1, N, threads=2)
            assert captions(batch) == captions(expected) and not batch.skipped and len(seen(batch)) == N


def test_our_own_pack_is_a_webdataset_too(tmp_path: Path, tokenizer: Tokenizer) -> None:
    pack = make_pack(tmp_path / "pack", pictures())
    batches = list(streams(pack, tokenizer).batches(0, 2, 66, threads=2))
    assert len(seen(*batches)) == 132 and not losses(batches)


# ── damage ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """Three shards: in one a picture that is none, one that ends too early, and one as it should be."""
    folder = img2dataset_folder(tmp_path / "damaged", 3, 10)
    members = [member for i in range(10) for member in sample(f"00000{i:04}", i)]
    members[3] = (members[3][0], b"<html>not found</html>")
    members[7] = (members[7][0], b" ")
    del members[8]  # a sample without a caption
    write_tar(folder / "00000.tar", members)
    cut = folder / "00001.tar"
    cut.write_bytes(cut.read_bytes()[: header_at(cut, "000010006.jpg")])
    return folder


def test_damage_stops_a_run_and_is_named(damaged: Path, tokenizer: Tokenizer) -> None:
    before = threading.active_count()
    for shard, said in (("00000", "000000001: not_an_image"), ("00001", "shard_cut: it ends after")):
        with pytest.raises(Failure, match=rf"damaged/{shard}\.tar: {said}.*train.on_damage = \"replace\""):
            list(streams(damaged / f"{shard}.tar", tokenizer).batches(0, 3, 8, threads=2))
    assert threading.active_count() == before


def test_what_is_damaged_is_replaced_and_counted(damaged: Path, tokenizer: Tokenizer) -> None:
    began = time.monotonic()
    made = streams(damaged, tokenizer, "replace")
    batches = list(made.batches(0, 3, 8, threads=2))
    assert all(len(batch.samples) == 8 for batch in batches)
    assert set(seen(*batches).values()) == {1}  # 8 + 6 + 10 are sound, the pass is not over before
    lost = losses(batches)
    assert set(lost.counts) == {"not_an_image", "no_caption", "shard_cut"}
    assert "00000.tar: 000000001: not_an_image" in lost.first["not_an_image"]
    assert time.monotonic() - began < 20  # nobody sleeps over a damaged sample
    assert all(map(same, batches, made.batches(0, 3, 8, threads=1)))


def test_losses_are_counted_once_a_pass_with_the_batch_on_the_way_to_which_they_were_met(
    damaged: Path, tokenizer: Tokenizer
) -> None:
    made = streams(damaged, tokenizer, "replace", shuffle=1, readers=1)
    batches = list(made.batches(0, 30, 24, threads=2))  # thirty passes, and what is read ahead
    assert all(30 <= n <= 32 for n in losses(batches).counts.values())
    assert sum(bool(batch.skipped) for batch in batches) > 15


def test_a_web_server_is_asked_how_many_samples_there_should_be(tmp_path: Path, tokenizer: Tokenizer) -> None:
    img2dataset_folder(tmp_path, 1, each=10)
    write_tar(tmp_path / "00000.tar", sample("000000000", 0))
    with web(tmp_path) as server, pytest.raises(Failure, match=r"00000\.tar: shard_short: it holds 1 samples of 10"):
        list(streams(f"{server.url}/00000.tar", tokenizer).batches(0, 1, 8, threads=1))


def test_a_missing_shard_is_replaced_or_stops(folder: Path, tokenizer: Tokenizer) -> None:
    with web(folder) as server:
        source = f"{server.url}/{{00004..00007}}.tar"
        with pytest.raises(Failure, match=r"/0000[67]\.tar: shard_unreadable: .*404"):
            list(streams(source, tokenizer).batches(0, 1, 8, threads=1))
        (batch,) = streams(source, tokenizer, "replace").batches(0, 1, 2 * EACH, threads=1)
        assert set(batch.skipped.counts) == {"shard_unreadable"} and len(seen(batch)) == 2 * EACH


@pytest.mark.parametrize("on_damage", ["stop", "replace"])
def test_shards_without_a_single_sample_end_the_run(tmp_path: Path, tokenizer: Tokenizer, on_damage: OnDamage) -> None:
    for i in range(5):
        write_tar(tmp_path / f"{i}.tar", [("0.jpg", image(0)), ("1.png", image(1))])
    with pytest.raises(
        Failure, match=r"none of 5 shards .* \(10 no_caption\): give other shards, or say with train.im"
    ):
        for rank in range(3):
            next(streams(tmp_path, tokenizer, on_damage).batches(0, 1, 6, 1, rank, 3))


def test_pictures_of_which_none_is_sound_end_the_run(tmp_path: Path, tokenizer: Tokenizer) -> None:
    write_tar(tmp_path / "a.tar", [m for i in range(30) for m in ((f"{i}.jpg", b"no"), (f"{i}.txt", b"a text"))])
    with pytest.raises(
        Failure, match=r"samples in a row are damaged \(\d+ not_an_image\); the first: .*a\.tar: \d+: not"
    ):
        next(streams(tmp_path, tokenizer, "replace").batches(0, 1, 8, threads=2))


def test_a_picture_made_to_hurt_is_held_to_the_same_limits_as_our_own(tmp_path: Path, tokenizer: Tokenizer) -> None:
    bomb = image(0)[:16] + (60_000).to_bytes(4, "big") * 2 + image(0)[24:]  # a PNG of 60,000 x 60,000 pixels
    write_tar(tmp_path / "a.tar", [("bomb.png", bomb), ("bomb.txt", b"a bomb"), *sample("0", 0), *sample("1", 1)])
    (batch,) = streams(tmp_path, tokenizer, "replace").batches(0, 1, 2, threads=1)
    assert (
        set(batch.skipped.counts) <= {"too_many_pixels", "not_an_image", "broken_image"} and len(set(seen(batch))) == 2
    )


def test_a_drawing_is_not_drawn(tmp_path: Path, tokenizer: Tokenizer) -> None:
    drawing = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>'
    write_tar(tmp_path / "a.tar", [("1.jpg", drawing), ("1.txt", b"a square"), *sample("0", 0)])
    with pytest.raises(Failure, match=r"a\.tar: 1: format_unsupported: SVG"):
        next(streams(tmp_path, tokenizer).batches(0, 1, 4, threads=1))


# ── its end ───────────────────────────────────────────────────────────────────────────────────────


def test_a_stream_that_is_left_early_leaves_no_thread(folder: Path, tokenizer: Tokenizer) -> None:
    before = threading.active_count()
    batches = streams(folder, tokenizer).batches(0, 1000, 64, threads=3)
    next(batches)
    assert threading.active_count() > before
    batches.close()
    assert threading.active_count() == before


def test_a_stream_whose_command_hangs_can_be_left(tmp_path: Path, tokenizer: Tokenizer) -> None:
    before = threading.active_count()
    img2dataset_folder(tmp_path, 1, each=90)  # of which some more than 64 are read at once
    hanging = Streams([f"pipe:cat {tmp_path}/00000.tar; exec sleep 600"], tokenizer, 16, 24, 0, shuffle=1)
    batches = hanging.batches(0, 9, 4, threads=1)
    next(batches)
    batches.close()
    assert threading.active_count() == before
