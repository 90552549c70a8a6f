"""ImageNet's own pictures of the shifts' classes, and its probes judged on the shifts: made sets, counted by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from core.errors import Failure
from evaluation import probe
from evaluation.prompts import wordnet
from tests.trainer.made_sets import Run, colour, write
from tests.trainer.made_shifts import SINGLE, objectnet, vid


def imagenet(folder: Path) -> None:
    """Four of its classes: red fox (277), brown bear (294), black bear (295), and airliner (404), a red one."""
    shades = {"n02119022": "red", "n02132136": "brown", "n02133161": "black", "n02690373": "red"}
    write(folder, {f"val/{wnid}/1.png": colour(shade) for wnid, shade in shades.items()})


ALL = ["imagenet", "imagenet_a", "imagenet_vid", "objectnet"]


def shifts(folder: Path) -> None:
    """ImageNet's validation pictures, and three shifts."""
    imagenet(folder / "imagenet")
    objectnet(folder / "objectnet")
    vid(folder / "imagenet_vid")
    write(folder / "imagenet_a", {f"{wnid}/1.png": colour("red") for wnid in ("n02119022", "n02690373")})


def accuracies(
    rows: Sequence[Mapping[str, Any]], method: str, shots: int | None = None
) -> dict[str, tuple[float, int]]:
    return {
        row["set"]: (round(row["value"], 9), row["n"])
        for row in rows
        if (row["method"], row["shots"], row["metric"]) == (method, shots, "accuracy")
    }


def test_imagenets_pictures_of_a_shifts_classes_are_judged_as_the_shift_is(run: Run, tmp_path: Path) -> None:
    """Red is a fox, a bird and a dog of the 30 super-classes, so only brown is right; ImageNet-A lacks brown bears, and
    has a red and a black class, but the airliner is wrong."""
    shifts(tmp_path)
    rows = run(ALL, **SINGLE)
    assert accuracies(rows, "zero-shot") == {
        "imagenet": (1 / 4, 4),
        "imagenet_a": (1 / 2, 2),
        "imagenet_vid": (1 / 2, 3),
        "objectnet": (round(2 / 3, 9), 3),
        "val-on-imagenet-a-classes": (round(2 / 3, 9), 3),
        "val-on-objectnet-classes": (1, 3),
        "val-on-vid-robust-classes": (1 / 4, 4),
    }
    assert {row["method"] for row in rows} == {"zero-shot", "own-names"}
    chance = {row["set"]: row["chance"] for row in rows if row["method"] == "zero-shot" and row["metric"] == "accuracy"}
    assert chance["val-on-objectnet-classes"] == pytest.approx(chance["objectnet"])  # by which the report compares them
    assert (chance["val-on-imagenet-a-classes"], chance["imagenet_a"]) == (pytest.approx(1 / 200), 1 / 2)
    own = [row for row in run.examples("zero-shot") if row["set"] == "val-on-objectnet-classes"]
    assert {row["id"]: row["predicted"][0] for row in own} == {
        "n02119022/1.png": "red_wolf",
        "n02132136/1.png": "brown_bear",
        "n02133161/1.png": "black_bear",
    }
    assert run.encoder.asked == 4 + 2 + 6 + 3  # each picture once
    assert sorted(one.task for one in run.kept.receipts if one.step == "texts") == [
        "imagenet-classes.single", "imagenet_a.single", "imagenet_vid.own-names.single", "objectnet.own-names.single",
    ]  # fmt: skip
    assert run(ALL, **SINGLE) == rows and run.kept.made == 0
    assert {row["set"] for row in run(["imagenet"], **SINGLE)} == {"imagenet"}


def test_a_shift_without_its_files_does_not_spoil_imagenet(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    imagenet(tmp_path / "imagenet")
    objectnet(tmp_path / "objectnet")
    (tmp_path / "objectnet/mappings/imagenet_to_label_2012_v2").unlink()
    with pytest.raises(Failure, match=r"1 of 2 evaluation sets cannot be evaluated: objectnet \("):
        run(["imagenet", "objectnet"], **SINGLE)
    assert "eval: no val-on-objectnet-classes: " in capsys.readouterr().out


def test_probes_of_imagenets_are_judged_on_the_shifts(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture a class, all white but four; the airliners to learn from are blue. One λ is tried, not fifteen."""
    monkeypatch.setattr(probe, "search", lambda score: {0: score(0)})
    shifts(tmp_path)
    shades = {"n02119022": "red", "n02132136": "brown", "n02133161": "black", "n02690373": "blue"}
    train = {f"train/{wnid}/1.png": colour(shades.get(wnid, "white")) for wnid, _ in wordnet()}
    validation = {f"validation/{wnid}/1.png": colour(shade) for wnid, shade in shades.items()}
    write(tmp_path / "imagenet", train | validation)
    keys = SINGLE | {"probe": True, "shots": [1], "seeds": [0]}
    rows = run(ALL, **keys)
    expected = {
        "imagenet_a": (1 / 2, 2),
        "imagenet_vid": (round(1 / 3, 9), 3),  # brown is a bear; blue is an airliner
        "objectnet": (round(2 / 3, 9), 3),
        "val-on-imagenet-a-classes": (round(2 / 3, 9), 3),
        "val-on-objectnet-classes": (1, 3),
        "val-on-vid-robust-classes": (3 / 4, 4),  # all but the red airliner
    }
    assert accuracies(rows, "probe") == {"imagenet": (3 / 4, 4)}
    assert accuracies(rows, "imagenet-probe") == accuracies(rows, "imagenet-probe", 1) == expected
    assert accuracies(rows, "few-shot", 1) == {"imagenet": (3 / 4, 4)}
    few = next(row for row in rows if row["shots"] == 1 and row["set"] == "objectnet")
    assert few["name"] == "objectnet imagenet-probe 1-shot" and few["low"] is None
    found = {row["id"]: row["predicted"][0] for row in run.examples("imagenet-probe") if row["set"] == "imagenet_vid"}
    assert found == {"bears/10.JPEG": "bear", "herons/5.JPEG": "airplane", "cars/1.JPEG": "bear"}
    assert run(ALL, **keys) == rows and run.kept.made == 0
