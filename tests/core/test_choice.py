import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.choice import fraction, rank

IDS = [hashlib.sha256(b"%d" % i).digest()[:16] for i in range(64_000)]
DOUBTFUL = 104  # chi-squared with 63 degrees of freedom: 1 in 1,000


def chi_squared(bins: np.ndarray) -> float:
    expected = bins.sum() / len(bins)
    return float(((bins - expected) ** 2 / expected).sum())


def test_ranks_never_change() -> None:
    # Every cap, sample and split of every finished dataset stands on these.
    ids = [bytes(16), b"\x01" * 16, b"\xff" * 16]
    expected = [13331154351601898733, 11602159277459156838, 16578270567333044346]
    assert rank(0, "query_cap", "dog", ids).tolist() == expected
    assert rank(42, "reject", "too_short", ids[:1]).tolist() == [2852604508038687083]
    assert fraction(0, "split", "", ids[0]) == 0.8159185722714063


@pytest.mark.parametrize("scope", ["dog", "the", ""])
def test_what_is_chosen_is_uniform_over_the_ids(scope: str) -> None:
    ranks = rank(0, "query_cap", scope, IDS)
    chosen = np.argsort(ranks, kind="stable")[:6400]
    assert chi_squared(np.bincount([IDS[i][0] >> 2 for i in chosen], minlength=64)) < DOUBTFUL


def test_ranks_are_uniform() -> None:
    ranks = rank(0, "split", "", IDS)
    assert ranks.dtype == np.uint64
    assert len(set(ranks.tolist())) == len(IDS)
    assert chi_squared(np.bincount((ranks >> np.uint64(58)).astype(int), minlength=64)) < DOUBTFUL


def test_every_seed_purpose_and_scope_chooses_for_itself() -> None:
    others = [rank(0, "a", "b", IDS), rank(1, "a", "b", IDS), rank(0, "c", "b", IDS), rank(0, "a", "c", IDS)]
    others += [rank(0, "ab", "", IDS), rank(0, "", "ab", IDS)]
    correlations = np.corrcoef([ranks.astype(float) for ranks in others]) - np.eye(len(others))
    assert np.abs(correlations).max() < 5 / len(IDS) ** 0.5


@given(st.lists(st.binary(min_size=16, max_size=16)), st.integers(), st.text(), st.text())
def test_a_rank_depends_on_nothing_but_its_id(ids: list[bytes], seed: int, purpose: str, scope: str) -> None:
    together = rank(seed, purpose, scope, ids).tolist()
    assert together == [int(rank(seed, purpose, scope, [id_])[0]) for id_ in ids]
    assert together[::-1] == rank(seed, purpose, scope, ids[::-1]).tolist()


def test_a_fraction_is_that_share_of_the_ids() -> None:
    fractions = [fraction(0, "split", "", id_) for id_ in IDS]
    assert abs(sum(f < 0.05 for f in fractions) - 3200) < 4 * (64_000 * 0.05 * 0.95) ** 0.5
    assert min(fractions) >= 0
    assert max(fractions) < 1


def test_a_fraction_stays_below_one_for_the_greatest_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.choice.rank", lambda *_: np.array([2**64 - 1], dtype=np.uint64))
    assert fraction(0, "split", "", b"") < 1
