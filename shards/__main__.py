"""Look after a finished pack.

python -m shards verify out/real/6_pack     every byte against the manifest, every sample against its table
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from core.command import exit_now, exit_status
from core.errors import Failure
from shards.verify import verify


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; its exit status: 0 done, 1 failed, 2 wrong use."""
    parser = argparse.ArgumentParser("python -m shards", description=(__doc__ or "").splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="verb")
    verb = verbs.add_parser("verify", help="every byte against the manifest, every sample against its table")
    verb.add_argument("folder", help="a finished pack, local or on an object store")
    verb.add_argument("--debug", action="store_true", help="show the traceback of an error")
    options = parser.parse_args(argv)
    return exit_status(options.verb, lambda: _verify(options.folder), options.debug)


def _verify(folder: str) -> None:
    files, damaged, shards, samples = 0, 0, 0, 0
    for part, troubles in verify(folder):
        files += 1
        if troubles:
            damaged += 1
            print(f"{part.name} {'; '.join(troubles)}")
        if part.table == "shard":
            shards += 1
            samples += part.rows
    if damaged:
        remedy = "restore them, or remove them and run openwit pack again"
        raise Failure(f"{damaged} of {files} files in {folder} are damaged: {remedy}")
    print(f"{folder}: {shards} shards with {samples} samples are as they were packed")


if __name__ == "__main__":
    exit_now(main)
