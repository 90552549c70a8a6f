"""The made pictures as a reader gives them back, whatever the layout."""

from pathlib import Path

from evaluation import readers
from evaluation.examples import Pictures
from tests.evaluation import made

JPEG = made.pictures()
BODIES = [body for label in made.CLASSES for body in JPEG[label]]
LABELS = [number for number in range(len(made.CLASSES)) for _ in range(made.EACH)]


def read(path: Path, split: str = "test", **options: object) -> Pictures:
    return readers.read(str(path), readers.layout_of(str(path), split), split, **options)  # type: ignore[arg-type]


def holds(pictures: Pictures) -> bool:
    """Whether these are the made pictures, each with its class."""
    expected = {body: (number,) for body, number in zip(BODIES, LABELS, strict=True)}
    found = {example.pictures[0]: example.labels for example in pictures}
    return (found, len(pictures)) == (expected, len(BODIES)) and [example.id for example in pictures] == [*pictures.ids]
