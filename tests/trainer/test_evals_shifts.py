"""ObjectNet and the videos through the suite: made sets whose answers are counted by hand (made_shifts.py)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from core.errors import Failure
from core.tables import read_table
from tests.evaluation.made import write_tar
from tests.trainer.made_sets import ColourSense, Run, colour, rows_of, write
from tests.trainer.made_shifts import SINGLE, bordered, mappings, objectnet, vid
from trainer.evals.tables import FRAME

# ── ObjectNet ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("nested", ["", "objectnet-1.0"], ids=["its folders", "as unpacked"])
def test_objectnet_is_judged_in_its_classes_without_its_border(
    run: Run, tmp_path: Path, nested: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    crops: list[np.ndarray] = []
    seen = ColourSense._seen

    def watched(self: ColourSense, some: Iterable[np.ndarray]) -> Tensor:
        crops.extend(some)
        return seen(self, crops)

    monkeypatch.setattr(ColourSense, "_seen", watched)
    objectnet(tmp_path / "objectnet" / nested)
    rows = run(["objectnet"], **SINGLE)
    assert len(crops) == 3 and all((crop == crop[0, 0]).all() for crop in crops)
    assert rows_of(rows) == {
        ("objectnet zero-shot (single)", "accuracy"): pytest.approx(2 / 3),
        ("objectnet own-names (single)", "accuracy"): pytest.approx(2 / 3),
    }
    assert [(row["method"], row["n"], row["chance"]) for row in rows] == [
        ("zero-shot", 3, pytest.approx(1 / 3)),
        ("own-names", 3, pytest.approx(1 / 3)),
    ]
    found = {row["id"]: (row["label"], row["predicted"][0], row["rank"]) for row in run.examples("zero-shot")}
    assert found == {
        "red_wolf/1.png": (["red_wolf"], "red_wolf", 1),
        "black_bear/1.png": (["black_bear"], "black_bear", 1),
        "black_bear/2.png": (["black_bear"], "red_wolf", found["black_bear/2.png"][2]),
    }
    assert found["black_bear/2.png"][2] > 1
    (encoded,) = [one for one in run.kept.receipts if one.step == "encode"]
    assert encoded.counts["examples"] == {"in": 4, "kept": 3, "dropped": {"no_class_of_imagenet": 1}}
    assert "objectnet has 3 examples here and 18,514 in the paper" in capsys.readouterr().out
    assert run(["objectnet"], **SINGLE) == rows and run.kept.made == 0 and run.encoder.asked == 0


def test_objectnet_in_clip_benchmarks_tars(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "wds_objectnet"
    write(folder, {"classnames.txt": b"black bear\nbrown bear\nred wolf\n", "test/nshards.txt": b"1"})
    files = {"s0000000.png": bordered("red", "black"), "s0000000.cls": b"2"}
    files |= {"s0000001.png": bordered("red", "black"), "s0000001.cls": b"0"}
    write_tar(folder / "test/0.tar", files)
    with pytest.raises(
        Failure, match=r"wds_objectnet has no objectnet_to_imagenet_1k.json, .*: take the folder mappings"
    ):
        run(["objectnet"], **SINGLE)
    write(folder / "mappings", mappings())
    rows = run(["objectnet"], **SINGLE)
    assert [(row["method"], row["value"], row["n"]) for row in rows] == [("zero-shot", 0.5, 2), ("own-names", 0.5, 2)]


def test_a_class_that_is_none_of_objectnets_is_named(run: Run, tmp_path: Path) -> None:
    objectnet(tmp_path / "objectnet")
    write(tmp_path / "objectnet/images", {"red_wlof/1.png": colour("red")})
    with pytest.raises(Failure, match=r"red_wlof/1.png is of 'red_wlof' \(red_wolf\?\), which is no single class"):
        run(["objectnet"], **SINGLE)


def test_prompts_that_lack_a_class_are_said(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    objectnet(tmp_path / "objectnet")
    with pytest.raises(Failure, match="objectnet has no prompts babel-de: give one of paper, single"):
        run(["objectnet"], prompts=["babel-de"])
    rows = run(["objectnet"], prompts=["babel-de", "contextless"])
    assert {row["prompts"] for row in rows} == {"contextless"}
    assert "no babel-de of objectnet: some classes of ImageNet have no name in it" in capsys.readouterr().out


# ── videos ────────────────────────────────────────────────────────────────────────────────────────


def frames_of(run: Run) -> dict[tuple[str, str], bool]:
    """The zero-shot frames that were written: anchor, frame → right."""
    parts = [part for one in run.kept.receipts if one.step == "zero-shot" for part in one.parts]
    names = [part.name for part in parts if part.table == "frame"]
    rows = [row for name in names for row in read_table(f"{run.folder}/out/{name}", FRAME).to_pylist()]
    return {(row["anchor"], row["frame"]): row["right"] for row in rows}


def test_videos_are_judged_by_their_anchors_and_neighbours(run: Run, tmp_path: Path) -> None:
    vid(tmp_path / "imagenet_vid" / "imagenet_vid_ytbb_robust" / "imagenet-vid-robust")
    rows = run(["imagenet_vid"], **SINGLE)
    zero_shot = [row for row in rows if row["method"] == "zero-shot"]
    assert [(row["metric"], row["value"], row["n"]) for row in zero_shot] == [
        ("accuracy", pytest.approx((1 + 0.5 + 0) / 3), 3),
        ("pm-0", pytest.approx(2 / 3), 3),
        ("pm-10", pytest.approx(1 / 3), 3),
    ]
    assert zero_shot[0]["low"] < 0.5 < zero_shot[0]["high"]
    assert zero_shot[1]["chance"] == pytest.approx((1 + 2 + 1) / 3 / 30)
    assert [row["metric"] for row in rows if row["method"] == "own-names"] == ["accuracy", "pm-0", "pm-10"]
    anchors = {row["id"]: row["predicted"][0] for row in run.examples("zero-shot")}
    assert anchors == {"bears/10.JPEG": "bear", "herons/5.JPEG": "bird", "cars/1.JPEG": "bear"}
    assert frames_of(run) == {
        ("bears/10.JPEG", "bears/10.JPEG"): True,
        ("bears/10.JPEG", "bears/11.JPEG"): True,
        ("herons/5.JPEG", "herons/5.JPEG"): True,
        ("herons/5.JPEG", "herons/6.JPEG"): False,
        ("cars/1.JPEG", "cars/1.JPEG"): False,
        ("cars/1.JPEG", "cars/2.JPEG"): False,
    }
    (encoded,) = [one for one in run.kept.receipts if one.step == "encode"]
    assert encoded.counts["examples"]["dropped"]["no_anchor_or_neighbour"] == 1


FIRST = "ytbb_robustness_test_anchors_full.csv"
YTBB_LABELS = ["good", "unsure", "bad", "person", "bird", "car"]
PAIRS = ["similar", "dissimilar", "bad-anchor"]


def ytbb(folder: Path) -> None:
    """A bear with one good neighbour of four; a car in which a reviewer saw a bird; three anchors that do not count."""
    anchors = {"bear_1/frame-20.jpg": [0], "car_2/frame-7.jpg": [0, 4], "bad_3/frame-7.jpg": [2]}
    anchors |= {"old_4/frame-7.jpg": [0, 1], "gone_5/frame-7.jpg": [0]}
    pairs = {
        ("bear_1/frame-20.jpg", "bear_1/frame-22.jpg"): [0],
        ("bear_1/frame-20.jpg", "bear_1/frame-31.jpg"): [0],  # 11 frames away
        ("bear_1/frame-20.jpg", "bear_1/frame-19.jpg"): [0, 1],
        ("bear_1/frame-20.jpg", "bear_1/frame-18.jpg"): [],
        ("gone_5/frame-7.jpg", "gone_5/frame-8.jpg"): [0, 2],
    }
    first = "ytid,time_ms,label\nbear,1,5\ncar,2,22\nbad,3,0\nold,4,0\ngone,5,0\n"
    somewhere = "/home/someone/frames/"
    said: Mapping[str, Any] = {
        "anchor_labels.json": {
            "annotations": [
                {"key": "bear_1/frame-20.jpg", "labels": [2], "notes": "the first review, which a later one replaces"},
                *({"key": key, "labels": labels, "notes": ""} for key, labels in anchors.items()),
            ],
            "labels": YTBB_LABELS,
        },
        "pmk_labels.json": {
            "annotations": [{"key": f"{somewhere}{a},{b}", "labels": some} for (a, b), some in pairs.items()],
            "labels": PAIRS,
        },
    }
    files = {name: json.dumps(some).encode() for name, some in said.items()}
    files[FIRST] = b"\xef\xbb\xbf" + first.encode()
    write(folder / "ytbb-robust_metadata", files)
    frames = {"bear_1/frame-20.jpg": "brown", "bear_1/frame-22.jpg": "brown", "car_2/frame-7.jpg": "blue"}
    frames |= {"bad_3/frame-7.jpg": "red", "bear_1/frame-19.jpg": "red"}
    write(folder / "ytbb_videos", {name: colour(shade) for name, shade in frames.items()})


def test_youtube_bb_as_its_reviewers_left_it(run: Run, tmp_path: Path) -> None:
    ytbb(tmp_path / "youtube_bb")
    rows = run(["youtube_bb"], **SINGLE)
    assert [row["value"] for row in rows if row["method"] == "zero-shot"] == [1, 1, 1]
    found = {row["id"]: (row["label"], row["predicted"][0]) for row in run.examples("zero-shot")}
    assert found == {
        "bear_1/frame-20.jpg": (["bear"], "bear"),
        "car_2/frame-7.jpg": (["bird", "car"], "bird"),
    }
    assert sorted(frame for _, frame in frames_of(run)) == [
        "bear_1/frame-20.jpg", "bear_1/frame-22.jpg", "car_2/frame-7.jpg",
    ]  # fmt: skip
    own = {row["id"]: row["rank"] for row in run.examples("own-names")}  # no name has a colour, and "none" is no class
    assert own == {"bear_1/frame-20.jpg": 23, "car_2/frame-7.jpg": 22}


@pytest.mark.parametrize(
    ("name", "lost", "said"),
    [
        (
            "imagenet_vid",
            "metadata/pmsets.json",
            r"has no pmsets.json: take the folder metadata of imagenet_vid_ytbb_rob",
        ),
        (
            "imagenet_vid",
            "val/herons/6.JPEG",
            r"lacks 1 of 6 frames, herons/6.JPEG: take them from imagenet_vid_ytbb_rob",
        ),
        (
            "youtube_bb",
            "ytbb-robust_metadata/pmk_labels.json",
            r"has no pmk_labels.json: take the files from github.com/",
        ),
        ("youtube_bb", "ytbb_videos/bear_1/frame-22.jpg", r"lacks 1 of 3 frames, bear_1/frame-22.jpg"),
        (
            "objectnet",
            "mappings/imagenet_to_label_2012_v2",
            r"has no imagenet_to_label_2012_v2: take the folder mappings",
        ),
    ],
)
def test_what_is_missing_is_named_with_where_to_get_it(
    run: Run, tmp_path: Path, name: str, lost: str, said: str
) -> None:
    {"imagenet_vid": vid, "youtube_bb": ytbb, "objectnet": objectnet}[name](tmp_path / name)
    (tmp_path / name / lost).unlink()
    with pytest.raises(Failure, match=said):
        run([name], **SINGLE)


@pytest.mark.parametrize(
    ("name", "path", "text", "said"),
    [
        ("imagenet_vid", "metadata/labels.json", '{"val/bears/10.JPEG": [30]}', "has 30 for 'val/bears/10.JPEG'"),
        ("imagenet_vid", "metadata/labels.json", '{"val/bears/10.JPEG": []}', "no list of classes for 'val/bears/10"),
        ("imagenet_vid", "metadata/labels.json", '{"val/bears/10.JPEG": [2]}', "2 anchors have no label: cars/1"),
        ("imagenet_vid", "metadata/pmsets.json", "[", "is no JSON"),
        ("youtube_bb", "ytbb-robust_metadata/anchor_labels.json", '{"labels": []}', "has no lists of annotations"),
        (
            "youtube_bb",
            "ytbb-robust_metadata/anchor_labels.json",
            '{"labels": ["good"], "annotations": [{"key": "a_1/f-1.jpg", "labels": [1]}]}',
            "without a frame or with unknown labels",
        ),
        (
            "youtube_bb",
            "ytbb-robust_metadata/anchor_labels.json",
            '{"labels": ["good"], "annotations": [{"key": "a_1/f-1.jpg", "labels": [0]}]}',
            "has no row for a_1, an anchor of anchor_labels.json",
        ),
        ("youtube_bb", f"ytbb-robust_metadata/{FIRST}", "ytid,time_ms,label\na,1,24\n", "not a ytid"),
        (
            "youtube_bb",
            "ytbb-robust_metadata/pmk_labels.json",
            '{"labels": ["similar"], "annotations": [{"key": "a_1/f-1.jpg", "labels": [0]}]}',
            "not an anchor, a comma and a frame",
        ),
    ],
)  # fmt: skip
def test_annotations_that_do_not_fit(run: Run, tmp_path: Path, name: str, path: str, text: str, said: str) -> None:
    {"imagenet_vid": vid, "youtube_bb": ytbb}[name](tmp_path / name)
    (tmp_path / name / path).write_text(text)
    with pytest.raises(Failure, match=said):
        run([name], **SINGLE)


def test_a_frame_twice_is_refused(run: Run, tmp_path: Path) -> None:
    vid(tmp_path / "imagenet_vid")
    write(tmp_path / "imagenet_vid", {"copy/bears/10.JPEG": colour("red")})
    with pytest.raises(Failure, match=r"has two frames bears/10\.JPEG"):
        run(["imagenet_vid"], **SINGLE)
