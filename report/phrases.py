"""Words of the report: what a reason means, numbers as a person says them, texts of the web made safe to see."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pipeline.text.rules import RULES

TEXT = 300  # characters shown of a text or URL

_LOST_EARLY = """
    kept: What goes on, some of it.
    no_text: The image comes without an alt, a title or a caption.
    no_url: There is no address: an image without a source, or a record without one.
    data_uri: The image stands in the page itself (data:), not at an address.
    url_invalid: The address is none that can be asked for over HTTP.
    text_too_long: The text is so long that it cannot be a caption.
    repeated_on_page: The page shows the same image with the same text again.
    too_many_images: The page lists more images than a page for people would.
    too_many_tags: The page is longer than can be parsed in a second or two; what stands behind is left out.
    too_many_attributes: A tag has more attributes than can be parsed in time; what stands behind is left out.
    not_a_response: A record of the archive that holds no page: a request, a note, a table of contents.
    http_status: The server's answer was not 200 OK.
    not_html: The answer is no HTML page.
    bad_http: The record does not hold an HTTP answer.
    too_large: The page has more bytes than the recipe takes.
    truncated_file: The archive ends in the middle of a record; nothing behind it could be read.
    damaged_file: The archive is damaged here; nothing behind it could be read.
    damaged_record: A record of the archive is damaged; what follows it was read.
    not_an_archive: The file is no web archive, but something else.
    segmented: A part of a record that is spread over several.
    redirected: A redirect: where it leads is a page of its own.
    out_of_scope: It leads to another site.
    too_deep: More links from a seed than the recipe follows.
    page_budget: The site's number of pages was used up.
    too_many_hosts: The site has more hosts than are asked.
    deadline: The time for the site was used up.
    not_a_word: A line of a list without a letter or digit.
    already_in_list: Another source, or another spelling, brought the same query before.
    list_is_full: The list had as many queries as the recipe takes.
    no_query: The text holds none of the queries.
    exact_duplicate: The same image with the same text was found on another page, and is kept once.
    domain_budget: Its domain cannot be asked for all of its images before the deadline.
    query_quota: Every query in the text had its share of pairs already.
"""
_LOST_IN_FETCH = """
    address_forbidden: The name leads to an address that is not public, and is never asked.
    dns: The host's name does not resolve.
    connect: No connection: nobody listens there, or nobody answers.
    tls: The host cannot prove who it is.
    timeout_total: The image was not there in the time that one image may take.
    too_many_redirects: It redirects again and again.
    http_error: The server's answer was no HTTP.
    http_404: Not found (404).
    http_403: Forbidden (403).
    http_410: Gone (410).
    http_429: Too many requests (429): the domain was left alone for as long as it asked.
    http_4xx: The server refused (another status from 400 to 499).
    http_5xx: The server failed (500 to 599).
    robots_disallowed: The site's robots.txt asks us not to.
    robots_unreachable: robots.txt could not be read, and unreachable means no.
    opted_out: The page or the server's answer marks it against use: noai, noimageai, TDM reservation and others.
    too_many_bytes: The body is longer than the recipe takes.
    empty_body: There was nothing in the answer.
    truncated_body: The answer ended before its announced length.
    bad_encoding: The body's compression is broken, or unpacks to too much.
    not_an_image: What came is no picture: often a page that says it is missing.
    format_unsupported: The picture is in a format that is not read, such as HEIC, JPEG XL or ICO.
    too_many_pixels: The picture has more pixels than the recipe decodes.
    too_small: The picture has fewer pixels than the recipe takes.
    aspect_too_large: The picture is longer, measured by its shorter side, than the recipe takes.
    truncated_image: The picture ends too early.
    decoder_failed: The picture is broken.
    decoder_crashed: The decoder, in a process of its own, died of it.
    decoder_timeout: The decoder did not finish in time.
"""
_LOST_LATE = """
    near_duplicate: It looks the same as an image that is kept, which has its captions now.
    same_bytes: It is byte for byte the same as an image that is kept, which has its captions now.
    mirrored: Its mirror image looks the same as an image that is kept, which has its captions now.
    placeholder: A picture of nothing that many domains show with many texts: it goes with all that look like it.
    same_text: The image has this caption already.
    caption_cap: The image has as many captions as the recipe keeps.
    held_out: Never trained on: retrieval is measured on them.
    unlabelled: A picture without a label.
    changed_bytes: The sample's bytes are not those that were packed; another was trained on.
    broken_image: The picture does not decode; another was trained on.
    shard_unreadable: The tar could not be read.
    shard_damaged: The tar is damaged, and what stands behind the damage is lost.
    shard_cut: The tar ends too early.
    shard_short: The tar holds fewer samples than is said beside it.
    no_picture: A sample without a picture.
    no_caption: A sample without a caption.
    caption_unreadable: The caption is no text.
    over_the_pool: Retrieval is among a fixed number of images; these are the others.
"""
_SENTENCES = dict(
    line.strip().split(": ", 1) for line in (_LOST_EARLY + _LOST_IN_FETCH + _LOST_LATE).splitlines() if line.strip()
)


def meaning(reason: str) -> str:
    """A reason in a sentence; empty where there is none. A rule of the filter is explained by its own docstring."""
    if reason in RULES:
        return " ".join((RULES[reason].__doc__ or "").split())
    return _SENTENCES.get(reason, "")


def anchor(*names: str) -> str:
    """The id that a part of the page has: `anchor("filter", "too_short")` → "filter-too_short"."""
    return "-".join(re.sub(r"[^A-Za-z0-9_]+", "_", name) for name in names)


# What changes the direction of the text around it, and what a page may not hold: controls and half characters.
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def shown(text: str) -> str:
    """A text of the web as a person may see it: cut to TEXT characters, what cannot be seen named (⟨U+202E⟩)."""
    return _seen(text if len(text) <= TEXT else text[:TEXT] + "…")


def lines(text: str) -> str:
    """A text of several lines, whatever its length, with what cannot be seen named."""
    return "\n".join(_seen(line) for line in text.split("\n"))


def _seen(text: str) -> str:
    return _UNSEEN.sub(lambda match: f"⟨U+{ord(match.group()):04X}⟩", text)


def share(part: float, whole: float) -> str:
    """A part of a whole in per cent: never 0 % of something that is there, nor 100 % of what is not all."""
    percent = 100 * part / whole if whole else 0.0
    if 0 < percent < 0.1:
        return "< 0.1 %"
    if 99.9 < percent < 100:
        return "> 99.9 %"
    return f"{percent:.1f} %"


def points(difference: float | None) -> str:
    """A difference of two shares in percentage points; None is n/a, never 0."""
    return "n/a" if difference is None else f"{100 * difference:+.2f} points"


def probability(p: float | None) -> str:
    """A p value; None is n/a."""
    return "n/a" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def span(seconds: float) -> str:
    """A time as a person says it: 3.2 s, 4 min 10 s, 7 h 05 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60:02d} min"


def took(run: Mapping[str, Any]) -> str:
    """How long a stage took by its `_run.json`; where earlier processes did some of it, that of the last alone."""
    part = last_part(run)
    return f"last {span(run['seconds'])} ({part})" if part else span(run["seconds"])


def last_part(run: Mapping[str, Any]) -> str:
    """How much of a stage its last process did, as "1.0 % of it"; nothing where that is all."""
    if "work" not in run:
        return "an unknown part of it"  # an older openwit did not say
    here, of = (sum(step[key] for step in run["work"].values()) for key in ("here", "of"))
    return f"{share(here, of)} of it" if here < of else ""


def place(rank: int) -> str:
    """A rank as a person says it: 1st, 2nd, 23rd."""
    suffix = "th" if rank % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(rank % 10, "th")
    return f"{rank:,}{suffix}"


def size(n: int) -> str:
    """Bytes in decimal units: 64.1 MB."""
    scaled, unit = float(n), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if scaled < 1000 or unit == "TB":
            break
        scaled /= 1000
    return f"{scaled:.1f} {unit}" if unit != "B" else f"{n} B"


def plain(value: Any) -> str:
    """A value of a Config as the recipe would say it."""
    return json.dumps(value, ensure_ascii=False)


def count(n: int, one: str, many: str = "") -> str:
    """A number of things: 1 shard, 3,000 shards."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"
