"""What can go wrong is said in one sentence that names the thing and the remedy, and nothing half-written stays."""

from __future__ import annotations

import io
import resource
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

import openwit as command
from tests.running import REAL, ROOT, environment, openwit, settings
from tests.small import FOLDERS, Small, contents

pytestmark = pytest.mark.program


def complaint(*words: str, status: int, env: dict[str, str] | None = None) -> str:
    """The one line that a command prints when it refuses; before it there may be lines of progress."""
    return last_line(openwit(*words, status=status, env=env))


def complaint_here(*words: str, env: dict[str, str] | None = None) -> str:
    """The same of a command that is used wrongly, in this process: it is over before it would start another."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(said):
        for name, value in environment(env).items():
            patch.setenv(name, value)
        assert command.main(words) == 2, said.getvalue()
    return last_line(said.getvalue())


def last_line(said: str) -> str:
    *progress, sentence = said.splitlines()
    assert all("/s" in line for line in progress), progress
    return sentence


def recipe(tmp_path: Path, **values: object) -> list[str]:
    return ["--recipe", REAL, *settings(**{"run.out": str(tmp_path / "out"), "crawl.warc": [], **values})]


SITES = {"crawl.seeds": ["http://a.test/"], "fetch.connect_to": ""}


@pytest.mark.parametrize(
    ("verb", "wrong", "says"),
    [
        ("filter", {"filter.min_word": 3}, r"real.toml: [filter] has no key 'min_word'; did you mean 'min_words'?"),
        ("crawl", {"crawl.max_page_bytes": "much"}, "crawl.max_page_bytes: Expected `int`, got `str`"),
        ("crawl", {"crawl.max_page_bytes": 0}, "crawl.max_page_bytes: Expected `int` >= 1"),
        ("crawl", {"crawl.truncated": "ignore"}, "crawl.truncated: Invalid enum value 'ignore'"),
        ("crawl", {"crawls.warc": []}, "there is no table [crawls]; did you mean 'crawl'?"),
        ("filter", {"filter.rules": ["is_ugly"]}, "there is no rule 'is_ugly'"),
        ("crawl", {"crawl.warc": ["nowhere.warc.gz"]}, "crawl.warc names nowhere.warc.gz, which is not there"),
        ("crawl", {"crawl.warc": ["${NOT_SET}/a.warc.gz"]}, "needs the environment variable NOT_SET"),
        ("crawl", {**SITES, "fetch.contact": "nobody"}, "real.toml: fetch.contact = 'nobody': sites that we ask must"),
        ("crawl", {**SITES, "fetch.connect_to": "a.test=x"}, "real.toml: fetch.connect_to: 'a.test=x' is not HOST-"),
    ],
)
def test_a_wrong_recipe_is_wrong_use(tmp_path: Path, verb: str, wrong: dict[str, object], says: str) -> None:
    words = recipe(tmp_path, **wrong)
    if verb == "filter":
        table = tmp_path / "urls.csv"
        table.write_text("url,caption\nhttp://a.test/x.jpg,a dog\n")
        openwit("crawl", *recipe(tmp_path, **{"crawl.urls": [str(table)]}))
    assert says in complaint_here(verb, *words)
    assert not (tmp_path / "out" / FOLDERS["filter"] / "_manifest.json").exists()


def test_a_recipe_that_is_not_there_or_not_toml(tmp_path: Path) -> None:
    assert "there is no recipe nowhere.toml" in complaint_here("crawl", "--recipe", "nowhere.toml")
    (tmp_path / "r.toml").write_text("[crawl\n")
    assert "is not TOML" in complaint("crawl", "--recipe", str(tmp_path / "r.toml"), status=2)


def test_a_stage_before_its_time_names_the_command_to_run(tmp_path: Path) -> None:
    assert "run openwit queries --recipe" in complaint("match", *recipe(tmp_path), status=2)


def test_unknown_verbs_and_words() -> None:
    assert "there is no verb 'crwal'" in openwit("crwal", status=2)
    assert "unrecognized arguments: --fast" in openwit("crawl", "--fast", status=2)
    assert openwit("--help").count("\n") > 10


def test_a_truncated_archive_fails_or_is_skipped_by_choice(data: Path, tmp_path: Path) -> None:
    whole = (data / "warc" / "dev_crawl.warc.gz").read_bytes()
    cut = tmp_path / "cut.warc.gz"
    cut.write_bytes(whole[:300_000])
    words = recipe(tmp_path, **{"crawl.warc": [str(cut)]})
    said = complaint("crawl", *words, status=1)
    assert "cut.warc.gz: truncated_file at byte" in said and 'crawl.truncated = "skip"' in said
    out = tmp_path / "out" / FOLDERS["crawl"]
    assert not (out / "_manifest.json").exists() and list(out.rglob("*.parquet")) == []
    said = openwit("crawl", *words, *settings(**{"crawl.truncated": "skip"}))
    assert "truncated_file 1" in said
    assert '"truncated_file": 1' in (out / "_manifest.json").read_text()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk(data: Path, small: Small, tmp_path: Path, workers: int) -> None:
    """A limit on the size of files fails as a full disk does, in the middle of a part."""
    words = small.words(tmp_path / "out", **{"engine.workers": workers})
    ran = subprocess.run(
        [sys.executable, "-m", "openwit", "crawl", *words],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000)),
        check=False,
    )
    assert ran.returncode == 1
    assert "no room to write" in ran.stderr and "free some disk" in ran.stderr and ran.stderr.count("\n") == 1
    left = [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert "_manifest.json" not in left and not [name for name in left if name.startswith(".tmp-")]
    small.run("crawl", out=tmp_path / "out")
    assert contents(tmp_path / "out" / FOLDERS["crawl"]) == contents(small.out / FOLDERS["crawl"])


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    said = complaint("crawl", *recipe(tmp_path), status=1)
    assert f"cannot write {tmp_path / 'out'}" in said and "move the recipe's run.out" in said


def test_two_at_once(small: Small, tmp_path: Path) -> None:
    import fcntl

    folder = tmp_path / FOLDERS["crawl"]
    folder.mkdir()
    with (folder / "_lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "crawl is already running" in complaint("crawl", *small.words(tmp_path), status=1)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"fetch.contact": ""}, "real.toml: fetch.contact = '': sites that we ask must be able to reach you; give a"),
        ({"fetch.connect_to": "*.test"}, "real.toml: fetch.connect_to: '*.test' is not HOST-PATTERN=ADDRESS:PORT"),
        ({"fetch.encode_format": "png"}, "real.toml: fetch.encode_quality = 95: must be 0 to 9 for png"),
    ],
)
def test_a_fetch_whose_manners_are_wrong_asks_nobody(
    wrong: dict[str, object], says: str, small: Small, tmp_path: Path
) -> None:
    for stage in ("queries", "crawl", "filter", "match"):
        shutil.copytree(small.out / FOLDERS[stage], tmp_path / FOLDERS[stage])
    before = len(small.web.requests)
    said = complaint_here("fetch", *small.words(tmp_path, **wrong), env=small.env)
    assert says in said and said.endswith("; correct it in the recipe or with --set")
    assert len(small.web.requests) == before


def test_a_damaged_part_is_named(small: Small, tmp_path: Path) -> None:
    for stage in ("queries", "crawl"):
        shutil.copytree(small.out / FOLDERS[stage], tmp_path / FOLDERS[stage])
    part = next((tmp_path / FOLDERS["crawl"] / "candidate").iterdir())
    data = bytearray(part.read_bytes())
    data[len(data) // 3] ^= 0xFF
    part.write_bytes(data)
    assert part.name in complaint("filter", *small.words(tmp_path), status=1)


def test_a_missing_extra_names_the_install_line(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text('raise ModuleNotFoundError("No module named \'torch\'", name="torch")\n')
    said = complaint("train", *recipe(tmp_path), status=1, env={"PYTHONPATH": str(tmp_path)})
    assert "torch is not installed" in said and "pip install '.[train]'" in said


# ── all ──


def test_all_ends_where_a_stage_has_left_nothing(data: Path, tmp_path: Path) -> None:
    (tmp_path / "urls.csv").write_text(
        "url,caption\nhttp://a.test/1.jpg,a brown dog on the lawn\nhttp://a.test/2.jpg,a black cat on the lawn\n"
    )
    (tmp_path / "words.txt").write_text("dog\ncat\n")
    values: dict[str, object] = {
        "queries.wikipedia": [],
        "queries.wordnet": [],
        "queries.lists": [str(tmp_path / "words.txt")],
    }
    values |= {"crawl.urls": [str(tmp_path / "urls.csv")], "filter.min_words": 9, "filter.languages": []}
    words, env = recipe(tmp_path, **values), {"OPENWIT_CONNECT_TO": ""}
    for _ in range(2):  # again in the folder that is there then
        said = openwit("all", *words, status=1, env=env)
        assert (
            "all: filter kept 0 of 2 pairs (too_few_words 2): there is nothing to go on with; change [filter]" in said
        )
        assert "Traceback" not in said and not (tmp_path / "out" / FOLDERS["match"]).exists()
        assert (tmp_path / "out" / "report.html").exists()


def test_all_ends_before_a_training_that_has_too_few_samples(small: Small, tmp_path: Path) -> None:
    for stage in FOLDERS.values():
        if (small.out / stage).exists():
            shutil.copytree(small.out / stage, tmp_path / stage)
    words = small.words(tmp_path, **{"train.batch_size": 4096, "train.warmup": 2})
    said = openwit("all", *words, status=1, env=small.env)
    assert "train.batch_size = 4,096, but " in said and "make the batch smaller, or give the crawl more" in said
    assert "pack: nothing to do" in said and (tmp_path / "report.html").exists()
    assert not (tmp_path / FOLDERS["train"] / "_manifest.json").exists()


def test_what_is_wrong_with_a_later_stage_is_said_before_an_earlier_one_works(data: Path, tmp_path: Path) -> None:
    said = complaint("all", *recipe(tmp_path, **{"train.warmup": 30}), status=2)
    assert said.endswith(": a warm-up of 30 steps does not fit in 30 steps: lower train.warmup, or train longer")
    assert "has no key 'min_word'" in complaint("all", *recipe(tmp_path, **{"filter.min_word": 3}), status=2)
    assert not (tmp_path / "out" / FOLDERS["queries"]).exists()
