"""The recipe's [eval] table."""

from __future__ import annotations

from typing import Annotated

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
    )  # sentences about a class, {} its label; they are averaged


def check(path: str, config: Config) -> None:
    """UsageError where a recipe at `path` gives one of two keys that belong together."""
    if bool(config.pictures) != bool(config.labels):
        raise UsageError(f"{path}: eval.pictures and eval.labels belong together: give both, or neither")
