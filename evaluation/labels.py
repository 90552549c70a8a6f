"""Which picture of a tar is of which class: by lines "name<TAB>label", or by CLIP_benchmark's files NAME.cls.

One picture has many names: `tar -C folder .` begins them with "./", macOS spells accents in two characters, cameras
write .JPG, and tables of labels leave the folder or the extension out. All of that is settled here, from the names
alone, before a model looks at anything.
"""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from core.errors import Failure
from core.files import read_bytes
from core.tars import tar_members
from core.texts import marked_encoding
from evaluation.classes import require_different, require_single

EXTENSIONS = frozenset(
    f".{name}"
    for name in (
        *("jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "avif", "tif", "tiff", "svg"),
        *("ppm", "pgm", "pbm", "pnm", "heic", "jxl", "jp2"),
    )
)
MAX_CLASS_BYTES = 1 << 16  # of a .cls file; it holds a number

MISSING = frozenset({"", "nan", "NaN", "NAN", "None", "null", "NULL", "<NA>", "N/A", "n/a", "#N/A"})  # as pandas has it

_INVISIBLE = re.compile("[\u200b\u2060\ufeff]")  # pasted along from web pages; without width or meaning
_NUMBER = re.compile(r"0*[0-9]{1,9}")
_QUOTED = re.compile(r'"((?:[^"]|"")*)"')


@dataclass(frozen=True)
class Labelled:
    """What is evaluated: at least one picture, each with one of the classes."""

    label_of: dict[str, str]  # name in the tar → class, in the order of the tar
    classes: list[str]  # sorted
    unlabelled: int  # other files in the tar


def read(pictures: str, labels: str) -> Labelled:
    """Bring a tar and its labels together. Failure names what does not fit, and what to do."""
    names, numbers = [], {}
    for name, body in tar_members(pictures, MAX_CLASS_BYTES, is_class_file):
        names.append(name)
        if is_class_file(name):
            numbers[name] = body
    lines = read_lines(labels)
    if numbers and not any("\t" in line for line in lines):
        label_of, classes = _by_number(names, numbers, lines, pictures, labels)
        others = len(names) - len(label_of) - len(numbers)
    else:
        given = read_labels(labels)
        meant = match(list(given), names)
        _check(meant, given, names, pictures, labels)
        label_of = {name: given[meant[name]] for name in names if name in meant}
        classes = sorted(set(given.values()))
        require_different(classes, labels)
        require_single(classes, labels)
        others = len(names) - len(label_of)
    return Labelled(label_of, classes, others)


# ── labels ────────────────────────────────────────────────────────────────────────────────────────


def read_lines(path: str) -> list[str]:
    """The lines of a text, NFC, blanks at both ends of a line taken off."""
    return [unicodedata.normalize("NFC", line.strip()) for line in read_text(path).split("\n")]


def read_text(path: str) -> str:
    """A text in UTF-8, or in UTF-16 as spreadsheets save it; lines end with \\n. Failure where it is neither."""
    data = read_bytes(path)
    try:
        text = data.decode(marked_encoding(data))
    except UnicodeDecodeError as error:
        raise Failure(f"{path} is not UTF-8 ({error}): convert it") from None
    if "\0" in text:
        raise Failure(f"{path} is not UTF-8 (it holds zero bytes, as UTF-16 does): convert it")
    return _INVISIBLE.sub("", text).replace("\r\n", "\n").replace("\r", "\n")


def read_labels(path: str) -> dict[str, str]:
    """Names of pictures, as given → labels, of lines "name<TAB>label". Failure names the line that is none."""
    labels: dict[str, str] = {}
    line_of: dict[str, int] = {}
    for number, line in enumerate(read_lines(path), start=1):
        if not line:
            continue
        name, *others = (
            " ".join(cell.split()) if i else cell for i, cell in enumerate(map(_unquoted, line.split("\t")))
        )
        if len(others) > 1:
            raise Failure(f"{path}, line {number} has {1 + len(others)} columns: leave only the name and the label")
        if not name or not others or others[0] in MISSING:
            raise Failure(
                f"{path}, line {number} is not a name, a tab and a label ({line[:80]!r}): correct it, with "
                "a tab between the two"
            )
        first = line_of.setdefault(normal(name), number)
        if first != number:
            raise Failure(f"{path}, line {number} labels {name} a second time, after line {first}: remove one of them")
        labels[name] = others[0]
    if not labels:
        raise Failure(f"{path} holds no labels: give a file of lines of a name, a tab and a label")
    return labels


def _unquoted(cell: str) -> str:
    """A cell without the quotes that spreadsheets put around it; they double those within."""
    cell = cell.strip()
    quoted = _QUOTED.fullmatch(cell)
    return quoted[1].replace('""', '"').strip() if quoted else cell


def _by_number(
    names: Sequence[str], numbers: Mapping[str, bytes], lines: Sequence[str], pictures: str, labels: str
) -> tuple[dict[str, str], list[str]]:
    """CLIP_benchmark's form: NAME.cls beside NAME.jpg holds a number, that of a line of class names, from 0."""
    classes = class_names(lines, labels)
    twice = [name for name, count in Counter(classes).items() if count > 1]
    if twice:
        raise Failure(f"{labels} has {twice[0]} among its class names twice: give each class a name of its own")
    if match([line.split(",")[0].strip("\"' ") for line in classes if "," in line], names):
        raise Failure(f"{labels} has names of pictures, but no tabs: give lines of a name, a tab and a label")
    number_of = class_numbers(names, numbers, len(classes), pictures, labels)
    if not number_of:
        raise Failure(f"{pictures} has no picture beside {min(numbers)} and the like: give the tar whole")
    return {name: classes[number] for name, number in number_of.items()}, sorted(classes)


def class_names(lines: Sequence[str], labels: str) -> list[str]:
    """The class names of a file's lines; Failure where a line between others is empty, for lines are numbers."""
    classes = "\n".join(map(_unquoted, lines)).rstrip("\n").split("\n")
    if "" in classes:
        raise Failure(f"{labels} has an empty line among its class names, line {classes.index('') + 1}: remove it")
    return classes


def class_numbers(
    names: Sequence[str], numbers: Mapping[str, bytes], count: int, pictures: str, labels: str
) -> dict[str, int]:
    """Pictures that have a .cls file beside them → the number in it, below `count`; in the order of `names`."""
    number_of: dict[str, int] = {}
    for name, of_class in _pairs(names, pictures).items():
        text = _INVISIBLE.sub("", numbers[of_class].decode("utf-8", "replace")).strip()
        number = int(text) if _NUMBER.fullmatch(text) else count
        if number >= count:
            raise Failure(
                f"{of_class} in {pictures} holds {text[:40]!r}, not a number from 0 to {count - 1}, of a line "
                f"of {labels}: give the class names that belong to these pictures"
            )
        number_of[name] = number
    return number_of


def _pairs(names: Sequence[str], pictures: str) -> dict[str, str]:
    """Pictures → the .cls files of the same path: but for capitals, where no other path differs in them only."""
    path_of = {name: posixpath.splitext(normal(name))[0] for name in names}
    of_path = {path_of[name]: name for name in names if is_class_file(name)}
    of_capitals = {path.casefold(): name for path, name in of_path.items()}
    pictured = {path_of[name] for name in filter(is_picture, names)}
    similar = [Counter(map(str.casefold, paths)) for paths in (of_path, pictured)]
    pairs: dict[str, str] = {}
    for name in filter(is_picture, names):
        path = path_of[name]
        if path in of_path:
            pairs[name] = of_path[path]
        elif all(count[path.casefold()] == 1 for count in similar):
            pairs[name] = of_capitals[path.casefold()]
    count = Counter(map(normal, names))
    twice = next((name for name in (*pairs, *pairs.values()) if count[normal(name)] > 1), None)
    if twice is not None:
        raise Failure(f"{pictures} holds {twice} twice: remove one of them")
    return pairs


# ── names ─────────────────────────────────────────────────────────────────────────────────────────


def normal(name: str) -> str:
    """A path as all who mean it would write it: no "./" in it, accents composed, its extension in small letters."""
    shown = _INVISIBLE.sub("", name).strip()
    path = posixpath.normpath("/" + unicodedata.normalize("NFC", shown).replace("\\", "/")).lstrip("/")
    stem, extension = posixpath.splitext(path)
    return stem + extension.lower()


def is_picture(name: str) -> bool:
    """Whether a file's name is one of a picture. macOS puts a file ._NAME of notes beside NAME."""
    return posixpath.splitext(name)[1].lower() in EXTENSIONS and not _is_note(name)


def match(given: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Names in the tar → the given names that mean them; where none fits, without the folder that all begin with."""
    return _match(given, names, "", "") or _match(given, names, _folder(given), _folder(filter(is_picture, names)))


def _match(given: Sequence[str], names: Sequence[str], given_folder: str, folder: str) -> dict[str, str]:
    """The same normal name; else the same without extension and capitals, where that is only one on either side."""
    in_tar = {normal(name).removeprefix(folder): name for name in names if not _is_note(name)}
    meant: dict[str, str] = {}
    wanted: dict[str, list[str]] = defaultdict(list)
    for as_given in given:
        short = normal(as_given).removeprefix(given_folder)
        if short in in_tar:
            meant[in_tar[short]] = as_given
        else:
            wanted[_stem(short)].append(as_given)
    there: dict[str, list[str]] = defaultdict(list)
    for short, name in in_tar.items():
        if is_picture(name) and name not in meant:
            there[_stem(short)].append(name)
    for stem, some in wanted.items():
        if len(some) == len(there[stem]) == 1:
            meant[there[stem][0]] = some[0]
    return meant


def _stem(path: str) -> str:
    stem, extension = posixpath.splitext(path)
    return (stem if extension in EXTENSIONS else path).casefold()


def _folder(names: Iterable[str]) -> str:
    """The folders that all names begin with, and a slash; empty where there is none."""
    folders = {posixpath.dirname(normal(name)) for name in names}
    shared = posixpath.commonpath(folders) if folders else ""
    return shared and f"{shared}/"


def is_class_file(name: str) -> bool:
    """Whether a file beside a picture holds the number of its class."""
    return name.lower().endswith(".cls") and not _is_note(name)


def _is_note(name: str) -> bool:
    return posixpath.basename(name).startswith("._")


def _check(
    meant: Mapping[str, str], given: Mapping[str, str], names: Sequence[str], pictures: str, labels: str
) -> None:
    """Each label has its picture. A tar that was cut short ends like any other: only its labels tell."""
    if not meant:
        there = next(filter(is_picture, names), names[0] if names else "nothing")
        raise Failure(
            f"{labels} and {pictures} have no name in common: the one has {next(iter(given))!r}, the other {there!r}; "
            "name the pictures in both alike"
        )
    paths = Counter(map(normal, names))
    twice = sorted(name for name in meant if paths[normal(name)] > 1)
    if twice:
        raise Failure(f"{pictures} holds {len(twice)} pictures twice, {twice[0]} for one: remove one of each")
    missing = sorted(given.keys() - set(meant.values()))
    first = next(iter(given))
    if missing == [first] and posixpath.splitext(normal(first))[1] not in EXTENSIONS:
        raise Failure(
            f"{pictures} lacks what the first line of {labels} names ({first}, {given[first]}), and nothing else: if "
            "that is a header, take it out"
        )
    if missing:
        raise Failure(
            f"{pictures} lacks {len(missing)} of the {len(given)} pictures that {labels} names, {missing[0]} for one: "
            "restore it, or take their lines out"
        )
