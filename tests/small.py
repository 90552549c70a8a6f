"""A small web out of the real one: some pages of each site, cut out of the archive as they are, in six archives."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.manifest import read_manifest
from core.registry import STAGES
from core.tables import read_table
from demo.localweb import LocalWeb
from pipeline.tables import OUTCOME
from tests.running import REAL, openwit, settings

PAGES = {"18f": 8, "based": 12, "photos": 2, "sociology": 3, "fisica": 3, "gutenberg-18304": 2}  # of each site
FOLDERS = {name: stage.folder for name, stage in STAGES.items()}
PIPELINE = tuple(name for name, stage in STAGES.items() if stage.has_tasks)
_NOT_COMPARED = re.compile(r"_run\.json|_lock(\.\d+)?")


def write_archives(data: Path, folder: Path) -> list[Path]:
    """An archive a site, of its first pages: the records' own bytes."""
    whole = (data / "warc" / "dev_crawl.warc.gz").read_bytes()
    lines = [line.split() for line in (data / "warc" / "dev_crawl.cdx").read_text().splitlines()[1:]]
    written = []
    for site, pages in PAGES.items():
        records = [line for line in lines if line[2].startswith(f"http://{site}") and line[3] == "text/html"]
        path = folder / f"{site}.warc.gz"
        path.write_bytes(b"".join(_member(whole, int(record[8])) for record in records[: pages + 1]))
        written.append(path)
    return written


def _member(data: bytes, offset: int) -> bytes:
    """The gzip member that starts at an offset."""
    inflate = zlib.decompressobj(31)
    inflate.decompress(data[offset:])
    return data[offset : len(data) - len(inflate.unused_data)]


@dataclass(frozen=True)
class Small:
    """A recipe over the small archives, its output folder, and the web that its images are on."""

    out: Path
    archives: list[Path]
    web: LocalWeb

    def words(self, out: Path | None = None, **values: object) -> list[str]:
        """Command line words after the verb."""
        base: dict[str, object] = {
            "run.out": str(out or self.out),
            "crawl.warc": [str(path) for path in self.archives],
            "queries.min_unigram_count": 50,
            "filter.languages": [],
            "fetch.images_per_chunk": 25,
            "match.lanes": 3,
            "pack.samples_per_shard": 20,
            "train.steps": 6,
            "train.batch_size": 8,
            "engine.workers": 2,
        }
        return ["--recipe", REAL, *settings(**{**base, **values})]

    @property
    def env(self) -> dict[str, str]:
        return {"OPENWIT_CONNECT_TO": self.web.connect_to}

    def run(self, *stages: str, out: Path | None = None, **values: object) -> str:
        """Run stages, one after another; what they print."""
        return "".join(openwit(stage, *self.words(out, **values), env=self.env) for stage in stages)


def contents(folder: Path) -> dict[str, Any]:
    """What a stage wrote, by name: bytes; of fetch what a fixed web determines."""
    if folder.name == FOLDERS["fetch"]:
        return dict(_fetched(folder))
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not _NOT_COMPARED.fullmatch(path.name)
    }


def _fetched(folder: Path) -> Iterator[tuple[str, Any]]:
    """Image bytes, and the outcome of each URL without its times."""
    manifest = read_manifest(str(folder))
    assert manifest is not None
    for part in manifest.parts:
        if part.table == "outcome":
            for row in read_table(str(folder / part.name), OUTCOME).to_pylist():
                yield row["image_url"], {k: v for k, v in row.items() if k not in {"fetched_at", "attempts"}}
        else:
            yield f"{part.table} {part.task}", (folder / part.name).read_bytes()


def without_inputs(folder: Path) -> dict[str, bytes]:
    """What a stage wrote but for the files that name the digests of its inputs (fetch's hold its times)."""
    return {name: data for name, data in contents(folder).items() if not name.startswith("_")}
