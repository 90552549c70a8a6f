"""Every stage of a recipe finished by hand, small, with hostile texts: what the report, status and plan look at."""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from core.files import publish, to_json
from core.manifest import Manifest, read_manifest, write_manifest
from core.recipe import Recipe, read
from dedup.tables import GROUP, OVERLAP
from pipeline.ids import image_id, pair_id
from pipeline.tables import CANDIDATE, OUTCOME, PAGE, PAIR, QUERY, REJECT_QUERY, REJECT_RECORD
from pipeline.tasks.attempt import Attempt, Job, Task
from shards.format import CHUNK, TarWriter, write_rows
from tests.shards.helpers import make_pack, outcome

SCRIPT = '<script>alert("x")</script>'
OVERRIDE = "abc \u202etxt.exe"
QUERIES = ["dog", "cat", f"{SCRIPT} dog"]

Sample = tuple[str, bytes, str]  # image URL, image, text


def picture(colour: tuple[int, int, int], kind: str = "JPEG", size: tuple[int, int] = (320, 200)) -> bytes:
    file = io.BytesIO()
    Image.new("RGBA" if kind == "PNG" else "RGB", size, colour).save(file, kind)
    return file.getvalue()


def made_samples(n: int) -> list[Sample]:
    kinds = ("JPEG", "PNG", "WEBP")
    return [
        (f"http://img{i % 3}.site.test/{i}.jpg", picture((i * 20 % 256, 90, 160), kinds[i % 3]), f"a dog, number {i}")
        for i in range(n)
    ]


def candidate(url: str, text: str, page: str = "http://site.test/", **more: Any) -> dict[str, Any]:
    return {
        **dict.fromkeys(CANDIDATE.names, ""),
        **dict.fromkeys(("licence", "opt_out", "lang_score")),
        "pair_id": pair_id(url, text),
        "image_id": image_id(url),
        "image_url": url,
        "page_url": page,
        "text": text,
        "text_source": "alt",
        "lang": "en",
        "warc_offset": 0,
        **more,
    }


def finish(
    recipe: Recipe,
    stage: str,
    *fills: Callable[[Attempt], None],
    inputs: Sequence[str] = (),
    files: Mapping[str, str] | None = None,
) -> Manifest:
    """A finished stage; `fills` do its tasks, `inputs` are stages that it read, `files` the digests of raw files."""
    folder = recipe.folder(stage)
    job, receipts = Job(folder=folder, step="step", step_digest="basis", seed=1, config=None, facts_digest=""), []
    for i, fill in enumerate(fills):
        with Attempt(job, Task(f"task{i}")) as attempt:
            fill(attempt)
        receipt = job.done(Task(f"task{i}"))
        assert receipt is not None
        receipts.append(receipt)
    facts = {
        "stage": stage,
        "rules_version": 7,
        "seed": 1,
        "config": {"min_words": 3, "languages": [SCRIPT], "batch_size": 64, "prompts": ["paper", "contextless"]},
        "inputs": {name: digest_of(recipe, name) for name in inputs} | dict(files or {}),
        "determined_by": {},
    }
    publish(
        f"{folder}/_run.json",
        to_json(
            {
                "command": ["openwit", stage],
                "started": "2026-01-02T03:04:05Z",
                "seconds": 4.5,
                "work": {"step": {"here": len(fills), "of": len(fills), "seconds": 4.0}},
                "python": "3.11.7",
                "versions": {"pyarrow": "25"},
            }
        ),
    )
    return write_manifest(folder, facts, receipts)


def digest_of(recipe: Recipe, stage: str) -> str:
    manifest = read_manifest(recipe.folder(stage))
    assert manifest is not None
    return manifest.digest


def finish_pairs(recipe: Recipe, samples: Sequence[Sample], rejects: Mapping[str, Sequence[dict[str, Any]]]) -> None:
    """queries, crawl, filter and match; `rejects` are what the filter dropped, by reason."""
    kept = [candidate(url, text) for url, _, text in samples]
    dropped = [row for rows in rejects.values() for row in rows]

    def queries(attempt: Attempt) -> None:
        rows = [{"id": i, "text": text, "source": "list", "count": 0} for i, text in enumerate(QUERIES)]
        attempt.rows(pa.Table.from_pylist(rows, schema=QUERY), QUERY)
        again = pa.Table.from_pylist([{"text": f"Dog {SCRIPT}", "source": "title", "count": 4000}])
        attempt.count_in("queries", len(rows) + 1)
        attempt.count_kept("queries", len(rows))
        attempt.reject_rows("queries", again, pa.array(["already_in_list"]), REJECT_QUERY, "text")

    def crawl(attempt: Attempt) -> None:
        attempt.count_in("pages", 5)
        attempt.count_kept("pages", 4)
        attempt.count_dropped("pages", "too_large", 1)
        page = dict.fromkeys(PAGE.names, "") | {"depth": 2, "http_status": 200, "visited_at": None}
        pages = [{**page, "page_url": f"http://site.test/{i}"} for i in range(4)]
        pages.append({**page, "page_url": "http://site.test/huge", "reason": "too_large", "detail": f"{SCRIPT} bytes"})
        attempt.rows(pa.Table.from_pylist(pages, schema=PAGE), PAGE)
        record = {"warc_file": f"{SCRIPT}.warc.gz", "warc_offset": 4711, "detail": f"request {SCRIPT}"}
        attempt.count_in("records", 5)
        attempt.count_kept("records", 4)
        records = pa.Table.from_pylist([record])
        attempt.reject_rows("records", records, pa.array(["not_a_response"]), REJECT_RECORD, "warc_offset")
        attempt.count_in("pairs", len(kept + dropped))
        attempt.count_kept("pairs", len(kept + dropped))
        attempt.rows(pa.Table.from_pylist(kept + dropped, schema=CANDIDATE), CANDIDATE)
        attempt.note("links_not_http", 2)

    def filter_(attempt: Attempt) -> None:
        attempt.count_in("pairs", len(kept + dropped))
        attempt.count_kept("pairs", len(kept))
        for reason, rows in rejects.items():
            table = pa.Table.from_pylist(rows, schema=CANDIDATE)
            attempt.drop_rows("pairs", table, pa.array([reason] * len(rows), pa.string()))
        attempt.rows(pa.Table.from_pylist(kept, schema=CANDIDATE), CANDIDATE)

    def match(attempt: Attempt) -> None:
        attempt.count_in("pairs", len(kept))
        attempt.count_kept("pairs", len(kept))
        pairs = [{**row, "queries": [0, 2], "kept_for": [0, 2] if i < 2 else [0]} for i, row in enumerate(kept)]
        attempt.rows(pa.Table.from_pylist(pairs, schema=PAIR), PAIR)

    finish(recipe, "queries", queries)
    finish(recipe, "crawl", crawl)
    finish(recipe, "filter", filter_, inputs=["crawl"])
    finish(recipe, "match", match, inputs=["queries", "filter"])


def finish_images(
    recipe: Recipe,
    samples: Sequence[Sample],
    failed: Mapping[str, str],
    replaced: Mapping[str, tuple[str, int, int, bool]],
) -> None:
    """fetch (two lanes take turns), dedup and pack.

    `failed`: URL → reason; `replaced`: URL → its keeper, d64, d256, same bytes.
    """

    def fetch(lane: int, attempt: Attempt) -> None:
        mine, lost = samples[lane::2], dict(list(failed.items())[lane::2])
        attempt.count_in("images", len(mine) + len(lost))
        attempt.count_kept("images", len(mine))
        rows = [outcome(url, image) for url, image, _ in mine]
        for url, reason in lost.items():
            attempt.count_dropped("images", reason, 1)
            rows.append({**outcome(url, None, reason), "detail": f"{SCRIPT} said {reason}", "http_status": 404})
        rows = [{**row, "fetch_pass": 1} for row in sorted(rows, key=lambda row: row["image_id"])]
        attempt.rows(pa.Table.from_pylist(rows, schema=OUTCOME), OUTCOME)
        with (
            attempt.file("chunk_tar", f"chunk/lane{lane:05d}-0000.tar") as tar,
            attempt.file("chunk", f"chunk/lane{lane:05d}-0000.parquet") as index,
            TarWriter(tar.file) as writer,
        ):
            by_id = sorted((image_id(url), image) for url, image, _ in mine)
            index.rows = write_rows(index.file, CHUNK, [writer.add(id_, ext(image), image) for id_, image in by_id])

    def dedup(attempt: Attempt) -> None:
        attempt.count_in("images", len(samples))
        attempt.count_kept("images", len(samples) - len(replaced))
        attempt.count_dropped("images", "near_duplicate", len(replaced))
        rows: list[dict[str, Any]] = []
        for url, (keeper, d64, d256, same_bytes) in replaced.items():
            group = {"group_id": image_id(keeper), "kept_by": image_id(keeper)}
            rows.append(
                {**group, "image_id": image_id(url), "keep": False, "d64": d64, "d256": d256, "same_bytes": same_bytes}
            )
            rows.append({**group, "image_id": image_id(keeper), "keep": True, "d64": 0, "d256": 0, "same_bytes": True})
        attempt.rows(pa.Table.from_pylist(sorted(rows, key=lambda row: row["image_id"]), schema=GROUP), GROUP)

    finish(recipe, "fetch", functools.partial(fetch, 0), functools.partial(fetch, 1))
    finish(recipe, "dedup", dedup)
    make_pack(recipe.folder("pack"), [(url, image, [text]) for url, image, text in samples if url not in replaced])


def named(key: str, label: str, predicted: str) -> dict[str, Any]:
    """A row of zeroshot_example."""
    right = label == predicted
    row = {"key": key, "label": label, "predicted": predicted, "rank": 2 - right, "correct": right, "score": 0.5}
    return row


NAMED = [
    named(f"{i}.png", label, predicted)
    for i, (label, predicted) in enumerate([("dog", "dog"), ("cat", "dog"), ("cat", "cat"), ("cat", "dog")])
]
PICTURES = "digest of the evaluation pictures"
FOUND = {"direction": "image-to-text", "key": "00" * 16, "rank": 1, "candidates": 9}


def finish_training(
    recipe: Recipe,
    losses: Sequence[float],
    results: Sequence[dict[str, Any]],
    found: Sequence[dict[str, Any]] = (FOUND,),
    examples: Sequence[dict[str, Any]] = NAMED,
    tables: Mapping[str, Sequence[dict[str, Any]]] | None = None,
    inputs: Sequence[str] = (),
) -> None:
    """train and eval; `found` are the rows of retrieval's table, `examples` those of zero-shot's, `tables` others.

    `inputs`: the stages that the training read, which eval names then, too.
    """

    def train(attempt: Attempt) -> None:
        with attempt.file("metrics", "metrics.jsonl") as part:
            for step, loss in enumerate(losses):
                row = {"step": step, "loss": loss, "learning_rate": 1e-3, "scale": 14.3}
                part.file.write(json.dumps(row).encode() + b"\n")

    def evaluate(attempt: Attempt) -> None:
        with attempt.file("results", "results.json") as part:
            part.file.write(to_json(list(results)))
        with attempt.file("zeroshot_example", "zeroshot_example.parquet") as part:
            pq.write_table(pa.Table.from_pylist(list(examples)), part.file)
        with attempt.file("retrieval_example", "retrieval_example.parquet") as part:
            pq.write_table(pa.Table.from_pylist(list(found)), part.file)
        for name, rows in (tables or {}).items():
            with attempt.file(name, f"{name}.parquet") as part:
                pq.write_table(pa.Table.from_pylist(list(rows)), part.file)

    finish(recipe, "train", train, inputs=inputs)
    finish(recipe, "eval", evaluate, files={"pictures": PICTURES}, inputs=[*inputs, "train"] if inputs else [])


def finish_overlap(
    recipe: Recipe,
    rows: Sequence[dict[str, Any]],
    sets: Mapping[str, Mapping[str, Any]] | None = None,
    pack: str | None = None,
) -> None:
    """What `openwit overlap` writes: `rows` of the set "a", the nearest image first, but for what is said otherwise.

    `pack`: the digest of the one that it was asked about, by default of that which is there.
    """
    row: dict[str, Any] = {"eval_set": "a", "detector": "ph256", "d64": 1, "d256": 12}
    row |= {"mirrored": False, "bordered": False}
    row |= {"leak": True, "packed": True, "image_id": image_id("http://img0.site.test/0.jpg")}
    said = {"asked": 40, "flat": 0, "others": 0, "pictures": PICTURES, "threshold": 40, "reviewer": ""}
    of_sets = {name: {**said, **more} for name, more in (sets or {"a": {}}).items()}
    about = {"sets": json.dumps(of_sets), "dedup": digest_of(recipe, "dedup")}
    about["pack"] = digest_of(recipe, "pack") if pack is None else pack
    table = pa.Table.from_pylist([{**row, **one} for one in rows], schema=OVERLAP)
    pq.write_table(table.replace_schema_metadata({**OVERLAP.metadata, **about}), f"{recipe.out}/overlap.parquet")


def ext(image: bytes) -> str:
    return {b"\xff\xd8": "jpg", b"\x89P": "png", b"RI": "webp"}[image[:2]]


RESULTS = [
    {"name": "clothing", "metric": "top-1", "value": 0.4211, "low": 0.3875, "high": 0.4566, "n": 1234, "chance": 0.1},
    {"name": "retrieval", "metric": "R@1", "value": 0.25, "low": None, "high": None, "n": 20, "chance": None},
]


def recipe_in(folder: Path) -> Recipe:
    path = folder / "mine.toml"
    path.write_text(f'[run]\nout = "{folder}/out"\nseed = 1\n')
    return read(str(path))


def finish_all(recipe: Recipe) -> None:
    """Every stage finished: 12 pairs kept of 21, 12 images of 14, 2 of them duplicates."""
    samples = made_samples(12)
    samples[3] = (samples[3][0], samples[3][1], f"a dog {SCRIPT} & {OVERRIDE}")
    rejects = {
        "too_few_words": [candidate(f"http://site.test/r{i}.jpg", f"word{i}") for i in range(8)],
        "is_a_script": [candidate("http://site.test/s.jpg", f"{SCRIPT} {OVERRIDE}\x00", "javascript:alert(1)")],
    }
    finish_pairs(recipe, samples, rejects)
    replaced = {samples[1][0]: (samples[0][0], 3, 14, False), samples[5][0]: (samples[4][0], 0, 0, True)}
    finish_images(recipe, samples, {"http://gone.test/1.jpg": "http_404", "http://gone.test/2.jpg": "dns"}, replaced)
    found = [{**FOUND, "key": image_id(samples[i][0]).hex(), "rank": rank} for i, rank in ((0, 1), (3, 22))]
    finish_training(recipe, [4.0 / (step + 1) for step in range(30)], RESULTS, found)


def of_set(name: str, method: str, value: float, **more: Any) -> dict[str, Any]:
    """A row of results.json about an evaluation set."""
    row: dict[str, Any] = {"name": f"{name} {method}", "model": "trained", "set": name, "method": method}
    row |= {"prompts": "paper", "metric": "accuracy"}
    row |= {"shots": None, "low": max(0.0, value - 0.02), "high": min(1.0, value + 0.02), "n": 10_000, "chance": 0.01}
    return {**row, "value": value, **more}


SUITE = {"food101": (0.80, 0.90), "dtd": (0.45, 0.70), "rendered_sst2": (0.55, 0.72), "my $ets": (0.30, 0.25)}
SHIFTED = {"imagenet": (0.633, 50_000), "imagenet_v2": (0.562, 10_000), "imagenet_r": (0.693, 400)}


def finish_sets(recipe: Recipe, inputs: Sequence[str] = ()) -> None:
    """train and eval of evaluation sets: four with zero-shot, probe and few-shot results, two shifts, another model."""
    rows = [of_set(name, "zero-shot", zero_shot) for name, (zero_shot, _) in SUITE.items()]
    rows += [of_set(name, "probe", probe, prompts="") for name, (_, probe) in SUITE.items()]
    rows += [of_set(name, "zero-shot", value, n=n) for name, (value, n) in SHIFTED.items()]
    rows.append(of_set("food101", "zero-shot", 0.1, prompts="single"))
    rows.append(of_set("food101", "zero-shot", 0.99, metric="top-5"))
    other = f"ViT {SCRIPT}"
    rows.append({**of_set("food101", "zero-shot", 0.7, model=other), "name": f"food101 zero-shot, {other}"})
    answers = [("trained", "apple pie", 0.9, 1), (other, f"{SCRIPT} cake", 0.4, 2)]
    example = {
        "set": "food101",
        "method": "zero-shot",
        "prompts": "paper",
        "id": f"{SCRIPT}.jpg",
        "label": ["apple pie"],
    }
    shown = [
        {**example, "model": model, "predicted": [predicted], "scores": [score], "rank": rank}
        for model, predicted, score, rank in answers
    ]
    shots: list[dict[str, Any]] = [
        {"model": "trained", "set": name, "shots": shots, "seed": seed, "metric": "accuracy"}
        | {"value": probe - 0.1 / shots + 0.01 * seed}
        for name, (_, probe) in SUITE.items()
        for shots in (1, 2, 4)
        for seed in (0, 1)
        if (name, shots) != ("dtd", 4)
    ]
    worth = [{"model": "trained", "set": name, "shots": 2.5, "relation": "equal"} for name in ("food101", "dtd")]
    worth.append({"model": "trained", "set": f"my {SCRIPT}", "shots": 4.0, "relation": "beyond"})
    tables: dict[str, Sequence[dict[str, Any]]] = {"shot": shots, "equivalent": worth, "example": shown}
    finish_training(recipe, [1.0], [*RESULTS, *rows], tables=tables, inputs=inputs)
