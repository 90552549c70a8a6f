"""overhead: CPU seconds of crawl, filter, match and fetch against the same rules in a plain loop (benchmarks/plain.py).

    make bench BENCH=overhead

Each stage has at least 60 CPU seconds of work, made of the real archive, again and again under other names. What the
loop keeps and what the stage keeps is compared row by row. Spark inside this machine is measured beside it.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from core.manifest import read_manifest
from core.registry import STAGES
from demo.localweb import LocalWeb
from pipeline.ids import image_id, pair_id
from pipeline.tables import CANDIDATE
from tests.conftest import DATA
from tests.pipeline.upstream import Project
from tests.running import ROOT

ARCHIVES = 52  # copies of the real one for crawl
COPIES = {"filter": 65, "match": 90, "fetch": 3}  # of its candidates, under other URLs
STAGES_MEASURED = ("crawl", "filter", "match", "fetch")
GOAL = 0.88
KEPT = {"crawl": ("candidate", "pair_id"), "filter": ("candidate", "pair_id"), "match": ("pair", "pair_id")}
KEPT |= {"fetch": ("outcome", "sha256")}


def cpu_seconds(words: Sequence[str]) -> float:
    """CPU seconds of a command and of all that it started and waited for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "2"}, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def write_recipe(folder: Path, name: str, web: LocalWeb, archives: str) -> Path:
    """The recipe of one stage: rules as they come, manners for a web of one's own."""
    path = folder / f"{name}.toml"
    path.write_text(
        f'''
[run]
out = "{folder / name}"
[queries]
wikipedia = ["{DATA}/queries/enwiki-*.xml*.bz2"]
wordnet = ["{DATA}/queries/wordnet-base_*.deb"]
min_unigram_count = 5
[crawl]
warc = ["{archives}"]
[filter]
languages = []
[match]
require_query = {"false" if name == "fetch" else "true"}
lanes = 1
[fetch]
contact = "https://example.org/robot"
connect_to = "{web.connect_to}"
requests_per_second = 1000000.0
'''
    )
    return path


def many(folder: Path, copies: int) -> dict[str, list[pa.Table]]:
    """The real archive's candidates, so many times, each time under other URLs: the table of each part."""
    manifest = read_manifest(str(folder))
    assert manifest is not None
    rows = [row for path in manifest.paths("candidate") for row in pq.read_table(path).to_pylist()]
    urls, parts = [row["image_url"].partition("#")[0] for row in rows], {}
    for copy in range(copies):
        for row, url in zip(rows, urls, strict=True):
            row["image_url"] = f"{url}{'&' if '?' in url else '?'}copy={copy}"
            row |= {"image_id": image_id(row["image_url"]), "pair_id": pair_id(row["image_url"], row["text"])}
        parts[f"copy{copy:03d}"] = [pa.Table.from_pylist(rows, schema=CANDIDATE)]
    return parts


def kept(folder: Path, stage: str) -> list[bytes]:
    """What was kept, sorted: of a stage by its manifest, of a loop by its one file."""
    table, column = KEPT[stage]
    manifest = read_manifest(str(folder))
    paths = manifest.paths(table) if manifest else [str(folder / f"{table}.parquet")]
    return sorted(
        value for path in paths for value in pq.read_table(path, columns=[column])[column].to_pylist() if value
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch, LocalWeb(DATA / "web") as web:
        folder = Path(scratch)
        recipe = prepare(folder, web)
        print(f"{'':8}{'loop':>10}{'stage':>10}{'ratio':>8}{'spark':>10}   CPU seconds")
        ratios = {}
        for stage in STAGES_MEASURED:
            seconds = measure(folder, recipe[stage], stage)
            ratios[stage] = seconds[0] / seconds[1]
            print(f"{stage:8}{seconds[0]:10.1f}{seconds[1]:10.1f}{ratios[stage]:8.2f}{seconds[2]:10.1f}", flush=True)
    worst = min(ratios, key=lambda stage: ratios[stage])
    print(f"overhead ratio={ratios[worst]:.2f} goal={GOAL}")


def prepare(folder: Path, web: LocalWeb) -> dict[str, Path]:
    """Run or write what each stage reads; its recipe."""
    archive = DATA / "warc" / "dev_crawl.warc.gz"
    (folder / "archives").mkdir()
    for copy in range(ARCHIVES):
        (folder / "archives" / f"{copy:02d}.warc.gz").symlink_to(archive)
    recipes = {
        stage: write_recipe(folder, stage, web, f"{folder}/archives/*" if stage == "crawl" else str(archive))
        for stage in STAGES_MEASURED
    }
    for stage in ("queries", "crawl"):
        cpu_seconds([sys.executable, "-m", "openwit", stage, "--recipe", str(recipes["fetch"])])
    real = {stage: folder / "fetch" / STAGES[stage].folder for stage in ("queries", "crawl")}
    shutil.copytree(real["queries"], folder / "match" / real["queries"].name)
    shutil.copytree(real["crawl"], folder / "match" / real["crawl"].name)
    for stage, before in (("filter", "crawl"), ("match", "filter"), ("fetch", "filter")):
        Project(folder / stage).write(before, many(real["crawl"], COPIES[stage]))
    cpu_seconds([sys.executable, "-m", "openwit", "match", "--recipe", str(recipes["fetch"])])
    return recipes


def measure(folder: Path, recipe: Path, stage: str) -> tuple[float, float, float]:
    """CPU seconds of the loop, of the stage and of the stage on Spark; all three keep the same."""
    out = folder / stage / STAGES[stage].folder
    command = [sys.executable, "-m", "openwit", stage, "--recipe", str(recipe), "--set", "engine.workers=1"]
    loop = cpu_seconds([sys.executable, "-m", "benchmarks.plain", stage, str(recipe), str(folder / "plain" / stage)])
    found = []
    for engine in ("local", "spark"):
        found.append(cpu_seconds([*command, "--set", f"engine.runner={engine}"]))
        assert kept(out, stage) == kept(folder / "plain" / stage, stage), f"{stage} on {engine} keeps something else"
        shutil.rmtree(out)
    return loop, found[0], found[1]


if __name__ == "__main__":
    main()
