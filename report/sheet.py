"""sheet: a page for each evaluation set on which a person judges which candidates of overlap are the same picture.

    openwit sheet --recipe recipes/real.toml [--pictures [NAME=]PATH]

One HTML file a set, which needs no server and asks for nothing: pairs side by side, the nearest first, a slider for the
threshold, y and n for a verdict. What is saved there is given to `openwit overlap --review FILE`.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from core import command
from core.claim import check
from core.errors import Failure, UsageError
from core.files import file_name_of_its_own, join, names_in, publish, shown
from core.manifest import read_manifest
from core.recipe import read
from dedup.__main__ import add_pictures, asked_sets
from dedup.overlap import BOUND, DETECTOR, FILE, EvalSet, read_overlap
from dedup.pictures import read_picture
from dedup.review import FORMAT
from report.phrases import size
from report.render import environment
from report.thumbnails import Chunks, find_image

PAIRS = 2_000  # on a sheet, the nearest; its file stays below 20 MB
SIDE = 120  # pixels of a picture's longer side
QUALITIES = (60, 30, 10, 0)  # of its WebP: the first with which it has at most …
BYTES = 3_300  # … so many, the last whatever it has
TEXT = 300  # characters shown of a caption or a URL


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = command.arguments("sheet", __doc__ or "")
    add_pictures(parser)
    options = parser.parse_args(argv)

    def work() -> None:
        recipe = read(options.recipe, options.set)
        check(recipe)
        sets = asked_sets(options, recipe)
        fetch, dedup, pack = (read_manifest(recipe.folder(stage)) for stage in ("fetch", "dedup", "pack"))
        if fetch is None or dedup is None or FILE not in names_in(recipe.out):
            raise UsageError(f"{recipe.out} holds no {FILE}, or not what it is of: run openwit overlap first")
        table, about = read_overlap(join(recipe.out, FILE))
        if about["dedup"] != dedup.digest:
            raise Failure(f"{join(recipe.out, FILE)} is of another run of dedup: run openwit overlap again")
        chunks = Chunks(fetch, fetch.of("chunk"))
        for one in sets:
            said = known(one, about["sets"])
            rows = [row for row in table.to_pylist() if row["eval_set"] == one.name]
            rows.sort(key=lambda row: (row["d256"], row["key"], row["image_id"]))
            images = {row["image_id"]: find_image(row["image_id"], chunks, pack) for row in rows[:PAIRS]}
            page = sheet(one, said, rows, images).encode()
            path = join(recipe.out, f"{stem(one.name)}.html")
            publish(path, page)
            print(
                f"sheet: {len(rows[:PAIRS])} of {len(rows)} candidates of {one.name}, {size(len(page))} → {shown(path)}"
            )

    return command.exit_status("sheet", work, options.debug)


def stem(name: str) -> str:
    """What the files of a set are called."""
    return f"leaks-{file_name_of_its_own(name)}"


def known(one: EvalSet, sets: Mapping[str, Any]) -> Mapping[str, Any]:
    """What overlap said of a set. UsageError where it was not asked about these very pictures."""
    if one.name not in sets:
        raise UsageError(
            f"openwit overlap was asked about {', '.join(sorted(sets))}, not {one.name}: give both the same --pictures"
        )
    if sets[one.name]["pictures"] != one.digest():
        raise UsageError(f"{one.path} holds other pictures than when openwit overlap was run: run it again")
    return dict(sets[one.name])


def sheet(
    one: EvalSet, said: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], images: Mapping[bytes, bytes | None]
) -> str:
    """The page of a set: its candidates, rows of OVERLAP with the nearest first, and the images' bytes by id."""
    shown_rows = rows[:PAIRS]
    keys = {row["key"] for row in shown_rows}
    pictures = {name: small(body, name) for name, body in one.members(keys)}
    pairs = [
        {
            "key": row["key"],
            "image_id": row["image_id"].hex(),
            "d64": row["d64"],
            "d256": row["d256"],
            "how": [name for name in ("mirrored", "bordered") if row[name]],
            "packed": row["packed"],
            "url": (row["image_url"] or "")[:TEXT],
            "caption": (row["caption"] or "")[:TEXT],
            "verdict": row["verdict"],
        }
        for row in shown_rows
    ]
    data = {
        "format": FORMAT,
        "detector": DETECTOR,
        "set": one.name,
        "digest": said["pictures"],
        "asked": said["asked"],
        "threshold": said["threshold"],
        "bound": BOUND,
        "candidates": len(rows),
        "pictures": pictures,
        "images": {id_.hex(): small(images[id_], id_.hex()) for id_ in {row["image_id"] for row in shown_rows}},
        "pairs": pairs,
        "file": f"{stem(one.name)}.json",
    }
    return environment().get_template("sheet.html").render(name=one.name, data=_embedded(data), most=PAIRS)


def small(body: bytes | None, name: str) -> str:
    """A picture as a data: URL of at most SIDE pixels a side; empty where there is none, or it does not decode."""
    if body is None:
        return ""
    try:
        picture = read_picture(io.BytesIO(body), name).convert("RGB")
    except Failure:
        return ""
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    for quality in QUALITIES:
        to = io.BytesIO()
        picture.save(to, "WEBP", quality=quality, method=4)
        if to.tell() <= BYTES:
            break
    return "data:image/webp;base64," + base64.b64encode(to.getvalue()).decode()


def _embedded(data: Any) -> str:
    """JSON that may stand within a script element, whatever strangers' texts are in it."""
    return json.dumps(data, ensure_ascii=True, sort_keys=True).translate(_ESCAPED)


_ESCAPED = {ord(c): f"\\u{ord(c):04x}" for c in "<>&"}


if __name__ == "__main__":
    command.exit_now(main)
