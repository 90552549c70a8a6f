"""Ranks, chance and the pool of retrieval, against naive references."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shards.reader import Shards
from tests.shards.helpers import make_pack
from tests.trainer.helpers import pictures
from trainer.evals import retrieval


@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_ranks_against_a_plain_loop(images: int, texts: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    owner = np.concatenate([np.arange(images), random.integers(0, images, texts)])  # each image has a text
    queries = random.integers(-2, 3, (images, 3)).astype(np.float32)  # small integers: many ties, and exact
    candidates = random.integers(-2, 3, (len(owner), 3)).astype(np.float32)
    expected = []
    for i in range(images):
        scores = candidates @ queries[i]
        best = max(scores[owner == i])
        expected.append(1 + sum(score >= best and own != i for score, own in zip(scores, owner, strict=True)))
    found = retrieval.ranks(*map(torch.from_numpy, (queries, candidates, np.arange(images), owner)))
    assert found.tolist() == expected


@pytest.mark.parametrize("value", [0.0, 1.0, math.nan])
def test_a_model_that_maps_all_to_one_point_finds_nothing(value: float) -> None:
    features = torch.full((300, 2), value)
    numbers = torch.arange(300)
    assert set(retrieval.ranks(features, features, numbers, numbers).tolist()) == {300}


@pytest.mark.parametrize(("k", "candidates", "right"), [(1, 4, [2]), (2, 4, [2]), (5, 7, [1, 2, 3]), (10, 3, [1, 2])])
def test_chance_against_all_draws(k: int, candidates: int, right: list[int]) -> None:
    draws = list(itertools.combinations(range(candidates), min(k, candidates)))
    expected = np.mean([np.mean([min(draw) < r for draw in draws]) for r in right])  # the right ones come first
    assert retrieval.chance(k, candidates, np.array(right)) == pytest.approx(expected)


def test_the_pool_is_a_hash_of_the_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = Shards(make_pack(tmp_path / "pack", pictures()))
    held_out = np.arange(0, 132, 2)
    assert retrieval.choose(shards, held_out, 1) == held_out.tolist()
    monkeypatch.setattr(retrieval, "POOL", 20)
    few = retrieval.choose(shards, held_out, 1)
    assert len(few) == 20 and set(few) < set(held_out.tolist()) and few == sorted(few)
    assert retrieval.choose(shards, held_out[::-1], 1) == few != retrieval.choose(shards, held_out, 2)
