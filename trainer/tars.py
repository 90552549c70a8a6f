"""Samples from WebDataset tars of other tools: read by the webdataset library, with checks that it lacks.

The library ends a shard without an error where Python's tarfile finds no further header: a shard that was cut between
two members, or has one damaged header, loses the rest of its samples, whatever handler is set. It reads members of any
size into memory. Its keys end at the first dot, and a sample at the next key. So all bytes go through `CheckedTar`,
which parses the headers by itself; keys are split at the endings that are asked for; and a sample without a caption or
a picture is held until the end of its shard, in case the missing member follows.
"""

from __future__ import annotations

import itertools
import json
import re
import tarfile
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from webdataset.tariterators import group_by_keys, tar_file_expander

from core.errors import describe
from core.files import join
from core.texts import marked_encoding
from trainer.sources import PIPE, WEB, Readable, ShardError, no_tar, opened

IMAGES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "avif", "tif", "tiff")
CAPTIONS = ("txt", "text", "caption", "json.caption", "json.text", "json.alt_text", "json.alt")
MAX_MEMBER = 256 << 20  # bytes; a member is read whole
MAX_IMAGE = 20_000_000  # bytes, as fetch has it: thousands of pictures wait to be shuffled
MAX_TEXT = 1 << 20  # bytes of a caption, or of the json that it stands in
_MAX_EXTENDED = 1 << 20  # bytes of a long name or of a pax header
_MAX_BESIDE = 16 << 20  # bytes of a file with the sizes of shards, beside them
_MAX_WAITING = 256 << 20  # bytes of incomplete samples that are held
_CONTROLS = bytes({*range(32)} - {*b"\t\n\r"})  # the upper halves of UTF-16 in most alphabets, and hardly in a text
_EXTENDED = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip
_RESIZED = re.compile(rb"(?:^|\n)\d+ (?:size|GNU\.sparse\.[\w.]+)=")  # records of a pax header


# ── samples ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class RawSample:
    """A picture as its bytes, with its captions, of which one is drawn."""

    shard: str
    key: str
    image: bytes
    captions: tuple[str, ...]


@dataclass(frozen=True)
class Skipped:
    """A sample, or the rest of a shard, that is not trained on. `is_damage`: not if it is merely incomplete."""

    reason: str
    shard: str
    key: str
    detail: str
    is_damage: bool = True


@dataclass(frozen=True)
class Members:
    """Which members of a sample are read: endings without their dot, of which the first that exists is taken.

    A caption may stand in a json: "json.meta.title".
    """

    images: Sequence[str] = IMAGES
    captions: Sequence[str] = CAPTIONS

    @classmethod
    def named(cls, images: Sequence[str], captions: Sequence[str]) -> Members:
        """From endings as a recipe gives them: ".JPG" is "jpg"; only keys within a json are case-sensitive."""
        bare = [name.removeprefix(".") for name in captions]
        texts = [name if name.startswith("json.") else name.lower() for name in bare]
        return cls([name.removeprefix(".").lower() for name in images], texts)

    def endings(self) -> set[str]:
        """Of the members that are read."""
        return {*self.images, *("json" if name.startswith("json.") else name for name in self.captions)}


def samples_of(shard: str, members: Members, stop: threading.Event) -> Iterator[RawSample | Skipped]:
    """The samples of a shard, and in their order those that are skipped. A shard that cannot be read is one Skipped.

    `stop`: set when the samples are no longer needed.
    """
    seen = pictures = 0
    try:
        with opened(shard, stop) as file:
            tar = CheckedTar(file)
            separated = partial(_separated, members=members, endings=members.endings())
            parts = itertools.chain.from_iterable(map(separated, _parts(tar, members)))
            for sample in _complete(parts, members, shard):
                seen += 1
                pictures += not (isinstance(sample, Skipped) and sample.reason == "no_picture")
                yield sample
            expected = _expected_samples(shard, stop)
            tar.finish(whole=expected is not None and pictures >= expected)
        if pictures < (expected or 0) or (not seen and expected is None):
            raise ShardError(
                "shard_short", f"it holds {pictures:,} samples of {'some' if expected is None else f'{expected:,}'}"
            )
    except ShardError as error:
        yield Skipped(error.reason, shard, "", error.detail)


def _parts(tar: CheckedTar, members: Members) -> Iterator[dict[str, Any]]:
    """The library's samples: consecutive members of one key."""
    split = _splitter(members.endings())
    try:
        files = tar_file_expander([{"url": "", "stream": tar}], select_files=_is_for(members.endings()))
        yield from group_by_keys(files, keys=split)
    except ShardError:
        raise
    except (tarfile.TarError, ValueError) as error:
        tar.finish()  # raises the more precise error
        raise ShardError("shard_damaged", f"{error.args[0]}") from error


def _is_for(endings: set[str]) -> Callable[[str], bool]:
    """Whether a member is read, by its name. Names that begin with a dot are macOS's AppleDouble files."""

    ends = tuple(f".{ending}" for ending in endings)

    def wanted(name: str) -> bool:
        base = name.rpartition("/")[2].lower()
        return base.endswith(ends) and not base.startswith(".")

    return wanted


def _splitter(endings: set[str]) -> Callable[[str], tuple[str, str]]:
    """Splits names into keys and endings, called by the library for one member after the other.

    A key may have dots: the key of img.v1.0001.jpg is not "img". But 000.seg.png after 000.jpg belongs to 000.
    """
    before = ""

    def split(name: str) -> tuple[str, str]:
        nonlocal before
        folder, slash, base = name.rpartition("/")
        key, _, ending = base.partition(".")
        if ending.lower() not in endings and folder + slash + key != before:
            ending = max((known for known in endings if base.lower().endswith(f".{known}")), key=len)
            key = base[: -len(ending) - 1]
        before = folder + slash + key
        return before, ending

    return split


def _separated(part: dict[str, Any], members: Members, endings: set[str]) -> Iterator[dict[str, Any]]:
    """A sample, and what only looks like further members of it: photo.v2.jpg with photo.v2.txt, behind photo.jpg."""
    others: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for name in part:
        if not name.startswith("__") and name not in endings:
            ending = max((known for known in endings if name.endswith(f".{known}")), key=len, default="")
            others[name.removesuffix(f".{ending}")][ending] = part[name]
    own = {
        more: {"__key__": f"{part['__key__']}.{more}", **found}
        for more, found in others.items()
        if not isinstance(_to_sample({"__key__": "", **found}, members, ""), Skipped)
    }
    apart = {f"{more}.{ending}" for more in own for ending in others[more]}
    yield {name: data for name, data in part.items() if name not in apart}
    yield from own.values()


def _complete(parts: Iterator[dict[str, Any]], members: Members, shard: str) -> Iterator[RawSample | Skipped]:
    """Samples with picture and caption; those whose members are not consecutive are joined.

    Of those that would take more memory than there may be the first are given up: they are damage if the rest follows.
    """
    waiting: dict[str, dict[str, Any]] = {}
    given_up: dict[str, Skipped] = {}
    held = 0  # bytes
    for part in parts:
        key = part["__key__"]
        if key in given_up and isinstance(_to_sample(part, members, shard), Skipped):
            detail = f"more than {_MAX_WAITING:,} bytes stand between its members: sort the tar by name"
            given_up[key] = Skipped("members_apart", shard, key, detail)
            continue
        sample = {**waiting.get(key, {}), **part}
        made = _to_sample(sample, members, shard)
        if key in waiting:
            held -= _bytes(waiting.pop(key))
        if isinstance(made, Skipped) and not made.is_damage:
            waiting[key] = sample
            held += _bytes(sample)
            while held > _MAX_WAITING:
                oldest = waiting.pop(next(iter(waiting)))
                held -= _bytes(oldest)
                if isinstance(lost := _to_sample(oldest, members, shard), Skipped):
                    given_up[oldest["__key__"]] = lost
        else:
            yield made
    yield from given_up.values()
    for sample in waiting.values():
        yield _to_sample(sample, members, shard)


def _bytes(sample: dict[str, Any]) -> int:
    return sum(len(value) for name, value in sample.items() if not name.startswith("__"))


def _to_sample(sample: dict[str, Any], members: Members, shard: str) -> RawSample | Skipped:
    key = sample["__key__"]
    image = next((sample[name] for name in members.images if name in sample), None)
    if image is None:
        return Skipped("no_picture", shard, key, f"it has {', '.join(_endings(sample))}", is_damage=False)
    if len(image) > MAX_IMAGE:
        return Skipped("too_many_bytes", shard, key, f"{len(image):,} of at most {MAX_IMAGE:,}")
    try:
        captions = next(filter(None, (_captions(sample, name) for name in members.captions)), ())
    except (ValueError, RecursionError) as error:
        return Skipped("caption_unreadable", shard, key, describe(error))
    if not captions:
        return Skipped("no_caption", shard, key, f"it has {', '.join(_endings(sample))}", is_damage=False)
    return RawSample(shard, key, image, captions)


def _endings(sample: dict[str, Any]) -> list[str]:
    return sorted(name for name in sample if not name.startswith("__"))


def _captions(sample: dict[str, Any], name: str) -> tuple[str, ...]:
    """The captions in a member, without empty ones; ValueError or RecursionError where it cannot be read."""
    ending, *path = name.split(".") if name.startswith("json.") else [name]
    data = sample.get(ending, b"")
    if len(data) > MAX_TEXT:
        raise ValueError(f"{ending} has {len(data):,} bytes, of at most {MAX_TEXT:,}")
    if not path:
        found: Any = data.decode(_encoding(data))
    else:
        found = json.loads(data) if data else None  # it takes NaN, which pandas writes for an empty cell
        for step in path:
            found = found.get(step) if isinstance(found, dict) else None
    texts = found if isinstance(found, list) else [found]
    return tuple(text for text in texts if isinstance(text, str) and text.strip())


def _encoding(data: bytes) -> str:
    """Of a text: UTF-8, or UTF-16 where a mark says so, or control characters in most of the even or odd places."""
    marked = marked_encoding(data)
    if marked == "utf-16":
        return marked
    for first, encoding in ((0, "utf-16-be"), (1, "utf-16-le")):
        halves = data[first::2]
        if len(data) % 2 == 0 and 2 * len(halves.translate(None, _CONTROLS)) < len(halves):
            return encoding
    return marked


def _expected_samples(shard: str, stop: threading.Event) -> int | None:
    """The number of samples of a shard by img2dataset's `_stats.json` or open_clip's `sizes.json`; None without one."""
    folder, _, name = shard.rpartition("/")
    if shard.startswith(PIPE) or (shard.startswith(WEB) and "?" in name):
        return None
    for beside, key in ((f"{name.partition('.')[0]}_stats.json", "successes"), ("sizes.json", name)):
        try:
            with opened(join(folder, beside), stop) as file:
                expected = json.loads(_up_to(_MAX_BESIDE, file))[key]
        except (ShardError, ValueError, RecursionError, LookupError, TypeError):
            continue  # optional, and other files may have that name
        if isinstance(expected, int):
            return expected
    return None


def _up_to(most: int, file: Readable) -> bytes:
    parts = []
    while most > 0 and (data := file.read(most)):
        parts.append(data)
        most -= len(data)
    return b"".join(parts)


# ── watching ──────────────────────────────────────────────────────────────────────────────────────


class CheckedTar:
    """A tar as a file object, whose headers are checked while the library reads it.

    What would take unbounded memory raises ShardError at once; what would end the library's reading silently raises it
    in `finish`, so that all samples before it are read first.
    """

    def __init__(self, file: Readable) -> None:
        self._file = file
        self._at = 0  # bytes
        self._header = bytearray()
        self._body = 0  # bytes of the member that are yet to come, padding of its last block included
        self._extended: bytearray | None = None  # the body of a pax header
        self._ended = False  # at the end-of-archive marker
        self._error: ShardError | None = None
        self._template = b""  # fields of the last valid header

    def read(self, n: int) -> bytes:
        """n bytes; fewer only at the end."""
        parts = []
        while n > 0 and (data := self._file.read(n)):
            parts.append(data)
            self._follow(data)
            n -= len(data)
        return b"".join(parts)

    def finish(self, whole: bool = False) -> None:
        """Read the rest. ShardError where the tar is damaged, cut, or followed by other data.

        `whole`: all samples are known to have been read, so a missing end-of-archive marker is no error.
        """
        while not self._error and self.read(1 << 16):
            pass
        if self._error:
            raise self._error
        if self._at < tarfile.BLOCKSIZE and (what := no_tar(bytes(self._header))):
            raise ShardError("shard_damaged", f"it is no tar: {what}")
        if self._header or self._body:
            raise ShardError("shard_cut", f"it ends within a member, after {self._at:,} bytes")
        if not self._ended and not whole:
            raise ShardError("shard_cut", f"it ends after {self._at:,} bytes, without the mark of its end")

    def _follow(self, data: bytes) -> None:
        at = 0
        while at < len(data) and not self._error:
            if self._ended:
                if data.count(0, at) < len(data) - at:
                    self._error = _damaged(self._at + at, "more stands behind the end: several tars in one?")
                break
            piece = data[at : at + (self._body or tarfile.BLOCKSIZE - len(self._header))]
            at += len(piece)
            if self._body:
                self._body -= len(piece)
                if self._extended is not None:
                    self._extended += piece
            else:
                self._header += piece
                if len(self._header) == tarfile.BLOCKSIZE:
                    self._member(bytes(self._header), self._at + at - tarfile.BLOCKSIZE)
                    self._header.clear()
            if not self._body and self._extended is not None:
                self._pax(bytes(self._extended), self._at + at)
        self._at += len(data)

    def _member(self, header: bytes, at: int) -> None:
        try:
            kind, size = self._parsed(header)
        except tarfile.HeaderError as error:
            if header.count(0) == len(header):
                self._ended = True
            elif at:
                self._error = _damaged(at, f"{error}; what follows is lost")
            else:
                raise ShardError("shard_damaged", f"it is no tar: {no_tar(header) or error}") from error
            return
        if kind == tarfile.GNUTYPE_SPARSE:
            raise _damaged(at, "a sparse file")
        extended = kind in _EXTENDED
        if extended or kind in tarfile.REGULAR_TYPES or kind not in tarfile.SUPPORTED_TYPES:
            most = _MAX_EXTENDED if extended else MAX_MEMBER
            if not 0 <= size <= most:
                raise _damaged(at, f"a member of {size:,} bytes, of at most {most:,}")
            self._body = -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
            self._extended = bytearray() if extended and self._body else None

    def _parsed(self, header: bytes) -> tuple[bytes, int]:
        """The type of a member and its size, as tarfile parses them; HeaderError where it is no header.

        tarfile is slow. Most headers differ from the one before only in name, size, time and checksum, parsed here.
        """
        template = header[100:124] + header[156:157] + header[329:345]  # mode and owner, kind, device
        summed = sum(header) - sum(header[148:156]) + 8 * ord(" ")
        if template == self._template and summed == tarfile.nti(header[148:156]):  # type: ignore[attr-defined]
            tarfile.nti(header[136:148])  # type: ignore[attr-defined]
            return tarfile.REGTYPE, tarfile.nti(header[124:136])  # type: ignore[attr-defined]
        member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        self._template = template if member.type == tarfile.REGTYPE else b""
        return member.type, member.size

    def _pax(self, records: bytes, at: int) -> None:
        """A pax header may override the size of its member, which tarfile obeys; only files above 8 GiB need that."""
        self._extended = None
        if _RESIZED.search(records):
            raise _damaged(at - len(records), "a pax header gives a member another size")


def _damaged(at: int, detail: str) -> ShardError:
    return ShardError("shard_damaged", f"at byte {at:,}: {detail}")
