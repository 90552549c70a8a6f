"""How a run begins and ends: is anything to do, is anybody at it, is there room, what is left."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import fsspec
import pytest

from core import runs
from core.errors import Failure, UsageError, WorkToDo
from core.exclusive import exclusive
from core.files import join, publish, read_bytes, remove, remove_all
from core.manifest import Counts, Part, Receipt, missing_part, read_manifest, remove_manifest, write_receipt
from core.recipe import Recipe

RUN = b"{}"  # _run.json
FACTS = {"stage": "crawl", "seed": 1, "config": {"crawl_id": "x", "share": 0.5}}


@pytest.fixture(params=["memory", "local"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A stage's folder, here and in an object store."""
    return str(tmp_path / "1_crawl") if request.param == "local" else f"memory://runs/{tmp_path.name}/1_crawl"


def put(folder: str, name: str, body: bytes = b"x") -> str:
    publish(join(folder, name), body)
    return join(folder, name)


def task(folder: str, name: str) -> Receipt:
    """A task that wrote a part of four bytes."""
    put(folder, f"candidate/{name}.parquet", b"rows")
    part = Part("candidate", name, f"candidate/{name}.parquet", 1, 4, hashlib.sha256(b"rows").hexdigest())
    receipt = Receipt("candidates", name, "basis", (part,), {"pairs": {"in": 1, "kept": 1, "dropped": {}}})
    write_receipt(folder, receipt)
    return receipt


def finished(folder: str) -> list[Receipt]:
    """A stage of two tasks, complete."""
    receipts = [task(folder, "a"), task(folder, "b")]
    runs.publish_manifest(folder, FACTS, receipts, RUN)
    return receipts


def files(folder: str) -> set[str]:
    fs, inner = fsspec.core.url_to_fs(folder)
    return {path[len(inner) :].lstrip("/") for path in fs.find(inner)}


# ── is there anything to do ──


def idle(folder: str, facts: dict[str, Any] = FACTS) -> bool:
    """What nothing_to_do says; --check must say the same."""
    said = runs.nothing_to_do(Recipe("r.toml", {}), folder, facts)
    asked = Recipe("r.toml", {}, check=True)
    if said:
        assert runs.nothing_to_do(asked, folder, facts)
    else:
        with pytest.raises(WorkToDo):
            runs.nothing_to_do(asked, folder, facts)
    return said


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
        ({"inputs": {**OF_OTHERS["inputs"], "queries": "1b"}}, "queries is another than it was"),
        ({"inputs": {**OF_OTHERS["inputs"], "merges": "n"}}, "merges is another than it was"),
        (
            {"inputs": {"queries": "0a", "warc:b-b.warc.gz-3": "3", "urls:c.csv-4": "4", "merges": "m"}},
            "urls:c.csv is new; warc:a.warc.gz is gone; warc:b-b.warc.gz is another than it was",
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


# ── the end ──


def test_what_no_receipt_names_is_removed_and_nothing_else(folder: str) -> None:
    ours = ["_run.json", "_lock"]
    strays = ["candidate/old.parquet", "candidate/.tmp-1", "drop/a.parquet", "_receipts/candidates.c.json", "deep/er/x"]
    neighbours = [
        f"{folder}_copy/a",
        f"{folder.rsplit('/', 1)[0]}/2_filter/a",
        f"{folder.rsplit('/', 1)[0]}/1_crawl.txt",
    ]
    for name in [*ours, *strays]:
        put(folder, name)
    for path in neighbours:
        publish(path, b"x")
    receipts = finished(folder)
    books = {"_manifest.json", "_parts.parquet", "_receipts/candidates.a.json", "_receipts/candidates.b.json"}
    whole = {*ours, *books, "candidate/a.parquet", "candidate/b.parquet"}
    assert files(folder) == whole
    assert read_bytes(join(folder, "_run.json")) == RUN
    for path in neighbours:
        fs, inner = fsspec.core.url_to_fs(path)
        assert fs.cat_file(inner) == b"x", path
    manifest = runs.publish_manifest(folder, FACTS, receipts[:1], RUN)  # b's archive is no longer in the recipe
    assert missing_part(manifest) is None
    assert files(folder) == whole - {"candidate/b.parquet", "_receipts/candidates.b.json"}


def killed_before_its_sweep(folder: str) -> None:
    """A stage that is complete, and has not removed yet what is not of it."""
    finished(folder)
    runs_begun = {"basis": "x", "inputs": {}}
    put(folder, "_begun.json", json.dumps(runs_begun).encode())
    put(folder, "candidate/orphan.parquet")
    put(folder, "_leases/fetch.lane.00000001")


def test_nothing_to_do_finishes_the_sweep_of_a_killed_run(folder: str) -> None:
    killed_before_its_sweep(folder)
    with pytest.raises(WorkToDo):  # else `all` would pass it by
        runs.nothing_to_do(Recipe("r.toml", {}, check=True), folder, FACTS)
    assert "candidate/orphan.parquet" in files(folder)
    assert runs.nothing_to_do(Recipe("r.toml", {}), folder, FACTS)
    books = {"_manifest.json", "_parts.parquet", "_run.json"}
    receipts = {"_receipts/candidates.a.json", "_receipts/candidates.b.json"}
    left = {name for name in files(folder) if not name.startswith("_lock")}
    assert left == {*books, *receipts, "candidate/a.parquet", "candidate/b.parquet"}
    assert idle(folder)


def test_a_sweep_is_of_what_is_complete_now(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run, of another recipe, has the folder after the first look at it and before the lock is taken."""
    killed_before_its_sweep(folder)
    lock = exclusive

    def later(folder: str, name: str) -> Any:
        remove_manifest(folder)
        runs.publish_manifest(folder, {**FACTS, "seed": 2}, [task(folder, "c")], RUN)
        return lock(folder, name)

    monkeypatch.setattr(runs, "exclusive", later)
    with pytest.raises(Failure, match="made anew"):
        runs.nothing_to_do(Recipe("r.toml", {}), folder, FACTS)
    manifest = read_manifest(folder)
    assert manifest is not None and manifest.facts["seed"] == 2 and missing_part(manifest) is None


def test_the_mark_of_the_run_goes_last(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    killed_before_its_sweep(folder)
    removed: list[str] = []

    def fail_in_the_middle(folder: str, names: list[str]) -> None:
        removed.extend(names)
        if not names:
            return
        remove_all(folder, names[:1])
        raise Failure("killed")

    monkeypatch.setattr(runs, "remove_all", fail_in_the_middle)
    with pytest.raises(Failure, match="killed"):
        runs.nothing_to_do(Recipe("r.toml", {}), folder, FACTS)
    monkeypatch.undo()
    assert len(removed) == 2 and "_begun.json" in files(folder)
    assert runs.nothing_to_do(Recipe("r.toml", {}), folder, FACTS)
    assert not {"_begun.json", *removed} & files(folder)


def test_stale_receipts_go_before_the_manifest_is_there(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    receipts = [task(folder, "a"), task(folder, "b")]

    def kill(*_: object) -> None:
        raise Failure("killed")

    monkeypatch.setattr(runs, "write_manifest", kill)
    with pytest.raises(Failure, match="killed"):
        runs.publish_manifest(folder, FACTS, receipts[:1], RUN)
    assert "_receipts/candidates.b.json" not in files(folder) and "candidate/b.parquet" in files(folder)


def test_a_part_that_went_away_is_no_complete_stage(folder: str) -> None:
    receipts = [task(folder, "a"), task(folder, "b")]
    remove(join(folder, "candidate/b.parquet"))
    with pytest.raises(Failure, match=r"candidate/b\.parquet went away"):
        runs.publish_manifest(folder, FACTS, receipts, RUN)
    assert "_manifest.json" not in files(folder)


def test_who_has_lost_the_folder_declares_nothing_complete(folder: str) -> None:
    receipts = [task(folder, "a")]
    put(folder, "candidate/of-another.parquet")

    def lost() -> None:
        raise Failure("taken over")

    with pytest.raises(Failure, match="taken over"):
        runs.publish_manifest(folder, FACTS, receipts, RUN, lost)
    assert not {"_manifest.json", "_parts.parquet"} & files(folder)
    said = iter([None, Failure("taken over")])

    def lost_meanwhile() -> None:
        if error := next(said):
            raise error

    with pytest.raises(Failure, match="taken over"):
        runs.publish_manifest(folder, FACTS, receipts, RUN, lost_meanwhile)
    assert "_manifest.json" not in files(folder) and "candidate/of-another.parquet" in files(folder)


def test_a_table_that_was_moved_to_another_disk_and_linked_stays(tmp_path: Path) -> None:
    folder, larger = tmp_path / "1_crawl", tmp_path / "larger"
    receipts = [task(str(folder), "a"), task(str(folder), "b")]
    shutil.move(folder / "candidate", larger)
    (folder / "candidate").symlink_to(larger)
    for left in ("c-0123456789abcdef.parquet", ".tmp-1", "thesis.txt"):
        (larger / left).write_bytes(b"x")
    with exclusive(str(folder), "crawl"):
        runs.publish_manifest(str(folder), FACTS, receipts, RUN)
    assert (folder / "candidate").is_symlink()
    assert sorted(path.name for path in larger.iterdir()) == ["a.parquet", "b.parquet", "thesis.txt"]
    assert idle(str(folder))


@pytest.mark.parametrize("target", ["..", "../2_filter", "../../photos"])
def test_what_a_link_leads_to_is_not_ours_to_remove(tmp_path: Path, target: str) -> None:
    folder = tmp_path / "out" / "1_crawl"
    receipts = [task(str(folder), "a"), task(str(folder), "b")]
    others = [tmp_path / name for name in ("out/2_filter/candidate/a-0123456789abcdef.parquet", "photos/me.jpg")]
    others += [tmp_path / name for name in ("out/2_filter/.tmp-1", "photos/.tmp-1", "out/report.html")]
    for path in others:
        publish(str(path), b"x")
    (folder / "elsewhere").symlink_to(target)
    with exclusive(str(folder), "crawl"):
        runs.publish_manifest(str(folder), FACTS, receipts, RUN)
    assert all(path.exists() for path in others)
    assert idle(str(folder)) and (folder / "elsewhere").is_symlink()


def test_a_link_beside_a_table_hides_nothing_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "1_crawl"
    receipts = [task(str(folder), "a"), task(str(folder), "b")]
    put(str(folder), "candidate/stray.parquet")
    for number in range(20):  # in whatever order the disk lists them
        (folder / f"link{number}").symlink_to("candidate")
    runs.publish_manifest(str(folder), FACTS, receipts, RUN)
    assert sorted(path.name for path in (folder / "candidate").iterdir()) == ["a.parquet", "b.parquet"]


def test_names_are_names(tmp_path: Path) -> None:
    """A folder called out[12] is not out1 and out2."""
    for root in (str(tmp_path), f"memory://names/{tmp_path.name}"):
        others = [put(f"{root}/out{i}", "_manifest.json") for i in (1, 2)]
        folder = f"{root}/out[12]"
        finished(folder)
        put(folder, "candidate/stray.parquet")
        put(folder, "candidate/stray?.parquet")
        runs.publish_manifest(folder, FACTS, [task(folder, "a")], RUN)
        remove_manifest(folder)
        for path in others:
            assert read_bytes(path) == b"x"
        assert {name for name in files(folder) if name.startswith("candidate/")} == {"candidate/a.parquet"}


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


def test_a_stage_that_does_not_add_up_removes_nothing(folder: str) -> None:
    receipt = task(folder, "a")
    put(folder, "candidate/stray.parquet")
    receipt.counts["pairs"]["kept"] = 0
    with pytest.raises(Failure, match="1 of 1 pairs are neither kept nor dropped"):
        runs.publish_manifest(folder, FACTS, [receipt], RUN)
    assert "candidate/stray.parquet" in files(folder) and "_manifest.json" not in files(folder)


def test_how_it_ran_is_what_a_person_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/home/me/bin/openwit", "crawl", "--recipe", "r.toml"])
    work = {"candidates": {"here": 1, "of": 3, "seconds": 0.5}}
    said = json.loads(runs.how_it_ran(0.0, ["pyarrow"], work, engine="local"))
    assert said["command"] == ["openwit", "crawl", "--recipe", "r.toml"]
    assert (said["started"], said["engine"], said["work"]) == ("1970-01-01T00:00:00Z", "local", work)
    assert said["versions"].keys() == {"openwit", "pyarrow"} and said["seconds"] > 1e9
