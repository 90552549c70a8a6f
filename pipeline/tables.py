"""The tables that stages write, each declared once; those of chunks and duplicates are in shards/ and dedup/."""

from __future__ import annotations

import functools

import pyarrow as pa

from core.tables import ID, declare, read_table

_OFFERED = {
    "text": (pa.string(), "the string that is searched for"),
    "source": (pa.string(), "unigram | bigram | title | wordnet | list: where it was taken from first"),
    "count": (pa.int64(), "how often that source has it: occurrences, views; 0 where it does not count"),
}

QUERY = declare("query", 1, {"id": (pa.int32(), "its row number; what a pair's list of queries holds"), **_OFFERED})


@functools.cache
def query_texts(paths: tuple[str, ...]) -> list[str]:
    """The texts of the queries, each at the place of its id. Read once by each process."""
    return [text for path in paths for text in read_table(path, QUERY, ["text"])["text"].to_pylist()]


_PROVENANCE = {
    "crawl_id": (pa.string(), "the crawl as the recipe names it"),
    "warc_file": (pa.string(), "name of the archive or URL table the row came from"),
    "warc_offset": (pa.int64(), "bytes from the archive's start to its record; row number in a URL table"),
}

CANDIDATE = declare(
    "candidate",
    2,
    {
        "pair_id": (
            ID,
            "first 16 bytes of sha256(image_url, newline, text as found with white space folded)",
        ),
        "image_id": (ID, "first 16 bytes of sha256(image_url)"),
        "image_url": (pa.string(), "absolute, WHATWG-normalised, without fragment"),
        "page_url": (pa.string(), "absolute; empty where a URL table does not say"),
        "text": (pa.string(), "as found at crawl, white space folded; cleaned by filter"),
        "text_source": (
            pa.string(),
            "alt | title | aria-label | svg title | svg desc | object | figcaption | wp-caption-text | thumbcaption"
            " | gallerytext | tr-caption | area alt | link title | link aria-label | link | og:image:alt"
            " | twitter:image:alt | caption (URL table)",
        ),
        "image_source": (
            pa.string(),
            "the attribute that named the image: src | srcset | data-src … | source srcset | noscript src …"
            " | link href | og:image | twitter:image | url (URL table)",
        ),
        "licence": (pa.string(), "URL or name of a licence that the page states | null"),
        "opt_out": (
            pa.string(),
            "marks of the page against use, comma separated: noai,noimageai,tdm … | null",
        ),
        "page_lang": (pa.string(), "language that the page declares where the image stands, as written | null"),
        "uid": (pa.string(), "the row's own id in the URL table that it came from | null"),
        "columns": (pa.string(), "that table's other columns: a JSON object, keys sorted | null"),
        "lang": (pa.string(), "ISO 639 code of the text's language, found in the text and on its page | null"),
        "lang_score": (
            pa.float32(),
            "how probable that language is by the text, its letters and its page, 0 to 1 | null",
        ),
        **_PROVENANCE,
    },
)

COLUMN = declare(
    "column",
    1,
    {
        "name": (pa.string(), "a column that a URL table has besides ours; sorted by name and kind within a part"),
        "kind": (pa.string(), "text | integer | number | boolean | list | object: a row for each that it has"),
        "gaps": (pa.int64(), "rows of that table in which it has no value, or within it a null or an empty list"),
    },
)

MARK = declare(
    "mark",
    1,
    {
        "image_id": (ID, "an image that a marked page shows, whatever became of its rows"),
        "image_url": (pa.string(), "absolute"),
        "opt_out": (pa.string(), "the page's marks against use, comma separated"),
    },
)

PAIR = declare(
    "pair",
    2,
    {
        **{f.name: (f.type, f.metadata[b"meaning"].decode()) for f in CANDIDATE},
        "queries": (pa.list_(pa.int32()), "ids of the queries found in the text, ascending"),
        "kept_for": (pa.list_(pa.int32()), "those of them whose quota took the pair, ascending"),
    },
)

PLAN = declare(
    "plan",
    1,
    {
        "lane": (pa.int32(), "the fetch lane that owns the image's registered domain"),
        "image_id": (ID, "sorted by it within a lane"),
        "image_url": (pa.string(), "absolute"),
        "domain": (pa.string(), "registered domain (public suffix plus one label) or address"),
        "domain_hours": (pa.float32(), "hours that the domain's images take at the rate it is asked"),
        "opt_out": (pa.string(), "opt-out marks of a page that shows it: the image is not asked for | null"),
    },
)

# The closed list of outcomes that are not success, with the status that img2dataset's users know for each.
FETCH_REASONS: dict[str, str] = {
    reason: status
    for status, reasons in {
        "failed_to_download": (
            "url_invalid address_forbidden dns connect tls timeout_total too_many_redirects http_error"
            " http_404 http_403 http_410 http_429 http_4xx http_5xx robots_disallowed robots_unreachable opted_out"
            " too_many_bytes empty_body truncated_body bad_encoding"
        ),
        "failed_to_resize": (
            "not_an_image format_unsupported too_many_pixels too_small aspect_too_large truncated_image"
            " decoder_failed decoder_crashed decoder_timeout"
        ),
    }.items()
    for reason in reasons.split()
}

OUTCOME = declare(
    "outcome",
    1,
    {
        "image_id": (ID, "sorted by it within a part"),
        "image_url": (pa.string(), "as asked"),
        "status": (pa.string(), "success | failed_to_download | failed_to_resize"),
        "reason": (pa.string(), "empty on success, else one of FETCH_REASONS"),
        "detail": (pa.string(), "what exactly was wrong, for a person to read | null"),
        "http_status": (pa.int32(), "of the last response | null"),
        "final_url": (pa.string(), "after redirects | null"),
        "bytes": (pa.int64(), "length of the body as received | null"),
        "sha256": (pa.binary(32), "of the body as received | null"),
        "format": (pa.string(), "JPEG | PNG | WEBP | GIF …, by the bytes, not by the header | null"),
        "original_width": (pa.int32(), "pixels, before resizing | null"),
        "original_height": (pa.int32(), "pixels | null"),
        "width": (pa.int32(), "pixels, as stored | null"),
        "height": (pa.int32(), "pixels | null"),
        "etag": (pa.string(), "response header | null"),
        "last_modified": (pa.string(), "response header | null"),
        "attempts": (pa.int32(), "requests sent for it, robots.txt not counted"),
        "fetched_at": (pa.timestamp("ms", tz="UTC"), "when the last response ended | null"),
        "fetch_pass": (pa.int32(), "1 for the first pass over the plan"),
    },
)

UNWANTED = declare(
    "unwanted",
    1,
    {
        "image_id": (ID, "of a fetched image, no duplicate, that is not wanted; sorted by it within a part"),
        "reason": (
            pa.string(),
            "drop_list; where:NAME, of the first condition by name that it fails; missing:NAME without value",
        ),
    },
)

# Why a page that a live crawl met was not kept, besides FETCH_REASONS.
PAGE_REASONS = frozenset(
    ["redirected", "out_of_scope", "not_html", "too_deep", "page_budget", "too_many_hosts", "deadline"]
)

PAGE = declare(
    "page",
    1,
    {
        "page_url": (pa.string(), "absolute, WHATWG-normalised, without fragment; in the order of the visit"),
        "domain": (pa.string(), "registered domain that was visited"),
        "depth": (pa.int32(), "links from a seed; being in a sitemap counts as one, a redirect as none"),
        "found_by": (pa.string(), "how it was met first: seed | sitemap | link | redirect"),
        "found_from": (pa.string(), "the sitemap, page or redirect that named it first; null for a seed | null"),
        "reason": (pa.string(), "empty for a page that was kept, else one of FETCH_REASONS or PAGE_REASONS"),
        "detail": (pa.string(), "what exactly was wrong, or where a redirect leads | null"),
        "http_status": (pa.int32(), "of the response | null"),
        "visited_at": (pa.timestamp("ms", tz="UTC"), "when it was asked for; null where it was not | null"),
    },
)

DROP = declare(
    "drop",
    1,
    {
        "image_id": (ID, "of the row that went"),
        "pair_id": (ID, "of the row that went"),
        "reason": (pa.string(), "the rule that dropped it"),
    },
)


_REASON = {"reason": (pa.string(), "the rule that dropped the row")}

# Some rows of each reason for which a stage drops rows, kept to look at: of candidates, queries, an archive's records.
REJECT = declare("reject", 2, {**_REASON, **{f.name: (f.type, f.metadata[b"meaning"].decode()) for f in CANDIDATE}})
REJECT_QUERY = declare("reject_query", 1, {**_REASON, **_OFFERED})
REJECT_RECORD = declare(
    "reject_record",
    1,
    {
        **_REASON,
        "warc_file": (pa.string(), "name of the archive or URL table"),
        "warc_offset": (
            pa.int64(),
            "bytes from its start to the record; number of the line or row, from 1, in a table",
        ),
        "detail": (pa.string(), "what exactly was wrong, for a person to read"),
    },
)
