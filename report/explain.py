"""explain: what became of one image or page, stage by stage, and why.

    openwit explain URL --recipe recipes/real.toml

URL is an image's (absolute) or a page's; an image_id or pair_id of 32 hex characters does as well. Nothing is computed
again: stages left the ids of all rows that they dropped, fetch an outcome for each image, dedup its groups.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from core import command
from core.errors import UsageError
from core.manifest import Manifest, read_manifest
from core.recipe import Recipe, read
from core.registry import STAGES
from core.tables import read_batches
from dedup.tables import CAPTION, GROUP
from pipeline.ids import image_id, is_hex_id
from pipeline.tables import CANDIDATE, DROP, OUTCOME, PAGE, PAIR, QUERY, UNWANTED
from pipeline.web.urls import normalise
from report.phrases import count
from shards.format import shard_name, shard_of

_MOST = 50  # texts of one image or images of one page that are told about


def main(argv: Sequence[str] | None = None) -> int:
    """The command line: prints the story, exit status 0 if there is one, 2 if nothing is known of the URL."""
    parser = command.arguments("explain", __doc__ or "")
    parser.add_argument("url", help="of an image or a page, or an id of 32 hex characters")
    options = parser.parse_args(argv)
    return command.exit_status(
        "explain", lambda: print_story(read(options.recipe, options.set), options.url), options.debug
    )


def print_story(recipe: Recipe, url: str) -> None:
    """Print what every finished stage knows of a URL; UsageError where none knows it."""
    finished = {name: manifest for name in STAGES if (manifest := read_manifest(recipe.folder(name)))}
    url = url if is_hex_id(url) else normalise(url) or url
    ids = _ids_of(finished, url)
    lines = [*_page_story(finished, url), *(line for id_ in ids[:_MOST] for line in _story(finished, id_))]
    if not lines:
        raise UsageError(
            f"no stage of {recipe.out} has seen {url}: give the URL of an image or a page that the crawl met"
        )
    print("\n".join(map(command.printable, lines)))
    if len(ids) > _MOST:
        print(f"… and {len(ids) - _MOST} more images")


def _ids_of(finished: dict[str, Manifest], url: str) -> list[bytes]:
    """The images that a URL or id stands for: itself, those of a page, those of a pair."""
    if is_hex_id(url):
        id_ = bytes.fromhex(url)
        of_pair = [row["image_id"] for row in _rows(finished, "crawl", CANDIDATE, "pair_id", id_)]
        return sorted(set(of_pair)) or [id_]
    images = {row["image_id"] for row in _rows(finished, "crawl", CANDIDATE, "page_url", url)}
    own = image_id(url)
    if any(_rows(finished, "crawl", schema, "image_id", own) for schema in (CANDIDATE, DROP)):
        images.add(own)
    return sorted(images)


def _page_story(finished: dict[str, Manifest], url: str) -> Iterator[str]:
    """What a live crawl says of a page; archives and tables of others do not say how a page was met."""
    for row in _rows(finished, "crawl", PAGE, "page_url", url):
        fate = (
            f"{row['reason']} ({row['detail'] or row['http_status'] or 'no more is known'})"
            if row["reason"]
            else "kept"
        )
        where = f" of {row['found_from']}" if row["found_from"] else ""
        yield url
        yield f"  crawl    page {fate}; met by {row['found_by']}{where}, at depth {row['depth']}"


def _story(finished: dict[str, Manifest], id_: bytes) -> Iterator[str]:
    candidates = _rows(finished, "crawl", CANDIDATE, "image_id", id_)
    never = _rows(finished, "crawl", DROP, "image_id", id_)
    if not candidates and not never:
        return
    yield candidates[0]["image_url"] if candidates else f"image {id_.hex()}"
    yield f"  image_id {id_.hex()}"
    for reason in sorted({row["reason"] for row in never}):
        yield f"  crawl    dropped: {reason} ({sum(row['reason'] == reason for row in never)}×)"
    yield from _text_stories(finished, id_, candidates)
    yield from _image_story(finished, id_)


def _text_stories(finished: dict[str, Manifest], id_: bytes, candidates: list[dict[str, Any]]) -> Iterator[str]:
    """Each text as the crawl found it, and what became of it.

    The rows of one pair differ by where they were found, which a drop does not say: of those that did not become the
    pair, the later ones are its duplicates.
    """
    pairs = {_place(row): row for row in _rows(finished, "match", PAIR, "image_id", id_)}
    drops = [(stage, row) for stage in ("filter", "match") for row in _rows(finished, stage, DROP, "image_id", id_)]
    pooled = {row["pair_id"]: row["reason"] for row in _rows(finished, "dedup", DROP, "image_id", id_)}
    fates: dict[bytes, list[str]] = {}
    for stage, row in sorted(drops, key=lambda drop: drop[1]["reason"] == "exact_duplicate"):
        fates.setdefault(row["pair_id"], []).append(f"{stage:8} dropped: {row['reason']}")
    names = _query_names(finished, {query for pair in pairs.values() for query in pair["kept_for"]})
    for row in candidates[:_MOST]:
        place = f"{row['page_url']} ({row['warc_file']}+{row['warc_offset']})"
        yield f"  crawl    {row['text_source']} {row['text']!r} on {place}"
        if pair := pairs.pop(_place(row), None):
            taken = (
                ", ".join(repr(names.get(query, f"query {query}")) for query in pair["kept_for"][:5])
                or "no query asked for"
            )
            yield f"           match    kept, pair {row['pair_id'].hex()}, for {taken}"
            if row["pair_id"] in pooled:
                yield f"           dedup    dropped: {pooled[row['pair_id']]}"
        elif fates.get(row["pair_id"]):
            yield f"           {fates[row['pair_id']].pop(0)}"
    if len(candidates) > _MOST:
        yield f"  … and {len(candidates) - _MOST} more texts"


def _place(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("pair_id", "page_url", "warc_file", "warc_offset"))


def _image_story(finished: dict[str, Manifest], id_: bytes) -> Iterator[str]:
    for row in _rows(finished, "fetch", OUTCOME, "image_id", id_):
        if row["reason"]:
            detail = row["detail"] or row["http_status"] or "no more is known"
            yield f"  fetch    {row['status']}: {row['reason']} ({detail})"
            return
        size = f"{row['original_width']}×{row['original_height']}"
        yield f"  fetch    {row['format']} {size}, {row['bytes']:,} bytes, sha256 {row['sha256'].hex()}"
        for group in _rows(finished, "dedup", GROUP, "image_id", id_):
            if group["reason"] == "placeholder":
                yield "  dedup    dropped: placeholder (many domains show it, or one like it, with as many texts)"
                return
            if not group["keep"]:
                turned = " when it is mirrored" if group["reason"] == "mirrored" else ""
                how = (
                    "the same bytes"
                    if group["same_bytes"]
                    else f"{group['d64']} of 64 and {group['d256']} of 256 bits differ{turned}"
                )
                yield f"  dedup    dropped: a duplicate of {group['kept_by'].hex()} ({how}); its captions go there"
                return
            yield f"  dedup    kept for the group {group['group_id'].hex()}"
        for row in _rows(finished, "pack", UNWANTED, "image_id", id_):
            yield f"  pack     dropped: {row['reason']}"
            return
        captions = _rows(finished, "dedup", CAPTION, "image_id", id_)
        if "pack" in finished and captions:
            shards = len(finished["pack"].of("shard"))
            yield f"  pack     {shard_name(shard_of(id_, shards), shards)}.tar, with {count(len(captions), 'caption')}"


def _rows(
    finished: dict[str, Manifest], stage: str, schema: pa.Schema, column: str, value: Any
) -> list[dict[str, Any]]:
    """The rows of a stage's table that have a value in a column."""
    if stage not in finished:
        return []
    table = schema.metadata[b"table"].decode()
    found = []
    for path in finished[stage].paths(table):
        for rows in read_batches(path, schema):
            found += rows.filter(pc.equal(rows[column], pa.scalar(value, schema.field(column).type))).to_pylist()
    return found


def _query_names(finished: dict[str, Manifest], ids: set[int]) -> dict[int, str]:
    if "queries" not in finished:
        return {}
    names: dict[int, str] = {}
    for path in finished["queries"].paths("query"):
        for rows in read_batches(path, QUERY, ["id", "text"]):
            names |= {row["id"]: row["text"] for row in rows.to_pylist() if row["id"] in ids}
    return names


if __name__ == "__main__":
    command.exit_now(main)
