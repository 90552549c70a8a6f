"""Reads the tensors of torch's zip archives (torch.save, TorchScript) without executing anything in them.

An archive is a zip: `data.pkl` is a pickle that maps names to tensors, `data/0` and on are their bytes. A pickle is a
program, and Python's own reader calls the functions that it names. This reader interprets the few opcodes that torch
writes and builds plain values; calls are matched against an allowlist and not made, and any other name or opcode is
refused.
"""

from __future__ import annotations

import math
import pickletools
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import torch
from torch import Tensor

from core.errors import Failure, describe

MAX_PICKLE = 2 * 2**20  # bytes of data.pkl: the largest CLIP's, with its optimiser's state, has half a million
MAX_VALUES = 100_000  # of one archive are walked through: few bytes can say the same module very often
MAX_DEPTH = 50  # modules within modules
MAX_AXES = 8  # of a tensor
MAX_NAME = 200  # characters of a name are shown

_PICKLE = "data.pkl"
_TYPES = {
    "torch DoubleStorage": torch.float64,
    "torch FloatStorage": torch.float32,
    "torch HalfStorage": torch.float16,
    "torch BFloat16Storage": torch.bfloat16,
    "torch LongStorage": torch.int64,
    "torch IntStorage": torch.int32,
    "torch ShortStorage": torch.int16,
    "torch CharStorage": torch.int8,
    "torch ByteStorage": torch.uint8,
    "torch BoolStorage": torch.bool,
}
_LISTS = {f"torch.jit._pickle build_{kind}list" for kind in ("int", "double", "bool", "tensor")}
_CALLS = {"torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter", "collections OrderedDict", *_LISTS}
_MODULE = "__torch__."  # begins the names of TorchScript's own classes, which are code in the archive


@dataclass(frozen=True)
class _Name:
    """What the pickle would have imported: "module name"."""

    text: str


@dataclass
class _Module:
    """An object of TorchScript: its submodules, parameters and whatever else it remembers, by name."""

    members: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: torch.dtype
    length: int  # elements


@dataclass(frozen=True)
class _Stored:
    """Where a tensor stands."""

    storage: _Storage
    offset: int  # elements, as the strides are
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _NotTensors(Exception):
    """The pickle does what no file of weights needs to; says what, as the end of a sentence."""


def printable(name: str) -> str:
    """A name out of a file for a message: quoted, its control characters escaped, and cut where it is very long."""
    return repr(name if len(name) <= MAX_NAME else f"{name[:MAX_NAME]}…")


def read_tensors(file: BinaryIO, path: str, within: Callable[[Mapping[str, Any]], Any]) -> dict[str, Tensor]:
    """The tensors of an archive by their names ("visual.conv1.weight"), on the CPU, each in memory of its own.

    `within` is given the outermost dictionary and says which of its values holds the tensors, or itself: the others'
    bytes are not read. `path` names the file in errors. Failure where it is damaged, or more than tensors.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            folder, members = _members(archive)
            content = _unpickle(archive.read(members[f"{folder}{_PICKLE}"]))
            stored = dict(_flat(within(content) if isinstance(content, dict) else content))
            elements = sum(math.prod(tensor.size) * tensor.storage.dtype.itemsize for tensor in stored.values())
            if elements > sum(member.file_size for member in members.values()):
                raise _NotTensors("whose tensors take more room than the file has")
            return {name: _tensor(archive, members, folder, tensor) for name, tensor in stored.items()}
    except _NotTensors as error:
        raise Failure(
            f"{path} holds {error}: nothing of it was run or loaded; take the weights from where you trust, or save "
            "their state dict alone"
        ) from None
    except (zipfile.BadZipFile, EOFError, LookupError, ValueError, TypeError, RuntimeError, OSError) as error:
        reason = describe(error).split("\n", 1)[0]
        raise Failure(f"{path} is no archive of torch's, or is damaged ({reason}): fetch or write it anew") from error


def is_torchscript(file: BinaryIO) -> bool:
    """Whether a file is an archive with a program, as torch.jit.save writes it; only its names are read."""
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any("/code/" in name for name in archive.namelist())


def _members(archive: zipfile.ZipFile) -> tuple[str, dict[str, zipfile.ZipInfo]]:
    """The folder that the archive's files lie in ("archive/"), and those files that matter, by their names."""
    folder = next((name.removesuffix(_PICKLE) for name in archive.namelist() if name.endswith("/" + _PICKLE)), None)
    if folder is None:
        raise ValueError(f"it has no {_PICKLE}")
    wanted = (f"{folder}{_PICKLE}", f"{folder}data/", f"{folder}byteorder")
    members = {info.filename: info for info in archive.infolist() if info.filename.startswith(wanted)}
    for name, info in members.items():
        if info.compress_type != zipfile.ZIP_STORED:
            raise _NotTensors(f"the compressed {printable(name)}, and torch compresses no tensors")
    if members[f"{folder}{_PICKLE}"].file_size > MAX_PICKLE:
        raise _NotTensors(f"a {_PICKLE} above {MAX_PICKLE:,} bytes")
    if f"{folder}byteorder" in members and archive.read(f"{folder}byteorder") != b"little":
        raise _NotTensors("numbers of a big-endian machine")
    return folder, members


def _tensor(archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], folder: str, stored: _Stored) -> Tensor:
    """The bytes of one tensor. The zip's sum over them is checked as they are read."""
    storage = stored.storage
    info = members.get(f"{folder}data/{storage.key}")
    if info is None:
        raise ValueError(f"there is no data/{printable(storage.key)}")
    last = stored.offset + sum((n - 1) * step for n, step in zip(stored.size, stored.stride, strict=True))
    if info.file_size != storage.length * storage.dtype.itemsize or not 0 <= last < storage.length:
        raise ValueError(f"a tensor does not lie within {printable(info.filename)}")
    flat = torch.frombuffer(bytearray(archive.read(info)), dtype=storage.dtype)
    # Its own memory, so that one that is part of a larger storage does not keep that alive.
    return flat.as_strided(stored.size, stored.stride, stored.offset).clone(memory_format=torch.contiguous_format)


def _flat(value: Any) -> Iterator[tuple[str, _Stored]]:
    """All tensors below a value, by their names with dots; what else there is does not count."""
    seen = 0

    def walk(value: Any, name: str, depth: int) -> Iterator[tuple[str, _Stored]]:
        nonlocal seen
        seen += 1
        if seen > MAX_VALUES or depth > MAX_DEPTH:
            raise _NotTensors("modules without end")
        if isinstance(value, _Stored):
            yield name, value
        elif isinstance(value, _Module | dict):
            for key, part in (value if isinstance(value, dict) else value.members).items():
                yield from walk(part, f"{name}.{key}" if name else str(key), depth + 1)

    return walk(value, "", 0)


# ── the pickle ────────────────────────────────────────────────────────────────────────────────────

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LENGTHS = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Stack:
    """The values that instructions work on, with marks from which some of them take all."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.marks: list[int] = []

    def pop(self, count: int) -> list[Any]:
        return self._cut(len(self.values) - count)

    def pop_to_mark(self) -> list[Any]:
        return self._cut(self.marks.pop())

    def _cut(self, start: int) -> list[Any]:
        if start < (self.marks[-1] if self.marks else 0):
            raise ValueError("its pickle takes more than was put")
        taken = self.values[start:]
        del self.values[start:]
        return taken


def _unpickle(data: bytes) -> Any:
    """The value that a pickle describes: numbers, texts, tuples, lists, dicts, modules and places of tensors."""
    stack = _Stack()
    push, values = stack.values.append, stack.values
    memo: dict[int, Any] = {}
    argument: Any
    for opcode, argument, _ in pickletools.genops(data):
        match opcode.name:
            case "PROTO":
                pass
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                push(_CONSTANTS[opcode.name])
            case "BINUNICODE" | "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
                push(argument)
            case "GLOBAL":
                push(_name(argument))
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = values[-1]
            case "BINGET" | "LONG_BINGET":
                push(memo[argument])
            case "MARK":
                stack.marks.append(len(values))
            case "EMPTY_TUPLE" | "TUPLE1" | "TUPLE2" | "TUPLE3" as name:
                push(tuple(stack.pop(_LENGTHS[name])))
            case "TUPLE":
                push(tuple(stack.pop_to_mark()))
            case "EMPTY_LIST":
                push([])
            case "EMPTY_DICT":
                push({})
            case "APPEND" | "APPENDS" as name:
                some = stack.pop(1) if name == "APPEND" else stack.pop_to_mark()
                _of(list, values[-1]).extend(some)
            case "SETITEM" | "SETITEMS" as name:
                some = stack.pop(2) if name == "SETITEM" else stack.pop_to_mark()
                _of(dict, values[-1]).update(zip(map(_key, some[::2]), some[1::2], strict=True))
            case "BINPERSID":
                push(_storage(*stack.pop(1)))
            case "REDUCE" | "NEWOBJ":
                push(_made(*stack.pop(2)))
            case "BUILD":
                (state,) = stack.pop(1)
                _give_state(values[-1], state)
            case "STOP":
                (value,) = values
                return value
            case other:
                raise _NotTensors(f"the instruction {other} of pickle, which torch.save does not write by itself")
    raise ValueError("its pickle has no end")


def _of(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"its pickle takes a {type(value).__name__} for a {kind.__name__}")
    return value


def _key(value: Any) -> str | int:
    """A key of a dictionary. Not a tuple: to hash one that is nested a million times overflows the stack of C."""
    if not isinstance(value, str | int):
        raise ValueError(f"its pickle has a {type(value).__name__} for a key")
    return value


def _name(text: str) -> _Name:
    if text not in _TYPES and text not in _CALLS and not text.startswith(_MODULE):
        raise _NotTensors(f"{printable(text.replace(' ', '.'))}, which is no tensor")
    return _Name(text)


def _storage(content: Any) -> _Storage:
    match content:
        case ("storage", _Name(text), str(key), str(), int(length)) if text in _TYPES and length > 0:
            return _Storage(key, _TYPES[text], length)
    raise ValueError("its pickle points to something else than a tensor's bytes")


def _made(name: Any, arguments: Any) -> Any:
    """What a call by the pickle stands for."""
    match _of(_Name, name).text, _of(tuple, arguments):
        case text, () if text.startswith(_MODULE):
            return _Module()
        case "collections OrderedDict", ():
            return {}
        case "torch._utils _rebuild_tensor_v2", (_Storage() as storage, int(offset), tuple(size), tuple(stride), *_):
            numbers = (offset, *size, *stride)
            if len(numbers) > 2 * MAX_AXES + 1 or not all(isinstance(n, int) and 0 <= n < 2**48 for n in numbers):
                raise ValueError("a tensor has a size that none can have")
            return _Stored(storage, offset, size, stride)
        case "torch._utils _rebuild_parameter", (_Stored() as stored, *_):
            return stored
        case text, (list(values), *_) if text in _LISTS:
            return values
    raise ValueError(f"its pickle calls {printable(name.text.replace(' ', '.'))} in a way that torch does not")


def _give_state(made: Any, state: Any) -> None:
    if isinstance(made, _Module):
        made.members = _of(dict, state)
    else:
        _of(dict, made)  # an OrderedDict with torch's _metadata, which says nothing of tensors
