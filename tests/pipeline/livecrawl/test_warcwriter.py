"""Archives out; what a crawl writes with it, and that others read it, is in test_live_crawl.py beside this file."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

from warcio.archiveiterator import ArchiveIterator

from pipeline.livecrawl.warcwriter import WarcWriter, stored_headers


def test_record_ids_are_a_function_of_what_the_records_hold() -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)

    def written(date: datetime, body: bytes) -> bytes:
        file = io.BytesIO()
        WarcWriter(file, {"software": "test"}, noon).exchange("http://a.test/", date, [], [("X", "y\r\nz")], body)
        return file.getvalue()

    def ids(archive: bytes) -> list[str]:
        records = list(ArchiveIterator(io.BytesIO(archive)))
        return [record.rec_headers["WARC-Record-ID"] for record in records]

    one = written(noon, b"body")
    assert one == written(noon, b"body") and len(set(ids(one))) == 3
    assert ids(one)[0] == ids(written(noon, b"other"))[0]
    for other in (written(noon, b"other"), written(noon + timedelta(microseconds=1), b"body")):
        assert ids(one)[2] != ids(other)[2]
    (*_, response) = ArchiveIterator(io.BytesIO(one))
    assert response.http_headers.headers == [("X", "y z")], "no header ends its line"


def test_headers_are_true_of_the_body_that_is_stored() -> None:
    """Of the codings that the client undoes nothing is said any more; another one is still on the body."""
    sent = [("Content-Type", "text/html"), ("Content-Length", "9"), ("Transfer-Encoding", "chunked")]
    kept = ["Content-Type", "X-Crawler-Content-Length", "X-Crawler-Transfer-Encoding"]
    for coding, name in (("GZip", "X-Crawler-Content-Encoding"), ("x-gzip", "Content-Encoding")):
        stored = stored_headers([*sent, ("Content-Encoding", coding)], 31)
        assert [key for key, _ in stored] == [*kept, name, "Content-Length"]
        assert stored[-1] == ("Content-Length", "31") and stored[-2] == (name, coding)
