"""Candidates out of a URL table, for crawl: a row for each text of each image, and what is lost by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from pipeline.attempt import Attempt
from pipeline.records import COLUMN, REJECT_RECORD, fold, image_id, pair_id
from pipeline.text import urltable
from pipeline.text.around import MAX_TEXT_CHARS
from pipeline.text.tablecolumns import Kinds, packed
from pipeline.web.detail import without_user
from pipeline.web.urls import normalise

_ROWS = 4096  # lost records that are held at once


def rows_of_table(path: str, name: str, options: urltable.Options, attempt: Attempt) -> Iterator[dict[str, Any]]:
    """Rows of candidates, with a reason or None, from a table of image URLs; its lost records are counted apart."""
    notes, kinds, lost, records = Counter[str](), Kinds(), list[urltable.Row](), 0
    for row in urltable.rows(path, options, notes):
        records += 1
        if row.reason:
            lost.append(row)
            if len(lost) == _ROWS:
                _reject(lost, name, attempt)
                lost.clear()
            continue
        columns, left_out = packed(row.columns)
        if left_out:
            notes["column_values_left_out"] += len(left_out)
        kinds.add(row.columns, left_out)
        page = normalise(row.page_url) if row.page_url else ""
        rest = {
            "page_url": page or "",
            "uid": row.uid,
            "columns": columns,
            "warc_offset": row.number,
        }
        for text in row.texts or ("",):
            yield {**_candidate(row.url, text), **rest}
    _reject(lost, name, attempt)
    attempt.took("rows", records)
    attempt.kept("rows", kinds.rows)
    for note, n in sorted((+notes).items()):
        attempt.note(note, n)
    if kinds.columns:
        attempt.rows(kinds.table(), COLUMN)


def _reject(rows: Sequence[urltable.Row], name: str, attempt: Attempt) -> None:
    """Records of a table that are no rows."""
    reasons = pa.array([row.reason for row in rows], pa.string())
    said = [{"warc_file": name, "warc_offset": row.place, "detail": row.detail} for row in rows]
    attempt.reject(
        "rows", pa.Table.from_pylist(said, schema=REJECT_RECORD.remove(0)), reasons, REJECT_RECORD, "warc_offset"
    )


def _candidate(written: str, text: str) -> dict[str, Any]:
    """What a row of a table says of one image and one text, with a reason or None."""
    url, text = normalise(written), fold(text)
    reason = "no_url" if not written.strip() else "url_invalid" if not url else "no_text" if not text else None
    if len(text) > MAX_TEXT_CHARS:
        reason, text = "text_too_long", text[:100]
    shown = url or without_user(written)
    return {
        "image_url": url or shown[:100],
        "text": text,
        "text_source": "caption",
        "image_source": "url",
        "licence": None,
        "opt_out": None,
        "reason": reason,
        "image_id": image_id(shown),
        "pair_id": pair_id(shown, text),
    }
