"""Real pictures of OPENWIT_DATA, laid out as people lay them out."""

import io
import tarfile
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from tests.conftest import DATA, absent

CLASSES = ("accordion", "airplanes", "anchor", "ant")
EACH = 3


@cache
def pictures() -> dict[str, list[bytes]]:
    """Some classes of Caltech-101 → a few JPEG files of each, 72 pixels wide. Absent: as for the fixture `data`."""
    found: dict[str, list[bytes]] = defaultdict(list)
    path = DATA / "cls" / "caltech101_72px.tar"
    if not path.exists():
        absent(f"no real pictures in {DATA}: set OPENWIT_DATA to the folder that holds cls/, web/, warc/ …")
    with tarfile.open(path) as tar:
        for member in tar:
            label = member.name.split("/")[-2] if "/" in member.name else ""
            if label in CLASSES and len(found[label]) < EACH:
                body = tar.extractfile(member)
                assert body is not None
                found[label].append(body.read())
            if len(found) == len(CLASSES) and all(len(some) == EACH for some in found.values()):
                break
    return dict(found)


def class_folders(base: Path, names: Mapping[str, str] | None = None, ending: str = "jpg") -> Path:
    """A folder a class, by default called as the class; returns the folder around them."""
    for label, bodies in pictures().items():
        folder = base / (names or {}).get(label, label)
        folder.mkdir(parents=True)
        for number, body in enumerate(bodies):
            (folder / f"image_{number:04}.{ending}").write_bytes(body)
    return base


def write_tar(path: Path, files: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, body in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    return path
