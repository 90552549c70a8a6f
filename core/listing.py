"""What is below a folder: the names and sizes of its files, and which of them a link leads to."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator

from core.errors import Failure
from core.files import filesystem, is_local


def sizes_below(folder: str) -> dict[str, int]:
    """Bytes of every file below a folder, by its path below it, in one listing; nothing where there is no folder.

    A person may have moved a large table to another disk, so of a link in the folder itself the files directly behind
    it are listed. They may as well be nobody's business here: who removes files asks `behind_links`.
    """
    fs, inner = filesystem(folder)
    if is_local(folder):
        return dict(_local_sizes(inner))
    start = f"{inner.rstrip('/')}/"
    found = fs.find(inner, detail=True).items()
    return {name[len(start) :]: int(entry["size"] or 0) for name, entry in found if name.startswith(start)}


def _local_sizes(top: str) -> Iterator[tuple[str, int]]:
    waiting = [("", top, True)]
    while waiting:
        below, folder, goes_deeper = waiting.pop()
        try:
            entries = list(os.scandir(folder))
        except (FileNotFoundError, NotADirectoryError):  # it went away meanwhile
            continue
        except OSError as error:
            raise _unreadable(folder, error) from error
        for entry in entries:
            try:
                status = entry.stat()
            except OSError as error:
                if error.errno not in {errno.ENOENT, errno.ELOOP}:  # the same, a link to nothing, a link to itself
                    raise _unreadable(entry.path, error) from error
                continue
            if not stat.S_ISDIR(status.st_mode):
                yield f"{below}{entry.name}", status.st_size
            elif goes_deeper and (folder == top or not entry.is_symlink()):
                waiting.append((f"{below}{entry.name}/", entry.path, not entry.is_symlink()))


def _unreadable(path: str, error: OSError) -> Failure:
    said = os.strerror(error.errno or 0)
    return Failure(f"{path} cannot be looked into ({said}): change its permissions, or see that its disk is well")


def behind_links(folder: str, names: Iterable[str]) -> set[str]:
    """Which folders of these files, by their paths below `folder`, are reached by a link to a folder."""
    if not is_local(folder):
        return set()
    top = os.path.realpath(filesystem(folder)[1])
    places = {name.rpartition("/")[0] for name in names} - {""}
    return {place for place in places if os.path.realpath(f"{top}/{place}") != f"{top}/{place}"}
