"""What must be true once the demo has run: the truth that was drawn against what the stages have made of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow.parquet as pq
from scipy.stats import binomtest

from core.errors import Failure
from core.manifest import Manifest, read_manifest
from core.registry import STAGES
from demo.localweb import Request
from demo.pictures import CLASSES
from demo.truth import NOT_PLANNED, Truth

TIMES_CHANCE = 5  # what the lower end of an interval must reach
REPORT_BYTES = 20_000_000


@dataclass(frozen=True)
class Made:
    """What the stages have made in a folder."""

    out: Path

    def manifest(self, stage: str) -> Manifest:
        """Of a stage that is done; Failure where it is not."""
        found = read_manifest(str(self.folder(stage)))
        if found is None:
            raise Failure(f"{self.folder(stage)} is not complete: run the demo again")
        return found

    def folder(self, stage: str) -> Path:
        """Of a stage."""
        return self.out / STAGES[stage].folder

    def rows(self, stage: str, table: str, columns: list[str]) -> Iterator[dict[str, Any]]:
        """The rows of a table of a stage."""
        for path in self.manifest(stage).paths(table):
            yield from pq.read_table(path, columns=columns).to_pylist()

    @cached_property
    def outcomes(self) -> dict[str, str]:
        """What became of each image that was planned, by URL: success or a reason."""
        rows = self.rows("fetch", "outcome", ["image_url", "reason"])
        return {row["image_url"]: row["reason"] or "success" for row in rows}

    @cached_property
    def url_of(self) -> dict[bytes, str]:
        """The URL of each image that was planned."""
        return {row["image_id"]: row["image_url"] for row in self.rows("fetch", "outcome", ["image_id", "image_url"])}


def check(out: Path, truth: Truth, log: Path) -> Iterator[str]:
    """Check everything, and say of each what was seen. Failure at the first that is not true."""
    made = Made(out)
    yield the_forbidden_was_never_asked_for(truth, log)
    yield every_page_was_visited(made, truth)
    yield every_text_met_its_rule(made, truth)
    yield every_image_met_its_reason(made, truth)
    yield near_duplicates_were_found(made, truth)
    yield placeholders_are_gone(made, truth)
    yield the_funnel_adds_up(made)
    yield from it_has_learnt(made, truth)
    yield the_leak_is_seen(made, truth)
    yield the_report_shows_it(made)


def the_forbidden_was_never_asked_for(truth: Truth, log: Path) -> str:
    """By the server's own log, of all runs so far."""
    lines = [line.split("\t") for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    _must(all(len(line) == len(Request._fields) for line in lines), f"{log} has lines that are none of a log")
    asked = {f"http://{host}{path}" for _, host, _, path, *_ in lines}
    unseen = sorted({page.url for page in truth.pages if page.expected == "crawled"} - asked)
    _must(not unseen, f"{log} lacks {len(unseen)} visits that should have been made, such as {unseen[:1]}")
    wrong = sorted(asked & set(truth.never_asked))
    _must(not wrong, f"{len(wrong)} URLs were asked for that should not have been, such as {wrong[:1]}")
    robots = Counter(host for _, host, _, path, *_ in lines if path == "/robots.txt")
    return f"{len(truth.never_asked)} forbidden URLs, none of them among {len(lines):,} requests to {len(robots)} hosts"


def every_page_was_visited(made: Made, truth: Truth) -> str:
    """Those of the truth, for the reasons of the truth."""
    found = {row["page_url"]: row["reason"] or "crawled" for row in made.rows("crawl", "page", ["page_url", "reason"])}
    _must_agree({page.url: page.expected for page in truth.pages}, found, "page")
    return f"{len(truth.pages)} pages met as they should be, by links and sitemaps"


def every_text_met_its_rule(made: Made, truth: Truth) -> str:
    """Of each text the rule that it was written to meet."""
    reasons = {row["pair_id"]: row["reason"] for row in made.rows("filter", "drop", ["pair_id", "reason"])}
    rows = made.rows("crawl", "candidate", ["pair_id", "image_url", "page_url", "text"])
    found = {(row["image_url"], row["page_url"], row["text"]): reasons.get(row["pair_id"], "kept") for row in rows}
    _must_agree({(text.image_url, text.page_url, text.text): text.expected for text in truth.texts}, found, "text")
    kinds = {text.expected for text in truth.texts} - {"kept"}
    return f"{len(truth.texts):,} texts met the rules that they were written for, {len(kinds)} of them"


def every_image_met_its_reason(made: Made, truth: Truth) -> str:
    """Each planted misbehaviour has its name, and everything else arrived."""
    expected = {image.url: image.expected for image in truth.images}
    found = {url: made.outcomes.get(url, NOT_PLANNED) for url in expected}
    _must_agree(expected, found, "image")
    reasons = set(made.outcomes.values()) - {"success"}
    return f"{len(made.outcomes):,} images planned, {len(reasons)} kinds of misbehaviour met, each by its name"


def near_duplicates_were_found(made: Made, truth: Truth) -> str:
    """At least 99 per cent of those planted, and no two pictures that have nothing to do with each other."""
    rows = made.rows("dedup", "group", ["image_id", "group_id"])
    group = {made.url_of[row["image_id"]]: row["group_id"] for row in rows}
    missed = [copy for copy in truth.copies if group.get(copy.copy, b"") != group.get(copy.original)]
    share = 1 - len(missed) / len(truth.copies)
    _must(share >= 0.99, f"{len(missed)} of {len(truth.copies)} near-duplicates were missed, such as {missed[:1]}")
    family = {copy.copy: copy.original for copy in truth.copies} | dict.fromkeys(truth.placeholders, "placeholder")
    families: dict[bytes, set[str]] = {}
    for url, of in group.items():
        families.setdefault(of, set()).add(family.get(url, url))
    wrong = sorted(sorted(urls) for urls in families.values() if len(urls) > 1)
    _must(not wrong, f"{len(wrong)} groups hold unrelated pictures, such as {wrong[:1]}")
    return f"{share:.1%} of {len(truth.copies)} planted near-duplicates found, no unrelated pictures merged"


def placeholders_are_gone(made: Made, truth: Truth) -> str:
    """None of them is a sample, nor is its text one's caption."""
    planted = set(truth.placeholders)
    packed = {made.url_of[row["image_id"]] for row in made.rows("dedup", "caption", ["image_id"])}
    _must(not planted & packed, f"{len(planted & packed)} placeholders are in the shards")
    return (
        f"{len(planted)} placeholders on {len({urlsplit(url).hostname for url in planted})} hosts, none in the shards"
    )


def the_funnel_adds_up(made: Made) -> str:
    """In every stage rows in = kept + dropped, and what one keeps is what the next takes."""
    counts = {stage: made.manifest(stage).counts for stage in STAGES}
    for stage, units in counts.items():
        for unit, count in units.items():
            total = count["kept"] + sum(count["dropped"].values())
            _must(count["in"] == total, f"{stage}: {count['in']:,} {unit} came in and {total:,} went out")
    chain = [("crawl", "filter", "pairs"), ("filter", "match", "pairs"), ("match", "fetch", "images")]
    chain += [("match", "dedup", "pairs"), ("fetch", "dedup", "images"), ("fetch", "pack", "images")]
    for one, next_, unit in chain:
        kept, taken = counts[one][unit]["kept"], counts[next_][unit]["in"]
        _must(kept == taken, f"{one} kept {kept:,} {unit}, and {next_} took {taken:,}")
    pairs, samples = counts["crawl"]["pairs"]["in"], counts["pack"]["images"]["kept"]
    return f"{pairs:,} candidates became {samples:,} samples, every one that went has a reason"


def it_has_learnt(made: Made, truth: Truth) -> Iterator[str]:
    """The lower end of each interval is several times what guessing gets."""
    leaked = {leak.name for leak in truth.leaks}
    rows = [row for row in made.rows("eval", "zeroshot_example", ["key", "correct"]) if row["key"] not in leaked]
    hits, chance = sum(row["correct"] for row in rows), 1 / len(CLASSES)
    yield _learnt(f"zero-shot top-1 of {len(rows)} held-out pictures", hits, len(rows), chance)
    results = json.loads((made.folder("eval") / "results.json").read_bytes())
    for name in ("image-to-text", "text-to-image"):
        (row,) = (row for row in results if (row["name"], row["metric"]) == (name, "recall@1"))
        yield _learnt(f"{name} recall@1", round(row["value"] * row["n"]), row["n"], row["chance"])


def _learnt(what: str, hits: int, n: int, chance: float) -> str:
    interval = binomtest(hits, n).proportion_ci(method="exact")
    said = f"{what} {hits / n:.1%} ({interval.low:.1%} to {interval.high:.1%}), chance {chance:.1%}"
    _must(interval.low >= TIMES_CHANCE * chance, f"{said}: not {TIMES_CHANCE} times chance")
    return said


def the_leak_is_seen(made: Made, truth: Truth) -> str:
    """The evaluation pictures that stand on the web are found in the set, and no others."""
    rows = pq.read_table(made.out / "overlap.parquet", columns=["key", "leak"]).to_pylist()
    found = {row["key"] for row in rows if row["leak"]}
    planted = {leak.name for leak in truth.leaks}
    _must(
        found == planted, f"overlap: {sorted(planted - found)} are missed and {sorted(found - planted)} are not there"
    )
    return f"{len(planted)} evaluation pictures had leaked onto the web, and are all found"


def the_report_shows_it(made: Made) -> str:
    """One file that can be sent to somebody, whose every number leads to what is behind it."""
    page = (made.out / "report.html").read_text(encoding="utf-8")
    _must(len(page) < REPORT_BYTES, f"the report has {len(page):,} characters: too many to be sent to somebody")
    _must("No example is at hand" not in page, "a number of the report has no example behind it")
    shown, pictures = page.count('<details class="reason'), page.count("<img ")
    _must(bool(shown and pictures), "the report shows nothing")
    return f"{shown} numbers of the report open to what is behind them, {pictures} pictures, {len(page) / 1e6:.1f} MB"


def _must_agree(expected: dict[Any, str], found: dict[Any, str], what: str) -> None:
    wrong = [
        (key, expected.get(key), found.get(key)) for key in expected | found if expected.get(key) != found.get(key)
    ]
    example = "".join(f"{key}: expected {one}, found {other}" for key, one, other in _first(wrong))
    _must(not wrong, f"{len(wrong)} {what}s did not meet what they should have, such as {example}")


def _first(wrong: list[Any]) -> Iterable[Any]:
    return sorted(wrong, key=str)[:1]


def _must(true: bool, otherwise: str) -> None:
    if not true:
        raise Failure(otherwise)
