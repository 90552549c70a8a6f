"""Rows are in one part each, parts are no larger than allowed, and texts of like lengths are together."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from trainer.microbatches import by_length, even_slices, lengths


@given(n=st.integers(1, 200), most=st.integers(1, 60))
def test_parts_are_even(n: int, most: int) -> None:
    parts = [range(n)[rows] for rows in even_slices(n, most)]
    assert [row for part in parts for row in part] == list(range(n))
    assert len(parts) == -(-n // most)
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1 and max(sizes) <= most


def test_a_text_ends_with_its_end_mark() -> None:
    assert lengths(torch.tensor([[48, 3, 49, 0], [48, 49, 0, 0], [48, 3, 4, 49]])).tolist() == [3, 2, 4]


@given(tokens=st.lists(st.integers(2, 9), min_size=1, max_size=30), most=st.integers(1, 9))
def test_texts_of_like_lengths_are_together(tokens: list[int], most: int) -> None:
    parts = by_length(torch.tensor(tokens), most)
    assert sorted(row for part in parts for row in part.tolist()) == list(range(len(tokens)))
    assert [tokens[row] for part in parts for row in part.tolist()] == sorted(tokens)
    assert [len(part) for part in parts] == [len(range(len(tokens))[rows]) for rows in even_slices(len(tokens), most)]
