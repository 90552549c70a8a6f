"""status and plan: what is done, what is out of date and why, what is left; neither writes or digests anything."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import openwit
from core.files import to_json
from core.registry import STAGES
from report.phrases import size, span
from report.plan import RATES, START
from tests.conftest import DATA
from tests.pipeline.upstream import Project
from tests.small import PIPELINE, Small

IMAGES = 30

# A table that is cut behind what is looked at before anything runs: a task of its own finds it out.
CUT = gzip.compress(b"url\tcaption\n" + b"http://a.test/a.jpg\tA dog\n" * 100_000, mtime=0)[:-9]


def rows(n: int) -> str:
    lines = [f"http://img{i % 2}.site.test/{i}.jpg\ta dog in the garden {'of a friend' * (i % 3)}" for i in range(n)]
    return "\n".join(["url\tcaption", *lines]) + "\n"


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which queries, crawl, filter and match have run."""
    folder = tmp_path_factory.mktemp("first")
    (folder / "words.txt").write_text("dog\ncat\n")
    (folder / "pairs.tsv").write_text(rows(IMAGES))
    project = project_in(folder)
    for stage in ("queries", "crawl", "filter", "match"):
        project.run(stage)
    return folder


def project_in(folder: Path) -> Project:
    values = {
        "queries.lists": [str(folder / "words.txt")],
        "crawl.urls": [str(folder / "*.tsv")],
        "filter.languages": [],
        "match.lanes": 2,
        "fetch.contact": "me@site.test",
        "fetch.requests_per_second": 0.01,
        "engine.workers": 2,
    }
    return Project(folder, values)


@pytest.fixture
def made(first: Path, tmp_path: Path) -> Project:
    """The same, one's own to change."""
    shutil.copytree(first, tmp_path / "out")
    return project_in(tmp_path / "out")


def lines(verb: str, project: Project, capsys: pytest.CaptureFixture[str], **values: object) -> dict[str, str]:
    """What a verb prints of each stage, runs of spaces as one; it must not have written anything."""
    capsys.readouterr()
    words = project.words(values)
    before = {path: path.stat().st_mtime_ns for path in project.folder.rglob("*")}
    assert openwit.main([verb, *words]) == 0
    assert {path: path.stat().st_mtime_ns for path in project.folder.rglob("*")} == before
    said = capsys.readouterr()
    assert said.err == ""
    found = (" ".join(line.split()).partition(" ") for line in said.out.splitlines()[1:])
    return {name: rest for name, _, rest in found}


# ── status ──


def test_what_is_done_is_complete_and_the_rest_not_begun(made: Project, capsys: pytest.CaptureFixture[str]) -> None:
    said = lines("status", made, capsys)
    assert list(said) == list(STAGES)
    assert said["queries"].startswith("complete kept 2 of 2 queries ")
    assert said["crawl"].startswith(f"complete kept {IMAGES} of {IMAGES} pairs ")
    assert said["match"].startswith(f"complete kept {IMAGES} of {IMAGES} pairs ") and "stale" not in said["match"]
    assert {said[stage] for stage in ("fetch", "dedup", "pack", "train", "eval")} == {"not begun"}


@pytest.mark.parametrize(
    ("values", "stage", "says", "after"),
    [
        ({"filter.min_words": 3}, "filter", "min_words was 2, is 3", "match"),
        ({"run.seed": 2}, "crawl", "seed was 1, is 2", "nothing"),
        ({"match.max_pairs_per_query": 7}, "match", "max_pairs_per_query was 20000, is 7", "nothing"),
        ({"fetch.requests_per_second": 1.0}, "match", "rate was 0.01, is 1.0", "nothing"),
        ({"crawl.urls": []}, "crawl", "urls:pairs.tsv is gone", "filter"),
    ],
)
def test_what_changed_is_named(
    made: Project, capsys: pytest.CaptureFixture[str], values: dict[str, object], stage: str, says: str, after: str
) -> None:
    said = lines("status", made, capsys, **values)
    assert said[stage].startswith("stale ") and says in said[stage]
    if after in said:
        assert said[after].startswith("complete ") and said[after].endswith(f"{stage} before it is stale")


def test_a_new_raw_file_is_seen_by_its_name_and_none_is_read(made: Project, capsys: pytest.CaptureFixture[str]) -> None:
    (made.folder / "more.tsv").write_text("no table at all")
    said = lines("status", made, capsys)
    assert said["crawl"].startswith("stale ") and said["crawl"].endswith("urls:more.tsv is new")


def damage_part(project: Project) -> None:
    next((project.of("filter") / "candidate").iterdir()).unlink()


def run_again(project: Project) -> None:
    project.run("filter", {"filter.rules": ["too_long"], "filter.max_chars": 30})
    (project.of("filter") / "_run.json").unlink()


@pytest.mark.parametrize(
    ("change", "values", "stage", "says"),
    [
        (damage_part, {}, "filter", "is missing or has another size"),
        (
            run_again,
            {"filter.rules": ["too_long"], "filter.max_chars": 30},
            "match",
            "filter is not the one it was made from",
        ),
    ],
)
def test_what_is_there_is_looked_at(
    made: Project,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Project], None],
    values: dict[str, object],
    stage: str,
    says: str,
) -> None:
    change(made)
    said = lines("status", made, capsys, **values)
    assert said[stage].startswith("stale ") and says in said[stage]


def test_a_stage_in_work_is_counted_by_its_receipts(made: Project, capsys: pytest.CaptureFixture[str]) -> None:
    (made.of("match") / "_manifest.json").unlink()
    (made.of("match") / "_receipts" / "plan.lane00001.json").unlink()
    said = lines("status", made, capsys)["match"]
    assert said.startswith(f"in work kept {IMAGES} of {IMAGES} pairs ")
    assert "tasks: found 1 of 1, pairs 1 of 1, plan 1 of 2; " in said
    assert "/s lately; last receipt " in said and said.endswith(" ago")


def unfinish(project: Project, stage: str) -> None:
    """The stage as a run that is killed before it declares it complete leaves it."""
    facts = json.loads((project.of(stage) / "_manifest.json").read_bytes())
    (project.of(stage) / "_begun.json").write_bytes(to_json({"inputs": facts["inputs"]}))
    (project.of(stage) / "_manifest.json").unlink()


OTHERS = "done for other rules, Config or inputs"


@pytest.mark.parametrize(
    ("stage", "values", "says", "left"),
    [
        ("queries", {}, "tasks: vocabulary 1 of 1, queries 1 of 1; ", "0%"),
        ("queries", {"queries.max_queries": 1}, f"tasks: vocabulary 1 of 1, queries 0 of 1; 1 {OTHERS}; last", "50%"),
        ("queries", {"queries.lists": []}, f"not begun 2 tasks {OTHERS}", ""),
        ("crawl", {"crawl.depth": 2}, "tasks: candidates 1 of 1; last", "0%"),  # a key that candidates do not look at
        ("crawl", {"crawl.truncated": "skip"}, f"not begun 1 task {OTHERS}", ""),
        ("filter", {}, f"in work kept {IMAGES} of {IMAGES} pairs ", "0%"),
        ("filter", {"filter.min_words": 5}, f"not begun 1 task {OTHERS}", ""),
        (
            "match",
            {"match.max_pairs_per_query": 7},
            f"tasks: found 1 of 1, pairs 0 of 1, plan 0 of 2; 3 {OTHERS}; last",
            "75%",
        ),
    ],
)
def test_a_receipt_counts_for_the_recipe_that_it_was_given_for(
    made: Project, capsys: pytest.CaptureFixture[str], stage: str, values: dict[str, object], says: str, left: str
) -> None:
    unfinish(made, stage)
    said = lines("status", made, capsys, **values)[stage]
    assert says in said and (OTHERS in says) == (OTHERS in said)
    planned = lines("plan", made, capsys, **values)[stage]
    assert f", {left} of it left" in planned if left else "left" not in planned


def test_a_crawl_that_stopped_knows_what_its_files_held(made: Project, capsys: pytest.CaptureFixture[str]) -> None:
    (made.folder / "more.tsv").write_bytes(CUT)
    made.run("crawl", status=1)
    assert "tasks: candidates 1 of 2; last" in lines("status", made, capsys)["crawl"]
    assert lines("plan", made, capsys)["crawl"].startswith("2 files, 8.2 kB, 50% of it left about 2.0 s ")
    assert lines("status", made, capsys, **{"crawl.crawl_id": "x"})["crawl"] == f"not begun 1 task {OTHERS}"
    (made.folder / "new.tsv").write_text(rows(1))
    assert "tasks: candidates 1 of 3; last" in lines("status", made, capsys)["crawl"]
    (made.of("crawl") / "_begun.json").unlink()  # as an older openwit left it
    assert lines("status", made, capsys)["crawl"] == (
        "in work 1 task done, unknown whether for this recipe: what its raw files held is not written down; "
        "openwit crawl will see"
    )
    assert lines("plan", made, capsys)["crawl"].startswith("3 files, 8.3 kB, of which some may be done about 2.0 s ")


def test_what_a_stage_still_waits_for_is_said(made: Project, capsys: pytest.CaptureFixture[str]) -> None:
    unfinish(made, "filter")
    unfinish(made, "match")
    assert lines("status", made, capsys)["match"] == (
        "in work 4 tasks done, unknown whether for this recipe: match reads what filter makes, and "
        f"{made.of('filter')} is not finished: run openwit filter --recipe {made.folder}/recipe.toml first"
    )


@pytest.mark.program
@pytest.mark.timeout(900)
def test_each_stage_is_looked_at_as_it_deals(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENWIT_CONNECT_TO", small.web.connect_to)
    monkeypatch.setenv("OPENWIT_DATA", str(DATA))
    shutil.copytree(small.out, tmp_path, dirs_exist_ok=True)
    project = Project(tmp_path)

    def tasks(stage: str) -> dict[str, tuple[int, int]]:
        capsys.readouterr()
        assert openwit.main(["status", *small.words(tmp_path)]) == 0
        (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith(f"{stage} "))
        return {step: (int(done), int(of)) for step, done, of in re.findall(r"(\w+) (\d+) of (\d+)[,;]", line)}

    for stage in PIPELINE:
        manifest = (project.of(stage) / "_manifest.json").read_bytes()
        receipts = sorted((project.of(stage) / "_receipts").iterdir())
        unfinish(project, stage)
        whole = tasks(stage)
        assert sum(done for done, _ in whole.values()) == len(receipts)
        assert all(done == of for done, of in whole.values())
        first = next(iter(whole))
        next(path for path in receipts if path.name.startswith(f"{first}.")).unlink()
        assert tasks(stage)[first] == (whole[first][0] - 1, whole[first][1])
        (project.of(stage) / "_manifest.json").write_bytes(manifest)


def test_a_training_is_known_by_its_checkpoints_and_by_what_the_recipe_gives(
    made: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    made.of("train").mkdir()
    (made.of("train") / "checkpoint-00002000.pt").touch()
    said = lines("status", made, capsys, **{"train.steps": 32_000})
    assert said["train"] == "in work step 2,000 of 32,000 is the last that is safe"
    made.write("train", {})
    path = made.of("train") / "_manifest.json"
    facts = {**json.loads(path.read_text()), "seed": 1, "config": {"steps": 30, "warmup": 10}, "inputs": {}}
    path.write_bytes(to_json(facts))
    assert lines("status", made, capsys, **{"train.steps": 30, "train.threads": 9})["train"] == "complete"
    assert lines("status", made, capsys, **{"train.steps": 31})["train"] == "stale steps was 30, is 31"


# ── plan ──


def test_nothing_is_invented_before_the_first_stage(made: Project, capsys: pytest.CaptureFixture[str]) -> None:
    (made.folder / "big.tsv").touch()
    with (made.folder / "big.tsv").open("r+b") as file:
        file.truncate(8 << 40)  # bytes of nothing: it takes no room
    said = lines("plan", made, capsys, **{"run.out": str(made.folder / "new")})
    total = (8 << 40) + len(rows(IMAGES))
    assert said["crawl"].startswith(f"2 files, 8.8 TB about {span(START + total / RATES['crawl'].a_second / 2)} 1.2 TB")
    assert "3 MB/s a core as measured (report/plan.py), 2 cores" in said["crawl"]
    assert said["filter"] == "unknown until crawl is done"
    assert said["pack"] == "unknown until dedup is done"
    assert said["disk:"].startswith("at least 1.2 TB to write, ") and said["disk:"].endswith("NOT enough")


def test_a_fetch_takes_as_long_as_its_largest_domain(made: Project, capsys: pytest.CaptureFixture[str]) -> None:
    said = lines("plan", made, capsys)
    assert {said[stage] for stage in ("queries", "crawl", "filter", "match")} == {"done"}
    assert said["fetch"].startswith(f"{IMAGES} images, as many requests and robots.txt at least 50 min 00 s 750.0 kB")
    assert said["dedup"] == "unknown until fetch is done"
    assert said["disk:"].startswith("at least 750.0 kB to write, ") and said["disk:"].endswith(": enough")


def ran(project: Project, stage: str, seconds: float, here: int, of: int, **more: object) -> int:
    """How the stage ran, as if its tasks had been so many, and had taken all of that time; bytes of its parts."""
    path = project.of(stage) / "_run.json"
    said = json.loads(path.read_bytes())
    assert list(said["work"]) == ["candidates"] and said["work"]["candidates"].keys() == {"here", "of", "seconds"}
    work = {"candidates": {"here": here, "of": of, "seconds": seconds}}
    path.write_bytes(to_json({**said, "seconds": seconds, "work": work, **more}))
    return sum(part.bytes for part in project.manifest(stage).parts)


MEASURED = "pairs/s a core as measured (report/plan.py), 2 cores"


@pytest.mark.parametrize(
    ("seconds", "here", "of", "hours", "by"),
    [
        (100.0, 1, 1, "1 min 40 s", "its own last run"),
        (0.5, 4, 4, "0.5 s", "its own last run"),  # as much again takes as long again, however short
        (360.0, 50, 5000, "10 h 00 min", "its own last run, 1.0 % of it"),
        (40.0, 50, 5000, "2.0 s", MEASURED),  # too short to tell how long a hundred times as much takes
        (360.0, 1, 5000, "2.0 s", MEASURED),  # one task of two workers'
        (360.0, 0, 5000, "2.0 s", MEASURED),
    ],
)
def test_its_own_last_run_is_the_best_measure_where_it_tells(
    made: Project, capsys: pytest.CaptureFixture[str], seconds: float, here: int, of: int, hours: str, by: str
) -> None:
    ran(made, "filter", seconds, here, of)
    said = lines("plan", made, capsys, **{"filter.min_words": 3})
    assert said["filter"].startswith(f"{IMAGES} pairs about {hours} ") and said["filter"].endswith(by)
    assert said["match"] == "done; filter before it is stale"


def test_more_raw_bytes_take_longer(made: Project, capsys: pytest.CaptureFixture[str]) -> None:
    raw = (made.folder / "pairs.tsv").stat().st_size
    (made.folder / "big.tsv").touch()
    os.truncate(made.folder / "big.tsv", 999 * raw)
    said = lines("plan", made, capsys)["crawl"]  # some seconds tell nothing
    assert said.endswith("3 MB/s a core as measured (report/plan.py), 2 cores")
    used = ran(made, "crawl", 100.0, 1, 1)
    said = lines("plan", made, capsys)["crawl"]
    assert said == f"2 files, {size(1000 * raw)} about {span(100_000)} {size(1000 * used)} its own last run"


def test_a_resumed_stage_says_what_its_last_process_did(made: Project, capsys: pytest.CaptureFixture[str]) -> None:
    (made.folder / "more.tsv").write_bytes(CUT)
    made.run("crawl", status=1)
    (made.folder / "more.tsv").write_text(rows(9))
    made.run("crawl")
    said = json.loads((made.of("crawl") / "_run.json").read_bytes())
    assert (said["work"]["candidates"]["here"], said["work"]["candidates"]["of"]) == (1, 2)
    assert 0 < said["work"]["candidates"]["seconds"] <= said["seconds"]
    assert said["raw_bytes"] == len(rows(IMAGES)) + len(rows(9))
    assert not (made.of("crawl") / "_begun.json").exists()


def test_files_that_are_not_there_are_named(
    made: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENWIT_HERE", raising=False)
    new: dict[str, object] = {"run.out": str(made.folder / "new"), "queries.lists": ["${OPENWIT_HERE}/words.txt"]}
    said = lines("plan", made, capsys, **new, **{"crawl.urls": [str(made.folder / "gone.tsv")]})
    recipe = made.folder / "recipe.toml"
    assert said["queries"] == (
        f"unknown: {recipe} needs the environment variable OPENWIT_HERE: set it (export OPENWIT_HERE=…) and run again"
    )
    assert said["crawl"] == (
        f"unknown: {recipe}: crawl.urls names {made.folder}/gone.tsv, which is not there "
        f"({made.folder} has no such name): correct the path"
    )
    unfinish(made, "queries")
    assert lines("status", made, capsys, **{"queries.lists": new["queries.lists"]})["queries"] == (
        f"in work 2 tasks done, unknown whether for this recipe: {recipe} needs the environment variable "
        "OPENWIT_HERE: set it (export OPENWIT_HERE=…) and run again"
    )


def test_sites_to_visit_have_a_bound(made: Project, capsys: pytest.CaptureFixture[str]) -> None:
    values = {"crawl.seeds": ["https://a.test/", "https://b.test/"], "crawl.pages_per_domain": 36}
    said = lines("plan", made, capsys, **values)
    assert "2 seeds, at most 36 pages a domain, in 1 h 00 min or more" in said["crawl"]


@pytest.mark.parametrize("verb", ["status", "plan"])
def test_a_wrong_recipe_is_wrong_use(verb: str, made: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert openwit.main([verb, *made.words({"filter.min_word": 3})]) == 2
    assert "did you mean 'min_words'?" in capsys.readouterr().err
