import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Failure, UsageError
from shards.order import Stream, position_to_sample


@given(st.integers(1, 3000), st.integers(0, 2**31), st.integers(0, 50))
def test_an_epoch_is_a_permutation(n: int, seed: int, epoch: int) -> None:
    samples = position_to_sample(np.arange(n), n, seed, epoch)
    assert samples.dtype == np.int64
    assert sorted(samples.tolist()) == list(range(n))


@given(st.integers(1, 2**63 - 1), st.lists(st.integers(0), min_size=1, max_size=30), st.integers(0, 9))
def test_positions_may_be_asked_in_any_order_and_never_meet(n: int, positions: list[int], seed: int) -> None:
    asked = np.array([p % n for p in positions])
    samples = position_to_sample(asked, n, seed, 0)
    assert ((samples >= 0) & (samples < n)).all()
    assert len(set(samples.tolist())) == len(set(asked.tolist()))
    one_by_one = [position_to_sample(asked[i : i + 1], n, seed, 0)[0] for i in range(len(asked))]
    assert samples.tolist() == one_by_one


# The order is part of what a checkpoint means: when these change, no run can be resumed.
GOLDEN = [
    (10, 0, 0, [7, 9, 0, 3, 5, 6]),
    (1_000_003, 0, 0, [36531, 607979, 786761, 131790, 191022, 555708]),
    (1_000_003, 1, 0, [375102, 417985, 765590, 865443, 140865, 270275]),
    (1_000_003, 0, 1, [506710, 105728, 604667, 110007, 241811, 671599]),
    (400_000_000, 42, 7, [181168900, 316844905, 347378576, 357511825, 121494021, 84710772]),
]


@pytest.mark.parametrize(("n", "seed", "epoch", "expected"), GOLDEN)
def test_the_order_never_changes(n: int, seed: int, epoch: int, expected: list[int]) -> None:
    assert position_to_sample(np.arange(6), n, seed, epoch).tolist() == expected


def test_the_order_looks_random() -> None:
    n, m = 1_000_003, 64_000
    positions = np.arange(m)
    one, other = position_to_sample(positions, n, 0, 0), position_to_sample(positions, n, 0, 1)
    for samples in (one, np.diff(one) % n, (one - other) % n):
        bins = np.bincount(samples * 64 // n, minlength=64)
        assert ((bins - m / 64) ** 2 / (m / 64)).sum() < 104  # chi-squared with 63 degrees of freedom: 1 in 1,000
    assert abs(np.corrcoef(one, other)[0, 1]) < 4 / m**0.5
    assert abs(np.corrcoef(one[1:], one[:-1])[0, 1]) < 4 / m**0.5


@pytest.mark.parametrize("positions", [[-1], [5], [0, 9]])
def test_positions_outside_the_epoch_are_an_error(positions: list[int]) -> None:
    with pytest.raises(ValueError, match="are not all in"):
        position_to_sample(np.array(positions), 5, 0, 0)


def test_no_positions_are_no_samples() -> None:
    assert position_to_sample(np.arange(0), 5, 0, 0).tolist() == []


# ── the stream ──


@given(st.integers(1, 80), st.integers(2, 50), st.integers(1, 3))
def test_batches_cover_every_epoch_exactly_once(n: int, size: int, epochs: int) -> None:
    stream = Stream(n, seed=3)
    steps = -(-n * epochs // size)
    samples = np.concatenate([stream.batch(step, size) for step in range(steps)])
    assert len(samples) == steps * size
    for epoch in range(epochs):
        assert sorted(samples[epoch * n : (epoch + 1) * n].tolist()) == list(range(n))


@given(st.integers(1, 100), st.integers(0, 40), st.sampled_from([1, 2, 3, 4, 6, 12]))
def test_the_ranks_share_one_batch_whatever_their_number(n: int, step: int, world: int) -> None:
    stream = Stream(n, seed=1)
    shares = [stream.batch(step, 12, rank, world) for rank in range(world)]
    assert {len(share) for share in shares} == {12 // world}
    assert np.concatenate(shares).tolist() == stream.batch(step, 12).tolist()


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    n = 1000
    orders = [Stream(n, seed).samples(np.arange(n) + epoch * n).tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4


def test_a_batch_larger_than_an_epoch_goes_on_into_the_next() -> None:
    samples = Stream(5, seed=0).batch(1, 12)
    assert [samples.tolist().count(i) for i in range(5)] == [
        sum(position_to_sample(np.array([p % 5]), 5, 0, p // 5)[0] == i for p in range(12, 24)) for i in range(5)
    ]


def test_a_step_far_away_needs_no_state() -> None:
    stream = Stream(400_000_000, seed=0)
    assert (
        stream.batch(390_625, 32_768, 7, 8).tolist()
        == stream.samples(np.arange(390_625 * 32_768 + 7 * 4096, 390_625 * 32_768 + 8 * 4096)).tolist()
    )


def test_ranks_that_do_not_divide_a_batch_are_wrong_use() -> None:
    with pytest.raises(UsageError, match="a batch of 32768 cannot be shared by 3 ranks"):
        Stream(10, 0).batch(0, 32_768, 0, 3)


def test_a_stream_of_nothing_is_a_failure() -> None:
    with pytest.raises(Failure, match="no sample to train on"):
        Stream(0, 0)
