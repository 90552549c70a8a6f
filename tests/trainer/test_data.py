"""Batches: the same whatever makes them, every sample once an epoch, none of those held out."""

import io
import itertools
import pickle
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from core import choice
from core.errors import Failure, UsageError
from shards.format import as_ids, id_at
from shards.order import Stream
from shards.reader import Damaged, Shards
from tests.shards.helpers import make_pack
from tests.trainer.helpers import pictures, write_merges
from trainer.data import Batch, Examples, SkippedSamples, in_order, split
from trainer.tokenizer import Tokenizer

SEED, HOLDOUT = 3, 0.2


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return Tokenizer(write_merges(tmp_path_factory.mktemp("merges") / "merges.gz"))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return Shards(make_pack(tmp_path_factory.mktemp("pack"), pictures()))


@pytest.fixture(scope="module")
def examples(shards: Shards, tokenizer: Tokenizer) -> Examples:
    return Examples(shards, tokenizer, image_size=16, context=24, seed=SEED, holdout=HOLDOUT)


def same(one: Batch, other: Batch) -> bool:
    return bool(
        torch.equal(one.images, other.images)
        and torch.equal(one.ids, other.ids)
        and np.array_equal(one.samples, other.samples)
    )


def joined(shares: tuple[Batch, ...]) -> Batch:
    return Batch(
        torch.cat([share.images for share in shares]),
        torch.cat([share.ids for share in shares]),
        np.concatenate([share.samples for share in shares]),
    )


# ── the stream ────────────────────────────────────────────────────────────────────────────────────


def test_a_batch_has_the_shapes_that_the_model_reads(examples: Examples) -> None:
    (batch,) = examples.batches(0, 1, 70, threads=2)
    assert batch.images.shape == (70, 16, 16, 3) and batch.images.dtype == torch.uint8
    assert batch.ids.shape == (70, 24) and batch.ids.dtype == torch.int64
    assert batch.samples.shape == (70,)


def test_threads_do_not_change_a_batch(examples: Examples) -> None:
    one, three = (list(examples.batches(0, 4, 70, threads)) for threads in (1, 3))
    assert len(one) == 4 and all(map(same, one, three))


def test_ranks_share_a_batch(examples: Examples) -> None:
    whole = list(examples.batches(0, 3, 84, threads=2))
    for world in (2, 3, 4):
        shares = zip(*(examples.batches(0, 3, 84, 2, rank, world) for rank in range(world)), strict=True)
        assert all(map(same, whole, map(joined, shares)))


def test_ranks_that_do_not_divide_a_batch_are_an_error(examples: Examples) -> None:
    with pytest.raises(UsageError, match="a batch of 32 cannot be shared by 3 ranks"):
        next(examples.batches(0, 1, 32, 1, rank=0, world=3))


def test_a_stream_can_be_entered_anywhere(examples: Examples) -> None:
    whole = list(examples.batches(0, 7, 32, threads=2))
    assert all(map(same, whole[5:], examples.batches(5, 7, 32, threads=2)))


def test_an_epoch_holds_every_sample_once_and_none_that_is_held_out(examples: Examples, shards: Shards) -> None:
    n, epochs = len(examples.trained), 3
    assert 0.1 * len(shards) < len(examples.held_out) == len(shards) - n < 0.3 * len(shards)
    size = next(size for size in range(7, n) if n * epochs % size == 0)
    seen = np.concatenate([b.samples for b in examples.batches(0, n * epochs // size, size, threads=2)])
    held_out = {i for i in range(len(shards)) if choice.fraction(SEED, "holdout", "", held_id(shards, i)) < HOLDOUT}
    assert held_out == set(examples.held_out.tolist())
    for epoch in seen.reshape(epochs, n).tolist():
        assert sorted(epoch) == [i for i in range(len(shards)) if i not in held_out]
    assert len({tuple(epoch) for epoch in seen.reshape(epochs, n).tolist()}) == epochs  # each in another order


def held_id(shards: Shards, number: int) -> bytes:
    return id_at(shards.image_ids, number)


def test_crops_and_captions_change_with_the_epoch_and_with_nothing_else(
    examples: Examples, shards: Shards, tokenizer: Tokenizer
) -> None:
    n = len(examples.trained)
    seen: dict[int, list[tuple[bytes, str]]] = {}
    for batch in examples.batches(0, 6, n, threads=2):
        for number, image, ids in zip(batch.samples.tolist(), batch.images, batch.ids.tolist(), strict=True):
            seen.setdefault(number, []).append((image.numpy().tobytes(), tokenizer.decode(ids)))
    assert Counter(len(epochs) for epochs in seen.values()) == {6: n}
    assert np.mean([len({crop for crop, _ in epochs}) for epochs in seen.values()]) > 3
    texts = Counter(text for epochs in seen.values() for _, text in epochs)
    for number, epochs in seen.items():
        assert {text for _, text in epochs} <= {tokenizer_view(text, tokenizer) for text in shards.captions(number)}
    firsts = sum(n for text, n in texts.items() if " and " in text)
    assert 0.4 < firsts / texts.total() < 0.6  # two captions, drawn alike


def tokenizer_view(text: str, tokenizer: Tokenizer) -> str:
    return tokenizer.decode(tokenizer.encode([text], 24)[0].tolist())


@pytest.mark.parametrize("holdout", [0.0, 0.05, 0.5])
def test_the_split_is_a_hash_of_the_id(holdout: float) -> None:
    ids = [bytes([i]) + bytes(15) if i % 2 else bytes(14) + bytes([i, 0]) for i in range(200)]
    trained, held_out = split(as_ids(ids), 7, holdout)
    expected = [i for i, id_ in enumerate(ids) if choice.fraction(7, "holdout", "", id_) < holdout]
    assert held_out.tolist() == expected
    assert sorted([*trained.tolist(), *expected]) == list(range(200))


@pytest.mark.parametrize("broken", ["not a picture", "cut short"])
def test_a_picture_that_does_not_decode_is_named(broken: str, tmp_path: Path, tokenizer: Tokenizer) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG")
    body = b"hello" * 20 if broken == "not a picture" else buffer.getvalue()[:900]
    samples = [*pictures()[:40], ("http://broken.test/1.jpg", body, ["broken"])]
    shards = Shards(make_pack(tmp_path / "pack", samples))
    number = next(i for i in range(len(shards)) if shards.captions(i) == ["broken"])
    ends = np.cumsum(shards.sizes).tolist()
    shard = next(name for name, end in zip(shards.names, ends, strict=True) if number < end)
    examples = Examples(shards, tokenizer, 16, 24, seed=0, holdout=0.0)
    before = threading.active_count()
    with pytest.raises(Failure, match=rf"{shards.sample(number).key}\.jpg in .*/{shard}\.tar does not decode"):
        list(examples.batches(0, 3, 41, threads=3))
    assert threading.active_count() == before


# ── damage that is replaced ───────────────────────────────────────────────────────────────────────


@pytest.fixture
def damaged(tmp_path: Path) -> Shards:
    """A pack of 135 samples: two are no pictures, and of one a byte has changed since."""
    no_pictures = [(f"http://broken.test/{i}.jpg", b"<html>" * 20, ["broken"]) for i in range(2)]
    changed = ("http://broken.test/changed.png", b"changed " * 20, ["changed"])
    shards = Shards(make_pack(tmp_path / "pack", [*pictures(), *no_pictures, changed]))
    for name in shards.names:
        tar = Path(shards.folder) / f"{name}.tar"
        tar.write_bytes(tar.read_bytes().replace(b"changed changed", b"changed chanGed"))
    return shards


def replacing(shards: Shards, tokenizer: Tokenizer) -> Examples:
    return Examples(shards, tokenizer, 16, 24, seed=1, holdout=0.0, on_damage="replace")


def test_a_damaged_sample_is_replaced_and_counted(damaged: Shards, tokenizer: Tokenizer) -> None:
    batches = list(replacing(damaged, tokenizer).batches(0, 5, 27, threads=2))  # one epoch
    lost = SkippedSamples()
    for batch in batches:
        lost.update(batch.skipped)
        assert len(batch.samples) == 27
    assert lost.counts == {"not_an_image": 2, "changed_bytes": 1}
    assert str(lost) == "2 not_an_image, 1 changed_bytes"
    assert "tar does not decode (not_an_image" in lost.first["not_an_image"]
    assert all(len(set(batch.samples.tolist())) == 27 for batch in batches[:-1])  # none twice within the epoch
    assert len({int(i) for batch in batches for i in batch.samples}) == 132


def test_what_replaces_it_is_the_same_whoever_asks(damaged: Shards, tokenizer: Tokenizer) -> None:
    examples = replacing(damaged, tokenizer)
    whole = list(examples.batches(0, 6, 27 * 4, threads=1))
    assert sum(bool(batch.skipped) for batch in whole) >= 3
    assert all(map(same, whole, examples.batches(0, 6, 27 * 4, threads=3)))
    assert all(map(same, whole[3:], examples.batches(3, 6, 27 * 4, threads=2)))
    shares = zip(*(examples.batches(0, 6, 27 * 4, 2, rank, 3) for rank in range(3)), strict=True)
    for batch, parts in zip(whole, shares, strict=True):
        lost = SkippedSamples()
        for part in parts:
            lost.update(part.skipped)
        assert same(batch, joined(parts)) and lost == batch.skipped


def test_nothing_else_changes_where_a_sample_is_replaced(damaged: Shards, tokenizer: Tokenizer) -> None:
    (batch,) = replacing(damaged, tokenizer).batches(0, 1, 135, threads=2)
    order = Stream(135, 1).batch(0, 135)
    assert np.count_nonzero(batch.samples != order) == 3 == batch.skipped.counts.total()


@pytest.mark.parametrize("caption", ["broken", "changed"])
def test_a_damaged_sample_stops_a_run_and_the_other_choice_is_said(
    damaged: Shards, tokenizer: Tokenizer, caption: str
) -> None:
    said = "does not decode" if caption == "broken" else "is damaged: the [0-9]+ bytes of the sample at byte"
    examples = Examples(damaged, tokenizer, 16, 24, seed=1, holdout=0.0)
    with pytest.raises(Failure, match=rf"\.tar.*{said}.*train.on_damage = \"replace\""):
        for step in itertools.count():  # one of both comes first in a stream
            number = int(Stream(135, 1).batch(step, 1)[0])
            if is_damaged(damaged, number) == caption:
                list(examples.batches(step, step + 1, 1, threads=1))


def is_damaged(shards: Shards, number: int) -> str:
    try:
        return "broken" if shards.captions(number) == ["broken"] else ""
    except Damaged as error:
        assert pickle.loads(pickle.dumps(error)).reason == error.reason == "changed_bytes"
        return "changed"


def test_a_pack_of_which_nothing_is_sound_is_not_searched_for_ever(tmp_path: Path, tokenizer: Tokenizer) -> None:
    samples = [(f"http://broken.test/{i}.jpg", b"<html>" * 20, ["broken"]) for i in range(9)]
    shards = Shards(make_pack(tmp_path / "pack", samples))
    with pytest.raises(Failure, match=r"100 samples in a row are damaged; the first: .*not decode"):
        next(replacing(shards, tokenizer).batches(0, 1, 4, threads=1))


# ── making ahead ──────────────────────────────────────────────────────────────────────────────────


def test_results_come_in_order_and_no_more_are_begun_than_asked() -> None:
    begun: list[int] = []

    def work(job: int) -> int:
        begun.append(job)
        time.sleep(0.002 * (job % 3))  # later jobs are often done first
        return job * job

    results = in_order(work, itertools.count(), threads=4, ahead=6)
    for i in range(50):
        assert next(results) == i * i
        assert len(begun) <= i + 6
    results.close()


def test_an_error_in_a_thread_is_raised_as_itself_and_ends_the_threads() -> None:
    before = threading.active_count()

    def work(job: int) -> int:
        return 12 // (5 - job)

    results = in_order(work, range(100), threads=3, ahead=8)
    assert [next(results) for _ in range(5)] == [2, 3, 4, 6, 12]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert threading.active_count() == before


def test_a_stream_that_is_left_early_leaves_no_thread(examples: Examples) -> None:
    before = threading.active_count()
    batches = examples.batches(0, 1000, 64, threads=3)
    next(batches)
    assert threading.active_count() > before
    batches.close()
    assert threading.active_count() == before
