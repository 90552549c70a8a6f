"""What train and eval share."""

from pathlib import Path

import pytest

from core.errors import UsageError
from core.recipe import Recipe
from trainer import stage


def test_a_key_that_matches_several_files_is_an_error(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.gz").write_bytes(b"")
    recipe = Recipe("r.toml", {})
    assert stage.source(recipe, "train.merges", f"{tmp_path}/a*.gz") == f"{tmp_path}/a.gz"
    with pytest.raises(UsageError, match=r"r\.toml: train\.merges matches 2 files: name one"):
        stage.source(recipe, "train.merges", f"{tmp_path}/*.gz")


def test_counts_balance_and_name_only_what_was_dropped() -> None:
    assert stage.counted(5, held_out=2, over=0) == {"in": 7, "kept": 5, "dropped": {"held_out": 2}}
