"""Flickr30k and COCO with the Karpathy splits: dataset_flickr30k.json or dataset_coco.json beside the pictures.

{"images": [{"filename": …, "filepath": (COCO's only), "split": "test", "sentences": [{"raw": …}, …]}, …]}
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.errors import Failure
from evaluation.class_folders import body, walk
from evaluation.examples import Captioned
from evaluation.labels import normal, read_text
from evaluation.metadata_files import caption_cell, matched
from evaluation.wording import listed

_OF_HUGGING_FACE = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json"}


def listing_in(folder: Path) -> Path | None:
    """The listing in a folder; Failure where there are two."""
    found = sorted(path for path in folder.glob("dataset_*.json") if path.name not in _OF_HUGGING_FACE)
    if len(found) > 1:
        raise Failure(f"{folder} has {listed([path.name for path in found])}: leave the one of this set")
    return found[0] if found else None


def read_captions(folder: Path, split: str = "test") -> Captioned:
    """The pictures of a split with their captions; ids are paths below the folder. Failure names what is missing."""
    path = listing_in(folder)
    if path is None:
        raise Failure(f"{folder} has no dataset_*.json: give the folder that has")
    try:
        images = json.loads(read_text(str(path)))["images"]
        splits = sorted({image["split"] for image in images})
        chosen = [(_name(image), image["sentences"]) for image in images if image["split"] == split]
    except (ValueError, KeyError, TypeError) as error:
        raise Failure(f"{path} is no listing of the Karpathy splits ({error!r}): download it again") from None
    if not chosen:
        raise Failure(f"{path} has no pictures of the split {split}, but of {listed(splits)}: give one of them")
    captions: dict[str, tuple[str, ...]] = {}
    names: dict[str, str] = {}  # normal name → as given
    for number, (name, sentences) in enumerate(chosen):
        if names.setdefault(normal(name), name) in captions:
            raise Failure(f"{path} names {name} twice: remove one of them")
        raw = [sentence.get("raw") if isinstance(sentence, dict) else None for sentence in sentences]
        captions[name] = tuple(caption_cell(raw, f"{path}, picture {number} of the split ({name})"))
    tree = walk(folder)
    meant = matched(list(captions), tree, str(path))
    ids = sorted(meant)

    def read() -> Iterator[tuple[str, tuple[bytes, ...]]]:
        for name in ids:
            yield name, (body(tree.files[name]),)

    others = len(tree.files) - len(ids)
    left_out = tree.beside_listing() | ({"of_other_splits": others} if others else {})
    of_id = tuple(captions[meant[name]] for name in ids)
    return Captioned(path=str(folder), ids=tuple(ids), read=read, left_out=left_out, captions=of_id)


def _name(image: dict[str, Any]) -> str:
    """A picture's path: COCO's are in folders, val2014 and train2014."""
    return "/".join(filter(None, (image.get("filepath", ""), image["filename"])))
