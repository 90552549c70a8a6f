"""Whose a default folder is: out/<name> belongs to one recipe, and another of the same name does not write into it.

`_recipe.json` in it names the recipe by its path from there, so that it stays true where the whole tree is moved. A
recipe that says run.out has chosen its folder, and may share it.
"""

from __future__ import annotations

import json
import os

from core.errors import UsageError
from core.files import join, names_in, publish, read_bytes, shown, to_json
from core.recipe import Recipe

BOOK = "_recipe.json"


def check(recipe: Recipe) -> None:
    """UsageError where the recipe has no run.out of its own and its default folder is another's."""
    owner = _owner(recipe)
    if owner and not _is_same(owner, recipe) and os.path.exists(owner):  # noqa: PTH110 (it is compared as a text)
        raise UsageError(
            f"{shown(recipe.out)} is what {shown(owner)} makes, and {recipe.path} has no other folder: "
            f"write run.out in {recipe.path}, or give one with --set run.out=out/NAME"
        )


def claim(recipe: Recipe, name: str) -> None:
    """Before the stage of that name begins: write down whose the folder is; said where it was that of one now gone."""
    if not _has_default(recipe):
        return
    owner = _owner(recipe)
    if owner and _is_same(owner, recipe):
        return
    if owner:
        print(f"{name}: {shown(recipe.out)} was made by {shown(owner)}, which is gone: it is {recipe.path}'s now")
    publish(join(recipe.out, BOOK), to_json({"recipe": os.path.relpath(_place(recipe), recipe.out)}))


def _has_default(recipe: Recipe) -> bool:
    return not recipe.run.out and "://" not in recipe.path


def _owner(recipe: Recipe) -> str:
    """The recipe that the default folder belongs to; "" where that is written nowhere, or damaged."""
    if not _has_default(recipe) or BOOK not in names_in(recipe.out):
        return ""
    try:
        said = json.loads(read_bytes(join(recipe.out, BOOK)))["recipe"]
        return os.path.normpath(os.path.join(recipe.out, said))  # noqa: PTH118
    except (ValueError, KeyError, TypeError):
        return ""


def _is_same(owner: str, recipe: Recipe) -> bool:
    return os.path.realpath(owner) == os.path.realpath(_place(recipe))


def _place(recipe: Recipe) -> str:
    return os.path.abspath(recipe.path)  # noqa: PTH100 (links stay: the path from the folder is a text)
