"""dedup on real small pictures: planted duplicates and no others are found, and captions follow them to what stays."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps

from core import choice, runs
from core.errors import Failure
from core.files import digest
from dedup.index import Index
from dedup.tables import CAPTION, FINGERPRINT, GROUP
from pipeline import dedup
from pipeline.ids import image_id, pair_id
from pipeline.stage import Stage
from pipeline.tasks.attempt import Attempt, Job, Task
from tests.dedup.made import scene
from tests.pipeline.upstream import Project, pair, pairs


def jpeg(image: Image.Image, quality: int = 90) -> bytes:
    to = io.BytesIO()
    image.save(to, "JPEG", quality=quality)
    return to.getvalue()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ── planted duplicates and their captions ──

URLS = {
    "photo": "http://a.test/photo.jpg",
    "copy": "http://b.test/copy.jpg",
    "mirror": "http://c.test/mirrored-site.jpg",
    "large": "http://c.test/large.jpg",
    "again": "http://d.test/again.jpg",
    "turned": "http://g.test/turned.jpg",
    "framed": "http://h.test/framed.jpg",
    "other": "http://a.test/other.jpg",
    "third": "http://a.test/third.jpg",
    "grey": "http://a.test/grey.jpg",
    "greyish": "http://b.test/greyish.jpg",
    "pixel": "http://e.test/pixel.jpg",
    "pixel2": "http://f.test/pixel.jpg",
    "gone": "http://a.test/gone.jpg",
    "forbidden": "http://b.test/forbidden.jpg",
}
IDS = {name: image_id(url) for name, url in URLS.items()}
PHOTO, FLAT = jpeg(scene(1)), jpeg(Image.new("RGB", (64, 64), (9, 9, 9)))
FETCHED: dict[str, bytes | str] = {
    "photo": PHOTO,
    "copy": PHOTO,
    "mirror": PHOTO,
    "large": jpeg(scene(1, 640, 480)),  # the most pixels: it stays
    "again": jpeg(scene(1), quality=30),
    "turned": jpeg(ImageOps.mirror(scene(1))),
    "framed": jpeg(ImageOps.expand(scene(1), 30, "white")),
    "other": jpeg(scene(2)),
    "third": jpeg(scene(3)),
    "grey": jpeg(Image.new("RGB", (300, 200), (120, 120, 120))),
    "greyish": jpeg(Image.new("RGB", (300, 200), (130, 130, 130))),
    "pixel": FLAT,
    "pixel2": FLAT,
    "gone": "http_404",
    "forbidden": "robots_disallowed",
}
TEXTS = {
    "large": ["a dog on a beach", "ein Hund", "un chien au bord de la mer"],
    "photo": ["a dog on a beach", "dog", "beach at noon"],
    "copy": ["dog", "a wet dog", "ein Hund"],
    "mirror": ["mirrored", "ein Hund"],
    "again": ["again a dog", "un chien au bord de la mer"],
    "turned": ["a dog the other way round"],
    "framed": ["dog", "a dog in a frame"],
    "other": ["another"],
    "third": ["a third", "the third"],
    "grey": ["a grey wall"],
    "greyish": ["a grey wall"],
    "pixel": ["spacer"],
    "pixel2": ["spacer", "blank"],
    "gone": ["a lost one", "lost"],
    "forbidden": ["a secret"],
}
GROUP_OF_PHOTO = ("photo", "copy", "mirror", "large", "again", "turned", "framed")
CAP = 5
CHUNKS = {
    "lane00000-00000": [*URLS][:4],
    "lane00000-00001": [*URLS][4:11],
    "lane00001-00000": [*URLS][11:13],
    "lane00002-00000": [*URLS][13:],  # of which nothing came
}


def rows_of(names: Iterable[str]) -> list[dict[str, Any]]:
    return [
        pair(URLS[name], text, page_url=f"http://{name}.test/", licence=f"licence of {name}", queries=[len(text), 99])
        for name in names
        for text in TEXTS[name]
    ]


def write(made: Project, chunks: Mapping[str, Iterable[str]], parts: Mapping[str, Iterable[dict[str, Any]]]) -> None:
    made.write("match", {part: [pairs(rows)] for part, rows in parts.items()})
    made.write_fetch({chunk: {URLS[name]: FETCHED[name] for name in names} for chunk, names in chunks.items()})


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(tmp_path_factory.mktemp("dedup"), {"dedup.max_captions": CAP})
    write(made, CHUNKS, {"a": rows_of([*URLS][:6]), "b": rows_of([*URLS][6:]), "empty": []})
    made.run("dedup")
    return made


def keeper(name: str) -> bytes:
    """Who stays for an image: of equal pictures the one of the smaller id."""
    if name in GROUP_OF_PHOTO:
        return IDS["large"]
    return min(IDS["pixel"], IDS["pixel2"]) if name.startswith("pixel") else IDS[name]


def test_planted_duplicates_are_grouped_and_nothing_else(done: Project) -> None:
    table = done.table("dedup", GROUP)
    rows = {row["image_id"]: row for row in table.to_pylist()}
    assert table["image_id"].to_pylist() == sorted(rows)
    assert rows.keys() == {IDS[name] for name in (*GROUP_OF_PHOTO, "pixel", "pixel2")}
    for name in (*GROUP_OF_PHOTO, "pixel", "pixel2"):
        row = rows[IDS[name]]
        assert row["kept_by"] == keeper(name) and row["keep"] == (IDS[name] == keeper(name)), name
        assert row["d64"] <= 4 and row["d256"] <= 40
    assert {rows[IDS[name]]["group_id"] for name in GROUP_OF_PHOTO} == {min(IDS[name] for name in GROUP_OF_PHOTO)}
    why = {name: rows[IDS[name]]["reason"] for name in GROUP_OF_PHOTO}
    assert why == {**dict.fromkeys(GROUP_OF_PHOTO, "near_duplicate"), "large": None, "turned": "mirrored"}
    assert {row["image_id"] for row in rows.values() if row["same_bytes"]} == {
        max(IDS["pixel"], IDS["pixel2"])  # they are flat: nothing but their bytes makes them equal
    }


def test_every_image_is_fingerprinted_and_counted(done: Project) -> None:
    prints = {row["image_id"]: row for row in done.rows("dedup", FINGERPRINT)}
    came = [name for name in URLS if isinstance(FETCHED[name], bytes)]
    assert prints.keys() == {IDS[name] for name in came}
    assert {name for name in came if prints[IDS[name]]["flags"]} == {"grey", "greyish", "pixel", "pixel2"}
    assert (prints[IDS["large"]]["width"], prints[IDS["large"]]["height"]) == (640, 480)
    assert prints[IDS["photo"]]["bytes"] == len(PHOTO)
    assert [name for name in came if prints[IDS[name]]["inner64"]] == ["framed"]
    assert [prints[IDS["framed"]][f"border_{side}"] for side in ("left", "top")] == [8, 10]  # 30 of 380 and of 300
    assert done.manifest("dedup").counts["images"] == {
        "in": len(came),
        "kept": len(came) - 7,
        "dropped": {"near_duplicate": 5, "mirrored": 1, "same_bytes": 1},
    }


def captions(made: Project) -> dict[bytes, list[dict[str, Any]]]:
    found: dict[bytes, list[dict[str, Any]]] = {}
    for row in made.rows("dedup", CAPTION):
        found.setdefault(row["image_id"], []).append(row)
    return found


def test_captions_go_to_what_stays(done: Project) -> None:
    found = captions(done)
    assert found.keys() == {keeper(name) for name in URLS if isinstance(FETCHED[name], bytes)}
    assert [row["text"] for row in found[IDS["other"]]] == ["another"]
    assert {row["text"] for row in found[keeper("pixel")]} == {"spacer", "blank"}
    assert [row["text"] for row in found[IDS["grey"]]] == [row["text"] for row in found[IDS["greyish"]]]


def test_own_captions_first_each_text_once_and_so_many(done: Project) -> None:
    rows = captions(done)[IDS["large"]]
    own = [row for row in rows if row["own"]]
    assert [row["own"] for row in rows] == [True] * 3 + [False] * 2
    assert {row["pair_id"] for row in own} == {pair_id(URLS["large"], text) for text in TEXTS["large"]}
    assert pair_id(URLS["mirror"], "ein Hund") < pair_id(URLS["large"], "ein Hund")  # which stays nevertheless
    # Of the others each text once, from the image whose pair has the smaller id, and of these the smallest hashes.
    pooled: dict[str, bytes] = {}
    for name in set(GROUP_OF_PHOTO) - {"large"}:
        for text in set(TEXTS[name]) - set(TEXTS["large"]):
            id_ = pair_id(URLS[name], text)
            pooled[text] = min(id_, pooled.get(text, id_))
    ranks = dict(zip(pooled, choice.rank(1, "caption", IDS["large"].hex(), pooled.values()), strict=True))
    chosen = sorted(pooled, key=lambda text: int(ranks[text]))[: CAP - 3]
    assert {row["text"]: row["pair_id"] for row in rows if not row["own"]} == {text: pooled[text] for text in chosen}
    assert {row["total"] for row in rows} == {3 + len(pooled)}


def test_captions_bring_what_their_pair_said(done: Project) -> None:
    by_pair = {pair_id(URLS[name], text): (name, text) for name in URLS for text in TEXTS[name]}
    for row in done.rows("dedup", CAPTION):
        name, text = by_pair[row["pair_id"]]
        assert (row["text"], row["page_url"], row["licence"]) == (text, f"http://{name}.test/", f"licence of {name}")
        assert row["queries"] == [len(text), 99]
        assert row["own"] == (IDS[name] == row["image_id"]) and row["image_id"] == keeper(name)


def test_a_sample_has_the_smallest_uid_of_its_own_rows_also_of_those_that_the_cap_takes(tmp_path: Path) -> None:
    made = Project(tmp_path, {"dedup.max_captions": 1})
    own = [pair(URLS["other"], text, uid=uid, columns=f'{{"n":{uid}}}') for text, uid in (("x", "2"), ("y", "1"))]
    rows = [*own, pair(URLS["large"], "z", columns="{}"), pair(URLS["copy"], "w", uid="0", columns='{"n":0}')]
    write(made, {"c": ["other", "large", "copy"]}, {"a": rows})
    made.run("dedup")
    said = {(row["image_id"], row["own"]): (row["uid"], row["columns"]) for row in made.rows("dedup", CAPTION)}
    assert said == {(IDS["other"], True): ("1", '{"n":1}'), (IDS["large"], True): (None, "{}")}


def test_every_pair_is_kept_or_dropped_by_a_name(done: Project) -> None:
    count = done.manifest("dedup").counts["pairs"]
    pooled = {text for name in GROUP_OF_PHOTO for text in TEXTS[name]}
    spacers = 1  # of the three of the flat pair
    assert count["in"] == sum(map(len, TEXTS.values()))
    assert count["kept"] == len(done.rows("dedup", CAPTION))
    assert count["dropped"] == {
        "http_404": 2,
        "robots_disallowed": 1,
        "same_text": sum(len(TEXTS[name]) for name in GROUP_OF_PHOTO) - len(pooled) + spacers,
        "caption_cap": len(pooled) - CAP,
    }


def test_captions_are_sorted(done: Project) -> None:
    rows = [(row["image_id"], not row["own"], row["pair_id"]) for row in done.rows("dedup", CAPTION)]
    assert rows == sorted(rows) and len(rows) > 10


def test_neither_parts_nor_their_order_matter(done: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dedup, "IMAGES_A_PART", 3)
    other = Project(tmp_path, done.values)
    names = sorted(URLS, reverse=True)
    shuffled = sorted(rows_of(names), key=lambda row: row["pair_id"][::-1])
    write(
        other,
        {f"lane00000-{i:05d}": [name] for i, name in enumerate(names)},
        {f"p{i}": shuffled[i::4] for i in range(4)},
    )
    other.run("dedup")
    assert len(other.manifest("dedup").of("caption")) >= 3 and len(done.manifest("dedup").of("caption")) == 1
    for schema in (GROUP, CAPTION):
        assert other.rows("dedup", schema) == done.rows("dedup", schema)
    assert contents(other.of("dedup") / "index") == contents(done.of("dedup") / "index")
    assert other.manifest("dedup").counts == done.manifest("dedup").counts


def test_tasks_of_captions_name_a_manifest_and_no_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are as many of both: with the paths of all outcomes in each, 10⁸ images took 4.3 GB of arguments."""
    monkeypatch.setattr(dedup, "IMAGES_A_PART", 3)
    seen: list[Task] = []
    shuffle = Stage.shuffle

    def watched(self: Stage[Any], job: Job[Any], rows: Any, commit: Any, reads: Any, tasks: Any) -> Any:
        seen.extend(tasks if job.step == "captions" else [])
        return shuffle(self, job, rows, commit, reads, tasks)

    monkeypatch.setattr(Stage, "shuffle", watched)
    made = Project(tmp_path)
    write(made, {f"lane00000-{i:05d}": [name] for i, name in enumerate(URLS)}, {"a": rows_of(URLS)})
    made.run("dedup")
    fetch = made.manifest("fetch")
    assert len(seen) >= 3 and len(fetch.paths("outcome")) == len(URLS)
    for task in seen:
        assert task.args[1] == (fetch.folder, fetch.digest)
        assert not any(path in repr(task.args) for path in fetch.paths("outcome"))


def test_the_index_answers_for_a_fetched_picture(done: Project) -> None:
    index = Index.open(str(done.of("dedup") / "index"))
    assert len(index) == 9  # what is not flat, the dropped too
    found = index.query_image(Image.open(io.BytesIO(PHOTO)))
    assert {match.image_id for match in found} == {IDS[name].hex() for name in GROUP_OF_PHOTO}
    assert {match.image_id for match in found if match.d256 == 0} >= {IDS[n].hex() for n in ("photo", "copy", "mirror")}
    assert index.query_image(scene(99)) == []


# ── little or nothing to do ──


def test_nothing_was_fetched(tmp_path: Path) -> None:
    made = Project(tmp_path)
    write(made, {"lane00000-00000": ["gone", "forbidden"]}, {"a": rows_of(["gone", "forbidden"])})
    made.run("dedup")
    assert made.rows("dedup", GROUP) == made.rows("dedup", CAPTION) == made.rows("dedup", FINGERPRINT) == []
    assert made.manifest("dedup").counts == {
        "images": {"in": 0, "kept": 0, "dropped": {}},
        "pairs": {"in": 3, "kept": 0, "dropped": {"http_404": 2, "robots_disallowed": 1}},
    }
    assert len(Index.open(str(made.of("dedup") / "index"))) == 0


def test_nothing_was_planned(tmp_path: Path) -> None:
    made = Project(tmp_path)
    write(made, {}, {})
    made.run("dedup")
    assert made.manifest("dedup").counts == {"images": {"in": 0, "kept": 0, "dropped": {}}}


def test_one_image_only(tmp_path: Path) -> None:
    made = Project(tmp_path)
    write(made, {"lane00000-00000": ["third"]}, {"a": rows_of(["third"])})
    made.run("dedup")
    assert made.rows("dedup", GROUP) == []
    assert sorted(row["text"] for row in made.rows("dedup", CAPTION)) == sorted(TEXTS["third"])
    assert made.manifest("dedup").counts["images"] == {"in": 1, "kept": 1, "dropped": {}}


# ── damage ──


@pytest.mark.parametrize("damage", ["changed", "cut"])
def test_a_damaged_chunk_is_named(tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    made = Project(tmp_path)
    write(made, {"lane00000-00000": ["third", "other"]}, {"a": rows_of(["third", "other"])})
    chunk = made.of("fetch") / "chunk_tar" / "lane00000-00000.tar"
    data = bytearray(chunk.read_bytes())
    data[1000] ^= 1
    chunk.write_bytes(data if damage == "changed" else data[:1000])
    made.run("dedup", status=1)
    said = capsys.readouterr().err
    assert f"{chunk} is damaged: image {min(IDS['third'], IDS['other']).hex()} at byte 512" in said
    assert not (made.of("dedup") / "_manifest.json").exists()


def test_a_worker_of_an_older_recipe_leaves_the_index_alone(tmp_path: Path) -> None:
    """Its files have fixed names, and reading all fingerprints takes long."""
    facts: list[dict[str, Any]] = [{"stage": "dedup", "inputs": {}, "seed": seed} for seed in (1, 2)]
    folder, prints = str(tmp_path / "5_dedup"), str(tmp_path / "prints.parquet")
    pq.write_table(FINGERPRINT.empty_table(), prints)
    old, new = (
        Job(
            folder=folder,
            step="index",
            step_digest=digest(some),
            seed=1,
            config=dedup.Config(),
            facts_digest=digest(some),
        )
        for some in facts
    )
    task = Task("index", args=(folder, (prints,)))
    runs.begin(folder, facts[0])
    with pytest.raises(Failure, match="begun with another recipe"), Attempt(old, task) as late:
        runs.begin(folder, facts[1])
        with Attempt(new, task) as attempt:
            dedup.build_index(task, dedup.Config(), attempt)
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "5_dedup" / "index").iterdir()}
        dedup.build_index(task, dedup.Config(), late)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "5_dedup" / "index").iterdir()}
