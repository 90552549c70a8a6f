"""The demo's web, drawn: hundreds of pages on dozens of hosts, their pictures, and all that goes with them.

A folder gets sites/HOST/… (what LocalWeb serves), eval/pictures.tar and eval/labels.tsv, queries/wiki.xml.bz2 and
queries/pageviews.gz, vocabulary.gz, and truth.json. It is a function of the seed, and it is drawn once.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.errors import UsageError
from core.files import to_json
from demo import encyclopedia, evaluation, truth, vocabulary
from demo.plan import Size
from demo.sites import plan_web
from demo.truth import Truth

VERSION = 3  # of what is drawn: another one is drawn again


@dataclass(frozen=True)
class Web:
    """A drawn web: where its parts are, and what is true of it."""

    folder: Path
    truth: Truth

    @property
    def sites(self) -> Path:
        """For LocalWeb: a folder a host."""
        return self.folder / "sites"


def draw(folder: Path, seed: int = 1, size: Size | None = None) -> Web:
    """The web in that folder, drawn if it is not there yet; half a web that was left behind is drawn again.

    UsageError if the folder is there and holds something else.
    """
    size = size or Size()
    known = to_json({"seed": seed, "size": size._asdict(), "version": VERSION})
    web = _drawn(folder, known)
    if web is None:
        if folder.exists() and not _is_a_web(folder / "drawn.json"):
            raise UsageError(f"{folder} holds something else than the demo's web: give another folder, or remove it")
        new = folder.with_name(f".tmp-{folder.name}")
        shutil.rmtree(new, ignore_errors=True)
        _write(new, seed, size)
        (new / "drawn.json").write_bytes(known)
        if folder.exists():
            shutil.rmtree(folder)
        new.rename(folder)
        web = Web(folder, truth.read(folder / "truth.json"))
    return web


def _drawn(folder: Path, known: bytes) -> Web | None:
    """The web that is there; None where it is another, or not whole."""
    try:
        if (folder / "drawn.json").read_bytes() == known:
            return Web(folder, truth.read(folder / "truth.json"))
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    return None


def _is_a_web(mark: Path) -> bool:
    try:
        return "version" in json.loads(mark.read_bytes())
    except (OSError, ValueError):
        return False


def _write(folder: Path, seed: int, size: Size) -> None:
    plan = plan_web(seed, size)
    chosen = evaluation.pictures(seed, size)
    files: dict[str, Callable[[], bytes]] = {
        **{f"sites/{at}": make for at, make in plan.files.items()},
        "eval/pictures.tar": lambda: evaluation.tar_of(chosen),
        "eval/labels.tsv": lambda: evaluation.labels_of(chosen),
        "queries/wiki.xml.bz2": lambda: encyclopedia.dump(seed),
        "queries/pageviews.gz": lambda: encyclopedia.views(seed),
        "vocabulary.gz": lambda: vocabulary.made_of(encyclopedia.dump(seed)),
    }
    for name, make in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(make())
    truth.write(folder / "truth.json", plan.truth)
