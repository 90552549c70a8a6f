"""The paper's tables as data: whole, with sources, and in agreement with each other where they should be."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from core.errors import Failure, UsageError
from evaluation import paper

SOURCES = (paper.DATA / "SOURCE.md").read_text(encoding="utf-8")
TESTBED = {  # our column → the testbed's
    "ImageNet": "val", "ImageNetV2": "imagenetv2-matched-frequency", "ImageNet-A": "imagenet-a",
    "ImageNet-R": "imagenet-r", "ObjectNet": "objectnet-1.0-beta", "ImageNet Sketch": "imagenet-sketch",
    "ImageNet-Vid PM0": "imagenet-vid-robust_pm0", "ImageNet-Vid PM10": "imagenet-vid-robust_pm10",
    "Youtube-BB PM0": "ytbb-robust_pm0", "Youtube-BB PM10": "ytbb-robust_pm10",
}  # fmt: skip
CLIP, BEST = "ViT-L/14@336px", "EfficientNet-L2-800 Noisy Student"


@pytest.mark.parametrize("name", paper.names())
def test_every_value_has_a_source_that_is_explained(name: str) -> None:
    explained = re.findall(r"^\| ([\w /()-]+?) \|", SOURCES.partition("## `source`")[2], re.MULTILINE)
    for row in paper.table(name).values():
        for value in row.values():
            assert re.split(r" \(| and ", value.source)[0] in explained
            assert value.recalled == value.source.startswith("memory")


def test_the_tables_that_can_be_read_are_there() -> None:
    assert paper.names() == [
        *(f"figure_{n:02}" for n in (4, 5, 7, 8, 9, 11, 13, 14, 17)),
        *(f"table_{n:02}" for n in range(1, 18)),
    ]


def test_what_is_recalled_is_as_the_research_has_it() -> None:
    """Of Table 11 the two L/14 rows are read but for one value; of the other rows 6 columns are, of two rows 13."""
    read = {
        model: [name for name, value in row.items() if not value.recalled]
        for model, row in paper.table("table_11").items()
    }
    assert {model: len(names) for model, names in read.items()} == {
        CLIP: 27, "ViT-L/14": 26, "RN50": 13, "RN101": 6, "RN50x4": 6, "RN50x16": 6, "RN50x64": 13,
        "ViT-B/32": 6, "ViT-B/16": 6,
    }  # fmt: skip
    assert all(value.recalled for value in paper.column(paper.table("figure_07"), "examples per class").values())
    assert not any(value.recalled for value in paper.column(paper.table("figure_05"), "difference").values())


def test_tables_10_and_11_have_the_27_sets_in_order() -> None:
    assert len(paper.SUITE_12) == 12 and len(paper.SUITE_27) == len(set(paper.SUITE_27)) == 27
    for name in ("table_09", "table_11"):
        table = paper.table(name)
        rows = [list(table)] if name == "table_09" else [list(row) for row in table.values()]
        assert all(row == list(paper.SUITE_27) for row in rows)
    assert list(paper.table("table_10")[CLIP]) == list(paper.SUITE_27)


def test_figure_11_is_table_10_within_its_rounding() -> None:
    """So the recalled row of the EfficientNet is confirmed by values that were read."""
    table = {model: paper.numbers(paper.row(paper.table("table_10"), model)) for model in (CLIP, BEST)}
    printed = paper.numbers(paper.column(paper.table("figure_11"), "difference"))
    assert {name: table[CLIP][name] - table[BEST][name] for name in printed} == pytest.approx(printed, abs=0.1001)


def test_figures_and_tables_agree_where_both_print_a_value() -> None:
    """But for ImageNet-A (77.1 and 77.2), which SOURCE.md lists."""
    table, figure = paper.table("table_16")["zero-shot CLIP"], paper.column(paper.table("figure_13"), "zero-shot CLIP")
    apart = {name for name, value in figure.items() if value.value != table[name].value}
    assert apart == {"ImageNet-A"} and figure["ImageNet-A"].value == 77.1
    changes = paper.column(paper.table("figure_14"), "adapt to ImageNet")
    linear = paper.table("table_16")["linear probe CLIP"]
    for name in ("ImageNet", "ImageNetV2", "ImageNet-A", "ImageNet Sketch", "ImageNet-R"):
        assert linear[name].value - table[name].value == pytest.approx(changes[name].value)
    assert pytest.approx(0.942, abs=1e-3) == 1 - (100 - 98.4) / (100 - 72.4)  # aYahoo, where the text says 95 %


def test_the_testbed_s_rows_of_table_16_are_its_csv(data: Path) -> None:
    with (data / "evalmeta" / "imagenet_testbed.robustness_top1s.csv").open(newline="") as file:
        found = {row["model"]: row for row in csv.DictReader(file)}
    for name, model in [
        ("Noisy Student EfficientNet-L2", "efficientnet-l2-noisystudent"),
        ("FixResNeXt101-32x48d V2", "FixResNeXt101_32x48d_v2"),
    ]:
        row = paper.numbers(paper.row(paper.table("table_16"), name))
        assert {column: float(found[model][theirs]) for column, theirs in TESTBED.items()} == pytest.approx(
            row, abs=0.06
        )


def test_a_name_that_is_not_there_and_a_damaged_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no 'table_99' among the paper's tables: there are figure_04, "):
        paper.table("table_99")
    head = "row,column,value,source,recalled\n"
    for text, line in [
        ("row,value\n", "first line"),
        (head + "a,b,1,paper text\n", "line 2"),
        (head + "a,b,1,paper text,no\na,b,2,paper text,no\n", "line 3"),
        (head + "a,b,nan,paper text,no\n", "line 2"),
        (head + "a,b,1,,no\n", "line 2"),
        (head + "a,b,1,paper text,perhaps\n", "line 2"),
    ]:
        path = tmp_path / "table.csv"
        path.write_text(text)
        with pytest.raises(Failure, match=f"damaged.*{line}"):
            paper.read(path)
