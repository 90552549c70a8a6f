"""The recipe's [eval] table."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from core import recipe as recipes
from core.errors import UsageError
from evaluation.prompts import FORWARD
from trainer.evals.tables import OWN


class Config(Struct, frozen=True, kw_only=True):
    """The recipe's [eval] table."""

    pictures: Annotated[str, recipes.RUNTIME] = ""  # a tar of pictures
    labels: Annotated[str, recipes.RUNTIME] = ""  # lines "name<TAB>label"; or class names, where the tar has .cls files
    templates: Annotated[tuple[Annotated[str, Meta(pattern=r"\{\}")], ...], Meta(min_length=1)] = (
        "a photo of a {}.",
        "a bad photo of the {}.",
        "a photo of the large {}.",
        "a photo of the small {}.",
        "art of the {}.",
    )  # sentences about a class of the pictures, {} its label; they are averaged
    sets: Annotated[tuple[str, ...], recipes.RUNTIME] = ()  # of the registry, by name, or paths of your own
    root: Annotated[str, recipes.RUNTIME] = "data/sets"  # the folder in which those of the registry are looked for
    prompts: Annotated[tuple[str, ...], Meta(min_length=1)] = ("paper",)  # for the sets: see evaluation/prompts.py
    frames: Literal["middle", "all"] = "middle"  # of a clip: the middle one, or the mean over all
    probe: bool = False  # a linear probe on each set that has a train split
    shots: tuple[Annotated[int, Meta(ge=1)], ...] = ()  # examples a class of few-shot probes: the paper's are 1 to 16
    seeds: Annotated[tuple[Annotated[int, Meta(ge=0)], ...], Meta(min_length=1)] = (0, 1, 2)  # of their draws
    models: Annotated[dict[str, str], recipes.RUNTIME] = {}  # beside the trained one: name → weights, or a folder
    merges: Annotated[str, recipes.RUNTIME] = ""  # the tokenizer's of those without their own; default: train.merges
    features: Annotated[dict[str, str], recipes.RUNTIME] = {}  # of any model, for probes: name → a folder of them
    answers: Annotated[dict[str, dict[str, str]], recipes.RUNTIME] = {}  # of people: set → group of people → their file
    people: Annotated[str, recipes.RUNTIME] = ""  # a table of pictures below its folder: race, gender, age of a person
    people_labels: Annotated[str, recipes.RUNTIME] = ""  # labels, one a line, that women and men are compared by


def check(path: str, config: Config) -> None:
    """UsageError where a recipe at `path` gives one of two keys that belong together, or a value twice."""
    if bool(config.pictures) != bool(config.labels):
        raise UsageError(f"{path}: eval.pictures and eval.labels belong together: give both, or neither")
    for key in ("prompts", "shots", "seeds"):
        values = getattr(config, key)
        if len(set(values)) != len(values):
            raise UsageError(f"{path}: eval.{key} has a value twice ({', '.join(map(str, values))}): give each once")
    if config.models and not (config.sets or config.people):
        raise UsageError(f"{path}: eval.models are evaluated on eval.sets: name some, or take eval.models out")
    if config.features and not config.sets:
        raise UsageError(f"{path}: eval.features are evaluated on eval.sets: name some, or take eval.features out")
    if config.people_labels and not config.people:
        raise UsageError(f"{path}: eval.people_labels are for the pictures of eval.people: give that, too")
    if config.features and not (config.probe or config.shots):
        raise UsageError(f"{path}: eval.features are for probes: set eval.probe = true, or give eval.shots")
    if config.answers and set(config.prompts) == {FORWARD}:
        raise UsageError(f"{path}: eval.answers are compared by prompts other than {FORWARD}: add one to eval.prompts")
    for name, groups in config.answers.items():
        for group in groups or [""]:
            if not group.strip() or group != group.strip() or not group.isprintable():
                raise UsageError(
                    f"{path}: eval.answers.{name} has the group {group!r}: name each group of people, as zero-shot"
                )
    for name in (*config.models, *config.features):
        if name == OWN or name != name.strip() or not name or not name.isprintable():
            raise UsageError(
                f"{path}: {name!r} cannot name a model in eval.models or eval.features ({OWN!r} is the recipe's own): "
                "give it another name"
            )
    if both := sorted(config.models.keys() & config.features.keys()):
        raise UsageError(f"{path}: {both[0]!r} names one of eval.models and one of eval.features: rename one of them")
