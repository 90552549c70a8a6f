"""The model card: only what manifests and results carry, of the stages that the model was made from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from core.manifest import Manifest
from report import card as cards
from report.card import card, made_from, outdated
from report.figures.shift import Leak
from tests.report.finished import RESULTS, finish, finish_all, finish_overlap, finish_sets, recipe_in

HOSTILE = "<img src=x> | [a](http://b.test) `c`\n# d"


def manifest(name: str, inputs: dict[str, Any] | None = None, **facts: Any) -> Manifest:
    known = {"stage": name, "counts": {}, "config": {}, "inputs": inputs or {}, **facts}
    return Manifest(f"/out/{name}", f"digest of {name}", known, ())


def chain() -> dict[str, Manifest]:
    """A model and all that it was made from."""
    reads = {"filter": ["crawl"], "match": ["crawl", "filter"], "fetch": ["match"], "dedup": ["match", "fetch"]}
    reads |= {"pack": ["crawl", "dedup"], "train": ["pack"], "eval": ["pack", "train"]}
    more: dict[str, dict[str, Any]] = {
        "crawl": {"config": {"crawl_id": HOSTILE, "seeds": ["http://a.test"]}},
        "filter": {
            "config": {"languages": ["en", "ja"]},
            "counts": {"pairs": {"in": 5000, "kept": 1900, "dropped": {"too_short": 3100}}},
        },
        "match": {"config": {"max_pairs_per_query": 20_000, "require_query": True}},
        "train": {
            "config": {"model": "ViT-B/32", "batch_size": 64, "steps": 30, "learning_rate": 1e-3, "holdout": 0.05},
            "counts": {"samples": {"in": 1000, "kept": 960, "dropped": {"held_out": 40}}},
            "determined_by": {"torch": "2.15", "model": {"embed_dim": 512, "vision_layers": [3, 4, 6, 3]}},
            "seed": 7,
        },
    }
    found = {}
    for name in ("crawl", "filter", "match", "fetch", "dedup", "pack", "train", "eval"):
        inputs: dict[str, Any] = {other: f"digest of {other}" for other in reads.get(name, [])}
        inputs |= {"pictures": "4", "sets": {"food101": "5"}} if name == "eval" else {}
        inputs |= {"warc:a.gz": "1", "warc:b.gz": "2", "urls:c.csv": "3"} if name == "crawl" else {}
        found[name] = manifest(name, inputs, **more.get(name, {}))
    return found


def test_what_the_manifests_say_is_in_it() -> None:
    text = card("mine", chain(), RESULTS, licence="Apache-2.0")
    for said in [
        "The recipe calls the model ViT-B/32.",
        "| embedding (dimensions) | 512 |",
        "| image tower, layers | 3, 4, 6, 3 |",
        "- Licence of the weights: Apache-2.0.",
        "- Read: 1 file (urls), 2 files (warc).",
        "with 1 seed visited",
        "- Languages kept by the filter: en, ja.",
        "| eval read: pictures | 4 |",
        "| eval read: sets, food101 | 5 |",
        "- Texts without a query were dropped; at most 20,000 pairs a query.",
        "| filter | pairs | 5,000 | 1,900 | too short 3,100 |",
        "1,920 pairs were seen, drawn from 960 samples (2 passes).",
        "| peak learning rate | 0.001 |",
        "| clothing | top-1 | 0.421 | 0.388 to 0.457 | 0.100 | 1,234 |",
        "| retrieval | R@1 | 0.250 | n/a | n/a | 20 |",
        "30.3 % of pictures of children",
        "2.3 % once a class",
        "Identifying, recognising or tracking people, faces among them; surveillance of any kind.",
        "| train | digest of train |",
    ]:
        assert said in text
    assert text.count("Not measured") == 3  # shift, overlap, groups of people
    assert "batch normalisation" not in text  # the manifest does not say


def test_what_nobody_measured_or_said_is_named_so() -> None:
    text = card("mine", {"train": manifest("train", {"pack": "another"})})
    assert text.count("Not measured") == 4
    assert "How many pairs were seen is not known." in text and "Licence of the weights: not stated" in text
    assert "there is no crawl that this model was made from" in text and "Languages: not known." in text
    assert "so not described here: pack." in text
    text = card("mine", {"train": manifest("train", {"shards": "1", "init": "f00d"})})
    assert "trained on tars that this run did not make" in text and "whose digest is f00d" in text
    assert "Crawl" not in text and "Languages" not in text


def test_a_stage_that_was_made_anew_is_not_described() -> None:
    found = chain()
    found["fetch"] = Manifest("/out/fetch", "another", found["fetch"].facts, ())
    used = made_from(found)
    assert list(used) == ["crawl", "filter", "match", "dedup", "pack", "train", "eval"]
    assert outdated(found, used) == ["fetch"]
    del found["crawl"]
    found["pack"] = Manifest("/out/pack", "another", found["pack"].facts, ())
    assert list(made_from(found)) == ["train", "eval"]
    text = card("mine", found, RESULTS)
    assert "20,000 pairs a query" not in text and "so not described here: pack." in text


def test_results_of_another_training_are_left_out() -> None:
    found = chain()
    found["eval"] = manifest("eval", {"train": "another"})
    text = card("mine", found, RESULTS)
    assert "Not measured: the evaluation that is there is of another training." in text and "clothing" not in text


def test_shift_leaks_and_groups_where_they_were_measured() -> None:
    rows = [{"name": "ImageNet-R", "metric": "top-1", "value": 0.5, "low": 0.4, "high": 0.6, "n": 100, "chance": None}]
    leaks = [Leak("MNIST", 0.0), Leak("CIFAR10", 2.5, 0.125)]
    text = card("mine", chain(), RESULTS, shift=rows, bias=rows, leaks=leaks)
    assert "Not measured" not in text and text.count("| ImageNet-R | top-1 | 0.500 | 0.400 to 0.600 | n/a | 100 |") == 2
    assert "| CIFAR10 | 2.50 % | +0.12 |\n| MNIST | 0.00 % | n/a |" in text  # no overlap: n/a, never 0


def test_markdown_and_html_of_strangers_are_text() -> None:
    text = card(HOSTILE, chain(), [{**RESULTS[0], "name": HOSTILE}])
    assert not re.search(r"(?<!\\)[<>`]", text) and "\n# d" not in text
    assert "\\<img src=x\\> \\| \\[a\\](http://b.test) \\`c\\`⟨U+000A⟩\\# d" in text
    rows = [line.replace("\\|", "") for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} <= {3, 4, 6, 7}


def test_the_command_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = recipe_in(tmp_path)
    words = ["--recipe", recipe.path]
    assert cards.main(words) == 2 and "has no trained model: run openwit train" in capsys.readouterr().err
    finish_all(recipe)
    assert cards.main([*words, "--licence", "MIT"]) == 0
    text = (tmp_path / "out" / cards.FILE).read_text()
    assert "weights: MIT." in text and "of another training" in text  # that evaluation does not name the training
    assert "## Training\n" in text and "| batch size (pairs) | 64 |" in text
    finish(recipe, "eval", inputs=["train"])
    assert cards.main(words) == 0
    assert "of another training" not in (tmp_path / "out" / cards.FILE).read_text()


def test_leaks_and_shifts_stand_in_the_card_of_the_model_that_they_are_about(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = recipe_in(tmp_path)
    finish_all(recipe)
    finish(recipe, "pack", inputs=["dedup"])
    finish_sets(recipe, inputs=["pack"])
    finish_overlap(recipe, [{"key": "0.png"}], {"a": {}, "b": {"pictures": "others"}})
    words = ["--recipe", recipe.path]
    assert cards.main(words) == 0
    text = (tmp_path / "out" / cards.FILE).read_text()
    assert "| ImageNetV2 | accuracy | 0.562 | 0.542 to 0.582 | 0.010 | 10,000 |" in text
    assert "| this model | 0.633 | 0.562 | +5.71 points | n/a |" in text
    assert "over 1 shift above" in text and "ImageNet-R, " not in text  # the other model was on no shift
    assert "| a | 25.00 % | +16.67 |\n| b | 0.00 % | n/a |" in text  # 1 of 4, and right as 1 of the other 3 is
    assert text.count("Not measured") == 1  # by groups of people
    finish_overlap(recipe, [{"key": "0.png"}], pack="of another")
    assert cards.main(words) == 0
    assert "| a |" not in (tmp_path / "out" / cards.FILE).read_text()
    assert "openwit overlap was run about other shards than the model's: run it again" in capsys.readouterr().out
    finish_overlap(recipe, [{"key": "0.png"}])
    finish(recipe, "dedup", lambda attempt: attempt.note("again"))
    assert cards.main(words) == 0
    assert "| a |" not in (tmp_path / "out" / cards.FILE).read_text()  # the model is of another dataset
