"""Candidates out of a table of image URLs: one for each text of each image, and what is lost by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from pipeline.ids import fold, ids_of
from pipeline.inputs.pages.around import MAX_TEXT_CHARS
from pipeline.inputs.urltables import urltable
from pipeline.inputs.urltables.tablecolumns import ColumnKinds, packed
from pipeline.web.detail import without_user
from pipeline.web.urls import normalise


class Table:
    """A table of image URLs: its rows as candidates and, once they have been read, what was counted on the way."""

    def __init__(self, path: str, options: urltable.Options) -> None:
        self._path, self._options = path, options
        self.records = 0  # rows, and records that are none
        self.notes = Counter[str]()
        self.columns = ColumnKinds()  # of the table's own

    def candidates(self) -> Iterator[dict[str, Any] | urltable.Row]:
        """A candidate for each text of each image, with a reason or None; a record that is no row as it is."""
        for row in urltable.rows(self._path, self._options, self.notes):
            self.records += 1
            if row.reason:
                yield row
                continue
            columns, left_out = packed(row.columns)
            if left_out:
                self.notes["column_values_left_out"] += len(left_out)
            self.columns.add(row.columns, left_out)
            page = normalise(row.page_url) if row.page_url else ""
            rest = {"page_url": page or "", "uid": row.uid, "columns": columns, "warc_offset": row.number}
            for text in row.texts or ("",):
                yield {**_candidate(row.url, text), **rest}


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
        **ids_of(shown, text),
    }
