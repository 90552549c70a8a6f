"""The drop list of leaked images: pack leaves them out (`pack.drop`), and all else stays in the shard it is in."""

from __future__ import annotations

from core.errors import Failure, UsageError
from core.files import join, names_in, publish
from core.manifest import Manifest
from dedup.overlap import FILE, read_overlap

LIST = "decontaminate.txt"  # beside the stages' folders


def decontaminate(out: str, dedup: Manifest) -> tuple[str, int, int]:
    """Write the list of the leaks in a recipe's table OVERLAP; its path, how many images it names, how many pictures.

    It names each leaked image and the one that stands for it in the shards, whether or not that is packed now: the list
    is the same when pack has left them out already. UsageError where openwit overlap was not run; Failure where its
    table is of another dedup, or where a picture may have more leaks than were kept.
    """
    if FILE not in names_in(out):
        raise UsageError(f"{out} holds no {FILE}: run openwit overlap first")
    path = join(out, FILE)
    table, about = read_overlap(path)
    if about["dedup"] != dedup.digest:
        raise Failure(f"{path} is of another run of dedup than {dedup.folder} is now: run openwit overlap again")
    candidates: dict[tuple[str, str], int] = {}
    leaks = []
    for row in table.to_pylist():
        picture = row["eval_set"], row["key"]
        candidates[picture] = candidates.get(picture, 0) + 1
        if row["leak"]:
            leaks.append((picture, row))
    full = sorted({picture for picture, _ in leaks if candidates[picture] >= about["sets"][picture[0]]["most"]})
    if full:
        name, key = full[0]
        most = about["sets"][name]["most"]
        raise Failure(
            f"{path}: {len(full)} pictures have all the candidates that were kept, {key} of {name} for one: run "
            f"openwit overlap again with --most {10 * most}"
        )
    ids = {id_ for _, row in leaks for id_ in (row["image_id"], row["kept_by"]) if id_}
    said = [
        f"# {name}: {len({p for p, _ in leaks if p[0] == name})} pictures, threshold {about['sets'][name]['threshold']}"
        for name in sorted(about["sets"])
    ]
    lines = ["# images to leave out of pack: copies of evaluation pictures (openwit decontaminate)", *said]
    publish(join(out, LIST), "".join(f"{line}\n" for line in [*lines, *sorted(id_.hex() for id_ in ids)]).encode())
    return join(out, LIST), len(ids), len({picture for picture, _ in leaks})
