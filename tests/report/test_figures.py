"""The paper's figures: with their data, in the page's colours, recalled values apart, what cannot be drawn named."""

from __future__ import annotations

import csv
import functools
import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from core.errors import Failure
from evaluation import paper
from evaluation.paper import Value
from report.figures import canvas, shift, zeroshot
from report.figures.canvas import Drawn, Series, measured
from report.figures.shift import Leak, Line, Models, Point
from report.figures.zeroshot import Curve, PromptScore, Scatter
from report.plots import COLOURS

CLIP = "ViT-L/14@336px"
RESNETS = {"RN50": 6.1, "RN101": 9.9, "RN50x4": 21.5, "RN50x16": 75.3, "RN50x64": 265.9}
STYLE = Path(canvas.__file__).parents[1] / "templates" / "style.html"


def column(name: str, which: str) -> dict[str, Value]:
    return paper.column(paper.table(name), which)


def mine(values: Mapping[str, Value], factor: float = 0.5) -> Series:
    return Series("my $ViT$-B/32", measured({name: factor * value.value for name, value in values.items()}))


def figure_4() -> Drawn:
    gains = [("class names", 0.0), ("one template", 1.3), ("80 templates", 4.8)]
    return zeroshot.prompt_study(
        "f4", [PromptScore(m, x, kind, 50 + gain + x / 20) for m, x in RESNETS.items() for kind, gain in gains]
    )


def figure_5(*own: Series) -> Drawn:
    series = [*own, Series("paper", column("figure_05", "difference"))]
    return zeroshot.differences("f5", "zero-shot minus probe", "zero-shot minus probe (points)", series)


def figure_6() -> Drawn:
    curves = [Curve("mine", [1, 2, 4, 8, 16], [40, 50, 58, 64, 69], [37, 48, 56, 63, 68], [43, 52, 60, 65, 70])]
    return zeroshot.few_shot("f6", curves, {"mine": 59.1, "other": 40.0})


def figure_7() -> Drawn:
    return zeroshot.equivalents("f7", [Series("paper", column("figure_07", "examples per class"))])


def figure_8() -> Drawn:
    tables = [paper.row(paper.table(name), CLIP) for name in ("table_10", "table_11")]
    return zeroshot.against_probe("f8", [Scatter("paper", *tables)])


@functools.cache
def figure_9() -> Drawn:
    return zeroshot.scaling("f9", "paper", column("figure_09", "GFLOPs"), paper.table("table_11"))


@functools.cache
def figure_13() -> Drawn:
    others = [Point(f"m{i}", 40 + i, 25 + i) for i in range(50)]
    models = [Models("CLIP", [Point("zero-shot", 76.2, 70.1)]), Models("mine", [Point("worst", 30, 0)])]
    drawn = [(0.8, -0.5), (0.85, -0.45), (0.9, -0.4)]
    return shift.under_shift("f13", "shift", others, models, Line("fit", 0.85, -0.45, drawn), "ImageNet (%)", "V2 (%)")


def figure_14() -> Drawn:
    series = [Series(f"adapt to {to}", column("figure_14", f"adapt to {to}")) for to in ("ImageNet", "class shift")]
    return zeroshot.differences("f14", "adaptation", "change of accuracy (points)", series)


def figure_15() -> Drawn:
    shots = [Point(f"{n}-shot", x, y, recalled=n == 4) for n, x, y in ((1, 30, 20), (4, 50, 40), (16, 63, 51))]
    return shift.under_shift("f15", "shots", [], [Models("probes", shots, joined=True)], None, "x (%)", "y (%)")


def figure_16() -> Drawn:
    breeds = {f"breed {i}": 95.0 - 2 * i for i in range(37)}
    series = [Series("zero-shot", measured(breeds)), Series("people", measured(dict.fromkeys(breeds, 60.0)))]
    return shift.by_category("f16", "accuracy by breed", "accuracy (%)", series)


@functools.cache
def figure_17() -> Drawn:
    sets = [Leak(f"set {i}", float(i), i * 0.1, 5.0 - i, 1.0 - i, 9.0 - i, 10.0 ** (i - 5)) for i in range(1, 8)]
    known = [Leak("Birdsnap", 12.1, 0.6), Leak("Country211", 21.5, 0.2)]
    return shift.leaks("f17", [*sets, Leak("MNIST", 0.0)], known)


def confusion() -> Drawn:
    counts = {("dog", "dog"): 5, ("dog", "猫 $"): 1, ("猫 $", "dog"): 2, ("猫 $", "猫 $"): 9, ("猫 $", "=cat"): 1}
    return zeroshot.confusion("conf", counts | {("=cat", "=cat"): 3})


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (figure_4, {"class names", "80 templates", "mean score (%)", "RN50x64"}),
        (figure_5, {"paper", "StanfordCars", "+28.9", "-37.1", "zero-shot minus probe (points)"}),
        (lambda: figure_5(mine(column("figure_05", "difference"))), {"my $ViT$-B/32", "paper"}),
        (figure_6, {"mine, probe", "mine, zero-shot", "other, zero-shot", "16"}),
        (figure_7, {"paper (recalled, not read)", "mean 20.8", "median 5.4", "184"}),
        (figure_8, {"paper", "y = x", "slope 1.32 (0.93 to 1.71), r = 0.81", "Country211"}),
        (figure_9, {"paper, mean of 27 (recalled, not read)", "error ∝ GFLOPs^-0.075", "40"}),
        (figure_13, {"50 other models", "y = x", "fit", "zero-shot", "worst (0 %)", "90"}),
        (figure_14, {"adapt to ImageNet", "adapt to ImageNet (recalled, not read)", "adapt to class shift"}),
        (figure_15, {"probes", "probes (recalled, not read)", "16-shot"}),
        (figure_16, {"zero-shot", "people", "breed 36"}),
        (figure_17, {"p < 0.001", "p < 0.05", "p ≥ 0.05", "paper, RN50x64", "Birdsnap", "set 1"}),
        (confusion, {"taken for", "猫 $", "=cat", "83%"}),
    ],
)
def test_figures_say_what_they_show_in_the_page_s_colours(draw: Callable[[], Drawn], said: set[str]) -> None:
    one = draw()
    assert len(one.svg) < 150_000
    texts = {
        "".join(text.itertext()).strip() for text in ET.fromstring(one.svg).iter("{http://www.w3.org/2000/svg}text")
    }
    assert said <= {line.strip() for text in texts for line in text.splitlines()} | texts
    assert "mathdefault" not in one.svg  # mathematics, which is not drawn
    assert not re.search(r"#(?!ffffff)[0-9a-f]{6}\b", one.svg)
    assert "font-family" not in one.svg
    names, *rows = csv.reader(io.StringIO(one.data))
    assert rows and all(len(row) == len(names) for row in rows)


def test_a_long_name_is_cut_before_what_the_legend_says_of_it() -> None:
    long = "CLIP-ViT-B-32-laion2B-s34B-b79K-e16"
    svg = zeroshot.few_shot("f", [Curve(long, [1, 2], [4, 5], [3, 4], [5, 6])], {long: 4.5}).svg
    said = {f"CLIP-ViT-B-32-laion2B-s34B-b…, {method}" for method in ("probe", "zero-shot")}
    assert said <= {text.strip() for text in ET.fromstring(svg).itertext()}


def test_one_place_on_a_logarithmic_axis_is_drawn() -> None:
    svg = zeroshot.equivalents("f", [Series("mine", measured({"cats": 5.3}))]).svg
    assert {"cats", "5.3", "mean 5.3"} <= {text.strip() for text in ET.fromstring(svg).itertext()}


def test_the_same_numbers_give_the_same_bytes() -> None:
    assert figure_13() == figure_13.__wrapped__()


def test_the_page_has_the_colours_of_figures_in_light_and_in_dark() -> None:
    light, dark = STYLE.read_text().split("@media (prefers-color-scheme: dark)", 1)
    for block in (light, dark.split("*", 1)[0]):
        assert {"text", *COLOURS.values()} <= set(re.findall(r"--(\w+): #\w+;", block))


def test_data_have_every_number_and_its_source() -> None:
    rows = list(csv.DictReader(io.StringIO(figure_9().data)))
    assert len(rows) == 5 * 27
    table = paper.table("table_11")
    assert all(float(row["score"]) == table[row["model"]][row["set"]].value for row in rows)
    assert {row["recalled"] for row in rows if row["model"] == "RN50"} == {"yes", "no"}
    leaks = {row["set"]: row for row in csv.DictReader(io.StringIO(figure_17().data))}
    assert leaks["MNIST"]["all_minus_clean"] == leaks["MNIST"]["overlap_minus_clean"] == ""  # n/a, never 0
    assert leaks["Birdsnap"]["source"] == "paper" and leaks["set 3"]["source"] == "measured"


def test_names_cover_neither_each_other_nor_points() -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4, 4.4), layout="constrained")
    axes = figure.subplots()
    tables = [paper.row(paper.table(name), CLIP) for name in ("table_10", "table_11")]
    points = [(tables[0][name].value, tables[1][name].value) for name in tables[0]]
    axes.plot(*zip(*points, strict=True), "o")
    canvas.name_points(figure, axes, list(tables[0]), points)
    boxes = [text.get_window_extent() for text in axes.texts]
    inside = axes.get_window_extent()
    covered = sum(
        max(0, min(a.x1, b.x1) - max(a.x0, b.x0)) * max(0, min(a.y1, b.y1) - max(a.y0, b.y0))
        for i, a in enumerate(boxes)
        for b in boxes[:i]
    )
    assert covered < 0.02 * sum(box.width * box.height for box in boxes)
    assert all(box.x0 > inside.x0 - 1 and box.x1 < inside.x1 + 1 for box in boxes)


def test_a_confusion_matrix_of_many_classes_draws_those_with_errors() -> None:
    counts = {(f"class {i}", f"class {i}"): 50 for i in range(200)} | {("class 150", "class 199"): 7}
    drawn = zeroshot.confusion("c", counts)
    texts = ET.fromstring(drawn.svg).itertext()
    assert {"class 150", "class 199"} <= (shown := {text.strip() for text in texts})
    assert len([text for text in shown if text.startswith("class ")]) == zeroshot.CLASSES
    assert len(drawn.data.splitlines()) == 1 + zeroshot.CLASSES + 1
    assert "class 150,class 199,7,57" in drawn.data


@pytest.mark.parametrize(
    ("draw", "says"),
    [
        (lambda: Series("mine", {}), "'mine' has no value to draw"),
        (lambda: Series("mine", measured({"a": float("nan")})), "'a' of 'mine' is nan: leave out"),
        (lambda: zeroshot.differences("d", "title", "x", []), "title: there is nothing to draw"),
        (lambda: zeroshot.differences("d", "title", "x", [Series("a", measured({"a": 1}))] * 9), "9 series cannot"),
        (lambda: zeroshot.equivalents("e", [Series("m", measured({"a": 0}))]), "'a' is not above zero"),
        (lambda: zeroshot.prompt_study("p", [PromptScore("m", 0, "one", 1)]), "GFLOPs of 'm' are 0"),
        (lambda: zeroshot.scaling("s", "l", measured({"m": 1.0}), {"m": measured({"a": 1})}), "two models or more"),
        (lambda: zeroshot.scaling("s", "l", measured({"m": 1.0}), {}), "'m' has no scores"),
        (
            lambda: zeroshot.against_probe("a", [Scatter("m", measured({"a": 1, "b": 2}), measured({"a": 1, "c": 2}))]),
            "only one of them has b, c",
        ),
        (lambda: zeroshot.confusion("c", {}), "pairs of classes with an example or more"),
        (lambda: zeroshot.confusion("c", {("a", "b"): 0}), "pairs of classes with an example or more"),
        (
            lambda: shift.under_shift("u", "shift", [], [Models("m", [Point("p", 120, 1)])], None, "", ""),
            "'p' has 120 and 1, not between 0 and 100",
        ),
        (lambda: shift.under_shift("u", "shift", [], [Models("m", [])], None, "", ""), "'m' has no model to draw"),
        (lambda: shift.leaks("l", [Leak("MNIST", 0.0)]), "no evaluation set overlaps"),
    ],
)
def test_what_cannot_be_drawn_is_named(draw: Callable[[], object], says: str) -> None:
    with pytest.raises(Failure, match=says):
        draw()
