"""Features of evaluation sets: of pictures, clips and texts, computed once for a model and the bytes of a set."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
from PIL import Image

from core.errors import Failure
from core.files import digest
from core.inputs import Memory
from core.progress import Progress
from evaluation.examples import Files, picture_digest, undecodable
from evaluation.features import LARGEST
from evaluation.shifts import without_border
from evaluation.wording import listed
from trainer import stage
from trainer.data import in_order
from trainer.evals.encoder import AHEAD, Encoder, Floats, Model
from trainer.evals.eval_sets import EvalSet, Role, require_unchanged
from trainer.evals.kept import Kept, Made
from trainer.evals.tables import READ, feature_table, hidden_table
from trainer.images import decode, evaluation_crop

RULES_VERSION = 2
TEXT_RULES_VERSION = 2  # of texts alone, so that pictures are not read again; raise those of steps on texts with it


class Vectors:
    """Features by one model, which is loaded when the first of them has to be computed.

    `memory`: of the digests of the sets' files; pictures are decoded by so many `threads`.
    """

    def __init__(self, kept: Kept, model: Model, memory: Memory, threads: int) -> None:
        self._kept, self.model, self._memory, self._threads = kept, model, memory, threads
        self._read: dict[tuple[str, Role], pa.ChunkedArray] = {}  # of a set and split the digests of its pictures

    @functools.cached_property
    def encoder(self) -> Encoder:
        """The model as a function."""
        return self.model.load()

    def basis(self, one: EvalSet, *roles: Role) -> str:
        """The digest of what determines the features of some splits."""
        files = [one.digests[role] for role in roles]
        return digest(RULES_VERSION, torch.__version__, self.model.digest, one.frames, files)

    def pictures(self, one: EvalSet, role: Role, files: Files, tables: Sequence[str]) -> dict[str, Floats]:
        """Vectors of a split by table, in the order of its ids: "feature", unit, float32 [n, e]; "hidden" [n, width].

        A clip's are the mean over its frames. `tables`: those asked for. Failure names pictures that do not
        decode, and features that are not finite.
        """
        border = [files.border] if files.border else []
        basis = digest(self.basis(one, role), list(tables), files.ids, *border)
        made = self._kept.tables(
            "encode",
            f"{one.task}.{role}",
            basis,
            (feature_table(1), hidden_table(1), READ),
            lambda: self._encoded(one, role, files, tables),
        )
        self._read[one.name, role] = made["read"]["digest"]
        return {name: vectors(made[name]) for name in tables}

    def in_several_splits(self, one: EvalSet) -> list[str]:
        """A sentence on test pictures that another split has, too, byte for byte, among those that were asked for."""
        read = {role: self._read[one.name, role] for role in one.splits if (one.name, role) in self._read}
        others = [chunk for role, digests in read.items() if role != "test" for chunk in digests.chunks]
        is_there = pc.is_in(read["test"], pa.chunked_array(others, pa.string()))
        n = pc.sum(is_there).as_py()
        return [f"{one.name}: {n:,} of its test pictures are in another of its splits, too, byte for byte"] if n else []

    def _encoded(self, one: EvalSet, role: Role, files: Files, tables: Sequence[str]) -> Made:
        read: list[tuple[int, str]] = []
        crops = self._crops(one.name, files, read)
        if "hidden" in tables:
            features, hidden = self.encoder.images_and_hidden(crops)
            found = {"feature": features.numpy(), "hidden": hidden.numpy()}
        else:
            found = {"feature": self.encoder.images(crops).numpy()}
        require_unchanged(one, role, self._memory)
        frames, digests = zip(*read, strict=True)
        made = []
        for name in tables:
            mean = _means(found[name], frames)
            mean = unit(mean) if name == "feature" else mean
            _check_finite(one.name, files, mean)
            made.append(_table(feature_table if name == "feature" else hidden_table, files.ids, mean))
        columns = {"set": [one.name] * len(files), "split": [role] * len(files), "id": files.ids, "digest": digests}
        made.append(pa.table(columns, schema=READ))
        counts = {"examples": stage.counted(len(files), **files.left_out)} if role == "test" else {}
        return Made(made, counts)

    def pictures_unkept(self, name: str, files: Files) -> Floats:
        """Unit features float32 [n, e] of pictures, by their ids, kept nowhere. Failure as of `pictures`."""
        features: Floats = self.encoder.images(self._crops(name, files, [])).numpy()
        _check_finite(name, files, features)
        return features

    def _crops(self, name: str, files: Files, read: list[tuple[int, str]]) -> Iterator[npt.NDArray[np.uint8]]:
        """What the model sees; `read` gets of each example the number of its frames, and its first file's digest."""
        size, reasons = self.encoder.image_size, dict[str, str]()

        def bodies() -> Iterator[tuple[str, bytes]]:
            for number, some in files.bodies():
                read.append((len(some), picture_digest(some[0])))
                yield from ((number, body) for body in some)

        def crop(job: tuple[str, bytes]) -> tuple[str, npt.NDArray[np.uint8] | str]:
            try:
                return job[0], evaluation_crop(_without_border(decode(job[1]), files.border), size)
            except Failure as error:  # an ImageError, or nothing but border
                return job[0], str(error)

        with Progress("eval", f"pictures of {name}", len(files), to="stdout") as progress:
            for example, made in in_order(crop, bodies(), self._threads, AHEAD):
                if isinstance(made, str):
                    reasons[example] = made
                    continue
                progress.at(max(1, len(read) - AHEAD))
                yield made
        if reasons:
            raise undecodable(files, reasons)

    def texts(self, task: str, texts: Sequence[str]) -> Floats:
        """Unit features float32 [n, e] of texts."""
        return self._texts(task, texts, lambda features: features)

    def classifier(self, task: str, sentences: Sequence[Sequence[str]]) -> Floats:
        """The classifier, unit float32 [classes, e]: of each class the mean over the unit features of its sentences.

        Averaged as features, not as probabilities (section 3.1.4); kept, for it is the same for every picture.
        """
        counts = [len(some) for some in sentences]
        texts = [text for some in sentences for text in some]
        return self._texts(task, texts, lambda features: unit(_means(features, counts)), counts)

    def _texts(
        self, task: str, texts: Sequence[str], of: Callable[[Floats], Floats], counts: Sequence[int] = ()
    ) -> Floats:
        def make() -> Made:
            features = of(self.encoder.texts(texts).numpy())
            if not np.isfinite(features).all():
                raise Failure(f"the texts of {task} have features that are not finite: the weights are broken")
            return Made([_table(feature_table, [str(i) for i in range(len(features))], features)])

        basis = digest(TEXT_RULES_VERSION, torch.__version__, self.model.digest, list(texts), list(counts))
        return vectors(self._kept.tables("texts", task, basis, (feature_table(1),), make)["feature"])


def _check_finite(name: str, files: Files, features: Floats) -> None:
    wrong = np.flatnonzero(~(np.abs(features) <= LARGEST).all(axis=1))
    if len(wrong):
        raise Failure(
            f"{listed([files.ids[i] for i in wrong])} of {name} has features that are not finite: the weights are "
            "broken, train or fetch them anew"
        )


def _without_border(image: Image.Image, pixels: int) -> Image.Image:
    return Image.fromarray(without_border(np.asarray(image), pixels)) if pixels else image


def unit(rows: Floats) -> Floats:
    """Rows of length 1; one of zeros stays."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(length == 0, 1, length)).astype(np.float32)


def vectors(table: pa.Table) -> Floats:
    """The column `vector` of a table: float32 [n, width]."""
    column = table["vector"].combine_chunks()
    found: Floats = column.flatten().to_numpy().reshape(len(column), column.type.list_size)
    return found


def _means(rows: Floats, counts: Sequence[int]) -> Floats:
    """The mean over each group of rows that follow one another: [groups, …]."""
    if all(count == 1 for count in counts):
        return rows
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    sums = np.add.reduceat(rows, starts, axis=0)
    means: Floats = (sums / np.array(counts)[:, None]).astype(np.float32)
    return means


def _table(schema: Callable[[int], pa.Schema], ids: Sequence[str], rows: Floats) -> pa.Table:
    values = pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(rows).ravel()), rows.shape[1])
    return pa.table([pa.array(ids, pa.string()), values], schema=schema(rows.shape[1]))
