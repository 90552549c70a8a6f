"""Evaluation sets whose pictures lie within tables or numbered tars, under the ids that eval gives them.

`openwit overlap` and the results of eval are joined by these ids. A tar or a folder of picture files needs nothing of
this: there the files' own names are the ids.
"""

from __future__ import annotations

from pathlib import Path

from core.errors import Failure
from core.files import is_local
from evaluation import readers, sets
from evaluation.examples import Files
from evaluation.labels import is_picture

_LAYOUTS = ("webdataset", "parquet")


def read_listed(name: str, path: str) -> Files | None:
    """The test split of CLIP_benchmark's tars or of Parquet tables; None where a path holds neither, or picture files.

    `name`: of the set; where the registry knows it, so is its column of labels. Failure as eval has it.
    """
    is_table = path.lower().endswith(".parquet")
    if not readers.exists(path) or not (is_table or (is_local(path) and Path(path).is_dir())):
        return None
    known = sets.load(name) if name in sets.names() else None
    split = sets.split_of(known, path, "test")
    try:
        layout = readers.layout_of(path, split)
    except Failure:  # a folder of pictures as people have them
        return None
    if layout not in _LAYOUTS or (not is_table and any(is_picture(file.name) for file in Path(path).rglob("*.*"))):
        return None
    if readers.has_only_captions(path, layout, split):
        return readers.read_captions(path, layout, split)
    return readers.read(path, layout, split, column=known.label_column if known else "")
