"""caltech: a CLIP trained in half an hour on two cores, against ridge regression on the pixels of the same pictures.

    make bench BENCH=caltech

The pictures of four fifths of each class of Caltech-101, and those of a clothing set, become a web with captions by
template, which goes through every stage beside real sites; the model sees no label. What counts is the mean over the
classes of the accuracy on the last fifth, zero-shot, with its 95 % interval (bootstrap over pictures within classes).
The peer sees the labels: a linear classifier on raw pixels, ridge chosen on a part of its training pictures. The same
fifth is evaluated by a linear probe and few-shot probes on the model's features, too, fitted on the other four.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from PIL import Image

from core import choice
from core.manifest import read_manifest
from core.recipe import read
from demo.localweb import LocalWeb, run_with
from tests.conftest import DATA

RECIPE, MADE = "recipes/caltech.toml", Path("out/caltech/made")
SPLITS = MADE / "caltech101"  # train and test, a folder a class
SETS = {"caltech101_72px": "caltech", "clothing_72px": "clothing"}
HELD_OUT = 0.2  # of the pictures of each Caltech class
HOSTS = 8
CAPTIONS = (
    "a photo of a {}.",
    "a picture of a {}",
    "{}, photo",
    "there is a {} here",
    "my photo of the {}",
    "a small picture of a {}",
    "look, a {}!",
    "a {} in a picture",
)
SIDE = 64  # pixels, of both
PENALTIES: npt.NDArray[np.float64] = 10.0 ** np.arange(-2.0, 8.0)
RESAMPLED = 2_000
LEAST = 0.25  # mean accuracy

Pixels = npt.NDArray[np.float64]


def pictures(name: str) -> Iterator[tuple[str, str, bytes]]:
    """Name, class and bytes of each picture of a set."""
    lines = (DATA / "cls" / f"{name}.labels.tsv").read_text().splitlines()
    label_of = dict(line.split("\t") for line in lines)
    with tarfile.open(DATA / "cls" / f"{name}.tar") as tar:
        for member in tar:
            file = tar.extractfile(member) if member.name in label_of else None
            if file is not None:
                yield member.name, label_of[member.name].replace("_", " ").lower(), file.read()


def is_held_out(name: str) -> bool:
    return choice.fraction(0, "caltech", "", name.encode()) < HELD_OUT


def write_web() -> None:
    """The pictures as files of hosts, a table of their URLs with captions, the held-out ones as a tar with labels.

    And Caltech's as a set with both splits, for probes.
    """
    pairs, labels, names = ["url\tcaption"], [], set()
    with tarfile.open(_new(MADE / "heldout.tar"), "w") as held_out:
        for kind, host in SETS.items():
            for number, (name, label, body) in enumerate(pictures(kind)):
                is_test = host == "caltech" and is_held_out(name)
                if host == "caltech":
                    _new(SPLITS / ("test" if is_test else "train") / label / f"{number}.jpg").write_bytes(body)
                if is_test:
                    info = tarfile.TarInfo(name)
                    info.size = len(body)
                    held_out.addfile(info, io.BytesIO(body))
                    labels.append(f"{name}\t{label}")
                    continue
                at = f"{host}{number % HOSTS}.test"
                _new(MADE / "web" / at / f"{number}.jpg").write_bytes(body)
                caption = CAPTIONS[choice.rank(0, "caption", host, [name.encode()])[0] % len(CAPTIONS)]
                pairs.append(f"http://{at}/{number}.jpg\t{caption.format(label)}")
                names.add(label)
    (MADE / "pairs.tsv").write_text("".join(f"{line}\n" for line in pairs))
    (MADE / "heldout.tsv").write_text("".join(f"{line}\n" for line in sorted(labels)))
    words = {word for table in (DATA / "web").glob("*.pairs.tsv") for word in table.read_text().lower().split()}
    (MADE / "queries.txt").write_text(
        "".join(f"{query}\n" for query in sorted(names | {w for w in words if w.isalpha()}))
    )


def _new(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def accuracy(labels: npt.NDArray[np.str_], is_right: npt.NDArray[np.bool_]) -> tuple[float, float, float]:
    """Mean over the classes, and the 95 % interval of a bootstrap that draws pictures within each class."""
    random = np.random.default_rng(0)
    by_class = [is_right[labels == label] for label in np.unique(labels)]
    drawn = np.mean([random.binomial(len(right), right.mean(), RESAMPLED) / len(right) for right in by_class], axis=0)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(np.mean([right.mean() for right in by_class])), float(low), float(high)


# ── the peer ──────────────────────────────────────────────────────────────────────────────────────


def ridge() -> tuple[npt.NDArray[np.str_], npt.NDArray[np.bool_]]:
    """Labels of the held-out pictures, and which of them a linear classifier on pixels gets right."""
    sides: dict[bool, list[tuple[str, Pixels]]] = defaultdict(list)
    for name, label, body in pictures("caltech101_72px"):
        image = Image.open(io.BytesIO(body)).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        sides[is_held_out(name)].append((label, np.asarray(image, np.float64).ravel() / 255))
    (labels, x), (held_labels, held) = (
        (np.array([label for label, _ in side]), np.stack([row for _, row in side]))
        for side in (sides[False], sides[True])
    )
    is_validation = np.random.default_rng(0).random(len(x)) < 0.2
    scores = [
        accuracy(labels[is_validation], predicted == labels[is_validation])[0]
        for predicted in _predictions(x[~is_validation], labels[~is_validation], x[is_validation], PENALTIES)
    ]
    best = PENALTIES[int(np.argmax(scores))]
    (predicted,) = _predictions(x, labels, held, PENALTIES[best == PENALTIES])
    print(f"ridge regression on {len(x):,} pictures of {SIDE} x {SIDE} pixels, penalty {best:g}")
    return held_labels, predicted == held_labels


def _predictions(
    x: Pixels, labels: npt.NDArray[np.str_], others: Pixels, penalties: npt.NDArray[np.float64]
) -> Iterator[npt.NDArray[np.str_]]:
    """Classes of other pictures for each penalty: the dual form, since there are fewer pictures than pixels."""
    classes, numbers = np.unique(labels, return_inverse=True)
    targets = 2.0 * np.eye(len(classes))[numbers] - 1
    weight = (len(x) / (len(classes) * np.bincount(numbers)))[numbers][:, None] ** 0.5  # classes count alike
    mean = x.mean(axis=0)
    rows, kernel = (x - mean) * weight, (others - mean) @ ((x - mean) * weight).T
    values, vectors = np.linalg.eigh(rows @ rows.T)
    for penalty in penalties:
        dual = vectors @ ((vectors.T @ (targets * weight)) / (values + penalty)[:, None])
        yield classes[np.argmax(kernel @ dual, axis=1)]


def main() -> None:
    """Print both and the claim."""
    os.environ.setdefault("OPENWIT_DATA", str(DATA))
    if not (MADE / "queries.txt").exists():
        write_web()
    sites = {
        folder.name: folder for root in (DATA / "web", MADE / "web") for folder in root.iterdir() if folder.is_dir()
    }
    began = time.monotonic()
    with LocalWeb(sites) as web:
        if status := run_with([sys.executable, "-m", "openwit", "all", "--recipe", RECIPE], web.connect_to):
            sys.exit(status)
    trained, done = (read_manifest(read(RECIPE).folder(stage)) for stage in ("train", "eval"))
    assert trained is not None and done is not None
    ran = json.loads(Path(trained.folder, "_run.json").read_bytes())
    print(f"all stages took {time.monotonic() - began:,.0f} s, train {ran['seconds']:,.0f} s on {ran['machine']}")
    (path,) = done.paths("zeroshot_example")
    rows = pq.read_table(path)
    ours = accuracy(rows["label"].to_numpy(zero_copy_only=False).astype(str), rows["correct"].to_numpy())
    theirs = accuracy(*ridge())
    for name, (mean, low, high) in (("zero-shot", ours), ("ridge on pixels", theirs)):
        print(
            f"{name}: mean accuracy per class {mean:.1%}, 95 % interval {low:.1%} to {high:.1%}, {len(rows):,} pictures"
        )
    assert ours[0] >= LEAST, f"mean accuracy {ours[0]:.1%} is below {LEAST:.0%}"
    print(f"caltech ratio={ours[0] / theirs[0]:.2f} goal=1")


if __name__ == "__main__":
    main()
