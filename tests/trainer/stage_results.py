"""A recipe with an [eval] table, and what the stage made of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from core.manifest import Manifest, missing_part, read_manifest
from core.recipe import Recipe
from core.tables import read_table
from trainer.evals.tables import EXAMPLE


def recipe_of(folder: Path, **keys: Any) -> Recipe:
    """A recipe without a training."""
    return Recipe("r.toml", {"run": {"out": str(folder / "out"), "seed": 3}, "eval": keys})


def results_of(recipe: Recipe) -> list[dict[str, Any]]:
    """The rows of results.json."""
    rows: list[dict[str, Any]] = json.loads(Path(recipe.folder("eval"), "results.json").read_bytes())
    return rows


def finished(recipe: Recipe) -> Manifest:
    """The manifest, all of whose parts are there."""
    manifest = read_manifest(recipe.folder("eval"))
    assert manifest is not None and missing_part(manifest) is None
    return manifest


def examples_of(recipe: Recipe) -> dict[tuple[str, str], dict[str, Any]]:
    """The examples by model and id."""
    tables = [read_table(path, EXAMPLE) for path in finished(recipe).paths("example")]
    return {(row["model"], row["id"]): row for row in pa.concat_tables(tables).to_pylist()}
