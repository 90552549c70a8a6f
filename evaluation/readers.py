"""Labelled pictures as people have them: which layout a file or folder is in, and its reader.

- "folders": a folder a class, as torchvision's ImageFolder reads it; of clips, a folder of frames each within it;
- "tar": a tar of pictures and a file of lines "name<TAB>label" beside it (NAME.labels.tsv, NAME.tsv), or .cls files and
  classnames.txt;
- "webdataset": CLIP_benchmark's: classnames.txt, and in a folder a split nshards.txt and 0.tar, 1.tar …;
- "metadata": Hugging Face's ImageFolder with metadata.csv, metadata.jsonl or metadata.parquet;
- "parquet": Hugging Face's tables with the pictures inside;
- "karpathy": pictures with captions, listed in dataset_flickr30k.json or dataset_coco.json.

A folder may hold its pictures itself or in folders by split (test, train …).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from core.errors import Failure
from core.files import filesystem, is_local
from evaluation import class_folders, karpathy, labelled_tars, metadata_files, parquet_tables, webdataset_folders
from evaluation.class_folders import Frames
from evaluation.examples import Captioned, Pictures, Placed
from evaluation.wording import listed

__all__ = [
    "Frames",
    "Known",
    "Layout",
    "exists",
    "has_only_captions",
    "layout_of",
    "read",
    "read_captions",
    "read_places",
    "unread_splits",
]

Layout = Literal["folders", "tar", "webdataset", "metadata", "parquet", "karpathy"]
Known = Callable[[Sequence[str]], bool]

SPLITS = frozenset({"train", "test", "val", "valid", "validation", "dev", "trainval"})
_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def exists(path: str) -> bool:
    """Whether a file or folder is there."""
    fs, inner = filesystem(path)
    return bool(fs.exists(inner))


def layout_of(path: str, split: str = "test") -> Layout:
    """The layout of a file or folder, from its names alone. Failure where it has none of these."""
    fs, inner = filesystem(path)
    if not fs.isdir(inner):
        if path.lower().endswith(_TARS):
            return "tar"
        if path.lower().endswith(".parquet"):
            return "parquet"
        if fs.exists(inner):
            raise Failure(f"{path} is no folder, no tar and no Parquet file: give one of these")
        raise Failure(f"{path} is not there: give its right path")
    if not is_local(path):
        raise Failure(f"{path} is a folder of a store: copy it to a disk, or give a tar or a Parquet file")
    folder = Path(inner)
    base = split_folder(folder, split)
    if webdataset_folders.is_webdataset(folder, base):
        return "webdataset"
    if karpathy.listing_in(folder):
        return "karpathy"
    if metadata_files.metadata_of(folder, base):
        return "metadata"
    if parquet_tables.tables_in(folder, base, split):
        return "parquet"
    if any(class_folders.is_folder(entry) for entry in base.iterdir()):
        return "folders"
    raise Failure(
        f"{base} has no folders by class, no metadata.csv, .jsonl or .parquet, no classnames.txt with tars and no "
        "Parquet tables: give the folder that has"
    )


def split_folder(folder: Path, split: str) -> Path:
    """Where the pictures of a split are: in a folder of its name, or in the folder itself, which then has no splits."""
    if (folder / split).is_dir():
        return folder / split
    folders = _folders(folder)
    if folders and all(name in SPLITS for name in folders):
        raise Failure(f"{folder} has the splits {listed(folders)} and no {split}: give the folder of one of them")
    if any((folder / name).exists() for name in metadata_files.METADATA) or karpathy.listing_in(folder):
        return folder  # which says of which pictures there are
    similar = [name for name in folders if class_folders.is_like_a_split(name)]
    if len(similar) > 1 or (similar and similar == folders):
        raise Failure(
            f"{folder} has {listed(similar)}, which look like splits, and no {split}: rename the one that is to be "
            f"tested to {split}, or give its path"
        )
    return folder


def unread_splits(path: str, split: str = "test") -> list[str]:
    """Folders beside that of a split that look like splits and are not read, for they are called otherwise: Train."""
    folder = Path(path)
    if not (folder / split).is_dir():
        return []
    return [name for name in _folders(folder) if name not in SPLITS and class_folders.is_like_a_split(name)]


def _folders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if class_folders.is_folder(entry))


def read(
    path: str,
    layout: Layout,
    split: str = "test",
    *,
    labels: str = "",
    frames: Frames | None = None,
    column: str = "",
    known: Known | None = None,
) -> Pictures:
    """The pictures of a file or folder in a layout; Failure names whatever does not fit together.

    `labels`: the file of labels of a tar, where it is not beside it. `frames`: of folders of clips, which frames.
    `column`: of labels, where a table has several. `known`: whether labels are all classes of the set that is meant,
    which tells the class among folders in folders.
    """
    if frames and layout != "folders":
        raise Failure(f"{path} is in the layout {layout}, which has no clips: give folders of frames")
    if layout == "tar":
        return labelled_tars.read_tar(path, labels)
    if layout == "parquet" and not Path(path).is_dir():
        return parquet_tables.read_tables(path, [path], column)
    folder = Path(filesystem(path)[1])
    base = split_folder(folder, split)
    if layout == "webdataset":
        return webdataset_folders.read_webdataset(folder, base)
    if layout == "karpathy":
        raise Failure(f"{path} has pictures with captions, and no classes: give a set with classes")
    if layout == "metadata":
        return metadata_files.read_metadata(_metadata(folder, base), column)
    if layout == "parquet":
        return parquet_tables.read_tables(path, parquet_tables.tables_in(folder, base, split), column)
    return class_folders.read_folders(base, frames, known)


def has_only_captions(path: str, layout: Layout, split: str = "test") -> bool:
    """Whether a set has captions and no labels: a listing of Karpathy's, dataset_type.txt, or columns of metadata."""
    if layout not in ("karpathy", "webdataset", "metadata"):
        return False
    folder = Path(filesystem(path)[1])
    if layout == "metadata":
        rows = metadata_files.rows_of(_metadata(folder, split_folder(folder, split)))
        return metadata_files.has_only_captions({name for _, row in rows for name in row})
    return layout == "karpathy" or webdataset_folders.kind_of(folder) == "retrieval"


def read_captions(path: str, layout: Layout, split: str = "test") -> Captioned:
    """Pictures with captions, for retrieval. Failure names whatever does not fit together."""
    folder = Path(filesystem(path)[1])
    if layout == "karpathy":
        return karpathy.read_captions(folder, split)
    if layout == "webdataset":
        return webdataset_folders.read_captions(folder, split_folder(folder, split))
    if layout == "metadata":
        return metadata_files.read_captions(_metadata(folder, split_folder(folder, split)))
    raise Failure(
        f"{path} is in the layout {layout}, which has no captions: give metadata.csv with a column caption, a "
        "dataset_*.json of the Karpathy splits, or CLIP_benchmark's tars"
    )


def read_places(path: str, layout: Layout, split: str = "test") -> Placed:
    """Pictures with the places where they were taken, for geolocation. Failure names whatever does not fit."""
    if layout != "metadata":
        raise Failure(f"{path} has no metadata.csv with the columns latitude and longitude: add it")
    folder = Path(filesystem(path)[1])
    return metadata_files.read_places(_metadata(folder, split_folder(folder, split)))


def _metadata(folder: Path, base: Path) -> Path:
    found = metadata_files.metadata_of(folder, base)
    if found is None:
        raise Failure(f"{base} lost its metadata: restore it")
    return found
