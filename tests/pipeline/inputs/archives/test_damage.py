"""Archives that are damaged: what is whole arrives, what is lost has a name, and its bytes are counted."""

from __future__ import annotations

import base64
import gzip
import hashlib
import random
import time
import zlib
from collections import Counter
from pathlib import Path

import pytest
from warcio.archiveiterator import ArchiveIterator

from pipeline.inputs.archives.warc import LOSSES, Page, Problem, pages
from tests.pipeline.inputs.archives.warcs import HTML, OK, RECORDS, read, reasons, record

MEMBERS = [gzip.compress(one, mtime=0) for one in RECORDS]
Found = list[Page | Problem]


def losses(found: Found) -> list[tuple[str, int, int]]:
    return [(one.reason, one.offset, one.lost) for one in found if isinstance(one, Problem) and one.reason in LOSSES]


def rest(found: Found) -> Found:
    return [one for one in found if isinstance(one, Page) or one.reason not in LOSSES]


def flipped(data: bytes, *places: int) -> bytes:
    out = bytearray(data)
    for place in places:
        out[place] ^= 0xFF
    return bytes(out)


# ── whole ──


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n\r\n", b"\0" * 10_000, b"\n" + b"\0" * 512], ids=repr)
@pytest.mark.parametrize("form", ["plain", "by record", "as a whole", "two members of several"])
def test_an_archive_with_padding_is_whole(tmp_path: Path, form: str, end: bytes) -> None:
    whole = b"".join(RECORDS)
    data = {
        "plain": whole,
        "by record": b"".join(MEMBERS),
        "as a whole": gzip.compress(whole),
        "two members of several": gzip.compress(b"".join(RECORDS[:3])) + end + gzip.compress(b"".join(RECORDS[3:])),
    }[form]
    assert reasons(read(tmp_path, data + end)) == ["not_a_response", "not_a_response", "page", "not_a_response", "page"]


@pytest.mark.parametrize("missing", [1, 2, 3, 4])
def test_an_archive_without_its_last_line_ends_is_whole(tmp_path: Path, missing: int) -> None:
    assert losses(read(tmp_path, b"".join(RECORDS)[:-missing])) == []
    assert losses(read(tmp_path, gzip.compress(b"".join(RECORDS)[:-missing]))) == []
    by_record = b"".join(gzip.compress(one[:-missing]) for one in RECORDS)
    assert reasons(read(tmp_path, by_record)) == reasons(read(tmp_path, b"".join(RECORDS)))


def named(data: bytes) -> bytes:
    """A gzip member with an extra field, a name and a comment."""
    flags = b"\x1f\x8b\x08\x1c\0\0\0\0\0\3" + b"\x04\0ab\0\0" + b"a.warc\0" + b"comment\0"
    return flags + gzip.compress(data, mtime=0)[10:]


def test_members_of_every_form(tmp_path: Path) -> None:
    blocks = [b"".join(RECORDS)[at : at + 100] for at in range(0, len(b"".join(RECORDS)), 100)]  # as bgzip makes them
    want = ["not_a_response", "not_a_response", "page", "not_a_response", "page"]
    assert reasons(read(tmp_path, b"".join(named(one) for one in RECORDS))) == want
    assert reasons(read(tmp_path, b"".join(gzip.compress(one) for one in blocks))) == want
    assert reasons(read(tmp_path, (b"".join(MEMBERS) + gzip.compress(b"")) * 2)) == want * 2


# ── damaged members ──


@pytest.mark.parametrize("hit", range(5))
@pytest.mark.parametrize("where", [0, 1, 2, 30, -12, -8, -4, -1])
def test_one_damaged_member_costs_its_record(tmp_path: Path, hit: int, where: int) -> None:
    """Also where its magic number, its CRC or its length is wrong: then nobody knows what in it is right."""
    whole = read(tmp_path, b"".join(MEMBERS))
    at = len(b"".join(MEMBERS[:hit]))
    damaged = flipped(MEMBERS[hit], where % len(MEMBERS[hit]))
    found = read(tmp_path, b"".join([*MEMBERS[:hit], damaged, *MEMBERS[hit + 1 :]]))
    assert rest(found) == [one for one in whole if one.offset != at]
    last = hit == len(MEMBERS) - 1
    reason = {"damaged_file", "truncated_file"} if last else {"damaged_record"}
    ((said, offset, lost),) = losses(found)
    assert said in reason and (offset, lost) == (at, len(MEMBERS[hit]))


def test_of_a_member_of_several_records_the_whole_ones_before_the_damage_are_kept(tmp_path: Path) -> None:
    many = [record(OK + b"\r\n" + random.Random(n).randbytes(3000).hex().encode()) for n in range(60)]
    first, second = gzip.compress(b"".join(many[:50]), mtime=0), gzip.compress(b"".join(many[50:]), mtime=0)
    middle = len(first) // 2
    found = read(tmp_path, first[:middle] + b"\xff" * 300 + first[middle + 300 :] + second)
    kept = [one.body for one in found if isinstance(one, Page)]
    bodies = [one.partition(OK + b"\r\n")[2][:-4] for one in many]
    assert kept == bodies[: len(kept) - 10] + bodies[50:] and 32 <= len(kept) <= 35
    ((reason, offset, lost),) = losses(found)
    assert (reason, offset) == ("damaged_record", 0) and len(first) * 0.4 < lost < len(first) * 0.6


def test_a_cut_within_the_trailer_of_a_member(tmp_path: Path) -> None:
    for cut in range(1, 9):
        found = read(tmp_path, b"".join(MEMBERS)[:-cut])
        at = len(b"".join(MEMBERS[:-1]))
        assert losses(found) == [("truncated_file", at, len(MEMBERS[-1]) - cut)]
        assert len(rest(found)) == 4


# ── damaged records in plain archives ──


@pytest.mark.parametrize(
    "length", [b"0", b"5", b"9999", b"1" * 18, b"1" * 19, b"-5", b"+5", b"5, 5", b"", b"0x10"], ids=repr
)
@pytest.mark.parametrize("form", ["plain", "by record", "as a whole"])
def test_one_wrong_length_costs_its_record(tmp_path: Path, length: bytes, form: str) -> None:
    good = record(OK + b"\r\n" + HTML)
    start = good.index(b"Content-Length: ") + len("Content-Length: ")
    bad = good[:start] + length + good[good.index(b"\r\n", start) :]
    pack = gzip.compress if form == "by record" else bytes
    data = b"".join(pack(one) for one in [good, good, bad, good, RECORDS[0], good])
    found = read(tmp_path, gzip.compress(data) if form == "as a whole" else data)
    assert reasons(found) == ["page", "page", "damaged_record", "page", "not_a_response", "page"]
    if form != "as a whole":
        assert losses(found) == [("damaged_record", 2 * len(pack(good)), len(pack(bad)))]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        (b"WARC/1.0", b"WBRC/1.0"),
        (b"WARC-Type", b"WARC_Type"),
        (b"Content-Length", b"Kontent-Length"),
        (b"\r\n\r\n", b"\r\n--"),
    ],
)
def test_a_damaged_header_costs_its_record(tmp_path: Path, wrong: bytes, right: bytes) -> None:
    good = record(OK + b"\r\n" + HTML)
    found = read(tmp_path, good + good.replace(wrong, right, 1) + good)
    assert reasons(found) == ["page", "damaged_record", "page"]


def test_two_lengths_are_none_unless_they_are_the_same(tmp_path: Path) -> None:
    good = record(OK + b"\r\n" + HTML)
    length = good[good.index(b"Content-Length") : good.index(b"\r\n\r\n")]
    again = good.replace(length, length + b"\r\ncontent-length : " + length[16:])
    other = good.replace(length, length + b"\r\nContent-Length: 7")
    assert reasons(read(tmp_path, again + other + good)) == ["page", "damaged_record", "page"]


def test_what_stands_between_records_costs_nothing_where_the_digest_is_right(tmp_path: Path) -> None:
    block = OK + b"\r\n" + HTML
    digest = base64.b32encode(hashlib.sha1(block).digest()).decode()
    good = record(block, extra=f"WARC-Block-Digest: sha1:{digest}\r\n")
    assert reasons(read(tmp_path, good + b"garbage\r\n" * 99 + good)) == ["page", "damaged_record", "page"]


def test_a_length_that_leads_from_record_to_record_is_wrong_by_the_digest(tmp_path: Path) -> None:
    good = record(OK + b"\r\n" + HTML, extra="WARC-Block-Digest: sha1:AAAA\r\n")
    size = len(OK + b"\r\n" + HTML)
    long = good.replace(b"Content-Length: %d" % size, b"Content-Length: %d" % (size + 4 + len(good)))
    assert reasons(read(tmp_path, long + good + good)) == ["damaged_record", "page", "page"]


def test_a_warc_in_a_warc_is_a_block(tmp_path: Path) -> None:
    inner = b"HTTP/1.1 200 OK\r\nContent-Type: application/warc\r\n\r\n" + b"".join(RECORDS)
    assert reasons(read(tmp_path, record(inner) + RECORDS[2])) == ["not_html", "page"]


# ── what was made to hurt ──


@pytest.mark.parametrize(
    "data",
    [
        b"WARC/1.0\r\n" * 500_000,
        b"WARC/1.0\r\na:b\r\n" * 330_000,
        b"WARC/1.0\r\nWARC-Type: response\r\nContent-Length: 10\r\n\r\n" * 30_000,
        b"WARC/1.0\r\nWARC-Type: response\r\nContent-Length: 1000000\r\n\r\n" * 85_000,
        gzip.compress(b"WARC/1.0\r\nWARC-Type: response\r\nContent-Length: 10000000000\r\n\r\n" * 85_000),
        b"\x1f\x8b\x08" * 1_700_000,
        b"\x1f\x8b\x08\0\0\0\0\0\0\3" * 200_000,
        gzip.compress(b"", mtime=0) * 250_000,
        (MEMBERS[2][:-8] + b"abcdefgh") * (5_000_000 // len(MEMBERS[2])),
        b"WARC/1.0\r\nWARC-Type: a\r\n" + b" a\r\n" * 1_250_000,
        b"filedesc://a 1.2.3.4 20010101000000 text/html 5\n" + b"http://a b 200101010000000\n" * 190_000,
        b"http://a/ 1.2.3.4 20010101000000 text/html 5\n" * 30_000,
        b"filedesc://a " + b"1 " * 2_500_000,
    ],
    ids=len,
)
def test_megabytes_that_only_seem_to_be_records_take_seconds(tmp_path: Path, data: bytes) -> None:
    """Seconds here; hours if anything in it were quadratic."""
    started = time.process_time()
    found = read(tmp_path, data)
    assert time.process_time() - started < 60
    assert all(isinstance(one, Problem) for one in found)
    assert sum(lost for *_, lost in losses(found)) == len(data), "every byte is accounted for"


# ── real archives ──


def archives(data: Path) -> list[Path]:
    names = [path for path in sorted((data / "warc").rglob("*")) if path.name.endswith((".warc", ".warc.gz"))]
    unread = ("clipped.warc.gz", *_WARCIO_READS_NOT)
    return [path for path in names if path.name not in unread] + [data / "realpages" / "realpages.warc.gz"]


_WARCIO_READS_NOT = ("example-bad-non-chunked.warc.gz", "example-wrong-chunks.warc.gz", "link-extraction-test.warc")


def test_as_many_records_as_a_second_reader_counts(data: Path) -> None:
    for path in archives(data):
        with path.open("rb") as file:
            counted = sum(1 for _ in ArchiveIterator(file, no_record_parse=True))
        assert len(list(pages(str(path), 5_000_000))) == counted, path.name


def members_of(data: bytes) -> list[tuple[int, int]]:
    """Where the gzip members of a file start and end."""
    out, at = [], 0
    while at < len(data):
        inflate = zlib.decompressobj(31)
        window = data[at : at + 1_000_000]
        inflate.decompress(window)
        assert inflate.eof
        end = at + len(window) - len(inflate.unused_data)
        out.append((at, end))
        at = end
    return out


def test_two_flipped_bytes_cost_one_record_of_4412(data: Path, tmp_path: Path) -> None:
    raw = (data / "warc" / "dev_crawl.warc.gz").read_bytes()
    members = members_of(raw)
    whole = read(tmp_path, raw, 5_000_000)
    assert [one.offset for one in whole] == [start for start, _ in members]
    dice = random.Random(4)
    for hits in (1, 1, 3, 30):
        hit = dict(dice.sample(members[:-1], hits))
        places = [dice.randrange(start + 10, end) for start, end in hit.items() for _ in range(2)]
        found = read(tmp_path, flipped(raw, *places), 5_000_000)
        assert rest(found) == [one for one in whole if one.offset not in hit]
        assert sum(lost for *_, lost in losses(found)) == sum(end - start for start, end in hit.items())
        assert {offset for _, offset, _ in losses(found)} <= set(hit)


def test_wrong_lengths_in_a_plain_archive_cost_their_records(data: Path, tmp_path: Path) -> None:
    raw = gzip.decompress((data / "warc" / "dev_crawl.warc.gz").read_bytes())
    whole = read(tmp_path, raw, 5_000_000)
    dice = random.Random(5)
    hit = sorted(dice.sample(range(len(whole)), 40))
    pieces = [
        raw[one.offset : after]
        for one, after in zip(whole, [*(one.offset for one in whole[1:]), len(raw)], strict=True)
    ]
    for n in hit:
        field, _, behind = pieces[n].partition(b"\r\n\r\n")
        at = field.index(b"Content-Length: ") + 16
        end = field.find(b"\r\n", at) if field.find(b"\r\n", at) > 0 else len(field)
        length = int(field[at:end])
        wrong = dice.choice([length * 10, length + 100, max(0, length - 100), 10**17, 0, 3 * length + 7])
        pieces[n] = field[:at] + str(wrong).encode() + field[end:] + b"\r\n\r\n" + behind
    found = read(tmp_path, b"".join(pieces), 5_000_000)
    short = Counter(one.body if isinstance(one, Page) else one.detail for n, one in enumerate(whole) if n not in hit)
    assert Counter(one.body if isinstance(one, Page) else one.detail for one in rest(found)) == short
    assert len(losses(found)) == 40
    assert sum(lost for *_, lost in losses(found)) == sum(len(pieces[n]) for n in hit)
