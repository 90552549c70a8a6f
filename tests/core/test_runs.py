"""How a run begins: is anything to do, is what it reads complete; and how it ran."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import fsspec
import pytest

from core import runs
from core.errors import Failure, UsageError
from core.files import join
from core.manifest import Counts, Receipt, read_manifest, remove_manifest
from core.recipe import Recipe
from tests.core.stages import FACTS, RUN, finished, idle, put, task

# ── is there anything to do ──


def test_a_finished_stage_has_nothing_to_do(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert not idle(folder)
    receipts = [task(folder, "a"), task(folder, "b")]
    assert not idle(folder), "receipts alone are no manifest"
    assert capsys.readouterr().out == ""
    runs.publish_manifest(folder, FACTS, receipts, RUN)
    assert idle(folder)
    assert capsys.readouterr().out == f"crawl: nothing to do, {folder} is up to date\n" * 2


OF_OTHERS: dict[str, Any] = {
    "rules_version": 3,
    "inputs": {"queries": "0a", "warc:a.warc.gz-1": "1", "warc:b-b.warc.gz-2": "2", "merges": "m"},
    "determined_by": {"libraries": {"pyarrow": "25.0.1"}, "max_images_per_domain": 5},
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 2}, "run.seed was 1, is 2"),
        ({"config": {"crawl_id": "x", "share": 0.25}}, "crawl.share was 0.5, is 0.25"),
        (
            {"config": {"share": 0.5, "depth": 3}},
            'crawl.crawl_id was "x", is not there; crawl.depth was not there, is 3',
        ),
        ({"rules_version": 4}, "rules_version was 3, is 4"),
        ({"inputs": {**OF_OTHERS["inputs"], "queries": "1b"}}, "queries has changed"),
        ({"inputs": {**OF_OTHERS["inputs"], "merges": "n"}}, "merges has changed"),
        (
            {"inputs": {"queries": "0a", "warc:b-b.warc.gz-3": "3", "urls:c.csv-4": "4", "merges": "m"}},
            "urls:c.csv is new; warc:a.warc.gz is gone; warc:b-b.warc.gz has changed",
        ),
        (
            {"determined_by": {"libraries": {"pyarrow": "26"}, "max_images_per_domain": 5}},
            'pyarrow was "25.0.1", is "26"',
        ),
        (
            {"seed": 2, "config": {"crawl_id": "y", "share": 0.25}, "rules_version": 4, "determined_by": {}},
            'run.seed was 1, is 2; crawl.crawl_id was "x", is "y"; crawl.share was 0.5, is 0.25 and 3 more',
        ),
    ],
)
def test_other_facts_are_work_to_do_and_said(
    folder: str, change: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.publish_manifest(folder, {**FACTS, **OF_OTHERS}, [task(folder, "a")], RUN)
    assert not idle(folder, {**FACTS, **OF_OTHERS, **change})
    assert capsys.readouterr().out == f"crawl: runs again: {said}\n"


def test_another_stages_folder_is_no_work_done(folder: str) -> None:
    finished(folder)
    assert not idle(folder, {**FACTS, "stage": "filter"})


@pytest.mark.parametrize(
    ("stage", "counts", "said"),
    [
        (
            "filter",
            {"pairs": {"in": 14, "kept": 0, "dropped": {"too_few_words": 11, "a": 1, "b": 1, "c": 1}}},
            "filter kept 0 of 14 pairs (too_few_words 11 · a 1 · b 1): there is nothing to go on with; change "
            "[filter] in r.toml, or give it more",
        ),
        (
            "crawl",
            {"records": {"in": 1, "kept": 1, "dropped": {}}},
            "crawl kept 0 of 0 pairs: there is nothing to go on",
        ),
        ("crawl", {"pairs": {"in": 2, "kept": 1, "dropped": {"no_text": 1}}}, ""),
        (
            "queries",
            {"queries": {"in": 0, "kept": 0, "dropped": {}}},
            "",
        ),  # which match.require_query = false needs not
    ],
)
def test_a_stage_that_kept_nothing_is_the_last(tmp_path: Path, stage: str, counts: Counts, said: str) -> None:
    recipe = Recipe("r.toml", {"run": {"out": str(tmp_path)}})
    runs.check_that_some_are_left(recipe, stage)  # it is not finished: nothing is known
    runs.publish_manifest(recipe.folder(stage), FACTS, [Receipt("a", "a", "", (), counts)], RUN)
    if not said:
        runs.check_that_some_are_left(recipe, stage)
        return
    with pytest.raises(Failure) as error:
        runs.check_that_some_are_left(recipe, stage)
    assert str(error.value).startswith(said) and not isinstance(error.value, UsageError)


@pytest.mark.parametrize("harm", ["removed", "shortened", "longer"])
def test_a_part_that_is_not_as_it_was_is_work_to_do(folder: str, harm: str) -> None:
    finished(folder)
    if harm == "removed":
        fs, inner = fsspec.core.url_to_fs(join(folder, "candidate/b.parquet"))
        fs.rm(inner)
    else:
        put(folder, "candidate/b.parquet", b"row" if harm == "shortened" else b"rows+")
    assert not idle(folder)
    task(folder, "b")
    assert idle(folder)


def test_a_stage_that_is_read_must_be_finished(tmp_path: Path) -> None:
    recipe = Recipe("r.toml", {"run": {"out": str(tmp_path)}})
    with pytest.raises(UsageError) as error:
        runs.require_finished(recipe, "crawl", "filter")
    assert str(error.value) == (
        f"filter reads what crawl makes, and {tmp_path}/1_crawl is not finished: "
        "run openwit crawl --recipe r.toml first"
    )
    finished(str(tmp_path / "1_crawl"))
    assert runs.require_finished(recipe, "crawl", "filter").facts["stage"] == "crawl"


def test_a_stage_made_of_what_is_no_more_is_not_read(tmp_path: Path) -> None:
    """Crawl anew, and what was filtered of the old crawl may not be mixed with the new one."""
    recipe = Recipe("r.toml", {"run": {"out": str(tmp_path)}})
    crawl, filter_, match = (str(tmp_path / name) for name in ("1_crawl", "2_filter", "3_match"))

    def make(folder: str, seed: int, **inputs: str) -> str:
        return runs.publish_manifest(folder, {"stage": "x", "seed": seed, "inputs": inputs}, [], RUN).digest

    old = make(filter_, 1, crawl=make(crawl, 1), **{"warc:a": "no stage"})
    make(match, 1, filter=old)
    assert runs.require_finished(recipe, "match", "fetch").facts["inputs"] == {"filter": old}
    new = make(crawl, 2)
    for stage, reader in (("filter", "match"), ("match", "fetch")):
        with pytest.raises(UsageError) as error:
            runs.require_finished(recipe, stage, reader)
        assert str(error.value) == (
            f"{filter_} was made from another crawl than {crawl} holds now: run openwit filter --recipe r.toml first"
        )
    make(filter_, 1, crawl=new)
    with pytest.raises(UsageError, match=r"3_match was made from another filter than .*: run openwit match"):
        runs.require_finished(recipe, "match", "fetch")
    shutil.rmtree(filter_)
    assert runs.require_finished(recipe, "match", "fetch"), "what was removed to save room is not missed"


def test_a_stage_that_was_remade_while_it_was_read_is_named(tmp_path: Path) -> None:
    folder = str(tmp_path / "1_crawl")
    finished(folder)
    before = read_manifest(folder)
    assert before is not None
    recipe = Recipe("r.toml", {})
    runs.require_unchanged(recipe, "filter", [before])
    runs.publish_manifest(folder, {**FACTS, "seed": 2}, [task(folder, "a")], RUN)
    with pytest.raises(Failure, match="1_crawl was made anew while filter read it"):
        runs.require_unchanged(recipe, "filter", [before])
    remove_manifest(folder)
    with pytest.raises(Failure, match="1_crawl was made anew while filter read it"):
        runs.require_unchanged(recipe, "filter", [before])


def test_how_it_ran_is_what_a_person_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/home/me/bin/openwit", "crawl", "--recipe", "r.toml"])
    work = {"candidates": {"here": 1, "of": 3, "seconds": 0.5}}
    said = json.loads(runs.how_it_ran(0.0, ["pyarrow"], work, engine="local"))
    assert said["command"] == ["openwit", "crawl", "--recipe", "r.toml"]
    assert (said["started"], said["engine"], said["work"]) == ("1970-01-01T00:00:00Z", "local", work)
    assert said["versions"].keys() == {"openwit", "pyarrow"} and said["seconds"] > 1e9
