"""Recipes: one TOML file says everything, and each stage reads its own table of it into a frozen Config.

An unknown table or key, a wrong type or an impossible value is a UsageError that names the key, the file and the
remedy.
"""

from __future__ import annotations

import difflib
import glob
import os
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from fsspec.implementations.local import LocalFileSystem

from core.credentials import public, public_text, remember
from core.errors import UsageError, describe
from core.files import absolute, filesystem, is_local
from core.registry import ASKED_FOR, STAGES, module_of

TABLES = ("run", "engine", *STAGES, *ASKED_FOR)

# Marks a key that steers how or where a stage runs, never what it writes: it is not part of the manifest.
# (The paths of inputs are such keys: in the manifest the digests of the files stand for them.)
RUNTIME = msgspec.Meta(extra={"in_manifest": False})

C = TypeVar("C", bound=msgspec.Struct)

_WITHIN = re.compile(r"^(?!\w*cache::)\w+://.*::")  # fsspec's zip://a.csv::https://b.zip; caches are passed through
_MAGIC = re.compile(r"[*?\[]")  # what makes a path a pattern
_PATTERNS_AT_ONCE = 64  # that a store is asked about
_DEEP = 4  # levels of folders that are looked into for what to suggest


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """The recipe's [run] table: what all stages share."""

    out: str = ""  # folder of everything that is made; default out/<name of the recipe>
    seed: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] = 0  # of every choice; torch takes 64 bits


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

    def shared(self, stage: str, kind: type[C]) -> C:
        """Keys of another stage's table that this one heeds, too: `kind` is what that stage's Config is derived from.

        All of the table is checked, so that a word written wrong in it is found before anybody is asked for anything.
        """
        config = self.config(stage, module_of(stage).Config)
        assert isinstance(config, kind)
        return config

    @property
    def run(self) -> Run:
        """The [run] table."""
        return self.config("run", Run)

    @property
    def out(self) -> str:
        """The folder of everything that is made; absolute, for workers need not run where we do."""
        stem = self.path.rsplit("/", 1)[-1].removesuffix(".toml")
        return absolute(expand(self.run.out or f"out/{stem}", self.path))

    @property
    def pictures(self) -> str:
        """The tar of evaluation pictures, for those who do not know the trainer's Config; empty where none is given."""
        given = self.tables.get("eval", {}).get("pictures", "")
        if not isinstance(given, str):
            raise UsageError(f"{self.path}: eval.pictures: Expected `str`, got {given!r}; give the path of a tar")
        return expand(given, self.path)

    def folder(self, stage: str) -> str:
        """The folder of one stage: out/real/2_filter."""
        return f"{self.out.rstrip('/')}/{(STAGES | ASKED_FOR)[stage].folder}"


def read(path: str, settings: Sequence[str] = (), check: bool = False) -> Recipe:
    """Read a recipe; `settings` are `table.key=value` with TOML values (a bare word is a string)."""
    try:
        fs, inner = filesystem(path)  # which connects to some
        with fs.open(inner, "rb") as file:
            tables = tomllib.load(file)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise UsageError(f"there is no recipe {path}: give one with --recipe, for example recipes/real.toml") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML ({error}): correct it") from None
    except UsageError:
        raise
    except Exception as error:  # of the libraries of object stores, each its own
        raise UsageError(
            f"{path} cannot be read ({describe(error)}): correct the path, or what gives access to it"
        ) from error
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise UsageError(f"{path}: {name} stands outside a table: put it below one of {', '.join(TABLES)}")
        if name not in TABLES:
            raise UsageError(f"{path}: there is no table [{name}]; {_nearest(name, TABLES)}")
    for setting in settings:
        _set(tables, setting)
    return Recipe(public(path), tables, check)


def in_manifest(config: msgspec.Struct) -> dict[str, Any]:
    """The keys that determine what a stage writes, as JSON has them: what is read back from a manifest is equal."""
    hints = get_type_hints(type(config), include_extras=True)
    kept = [name for name in config.__struct_fields__ if not _is_left_out(hints[name])]
    return {name: msgspec.json.decode(msgspec.json.encode(getattr(config, name))) for name in kept}


def expand(text: str, recipe: str) -> str:
    """Environment variables (${NAME}) and a leading ~ filled in; UsageError where a variable is not set."""

    pieces = []
    for piece in re.split(r"(\$\{\w+\})", text):
        name = piece[2:-1] if piece.startswith("${") and piece.endswith("}") else ""
        if name and name not in os.environ:
            raise UsageError(f"{recipe} needs the environment variable {name}: set it (export {name}=…) and run again")
        pieces.append((piece, os.environ[name] if name else piece))
    remember(pieces)
    return os.path.expanduser("".join(value for _, value in pieces))  # noqa: PTH111 (a Path would make s3:/ of s3://)


def files(patterns: Sequence[str], recipe: str, key: str) -> list[str]:
    """The files that a list of paths and glob patterns stands for, sorted; UsageError where one stands for none.

    A name that is there is that file or folder, whatever characters are in it: data[1].parquet is no pattern then.
    """
    paths = [expand(pattern, recipe) for pattern in patterns]
    with ThreadPoolExecutor(_PATTERNS_AT_ONCE) as pool:  # a store is asked about each
        return sorted(set().union(*pool.map(lambda path: _files(path, recipe, key), paths)))


def _files(path: str, recipe: str, key: str) -> set[str]:
    if _WITHIN.search(path):
        raise UsageError(f"{recipe}: {key} names {public(path)}, a file within another: unpack that, and name the file")
    try:
        fs, inner = filesystem(path)  # which connects to some
        matches = [inner] if fs.isfile(inner) else [match for match, is_file in _glob(fs, inner).items() if is_file]
        wrong = "" if matches else _why_none(fs, inner, path)
    except UsageError:
        raise
    except Exception as error:  # of the libraries of object stores, each its own
        said = public_text(f"{type(error).__name__}: {error}".replace(path, public(path)))
        remedy = "correct the path, or what gives access to it"
        raise UsageError(
            f"{recipe}: {key} names {public(path)}, which cannot be looked for ({said}): {remedy}"
        ) from error
    if wrong:
        raise UsageError(f"{recipe}: {key} names {public(path)}, {public_text(wrong)}")
    return {absolute(match) if is_local(path) else fs.unstrip_protocol(match) for match in matches}


def _glob(fs: Any, inner: str) -> dict[str, bool]:
    """What a pattern stands for, and whether that is a file.

    The folders before it that are there under their very names are none of it.
    """
    if not _MAGIC.search(inner):
        return {}
    parts = inner.split("/")
    for i, part in enumerate(parts):
        if _MAGIC.search(part):
            if not fs.isdir("/".join(parts[: i + 1])):
                break
            parts[i] = glob.escape(part)
    pattern = "/".join(parts)
    if not isinstance(fs, LocalFileSystem):
        hidden = _is_hidden(pattern)  # as in a shell: * stands for no name that begins with a dot, .* does
        found = fs.glob(pattern, detail=True).items()  # in a listing, not one request each
        return {match: entry["type"] == "file" for match, entry in found if hidden or not _is_hidden(match)}
    # fsspec does not go into folders that are links, and a link may lead to a folder above it: each folder counts once.
    once: dict[tuple[str, str], str] = {}
    for match in sorted(_local_glob(pattern), key=_depth):
        folder, _, name = match.rstrip("/").rpartition("/")
        once.setdefault((os.path.realpath(folder), name), match)
    return {match: os.path.isfile(match) for match in once.values()}  # noqa: PTH113 (a Path takes ten times as long)


def _is_hidden(path: str) -> bool:
    return path.rpartition("/")[2].startswith(".")


def _local_glob(pattern: str) -> list[str]:
    head, deep, tail = f"{pattern}/*".partition("/**/") if pattern.endswith("/**") else pattern.partition("/**/")
    found = glob.glob(head or "/")  # noqa: PTH207 (a Path's * stands for hidden files, too)
    if not deep:
        return found
    folders = (folder for top in found for folder in _folders(top))
    return [match for folder in folders for match in _local_glob(f"{glob.escape(folder)}/{tail}")]


def _folders(top: str) -> Iterator[str]:
    """A folder and all below it but hidden ones, links among them too, each once however many ways lead to it."""
    seen: set[str] = set()
    waiting = [top]
    while waiting:
        for folder, below, _ in os.walk(waiting.pop(0)):  # which does not go into links
            if (real := os.path.realpath(folder)) in seen:
                below.clear()
                continue
            seen.add(real)
            yield folder
            below[:] = sorted(name for name in below if not name.startswith("."))
            waiting += [link for name in below if os.path.islink(link := f"{folder}/{name}")]  # noqa: PTH114


def _depth(path: str) -> tuple[bool, int, str]:
    """Orders paths: those without a link before them first, then by the number of their folders."""
    folder = path.rpartition("/")[0]
    return os.path.realpath(folder) != folder, path.count("/"), path


def _why_none(fs: Any, inner: str, path: str) -> str:
    """Why a path stands for no file, and what to write instead."""
    if not path.strip():
        return "which is empty: give a path"
    if _glob(fs, inner):
        return "which matches only folders: append /* for the files in them"
    if fs.isdir(inner):
        below = [name[len(inner.rstrip("/")) + 1 :] for name in fs.find(inner, maxdepth=_DEEP)]
        # What writers leave beside their parts: .part-0.csv.crc, _SUCCESS.
        below = [name for name in below if not any(part.startswith((".", "_")) for part in name.split("/"))]
        if not below:
            return "which is a folder without files: name files, or a pattern of them"
        kinds = Counter(("**/" if "/" in name else "") + f"*{_ending(name)}" for name in below)
        (pattern, n), *_ = sorted(kinds.items(), key=lambda kind: (-kind[1], kind[0]))
        return (
            f"which is a folder: name the files in it, for example {public(path).rstrip('/')}/{pattern} "
            f"({n:,} of its {len(below):,} files)"
        )
    if fs.exists(inner):
        return "which is no file that can be read twice (a pipe or a device): write what it gives to a file"
    if "\\" in path:
        return "which is not there: write / between folders, not \\"
    folder, _, name = inner.rpartition("/")
    while folder and not fs.isdir(folder):
        folder, _, name = folder.rpartition("/")
    names = sorted(entry.rstrip("/").rpartition("/")[2] for entry in fs.ls(folder or "/", detail=False))
    if name in names:
        return "which is a link to what is not there: correct the link"
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"there is {', '.join(near)} in {folder or '/'}" if near else f"{folder or '/'} has no such name"
    return f"which is not there ({hint}): correct the path"


def _ending(name: str) -> str:
    """.warc.gz of a.warc.gz, .csv of a.b.csv; nothing of a name without one."""
    found = re.search(r"(\.\w{1,10})?\.(gz|bz2|zst|xz)$|\.\w{1,10}$", name, re.ASCII)
    return found.group() if found else ""


def _is_left_out(hint: Any) -> bool:
    return get_origin(hint) is Annotated and any(
        isinstance(meta, msgspec.Meta) and (meta.extra or {}).get("in_manifest") is False for meta in get_args(hint)[1:]
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
