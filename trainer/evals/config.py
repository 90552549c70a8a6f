"""The recipe's [eval] table."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from core import recipe as recipes
from core.errors import UsageError


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


def check(path: str, config: Config) -> None:
    """UsageError where a recipe at `path` gives one of two keys that belong together, or a value twice."""
    if bool(config.pictures) != bool(config.labels):
        raise UsageError(f"{path}: eval.pictures and eval.labels belong together: give both, or neither")
    for key in ("prompts", "shots", "seeds"):
        values = getattr(config, key)
        if len(set(values)) != len(values):
            raise UsageError(f"{path}: eval.{key} has a value twice ({', '.join(map(str, values))}): give each once")
