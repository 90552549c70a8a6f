"""web_shift: the classes of an evaluation set as the web shows them, a natural shift of it (section 3.3).

    python -m benchmarks.web_shift --recipe recipes/mine.toml --classes classes.txt --without 'a*.test' mine/web_shift
    .venv/bin/openwit eval --recipe recipes/mine.toml --set 'eval.sets=["mine/web_shift"]'

takes the pictures of a recipe's pack that training held out, by a hash of their ids, and whose captions name exactly
one class, in the singular or the plural. `--classes` is a file of class names, or of lines "name<TAB>class".
`--without` leaves out hosts, such as those that serve pictures of the evaluation set itself. What is written is
CLIP_benchmark's layout, with all classes, for a model has to choose among all. Of a class with fewer than 20 pictures
an accuracy says that the machinery runs, and no more. Nobody has looked at the pictures: a "bass" may be a fish.
"""

from __future__ import annotations

import argparse
import fnmatch
import io
import re
import sys
import tarfile
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from core import command, runs
from core import recipe as recipes
from core.errors import UsageError
from core.recipe import Recipe
from evaluation.labels import class_names, read_labels, read_lines
from shards.reader import Sample, Shards
from trainer.data import captions, split

LEAST = 20  # pictures of a class, for its accuracy to say something


def named_by(texts: Iterable[str], classes: Sequence[str]) -> str | None:
    """The one class that texts name as a word of its own, or its plural; None where there is none, or several.

    Longer names first, so that a "t-shirt" is no "shirt".
    """
    rest = "\n".join(texts)
    found = []
    for name in sorted(classes, key=len, reverse=True):
        stem = name[:-1] if name.endswith("es") else name  # shoes, not shorts
        pattern = rf"(?<!\w){re.escape(stem).replace('_', '[ _-]')}(?:e?s)?(?!\w)"
        rest, times = re.subn(pattern, " ", rest, flags=re.IGNORECASE)
        found += [name] if times else []
    return found[0] if len(found) == 1 else None


def chosen(
    shards: Shards, held_out: Iterable[int], classes: Sequence[str], without: Collection[str]
) -> list[tuple[Sample, str]]:
    """The held-out samples that show a class, with it; not those of hosts that match a pattern."""
    found = []
    for number in held_out:
        sample = shards.sample(int(number))
        host = urlsplit(sample.meta["url"]).hostname or ""
        if any(fnmatch.fnmatch(host, pattern) for pattern in without):
            continue
        name = named_by(captions(sample), classes)
        if name is not None:
            found.append((sample, name))
    return found


def write_shift(recipe: Recipe, classes: Sequence[str], without: Collection[str], folder: Path) -> Counter[str]:
    """Write the set of a trained recipe; how many pictures each class has.

    UsageError where it is not trained, or where no picture that was held out names a class.
    """
    trained, pack = (runs.require_finished(recipe, stage, "web_shift") for stage in ("train", "pack"))
    shards = Shards(pack.folder, pack)
    _, held_out = split(shards.image_ids, trained.facts["seed"], trained.facts["config"]["holdout"])
    found = chosen(shards, held_out.tolist(), classes, without)
    if not found:
        raise UsageError(
            f"of the {len(held_out):,} images that training held out none names one of {len(classes)} classes: "
            "hold out more (train.holdout), and train again"
        )
    (folder / "test").mkdir(parents=True, exist_ok=True)
    (folder / "classnames.txt").write_text("".join(f"{name}\n" for name in classes))
    (folder / "test" / "nshards.txt").write_text("1\n")
    with tarfile.open(folder / "test" / "0.tar", "w") as tar:
        for number, (sample, name) in enumerate(found):
            for ending, body in ((sample.ext, sample.image), ("cls", b"%d" % classes.index(name))):
                member = tarfile.TarInfo(f"s{number:07}.{ending}")
                member.size = len(body)
                tar.addfile(member, io.BytesIO(body))
    return Counter(name for _, name in found)


def said(counts: Counter[str], classes: Sequence[str]) -> str:
    """n of each class, and what can be claimed of it."""
    lines = [f"{name}: {counts[name]}" for name in classes if counts[name]]
    enough = [name for name in classes if counts[name] >= LEAST]
    lines.append(f"{counts.total()} pictures in {len(counts)} of {len(classes)} classes")
    claim = f"accuracies of {', '.join(enough)}" if enough else "no accuracy of a class"
    return "\n".join([*lines, f"{claim} can be claimed: n >= {LEAST}"])


def _classes(path: str) -> Sequence[str]:
    lines = read_lines(path)
    labelled = any("\t" in line for line in lines)
    return sorted(set(read_labels(path).values())) if labelled else class_names(lines, path)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="web_shift", description=__doc__)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--classes", required=True, help="a file of class names, or of lines name<TAB>class")
    parser.add_argument("--without", action="append", default=[], help="a pattern of hosts; may be given several times")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args(argv)

    def work() -> None:
        classes = _classes(options.classes)
        counts = write_shift(recipes.read(options.recipe), classes, options.without, options.folder)
        print(said(counts, classes))

    return command.exit_status("web_shift", work)


if __name__ == "__main__":
    sys.exit(main())
