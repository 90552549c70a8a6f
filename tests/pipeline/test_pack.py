"""pack: shards are a pure function of ids, and every image is in its own, or stands beside it with a reason."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.tables import read_table
from dedup.tables import CAPTION, GROUP
from pipeline import pack
from pipeline.ids import image_id
from pipeline.stage import Stage
from pipeline.tables import CANDIDATE, FETCH_REASONS, QUERY
from shards.format import SAMPLE, sample_json, shard_of
from shards.reader import Shards
from shards.verify import verify
from tests.pipeline.upstream import NO_VALUES, Project, Values, pair, table_of
from tests.shards.helpers import QUERIES, caption_rows, made_images, outcome

SHARDS = 5
IMAGES = {url: (body, texts) for url, body, texts in made_images(40)}
URLS = sorted(IMAGES, key=image_id)
FAILED = {
    "http://lost.test/1.jpg": "http_404",
    "http://lost.test/2.jpg": "robots_disallowed",
    "http://lost.test/3.jpg": "too_many_pixels",
    "http://lost.test/4.jpg": "http_404",
}
COPIES = {URLS[3]: URLS[20], URLS[9]: URLS[20], URLS[39]: URLS[0]}  # dropped image → the one that stays for it


def write(
    folder: Path,
    urls: list[str],
    failed: Mapping[str, str],
    copies: Mapping[str, str],
    values: Values = NO_VALUES,
    lost: Sequence[str] = (),
    silent: Sequence[str] = (),
) -> Project:
    """Queries, four chunks, groups and two parts of captions over some images.

    `lost` ones have no picture, `silent` ones no captions; those that are in `failed` as well have captions alone.
    """
    made = Project(folder, {"pack.shards": SHARDS, **values})
    sent: dict[str, bytes | str] = {url: IMAGES[url][0] for url in urls} | dict(failed)
    made.write("queries", {"q": [table_of(QUERY, [{"id": id_, "text": text} for id_, text in QUERIES.items()])]})
    made.write("crawl", {"w": [table_of(CANDIDATE, [pair(url, "a text") for url in urls])]})
    made.write_fetch({f"c{i}": {url: sent[url] for url in sorted(sent)[i::4]} for i in range(4)}, lost)
    kept = sorted(set(urls) - set(copies) - set(silent), key=image_id)
    captions = [table_of(CAPTION, captions_of(kept[i::2])) for i in range(2)]
    groups = [
        {"image_id": image_id(url), "kept_by": image_id(keeper), "keep": url == keeper, "same_bytes": i == 0}
        for i, (url, keeper) in enumerate([*copies.items(), *((url, url) for url in set(copies.values()))])
    ]
    for row in groups:
        row["reason"] = None if row["keep"] else "same_bytes" if row["same_bytes"] else "near_duplicate"
    rows = table_of(GROUP, sorted(groups, key=lambda row: row["image_id"]))
    made.write("dedup", {"captions0": [captions[0]], "captions1": [captions[1]], "groups": [rows]}, images=len(kept))
    return made


def captions_of(urls: list[str]) -> list[dict[str, Any]]:
    return [row for url in urls for row in caption_rows(url, IMAGES[url][1])]


def tars(made: Project) -> dict[str, dict[str, bytes]]:
    """The members of each shard, by its name."""
    found: dict[str, dict[str, bytes]] = {}
    for part in made.manifest("pack").of("shard"):
        found[part.name] = {}
        with tarfile.open(made.of("pack") / part.name) as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file
                found[part.name][member.name] = file.read()
    return found


def sidecar(made: Project, number: int) -> list[dict[str, Any]]:
    return list(read_table(str(made.of("pack") / f"{number:05d}.parquet"), SAMPLE).to_pylist())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = write(tmp_path_factory.mktemp("pack"), URLS, FAILED, COPIES)
    project.run("pack")
    return project


def test_each_image_is_in_the_shard_of_its_id_once(made: Project) -> None:
    expected: dict[str, list[str]] = {f"{number:05d}.tar": [] for number in range(SHARDS)}
    for url in URLS:
        if url not in COPIES:
            id_ = image_id(url)
            expected[f"{shard_of(id_, SHARDS):05d}.tar"] += [f"{id_.hex()}.{ext}" for ext in ("jpg", "txt", "json")]
    assert {name: [*members] for name, members in tars(made).items()} == expected
    assert all(expected.values())


def test_a_sample_holds_its_image_its_texts_and_where_they_came_from(made: Project) -> None:
    members = {name: body for tar in tars(made).values() for name, body in tar.items()}
    for url in set(URLS) - set(COPIES):
        body, texts = IMAGES[url]
        key, captions = image_id(url).hex(), caption_rows(url, texts)
        assert members[f"{key}.jpg"] == body and members[f"{key}.txt"].decode() == texts[0]
        assert members[f"{key}.json"] == sample_json(outcome(url, body), captions, QUERIES)
        said = json.loads(members[f"{key}.json"])
        assert (said["url"], said["key"], said["status"], said["caption"]) == (url, key, "success", texts[0])
        assert said["uid"] == min(caption["pair_id"] for caption in captions).hex()
        assert [(c["text"], c["own"], c["queries"]) for c in said["captions"]] == [
            (texts[0], True, [""]),
            (texts[1], False, ["dog"]),
        ]
        assert said["sha256"] == hashlib.sha256(body).hexdigest()


def test_what_failed_stands_in_the_sidecar_with_its_reason(made: Project) -> None:
    for number in range(SHARDS):
        rows = sidecar(made, number)
        assert [row["image_id"] for row in rows] == sorted(row["image_id"] for row in rows)
        assert {shard_of(row["image_id"], SHARDS) for row in rows} == {number}
    rows = [row for number in range(SHARDS) for row in sidecar(made, number)]
    assert {row["url"]: row["reason"] for row in rows} == {url: "" for url in URLS if url not in COPIES} | FAILED
    for row in rows:
        failed = FAILED.get(row["url"])
        assert row["status"] == (FETCH_REASONS[failed] if failed else "success")
        assert row["error_message"] == failed and (row["offset"] is None) == (failed is not None)


def test_sizes_and_stats_say_what_the_tables_say(made: Project) -> None:
    sizes = json.loads((made.of("pack") / "sizes.json").read_bytes())
    assert sizes == {name: len(members) // 3 for name, members in tars(made).items()}
    for number in range(SHARDS):
        rows = sidecar(made, number)
        reasons = [row["reason"] or "success" for row in rows]
        stats = json.loads((made.of("pack") / f"{number:05d}_stats.json").read_bytes())
        assert stats["status_dict"] == {reason: reasons.count(reason) for reason in reasons}
        assert (stats["count"], stats["successes"]) == (len(rows), sizes[f"{number:05d}.tar"])
        statuses = [row["status"] for row in rows]
        for status in ("failed_to_download", "failed_to_resize"):
            assert stats[status] == statuses.count(status)
    assert made.manifest("pack").counts["images"] == {
        "in": len(URLS),
        "kept": sum(sizes.values()),
        "dropped": {"same_bytes": 1, "near_duplicate": 2},
    }


def test_tar_verify_and_the_reader_agree(made: Project) -> None:
    assert all(not troubles for _, troubles in verify(str(made.of("pack"))))
    for name, members in tars(made).items():
        listed = subprocess.run(["tar", "-tf", made.of("pack") / name], check=True, capture_output=True, text=True)
        assert listed.stdout.split() == [*members]
    ours = {sample.key: (sample.image, sample.text) for sample in Shards(str(made.of("pack"))).iterate()}
    assert ours == {image_id(url).hex(): (IMAGES[url][0], IMAGES[url][1][0]) for url in set(URLS) - set(COPIES)}


# ── shards are a function of ids ──


def test_added_images_move_no_sample(made: Project, tmp_path: Path) -> None:
    fewer = write(tmp_path, URLS[::3], {}, {})
    fewer.run("pack")
    few, many = tars(fewer), tars(made)
    left = {name for url in URLS[::3] if url in COPIES for name in [image_id(url).hex()]}
    for name, members in few.items():
        before = {member: body for member, body in members.items() if member.partition(".")[0] not in left}
        assert before.items() <= many[name].items() and len(members) < len(many[name])


def test_neither_chunks_nor_memory_change_a_byte(made: Project, tmp_path: Path) -> None:
    heavy = {url: hashlib.shake_256(url.encode()).digest(400_000) for url in URLS}  # 16 MB: several slabs of 16 MiB / 4
    packs = []
    for memory, chunks in ((16, 7), (1024, 1)):
        other = write(tmp_path / str(memory), URLS, FAILED, COPIES, {"pack.memory_mib": memory, "pack.shards": 2})
        other.write_fetch(
            {"failed": FAILED, **{f"c{i}": {u: heavy[u] for u in URLS[i::chunks]} for i in range(chunks)}}
        )
        other.run("pack")
        packs.append({path.name: path.read_bytes() for path in other.of("pack").glob("0*")})
    assert packs[0] == packs[1] and len(packs[0]["00000.tar"]) > 5_000_000


@pytest.mark.parametrize(("a_shard", "pinned", "shards"), [(37, 0, 1), (36, 0, 2), (1, 3, 3)])
def test_the_number_of_shards(tmp_path: Path, a_shard: int, pinned: int, shards: int) -> None:
    project = write(
        tmp_path, URLS, FAILED, COPIES, {"pack.samples_per_shard": a_shard, "pack.shards": pinned}
    )  # of 37 that stay
    project.run("pack")
    assert [*tars(project)] == [f"{number:05d}.tar" for number in range(shards)]


def test_more_shards_than_samples(tmp_path: Path) -> None:
    project = write(tmp_path, URLS[:3], {}, {}, {"pack.shards": 12})
    project.run("pack")
    sizes = {name: len(members) // 3 for name, members in tars(project).items()}
    assert len(sizes) == 12 and sum(sizes.values()) == 3
    assert json.loads((project.of("pack") / "sizes.json").read_bytes()) == sizes
    assert len(Shards(str(project.of("pack")))) == 3


@pytest.mark.parametrize("failed", [{}, FAILED])
def test_no_images_at_all(tmp_path: Path, failed: Mapping[str, str]) -> None:
    project = write(tmp_path, [], failed, {}, {"pack.shards": 0})
    project.run("pack")
    assert tars(project) == {"00000.tar": {}}
    assert {row["url"]: row["reason"] for row in sidecar(project, 0)} == failed
    assert json.loads((project.of("pack") / "sizes.json").read_bytes()) == {"00000.tar": 0}
    assert len(Shards(str(project.of("pack")))) == 0


# ── what does not fit together ──


@pytest.mark.parametrize(
    ("damage", "url"),
    [("lost", URLS[0]), ("lost", URLS[38]), ("silent", URLS[17]), ("unknown", URLS[17]), ("unknown", URLS[38])],
)
def test_outcomes_pictures_and_captions_must_fit(
    tmp_path: Path, damage: str, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    project = write(
        tmp_path,
        URLS,
        {url: "http_404"} if damage == "unknown" else {},
        {URLS[39]: URLS[0]} if url != URLS[0] else {},
        lost=[url] if damage == "lost" else [],
        silent=[url] if damage == "silent" else [],
    )
    project.run("pack", status=1)
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"image {image_id(url).hex()} lacks one of its outcome and picture in {project.of('fetch')}" in said
    assert f"captions in {project.of('dedup')}" in said and "run fetch and dedup again" in said
    assert not (project.of("pack") / "_manifest.json").exists() and not [*project.of("pack").rglob(".tmp-*")]


# ── what was promised ──


def remade(made: Project) -> None:
    """The dedup that pack reads, made again: one image fewer stays."""
    keep = read_table(made.manifest("dedup").paths("caption")[0], CAPTION).slice(3)
    made.write("dedup", {"captions0": [keep], "groups": [table_of(GROUP, [])]}, images=keep.num_rows)


@pytest.mark.parametrize("when", ["before a task", "after the last"])
def test_inputs_that_are_made_anew_while_it_runs_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], when: str
) -> None:
    made = write(tmp_path, URLS, {}, {})
    deal = pack.run

    def meanwhile(stage: Stage[pack.Config]) -> None:
        if when == "before a task":
            remade(made)
        deal(stage)
        if when == "after the last":
            remade(made)

    monkeypatch.setattr(pack, "STAGE", replace(pack.STAGE, run=meanwhile))
    made.run("pack", status=1)
    assert "5_dedup was made anew while" in capsys.readouterr().err
    assert not (made.of("pack") / "_manifest.json").exists()
    monkeypatch.undo()
    made.run("pack", status=1)  # of dedup and fetch that do not belong together
    assert "lacks one of its outcome" in capsys.readouterr().err
