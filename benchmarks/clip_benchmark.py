"""clip_benchmark: zero-shot classification and retrieval on given features, against CLIP_benchmark's own functions.

    make bench BENCH=clip_benchmark

50,000 made features of 512 dimensions in 1,000 classes of 7 sentences each, as ImageNet has with its seven best
prompts; 1,000 pictures with 5 captions each, as Flickr30k has. Both sides get the same features: CLIP_benchmark's
`evaluate`, with a model that looks them up, in float32; ours by the functions that `openwit eval` calls. The answers
are compared example by example before a ratio is printed. One more set has pictures and captions twice, to show where
the two must differ: a wrong answer that scores as high as the right one counts against the model here, and there as
`topk` happens to order the two.

Ours also gives Clopper-Pearson's intervals; the bootstrap of a mean over classes is left out: the peer has none.

    python -m benchmarks.clip_benchmark 2000 50 7 400 5      other sizes: images, classes, sentences, pictures, captions
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import peers

GOAL = 1.0
SIZES = (50_000, 1_000, 7, 1_000, 5)  # images, classes, sentences a class; pictures, captions a picture
WIDTH = 512
TOP = (1, 5, 10)
AT_ONCE = 64  # of the peer's data loader, its default
NEAR = 1e-6  # of cosines: scores that differ by less are a tie, which rounding decides
DOUBLED = 20  # every such picture of the set with ties is there twice

Floats = npt.NDArray[np.float32]
Arrays = dict[str, npt.NDArray[Any]]


def made(images: int, classes: int, sentences: int, pictures: int, captions: int) -> tuple[Arrays, Arrays]:
    """Features for zero-shot and for retrieval, unit length, and whose they are."""
    random = np.random.default_rng(0)

    def unit(rows: npt.NDArray[np.float64]) -> Floats:
        found: Floats = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        return found

    means = random.normal(size=(classes, WIDTH))
    labels = np.arange(images) % classes
    shown = unit(means[labels] + 6 * random.normal(size=(images, WIDTH)))
    texts = unit(np.repeat(means, sentences, axis=0) + 1.5 * random.normal(size=(classes * sentences, WIDTH)))
    zero_shot: Arrays = {"images": shown, "texts": texts, "labels": labels, "classes": np.array(classes)}
    scenes = random.normal(size=(pictures, WIDTH))
    owner = np.repeat(np.arange(pictures), captions)
    retrieval: Arrays = {
        "images": unit(scenes + 2.2 * random.normal(size=(pictures, WIDTH))),
        "texts": unit(scenes[owner] + 2.2 * random.normal(size=(len(owner), WIDTH))),
        "owner": owner,
    }
    return zero_shot, retrieval


def with_ties(retrieval: Arrays) -> Arrays:
    """The same with some pictures, and their captions, as copies of the ones after them."""
    images, texts, owner = retrieval["images"].copy(), retrieval["texts"].copy(), retrieval["owner"]
    copies = np.arange(0, len(images) - 1, DOUBLED)
    images[copies] = images[copies + 1]
    each = len(texts) // len(images)
    for copy in copies:
        texts[copy * each : (copy + 1) * each] = texts[(copy + 1) * each : (copy + 2) * each]
    return {"images": images, "texts": texts, "owner": owner}


# ── ours ──


def our_zero_shot(of: Arrays) -> tuple[dict[str, float], Arrays]:
    """Shares, and the scores [images, classes]."""
    import torch

    from evaluation import metrics
    from trainer.evals import judged, zeroshot

    classes = int(of["classes"])
    names = [f"class {number}" for number in range(classes)]
    ids = [f"{number:06}" for number in range(len(of["images"]))]
    classifier = zeroshot.ensemble(torch.from_numpy(of["texts"]), classes).numpy()
    scores = of["images"] @ (100 * classifier).T
    asked = judged.Asked("made", "zero-shot", "", "", 0)
    values = {
        row["metric"]: row["value"] for row in judged.by_class(asked, "accuracy", ids, of["labels"], scores, names)
    }
    values["mean_per_class"] = metrics.mean_per_class(scores, of["labels"], names)
    return values, {"scores": scores}


def our_retrieval(of: Arrays) -> tuple[dict[str, float], Arrays]:
    """Recalls in both directions, and the rank of each query's best right answer."""
    import torch

    from trainer.evals.retrieval import ranks

    pictures = torch.arange(len(of["images"]))
    images, texts, owner = (torch.from_numpy(of[name]) for name in ("images", "texts", "owner"))
    found = {
        "image": ranks(texts, images, owner, pictures).numpy(),  # the picture of a text
        "text": ranks(images, texts, pictures, owner).numpy(),
    }
    return {f"{name}@{k}": float((some <= k).mean()) for name, some in found.items() for k in TOP}, found


# ── theirs, in an environment of their own ──


class _Given:
    """A model to which a feature is its picture, and a text the number of its feature."""

    def __init__(self, texts: Any) -> None:
        self._texts = texts

    def encode_image(self, images: Any) -> Any:
        return images

    def encode_text(self, numbers: Any) -> Any:
        return self._texts[numbers]


class _Loader:
    """Batches of features with their labels, or with the numbers of their captions."""

    def __init__(self, images: Any, wanted: Any, classes: int = 0) -> None:
        self._images, self._wanted = images, wanted
        self.dataset, self.classes = self, range(classes)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        for at in range(0, len(self._images), AT_ONCE):
            yield self._images[at : at + AT_ONCE], self._wanted[at : at + AT_ONCE]

    def __len__(self) -> int:
        return len(range(0, len(self._images), AT_ONCE))


def their_zero_shot(of: Arrays) -> tuple[float, dict[str, float], Arrays]:
    """Seconds of `evaluate` and its values; the classifier's scores, computed once more."""
    import torch
    from clip_benchmark.metrics import zeroshot_classification as theirs

    images, texts, labels = (torch.from_numpy(of[name]) for name in ("images", "texts", "labels"))
    classes = int(of["classes"])
    each = len(texts) // classes
    names = [str(number) for number in range(classes)]
    templates = [f"{number} {{c}}" for number in range(each)]

    def numbers(sentences: list[str]) -> Any:
        found = [sentence.split() for sentence in sentences]
        return torch.tensor([int(name) * each + int(template) for template, name in found])

    model, loader = _Given(texts), _Loader(images, labels, classes)
    theirs.evaluate(model, _Loader(images[:AT_ONCE], labels[:AT_ONCE], 5), numbers, names, templates, "cpu", amp=False)
    started = time.perf_counter()
    values = theirs.evaluate(model, loader, numbers, names, templates, "cpu", amp=False)
    seconds = time.perf_counter() - started
    classifier = theirs.zero_shot_classifier(model, numbers, names, templates, "cpu", amp=False)
    scores, _ = theirs.run_classification(model, classifier, loader, "cpu", amp=False)
    kept = {"acc1": "accuracy", "acc5": "top-5", "mean_per_class_recall": "mean_per_class"}
    return seconds, {kept[name]: float(value) for name, value in values.items()}, {"scores": scores.numpy()}


def their_retrieval(of: Arrays) -> tuple[float, dict[str, float], Arrays]:
    """Seconds of `evaluate` and its values; which queries are right at each k, by its `recall_at_k`."""
    import torch
    from clip_benchmark.metrics import zeroshot_retrieval as theirs

    images, texts, owner = (torch.from_numpy(of[name]) for name in ("images", "texts", "owner"))
    each = len(texts) // len(images)
    captions = [list(range(at, at + each)) for at in range(0, len(texts), each)]
    model, loader = _Given(texts), _Loader(images, captions)
    few = _Loader(images[:AT_ONCE], captions[:AT_ONCE])
    theirs.evaluate(model, few, torch.tensor, "cpu", amp=False, recall_k_list=list(TOP))
    started = time.perf_counter()
    values = theirs.evaluate(model, loader, torch.tensor, "cpu", amp=False, recall_k_list=list(TOP))
    seconds = time.perf_counter() - started
    scores = texts @ images.T
    positive = torch.zeros_like(scores, dtype=torch.bool)
    positive[torch.arange(len(texts)), owner] = True
    right: Arrays = {}
    for k in TOP:
        for name, some, of_some in (("image", scores, positive), ("text", scores.T, positive.T)):
            found = theirs.batchify(theirs.recall_at_k, some, of_some, AT_ONCE, "cpu", k=k)
            right[f"{name}@{k}"] = (found > 0).numpy()
    return seconds, {name.replace("_retrieval_recall", ""): float(value) for name, value in values.items()}, right


def theirs(folder: str) -> dict[str, Any]:
    """All of the peer's, for the features in a folder: seconds and values by name; what is longer goes to files."""
    import warnings

    os.environ["TQDM_DISABLE"] = "1"
    warnings.simplefilter("ignore")  # of a first batch that lacks classes
    said: dict[str, Any] = {}
    for name, measure in (("zero-shot", their_zero_shot), ("retrieval", their_retrieval), ("ties", their_retrieval)):
        with np.load(Path(folder, f"{name}.npz")) as features:
            seconds, values, arrays = measure(dict(features))
        np.savez(Path(folder, f"{name}.theirs.npz"), allow_pickle=False, **arrays)
        said[name] = {"seconds": seconds, "values": values}
    return said


# ── compared ──


def zero_shot_differences(labels: npt.NDArray[np.int64], mine: Floats, other: Floats) -> tuple[int, int]:
    """Images that one side alone has right at top-1 or top-5, and those of them where rounding decides.

    Scores are 100 times a cosine. Rounding decides where the right class is as near as the one that would displace it.
    """
    assert np.abs(mine - other).max() <= 100 * NEAR, "the scores are not those of the same features"
    own = np.arange(len(labels)), labels
    differ = near = 0
    for k in (1, 5):
        of_mine = (mine >= mine[own][:, None]).sum(axis=1) <= k
        of_other = (other >= other[own][:, None]).sum(axis=1) <= k
        for row in np.flatnonzero(of_mine != of_other):
            rival = np.sort(np.delete(mine[row], labels[row]))[-k]
            differ += 1
            near += bool(abs(rival - mine[row, labels[row]]) <= 200 * NEAR)
    return differ, near


def retrieval_differences(of: Arrays, ranks: Arrays, right: Arrays) -> tuple[int, int]:
    """Queries that one side alone has right at some k, and those of them where a tie or rounding decides."""
    differ = near = 0
    for name in ("image", "text"):
        queries, candidates = ("texts", "images") if name == "image" else ("images", "texts")
        for k in TOP:
            for row in np.flatnonzero((ranks[name] <= k) != right[f"{name}@{k}"]):
                scores = of[candidates] @ of[queries][row]
                own = of["owner"][row] == np.arange(len(scores)) if name == "image" else of["owner"] == row
                rival = np.sort(scores[~own])[-k]
                differ += 1
                near += bool(abs(rival - scores[own].max()) <= 2 * NEAR)
    return differ, near


def timed(measure: Callable[[Arrays], tuple[dict[str, float], Arrays]], of: Arrays) -> tuple[float, Any, Arrays]:
    """Seconds of the second of two calls, the first of which loads libraries; values and arrays."""
    measure(of)
    started = time.perf_counter()
    values, arrays = measure(of)
    return time.perf_counter() - started, values, arrays


def compare(name: str, n: int, mine: Mapping[str, float], other: Mapping[str, float], differ: int, near: int) -> None:
    """Print a line for each metric; the values agree but for the answers that differ, and those are explained."""
    print(f"{name}: {differ} answers differ, {near} of them where two scores are the same to {NEAR:g}")
    for metric, value in mine.items():
        print(f"  {metric:<16}{value:10.6f}{other[metric]:10.6f}")
        assert abs(value - other[metric]) <= differ / n + 1e-6, f"{metric}: more than the answers that differ"
    assert differ == near, f"{differ - near} answers differ for another reason than ties"


def main(*sizes: int) -> None:
    zero_shot, retrieval = made(*sizes)
    features = {"zero-shot": zero_shot, "retrieval": retrieval, "ties": with_ties(retrieval)}
    with tempfile.TemporaryDirectory() as folder:
        for name, arrays in features.items():
            np.savez(Path(folder, f"{name}.npz"), allow_pickle=False, **arrays)
        said = json.loads(peers.run("clip_benchmark", "-m", "benchmarks.clip_benchmark", "--theirs", folder))
        their = {name: dict(np.load(Path(folder, f"{name}.theirs.npz"))) for name in features}
    seconds: dict[str, float] = {}
    print(f"{sizes[0]:,} images, {sizes[1]:,} classes; {sizes[3]:,} pictures, {sizes[4]} captions each; ours, theirs")
    for name, arrays in features.items():
        measure = our_zero_shot if name == "zero-shot" else our_retrieval
        seconds[name], values, found = timed(measure, arrays)
        if name == "zero-shot":
            differ = zero_shot_differences(arrays["labels"], found["scores"], their[name]["scores"])
        else:
            differ = retrieval_differences(arrays, found, their[name])
        compare(name, len(arrays["images"]), values, said[name]["values"], *differ)
        if name == "ties":
            assert differ[0] > 0, "the planted ties change nothing"
    seconds.pop("ties")  # the same work again
    peers_seconds = {name: said[name]["seconds"] for name in seconds}
    for name, of_ours in seconds.items():
        print(f"seconds of {name}: {of_ours:.2f}; CLIP_benchmark's {peers_seconds[name]:.2f}")
    print(f"clip_benchmark ratio={sum(peers_seconds.values()) / sum(seconds.values()):.2f} goal={GOAL:g}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--theirs"]:
        print(json.dumps(theirs(sys.argv[2])))
    else:
        main(*([int(word) for word in sys.argv[1:]] or SIZES))
