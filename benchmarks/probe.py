"""probe: the linear probe's sweep over λ against scikit-learn's LogisticRegression at the same λ.

    make bench BENCH=probe

5,000 made features of 512 dimensions in 100 classes, 2,000 more to validate with: class means whose axes fall off as a
power law, in noise that does so down to a floor, so that the best λ lies within the range. The sweep is the paper's: 15
fits, each from its neighbours' answers. scikit-learn makes the same fits in float32, at most 1,000 iterations:

- from zero, with its default tolerance, as the paper's authors did: the ratio is to this one;
- each from the one before (`warm_start`), with its default tolerance: it stops where its steps become short, with
  objectives up to many times the minimum;
- from zero in float64 with a tolerance at which it converges, where λ is at least CONVERGED: accuracies can only agree
  where both are at the minimum.

No objective of ours may be above any of theirs. The sweep of ours begins with `prepare`.

    python -m benchmarks.probe 500 64 10

is the same with fewer examples, dimensions and classes, to try it.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks import peers

GOAL = 2.0
SECONDS = 60.0  # the sweep's limit, on two cores
SIZES = (5_000, 512, 100)  # examples, dimensions, classes
VALIDATION = 2_000
SAME = 1e-6  # of an objective: no worse than the peer's
POINTS = 0.1  # of accuracy
TIGHT = 1e-6  # scikit-learn's tolerance, where it is to converge
CONVERGED = 0.1  # least λ for which it does

DEFAULT = 1e-4  # its tolerance where none is given

Tries = dict[float, dict[str, float]]  # λ → objective, score, iterations
Arrays = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]


def made(examples: int, dimensions: int, classes: int) -> tuple[Arrays, Arrays]:
    """Features and labels, to train on and to validate with."""
    random = np.random.default_rng(0)
    spectrum = (1 + np.arange(dimensions)) ** -0.7
    turned, _ = np.linalg.qr(random.normal(size=(dimensions, dimensions)))
    means = random.normal(size=(classes, dimensions)) * spectrum
    labels = np.arange(examples + VALIDATION) % classes
    noise = 2 * random.normal(size=(len(labels), dimensions)) * np.hypot(spectrum, 0.1)
    vectors = (means[labels] + noise) @ turned.T + 0.5 * turned[:, 0]
    vectors *= 10 / np.linalg.norm(vectors, axis=1, keepdims=True)  # about as long as CLIP's
    rows = vectors.astype(np.float32)
    return (rows[:examples], labels[:examples]), (rows[examples:], labels[examples:])


def ours(train: Arrays, validation: Arrays, classes: int) -> tuple[float, Tries]:
    """Seconds of the sweep, and what it came to, in the order of its fits."""
    from evaluation.features import Features
    from evaluation.probe import sweep

    both = [
        Features(tuple(f"{name}{i}" for i in range(len(labels))), vectors, labels)
        for name, (vectors, labels) in (("t", train), ("v", validation))
    ]
    started = time.perf_counter()
    tried = sweep(both[0], both[1], classes)
    seconds = time.perf_counter() - started
    return seconds, {
        one.penalty: {"objective": one.objective, "score": one.score, "iterations": one.iterations} for one in tried
    }


def theirs(file: str, penalties: list[float], tolerance: float, warm: bool) -> tuple[float, list[list[float]]]:
    """In scikit-learn's environment: seconds of all fits and scores; of each λ objective, score and iterations."""
    import warnings

    from scipy.special import log_softmax
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    arrays = np.load(file)
    x, y, vx, vy = (arrays[name] for name in ("x", "y", "vx", "vy"))
    if tolerance < DEFAULT:  # beyond what float32 can tell
        x, vx = x.astype(np.float64), vx.astype(np.float64)
    warnings.simplefilter("ignore", ConvergenceWarning)
    found: list[list[float]] = []
    seconds = 0.0
    model = LogisticRegression(max_iter=1_000, tol=tolerance, warm_start=warm)
    for penalty in penalties:
        started = time.perf_counter()
        model.set_params(C=1 / penalty).fit(x, y)
        score = model.score(vx, vy)
        seconds += time.perf_counter() - started
        weights = model.coef_.astype(np.float64)
        losses = -log_softmax(x.astype(np.float64) @ weights.T + model.intercept_, axis=1)[np.arange(len(y)), y]
        objective = float(losses.sum() + penalty / 2 * (weights**2).sum())
        found.append([objective, score, float(model.n_iter_[0])])
    return seconds, found


def peer(file: str, penalties: list[float], tolerance: float, warm: bool) -> tuple[float, Tries]:
    """`theirs`, in a process of that environment."""
    words = ["-m", "benchmarks.probe", "--theirs", json.dumps([file, penalties, tolerance, warm])]
    seconds, found = json.loads(peers.run("scikit_learn", *words))
    names = ("objective", "score", "iterations")
    return seconds, {p: dict(zip(names, values, strict=True)) for p, values in zip(penalties, found, strict=True)}


def table(mine: Tries, cold: Tries, warm: Tries, tight: Tries) -> None:
    """Of each λ: ours, and theirs from zero, from the one before, and with a tight tolerance."""
    columns = f"{'λ':>12}{'objective':>14}{'theirs / ours - 1':>33}{'accuracy':>10}{'theirs':>22}"
    print(f"{columns}{'iterations':>12}{'theirs':>19}")
    for penalty, one in mine.items():
        others = [of.get(penalty) for of in (cold, warm, tight)]
        worse = "".join(f"{o['objective'] / one['objective'] - 1:11.1e}" if o else f"{'':11}" for o in others)
        scores = "".join(f"{100 * o['score']:8.2f}" if o else f"{'':8}" for o in others)
        steps = "".join(f"{o['iterations']:7.0f}" if o else f"{'':7}" for o in others)
        print(
            f"{penalty:12.4g}{one['objective']:14.7g}{worse}{100 * one['score']:10.2f}{scores}"
            f"{one['iterations']:10.0f}{steps}"
        )


def main(examples: int, dimensions: int, classes: int) -> None:
    train, validation = made(examples, dimensions, classes)
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "features.npz")
        np.savez(file, x=train[0], y=train[1], vx=validation[0], vy=validation[1])
        before, mine = ours(train, validation, classes)
        cold_seconds, cold = peer(file, list(mine), DEFAULT, False)
        warm_seconds, warm = peer(file, sorted(mine, reverse=True), DEFAULT, True)
        after, again = ours(train, validation, classes)
        tight_seconds, tight = peer(file, [penalty for penalty in mine if penalty >= CONVERGED], TIGHT, False)
    assert mine == again, "the same features give the same sweep"
    seconds = (before + after) / 2
    print(f"{examples:,} x {dimensions} features, {classes} classes; theirs: from zero, from the one before, tight")
    table(mine, cold, warm, tight)
    for penalty, one in mine.items():
        assert all(
            one["objective"] <= other[penalty]["objective"] * (1 + SAME)
            for other in (cold, warm, tight)
            if penalty in other
        ), one
    apart = max(abs(mine[penalty]["score"] - tight[penalty]["score"]) for penalty in tight)
    best = max(mine, key=lambda penalty: (mine[penalty]["score"], penalty))
    print(
        f"the best λ: {best:.4g}; where both are at the minimum accuracies differ by {100 * apart:.2f} points at most"
    )
    print(f"seconds: {seconds:.1f}; scikit-learn's {cold_seconds:.1f}, {warm_seconds:.1f}, {tight_seconds:.1f} (tight)")
    assert best in tight and apart <= POINTS / 100 + 1e-9
    assert seconds <= SECONDS
    print(f"probe ratio={cold_seconds / seconds:.2f} goal={GOAL:g}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--theirs"]:
        print(json.dumps(theirs(*json.loads(sys.argv[2]))))
    else:
        sizes = [int(word) for word in sys.argv[1:]] or SIZES
        main(*sizes)
