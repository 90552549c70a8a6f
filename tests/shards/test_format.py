import hashlib
import io
import json
import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from webdataset.tariterators import group_by_keys, tar_file_expander

from core.errors import Failure
from core.tables import open_table
from pipeline.ids import image_id
from shards.format import (
    CHUNK,
    SAMPLE,
    TarWriter,
    as_ids,
    header,
    id_at,
    ids_in,
    key_of,
    members,
    range_of,
    sample_json,
    sample_row,
    shard_name,
    shard_of,
    shards_of,
    stats_json,
    write_rows,
)
from tests.shards.helpers import QUERIES, caption_rows, made_images, make_pack, outcome

IDS = st.binary(min_size=16, max_size=16)
COUNTS = st.integers(1, 2**32 - 1)


# ── ids and ranges ──


@given(IDS, COUNTS)
def test_an_id_is_in_the_range_of_its_shard_and_in_no_other(id_: bytes, shards: int) -> None:
    shard = shard_of(id_, shards)
    for other in {max(0, shard - 1), shard, min(shards - 1, shard + 1)}:
        lo, hi = range_of(other, shards)
        assert (lo <= id_ and (hi is None or id_ < hi)) == (other == shard)


@given(COUNTS, st.data())
def test_ranges_meet_and_their_ends_are_exact(shards: int, data: st.DataObject) -> None:
    shard = data.draw(st.integers(0, shards - 1))
    lo, hi = range_of(shard, shards)
    assert shard_of(lo, shards) == shard
    assert (hi is None) == (shard == shards - 1)
    if hi is not None:
        assert range_of(shard + 1, shards)[0] == hi
        assert shard_of((int.from_bytes(hi, "big") - 1).to_bytes(16, "big"), shards) == shard


@given(st.lists(IDS | IDS.map(lambda id_: id_[:10] + bytes(6)), max_size=20), COUNTS)
def test_many_ids_at_once_have_the_same_shards(ids: list[bytes], shards: int) -> None:
    many = as_ids(ids)
    assert shards_of(many, shards).tolist() == [shard_of(id_, shards) for id_ in ids]
    assert [id_at(many, i) for i in range(len(ids))] == ids


def test_ids_survive_arrow_with_their_zeros_and_out_of_slices() -> None:
    ids = [bytes(16), b"\1" + bytes(15), b"\2" * 16, b"\xff" * 16]
    column = pa.chunked_array([pa.array(ids[:1], pa.binary(16)), pa.array(ids, pa.binary(16))[1:]])
    assert [id_at(ids_in(column), i) for i in range(4)] == ids
    assert ids_in(column.slice(2)).tobytes() == b"".join(ids[2:])


@pytest.mark.parametrize(
    ("shard", "shards", "name"),
    [(0, 1, "00000"), (7, 100_000, "00007"), (99_999, 100_000, "99999"), (7, 100_001, "000007")],
)
def test_a_shard_is_named_by_five_digits_or_as_many_as_needed(shard: int, shards: int, name: str) -> None:
    assert shard_name(shard, shards) == name


# ── tars ──


@given(st.text("0123456789abcdef.jpg", min_size=1, max_size=99), st.integers(0, 8**11 - 1))
def test_a_header_is_the_one_that_tarfile_writes(name: str, size: int) -> None:
    info = tarfile.TarInfo(name)
    info.size = size
    assert header(name, size) == info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


BODIES = st.binary(max_size=1100)
SAMPLES = st.lists(st.tuples(IDS, st.sampled_from(["jpg", "png", "webp"]), BODIES, st.text(), BODIES), max_size=6)
Given = list[tuple[bytes, str, bytes, str, bytes]]


def write(samples: Given) -> tuple[bytes, list[dict[str, Any]]]:
    file = io.BytesIO()
    with TarWriter(file) as tar:
        rows = [tar.add(*sample) for sample in samples]
    return file.getvalue(), rows


@given(SAMPLES)
def test_a_tar_is_the_one_that_tarfile_writes(samples: Given) -> None:
    samples = sorted({sample[0]: sample for sample in samples}.values())
    expected = io.BytesIO()
    with tarfile.open(fileobj=expected, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for id_, ext, image, text, json_ in samples:
            for suffix, body in ((ext, image), ("txt", text.encode()), ("json", json_)):
                info = tarfile.TarInfo(f"{id_.hex()}.{suffix}")
                info.size = len(body)
                tar.addfile(info, io.BytesIO(body))
    assert write(samples)[0] == expected.getvalue()


@given(SAMPLES)
def test_the_index_says_where_everything_is(samples: Given) -> None:
    samples = sorted({sample[0]: sample for sample in samples}.values())
    raw, rows = write(samples)
    at = 0
    for (id_, ext, image, text, json_), row in zip(samples, rows, strict=True):
        assert (row["image_id"], row["ext"], row["offset"]) == (id_, ext, at)
        for member, body in (("image", image), ("text", text.encode()), ("json", json_)):
            start = row[f"{member}_offset"]
            assert raw[start : start + row[f"{member}_size"]] == body
        span = raw[at : at + row["length"]]
        assert row["sha256"] == hashlib.sha256(image).digest()
        assert row["xxh3"] == xxhash.xxh3_64_intdigest(span)
        assert list(members(span)) == [
            (f"{id_.hex()}.{ext}", image),
            (f"{id_.hex()}.txt", text.encode()),
            (f"{id_.hex()}.json", json_),
        ]
        at += row["length"]
    pa.Table.from_pylist(rows, schema=CHUNK).validate(full=True)


def test_a_chunk_holds_images_only() -> None:
    file = io.BytesIO()
    with TarWriter(file) as tar:
        row = tar.add(bytes(16), "png", b"image")
    assert [row[f"{member}_{what}"] for member in ("text", "json") for what in ("offset", "size")] == [None] * 4
    with tarfile.open(fileobj=io.BytesIO(file.getvalue())) as opened:
        assert opened.getnames() == [f"{'0' * 32}.png"]


@pytest.mark.parametrize("second", [b"\1" * 16, b"\0" * 16], ids=["twice", "smaller"])
def test_a_tar_refuses_ids_out_of_order(second: bytes) -> None:
    tar = TarWriter(io.BytesIO())
    tar.add(b"\1" * 16, "jpg", b"")
    with pytest.raises(Failure, match="ascending order"):
        tar.add(second, "jpg", b"")


@pytest.mark.parametrize("ext", ["", "gif", "v1.jpg", "JPG", "../jpg"])
def test_a_tar_refuses_other_extensions_and_so_all_dots_in_keys(ext: str) -> None:
    with pytest.raises(Failure, match="a shard holds jpg, png, webp"):
        TarWriter(io.BytesIO()).add(bytes(16), ext, b"")


@given(IDS)
def test_keys_have_no_dots(id_: bytes) -> None:
    assert re.fullmatch("[0-9a-f]{32}", key_of(id_))


def test_an_error_leaves_a_tar_without_its_end() -> None:
    file = io.BytesIO()
    with pytest.raises(ZeroDivisionError), TarWriter(file) as tar:
        tar.add(bytes(16), "jpg", b"")
        _ = 1 // 0
    assert len(file.getvalue()) == 512


def test_other_tools_read_what_was_packed(tmp_path: Path) -> None:
    samples = made_images(40)
    folder = make_pack(tmp_path / "pack", samples, shards=3)
    expected = {image_id(url).hex(): (image, texts[0]) for url, image, texts in samples}
    tars = sorted(str(path) for path in Path(folder).glob("*.tar"))
    read: list[dict[str, Any]] = []
    for path in tars:
        with Path(path).open("rb") as stream:  # webdataset's own way in leaves its last file open
            read += group_by_keys(tar_file_expander([{"url": path, "stream": stream}]))
    assert {sample["__key__"]: (sample["jpg"], sample["txt"].decode()) for sample in read} == expected
    assert len(read) == len(samples)
    assert all(json.loads(sample["json"])["key"] == sample["__key__"] for sample in read)
    if shutil.which("tar"):
        listed = "".join(
            subprocess.run(["tar", "-tf", path], capture_output=True, text=True, check=True).stdout for path in tars
        )
        assert listed.split() == [f"{key}.{suffix}" for key in sorted(expected) for suffix in ("jpg", "txt", "json")]


def test_the_same_samples_make_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    samples = made_images(30)
    one = make_pack(tmp_path / "one", samples, shards=2, failed={"http://x.test/a": "http_404"})
    other = make_pack(tmp_path / "other", samples[::-1], shards=2, failed={"http://x.test/a": "http_404"})
    names = sorted(path.name for path in Path(one).iterdir() if path.is_file())
    assert names[:3] == ["00000.parquet", "00000.tar", "00000_stats.json"]
    assert [Path(one, name).read_bytes() for name in names] == [Path(other, name).read_bytes() for name in names]


# ── tables ──


def test_a_sidecar_begins_as_img2dataset_writes_it() -> None:
    sizes = ["width", "height", "original_width", "original_height"]
    names = ["caption", "url", "key", "status", "error_message", *sizes, "exif", "sha256"]
    assert SAMPLE.names[:11] == names
    assert [SAMPLE.field(n).type for n in names] == [pa.int32() if n in sizes else pa.string() for n in names]


def test_a_sidecar_ends_as_the_index() -> None:
    assert [{"stored_sha256": "sha256"}.get(name, name) for name in SAMPLE.names[18:]] == CHUNK.names[1:]
    assert all(SAMPLE.field(name).nullable for name in SAMPLE.names[18:])


def test_rows_are_written_in_groups_that_say_which_ids_they_hold(tmp_path: Path) -> None:
    path = tmp_path / "index.parquet"
    file = io.BytesIO()
    with TarWriter(file) as tar:
        ids = sorted(hashlib.sha256(b"%d" % i).digest()[:16] for i in range(9000))
        with path.open("wb") as out:
            assert write_rows(out, CHUNK, (tar.add(id_, "jpg", b"") for id_ in ids)) == 9000
    about = pq.ParquetFile(path).metadata
    groups = [about.row_group(i) for i in range(about.num_row_groups)]
    assert [group.num_rows for group in groups] == [4096, 4096, 808]
    assert [group.column(0).statistics.min for group in groups] == [ids[0], ids[4096], ids[8192]]
    assert not groups[0].column(2).is_stats_set


def test_no_flipped_bit_of_a_table_goes_unseen(tmp_path: Path) -> None:
    file = io.BytesIO()
    with TarWriter(io.BytesIO()) as tar:
        write_rows(file, CHUNK, [tar.add(bytes(15) + bytes([i]), "jpg", b"") for i in range(50)])
    raw, path = file.getvalue(), tmp_path / "index.parquet"
    pages = len(raw) - int.from_bytes(raw[-8:-4], "little") - 8
    path.write_bytes(raw)
    with open_table(str(path), CHUNK) as table:
        expected = table.read()
    caught = 0
    for at in range(4, pages, 7):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 16]) + raw[at + 1 :])
        try:
            with open_table(str(path), CHUNK) as table:
                assert table.read().equals(expected)  # the flip hit a byte that nobody needs
        except Failure as failure:
            assert "is damaged" in str(failure)
            caught += 1
    assert caught > 0.9 * len(range(4, pages, 7))


# ── samples ──

URL = "http://a.test/1.jpg"


def test_a_row_and_its_json_say_the_same() -> None:
    got, captions = outcome(URL, b"body"), caption_rows(URL, ["ein Hund", "a dog"])
    stored = TarWriter(io.BytesIO()).add(image_id(URL), "jpg", b"stored", "ein Hund", b"{}")
    row, said = sample_row(got, captions, stored), json.loads(sample_json(got, captions, QUERIES))
    assert {name: said[name] for name in said if name in SAMPLE.names} == {
        name: "" if row[name] is None else row[name] for name in said if name in SAMPLE.names
    }
    assert row["sha256"] == hashlib.sha256(b"body").hexdigest()
    assert row["stored_sha256"] == hashlib.sha256(b"stored").digest()
    assert row["uid"] == min(caption["pair_id"] for caption in captions).hex()
    assert (row["caption"], row["captions_total"], row["warc_offset"]) == ("ein Hund", 2, 1000)
    assert [name for name in SAMPLE.names if name not in row] == []
    pa.Table.from_pylist([row], schema=SAMPLE).validate(full=True)


def test_the_json_of_a_sample() -> None:
    got = outcome(URL, b"body") | {"fetched_at": "never", "attempts": 7, "etag": '"x"'}
    captions = caption_rows(URL, ["Ein Hund", "a dog and a cat"])
    raw = sample_json(got, captions, QUERIES)
    assert sample_json(dict(reversed(got.items())), captions, QUERIES) == raw
    said = json.loads(raw)
    assert said["captions"] == [
        {
            "pair_id": caption["pair_id"].hex(),
            "text": caption["text"],
            "own": own,
            "page_url": f"{URL}.html",
            "text_source": "alt",
            "lang": "en",
            "licence": "",
            "queries": queries,
        }
        for caption, own, queries in zip(captions, (True, False), ([""], ["dog", "cat"]), strict=True)
    ]
    ours = {"captions", "page_url", "crawl_id", "final_url", "format", "etag", "last_modified"}
    assert set(said) == {*SAMPLE.names[:11], "uid", "licence", "captions_total", "warc_file", "warc_offset", *ours}
    assert raw == json.dumps(said, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def test_a_failed_row_stands_in_the_table_without_sizes() -> None:
    row = sample_row(outcome(URL, None, "http_404"), [], None)
    assert (row["status"], row["reason"], row["error_message"]) == ("failed_to_download", "http_404", "http_404")
    assert {row[name] for name in ("width", "height", "sha256", "caption", "uid", "captions_total")} == {None}
    table = pa.Table.from_pylist([row], schema=SAMPLE)
    table.validate(full=True)
    assert table["offset"].null_count == table["stored_sha256"].null_count == 1


def test_stats_are_a_function_of_the_rows() -> None:
    reasons = ["", "", "http_404", "http_404", "dns", "too_many_pixels"]
    rows = [sample_row(outcome(f"{URL}{i}", None, reason), [], None) for i, reason in enumerate(reasons)]
    assert json.loads(stats_json(rows)) == {
        "count": 6,
        "successes": 2,
        "failed_to_download": 3,
        "failed_to_resize": 1,
        "duration": 0.0,
        "start_time": 0.0,
        "end_time": 0.0,
        "status_dict": {"success": 2, "http_404": 2, "dns": 1, "too_many_pixels": 1},
    }
    assert stats_json(rows) == stats_json(rows[::-1])
    assert np.isfinite(json.loads(stats_json([]))["duration"])


def test_what_a_url_table_says_of_an_image_stands_in_its_json_under_its_name() -> None:
    got, captions = outcome(URL, b"body"), caption_rows(URL, ["a dog", "a cat"])
    columns = {"similarity": 0.3, "width": 7, "boxes": [[0.1, 0.2]], "extra": "theirs"}
    said = json.loads(sample_json(got, captions, QUERIES, columns))
    assert (said["similarity"], said["boxes"], said["width"]) == (0.3, [[0.1, 0.2]], got["width"])
    assert said["extra"] == {"width": 7, "extra": "theirs"}, "names that are ours"
    assert "extra" not in json.loads(sample_json(got, captions, QUERIES, {"similarity": 0.3}))


def test_the_uid_of_a_url_table_stays_that_of_the_sample() -> None:
    got, captions = outcome(URL, b"body"), caption_rows(URL, ["a dog", "a cat"])
    captions[0]["uid"] = "f" * 32
    assert sample_row(got, captions, None)["uid"] == "f" * 32 == json.loads(sample_json(got, captions, QUERIES))["uid"]


def test_no_value_of_a_json_is_null() -> None:
    got, captions = outcome(URL, b"body"), caption_rows(URL, ["ein Bild"])
    got |= {"etag": None, "last_modified": None, "final_url": None}
    captions[0] |= {"licence": None, "lang": None, "queries": []}
    raw = sample_json(got, captions, QUERIES)
    assert b"null" not in raw and b"[]" not in raw
    said = json.loads(raw)
    assert {said[name] for name in ("etag", "licence", "exif", "error_message")} == {""}
    assert said["captions"][0]["queries"] == [""]
