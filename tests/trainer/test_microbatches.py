"""Rows are in one part each, parts are no larger than allowed, and of texts none cost less."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer.microbatches import even_slices, group_by_length, lengths


@given(n=st.integers(1, 200), most=st.integers(1, 60))
def test_parts_are_even(n: int, most: int) -> None:
    parts = [range(n)[rows] for rows in even_slices(n, most)]
    assert [row for part in parts for row in part] == list(range(n))
    assert len(parts) == -(-n // most)
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1 and max(sizes) <= most


def test_a_text_ends_with_its_end_mark() -> None:
    assert lengths(torch.tensor([[48, 3, 49, 0], [48, 49, 0, 0], [48, 3, 4, 49]])).tolist() == [3, 2, 4]


def cost(parts: list[list[int]], most: int, overhead: int) -> int:
    """Tokens that are computed."""
    return sum(len(part) * max(part) + overhead * -(-len(part) // most) for part in parts)


@given(
    tokens=st.lists(st.integers(2, 9), min_size=1, max_size=9),
    most=st.integers(1, 9),
    overhead=st.sampled_from([0, 1, 5, 40]),
)
def test_no_other_cut_between_lengths_costs_less(tokens: list[int], most: int, overhead: int) -> None:
    parts = group_by_length(torch.tensor(tokens), most, overhead)
    assert sorted(row for part in parts for row in part.tolist()) == list(range(len(tokens)))
    assert max(map(len, parts)) <= most
    ranked = sorted(tokens)
    cuts = [i for i in range(1, len(ranked)) if ranked[i] > ranked[i - 1]]
    least = min(
        cost([ranked[a:b] for a, b in zip([0, *chosen], [*chosen, len(ranked)], strict=True)], most, overhead)
        for chosen in ([c for i, c in enumerate(cuts) if mask >> i & 1] for mask in range(1 << len(cuts)))
    )
    assert cost([[tokens[row] for row in part] for part in parts], most, overhead) <= least


@pytest.mark.parametrize(
    ("overhead", "expected"), [(1, [[0, 7], [5], [2, 3, 4], [6], [1]]), (1000, [[0, 7, 5, 2], [3, 4, 6, 1]])]
)
def test_a_part_is_worth_its_overhead(overhead: int, expected: list[list[int]]) -> None:
    tokens = torch.tensor([3, 77, 9, 9, 9, 6, 30, 3])
    assert [part.tolist() for part in group_by_length(tokens, 4, overhead)] == expected
