"""The stages, in order. Adding one takes its module, its row here and its test.

The verbs and their help, make's targets, the recipe's tables, status, plan and the report list the stages from here.
What a unit of work costs, report/plan.py says.

The standard library alone, and any Python 3, so that `make` can list them before anything is installed.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class StageInfo:
    """What is known of a stage without importing it."""

    name: str
    module: str  # its `main` is the command line, its `Config` the recipe's table of the stage's name
    folder: str  # below run.out; a stage that is put between two others renames neither
    reads: tuple[str, ...]  # the stages whose manifests it reads
    unit: str  # what is told of it first: rows in and kept of this unit
    does: str  # for a list of commands
    about: str  # for the report
    passes_on: str = ""  # the unit of what the next stage works on; empty where it may be nothing

    @property
    def has_tasks(self) -> bool:
        """Whether Beam carries it, as tasks with receipts; a training has checkpoints instead."""
        return self.module.startswith("pipeline.")


def _stage(name: str, folder: str, reads: Iterable[str] = (), module: str = "", **more: str) -> StageInfo:
    return StageInfo(name=name, module=module or f"pipeline.{name}", folder=folder, reads=tuple(reads), **more)


STAGES: dict[str, StageInfo] = {
    stage.name: stage
    for stage in (
        _stage(
            "queries",
            "0_queries",
            unit="queries",
            does="build the list of queries from Wikipedia and WordNet",
            about="The strings that pairs are searched for.",
        ),
        _stage(
            "crawl",
            "1_crawl",
            unit="pairs",
            passes_on="pairs",
            does="sites, web archives and URL tables → candidate image-text pairs",
            about="Every image of every page, with every text that may describe it.",
        ),
        _stage(
            "filter",
            "2_filter",
            ["crawl"],
            unit="pairs",
            passes_on="pairs",
            does="drop texts that cannot be describing an image",
            about="Texts that cannot be describing an image go; a row goes under the name of the first rule that drops "
            "it.",
        ),
        _stage(
            "match",
            "3_match",
            ["queries", "crawl", "filter"],
            unit="pairs",
            passes_on="images",
            does="find queries in texts, balance them, plan the fetch",
            about="A pair is kept where its text holds a query, and no query takes too many.",
        ),
        _stage(
            "fetch",
            "4_fetch",
            ["match"],
            unit="images",
            passes_on="images",
            does="get each image once, as a polite guest",
            about="Each image is asked for once, as robots.txt and opt-outs allow.",
        ),
        _stage(
            "dedup",
            "5_dedup",
            ["match", "fetch"],
            unit="images",
            passes_on="images",
            does="find near-duplicates, choose keepers, pool captions",
            about="Of images that look the same one stays, and gets the captions of the others.",
        ),
        _stage(
            "pack",
            "6_pack",
            ["queries", "crawl", "fetch", "dedup"],
            unit="images",
            passes_on="images",
            does="merge what is kept into WebDataset shards",
            about="What is left becomes WebDataset shards, in the order of a hash.",
        ),
        _stage(
            "train",
            "7_train",
            ["pack"],
            "trainer.train",
            unit="samples",
            does="train CLIP on the shards",
            about="CLIP on the shards, with the contrastive loss.",
        ),
        _stage(
            "eval",
            "8_eval",
            ["pack", "train"],
            "trainer.evals.__main__",
            unit="pictures",
            does="evaluate it: zero-shot, retrieval",
            about="What the model can do that it was not trained on.",
        ),
    )
}


# What runs only where it is asked for by its name: `all`, make's targets, status, plan and the report leave it out.
ASKED_FOR: dict[str, StageInfo] = {
    "embed": _stage(
        "embed",
        "9_embed",
        ["pack"],  # and train, where the recipe names no other model
        "trainer.embed",
        unit="images",
        does="a pack's embeddings and image-text scores, as tables",
        about="What a model makes of each image and its caption, and how well the two fit.",
    )
}


def module_of(stage: str) -> Any:
    """The module of a stage, imported."""
    return importlib.import_module(STAGES[stage].module)


def _list_targets() -> None:
    """For make: its targets, a line each with what they do."""
    for stage in STAGES.values():
        print(f"  make {stage.name:12} {stage.does}")


if __name__ == "__main__":
    _list_targets()
