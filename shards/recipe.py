"""Recipes: one TOML file says everything, and each stage reads its own table of it into a frozen Config.

An unknown table or key, a wrong type or an impossible value is a UsageError that names the key, the file and the
remedy. (Here, because every room that runs something may import this one.)
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import fsspec
import msgspec

from shards.errors import UsageError
from shards.files import absolute, filesystem, is_local

STAGES = ("queries", "crawl", "filter", "match", "fetch", "dedup", "pack", "train", "eval")
TABLES = ("run", "engine", *STAGES)

# Marks a key that steers how or where a stage runs, never what it writes: it is not part of the manifest.
# (The paths of inputs are such keys: in the manifest the digests of the files stand for them.)
ASIDE = msgspec.Meta(extra={"aside": True})

C = TypeVar("C", bound=msgspec.Struct)


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """The recipe's [run] table: what all stages share."""

    out: str = ""  # folder of everything that is made; default out/<name of the recipe>
    seed: int = 0  # of every choice


@dataclass(frozen=True)
class Recipe:
    """A recipe as read, with what the command line set over it."""

    path: str
    tables: Mapping[str, Mapping[str, Any]]
    check: bool = False  # only say whether there is anything to do

    def config(self, table: str, kind: type[C]) -> C:
        """The recipe's table of that name as a frozen Config; defaults where the recipe is silent."""
        given = self.tables.get(table, {})
        known = kind.__struct_fields__
        for key in given:
            if key not in known:
                raise UsageError(f"{self.path}: [{table}] has no key {key!r}; {_nearest(key, known)}")
        try:
            return msgspec.convert(dict(given), kind)
        except msgspec.ValidationError as error:
            key, sentence = _place(str(error))
            raise UsageError(f"{self.path}: {table}{key}: {sentence}; correct it in the recipe or with --set") from None

    @property
    def run(self) -> Run:
        return self.config("run", Run)

    @property
    def out(self) -> str:
        """The folder of everything that is made; absolute, for workers need not run where we do."""
        stem = self.path.rsplit("/", 1)[-1].removesuffix(".toml")
        return absolute(expand(self.run.out or f"out/{stem}", self.path))

    @property
    def pictures(self) -> str:
        """The tar of evaluation pictures, for those who do not know the trainer's Config; empty where none is given."""
        return expand(str(self.tables.get("eval", {}).get("pictures", "")), self.path)

    def folder(self, stage: str) -> str:
        """The folder of one stage: out/real/2_filter."""
        return f"{self.out.rstrip('/')}/{STAGES.index(stage)}_{stage}"


def read(path: str, settings: Sequence[str] = (), check: bool = False) -> Recipe:
    """Read a recipe; `settings` are `table.key=value` with TOML values (a bare word is a string)."""
    try:
        with fsspec.open(path, "rb") as file:
            tables = tomllib.load(file)
    except (FileNotFoundError, IsADirectoryError):
        raise UsageError(f"there is no recipe {path}: give one with --recipe, for example recipes/real.toml") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML ({error}): correct it") from None
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise UsageError(f"{path}: {name} stands outside a table: put it below one of {', '.join(TABLES)}")
        if name not in TABLES:
            raise UsageError(f"{path}: there is no table [{name}]; {_nearest(name, TABLES)}")
    for setting in settings:
        _set(tables, setting)
    return Recipe(path, tables, check)


def in_manifest(config: msgspec.Struct) -> dict[str, Any]:
    """The keys that determine what a stage writes, as JSON has them: what is read back from a manifest is equal."""
    hints = get_type_hints(type(config), include_extras=True)
    kept = [name for name in config.__struct_fields__ if not _is_aside(hints[name])]
    return {name: msgspec.json.decode(msgspec.json.encode(getattr(config, name))) for name in kept}


def expand(text: str, recipe: str) -> str:
    """Environment variables (${NAME}) filled in; UsageError where one is not set."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            raise UsageError(f"{recipe} needs the environment variable {name}: set it (export {name}=…) and run again")
        return os.environ[name]

    return re.sub(r"\$\{(\w+)\}", value, text)


def files(patterns: Sequence[str], recipe: str, key: str) -> list[str]:
    """The files that a list of paths and glob patterns stands for, sorted; UsageError where one matches nothing."""
    found: set[str] = set()
    for pattern in patterns:
        path = expand(pattern, recipe)
        fs, inner = filesystem(path)
        matches = [match for match in fs.glob(inner) if fs.isfile(match)] if re.search(r"[*?\[]", inner) else [inner]
        if matches == [inner] and fs.isdir(inner):
            raise UsageError(f"{recipe}: {key} names {path}, which is a folder: name the files in it, {path}/*.parquet")
        if not matches or not all(fs.isfile(match) for match in matches):
            raise UsageError(f"{recipe}: {key} names {path}, which is not there: correct the path")
        found |= {absolute(match) if is_local(path) else fs.unstrip_protocol(match) for match in matches}
    return sorted(found)


def _is_aside(hint: Any) -> bool:
    return get_origin(hint) is Annotated and any(
        isinstance(meta, msgspec.Meta) and (meta.extra or {}).get("aside") for meta in get_args(hint)[1:]
    )


def _set(tables: dict[str, Any], setting: str) -> None:
    match = re.fullmatch(r"(\w+)\.(\w+)=(.*)", setting, re.DOTALL)
    if not match:
        raise UsageError(f"--set {setting}: write it as table.key=value, for example --set filter.min_words=3")
    table, key, value = match.groups()
    if table not in TABLES:
        raise UsageError(f"--set {setting}: there is no table [{table}]; {_nearest(table, TABLES)}")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
    tables.setdefault(table, {})[key] = parsed


def _nearest(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"


def _place(message: str) -> tuple[str, str]:
    sentence, _, where = message.partition(" - at `$")
    return where.rstrip("`"), sentence
