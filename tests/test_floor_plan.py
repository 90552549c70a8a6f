"""The architecture is a test: who may import whom, and in which room each heavy library lives."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core import registry

ROOT = Path(__file__).parents[1]
ROOMS = {  # room → the rooms it may import
    "core": {"core"},
    "pictures": {"pictures", "core"},
    "shards": {"shards", "core"},
    "evaluation": {"evaluation", "core"},
    "dedup": {"dedup", "evaluation", "shards", "pictures", "core"},
    "trainer": {"trainer", "evaluation", "shards", "pictures", "core"},
    "pipeline": {"pipeline", "dedup", "evaluation", "shards", "pictures", "core"},
    "report": {"report", "pipeline", "dedup", "evaluation", "shards", "core"},
    "demo": {"demo", "trainer", "shards", "core", "openwit"},
    "openwit": {"core"},
}
BASE = {"tables", "ids"}  # of the pipeline: what passes between stages, for every room in it
TRADES = {"inputs", "livecrawl", "web", "decoding", "text"}
STAGES = [name for name, stage in registry.STAGES.items() if stage.has_tasks]
INNER = {  # room of the pipeline, or file that stands in it alone → those that it may import
    **{stage: BASE | TRADES | {"stage", "tasks"} for stage in STAGES},
    "stage": {"tasks", "engines"},
    "engines": {"tasks"},
    "tasks": BASE,
    "livecrawl": BASE | {"inputs", "web"},
    "inputs": BASE | {"web"},
    "decoding": BASE | {"web"},
    "text": BASE,
    "web": set(),
    "tables": set(),
    "ids": set(),
}
MOST_ARROWS = 10 + 5 * len(STAGES)  # in the pipeline; beyond them nobody sees the stages for the rooms
HEAVY = {"apache_beam": {"pipeline"}, "torch": {"trainer"}}
FILES = [ROOT / "openwit.py", *(path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py")))]


def imports(path: Path) -> Iterator[str]:
    """Top-level names that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield (node.module or "").split(".")[0]


def violations(path: Path, names: Iterator[str]) -> list[str]:
    """What the floor plan forbids among the imports of a file."""
    place = path.relative_to(ROOT).with_suffix("").as_posix()
    room = place.split("/")[0]
    wrong = []
    for name in names:
        if (name in ROOMS or name in {"tests", "benchmarks"}) and name not in ROOMS[room]:
            wrong.append(f"{place} imports the room {name}")
        if name in HEAVY and not any(place.startswith(home) for home in HEAVY[name]):
            wrong.append(f"{place} imports {name}")
    return wrong


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_keep_to_the_floor_plan(path: Path) -> None:
    assert violations(path, imports(path)) == []


def test_a_planted_violation_is_seen() -> None:
    assert violations(ROOT / "shards" / "reader.py", iter(["dedup", "torch", "numpy"])) == [
        "shards/reader imports the room dedup",
        "shards/reader imports torch",
    ]


def arrows(room: str) -> set[tuple[str, str]]:
    """Who imports whom among the rooms of a room, and the files that stand in it alone."""
    found = set()
    for path in sorted((ROOT / room).rglob("*.py")):
        here = path.relative_to(ROOT / room).with_suffix("").parts[0]
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            found |= {(here, name.split(".")[1]) for name in names if name.startswith(f"{room}.")}
    return {(one, other) for one, other in found if one not in (other, "__init__")}


def test_rooms_of_the_pipeline_keep_to_the_floor_plan() -> None:
    found = arrows("pipeline")
    assert [f"{one} imports {other}" for one, other in sorted(found) if other not in INNER[one]] == []
    assert len(found) <= MOST_ARROWS
    assert not any((other, one) in found for one, other in found)


def test_no_module_is_named_like_one_of_the_standard_library() -> None:
    assert [path for path in FILES if path.stem in sys.stdlib_module_names] == []


def test_files_and_functions_stay_small() -> None:
    long = []
    for path in FILES:
        source = path.read_text()
        if len(source.splitlines()) > 400:
            long.append(f"{path.name}: {len(source.splitlines())} lines")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                lines = node.end_lineno - node.lineno + 1
                if lines > 60:
                    long.append(f"{path.name}:{node.name}: {lines} lines")
    assert long == []
