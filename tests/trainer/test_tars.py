"""Samples of other people's tars, whole and damaged: what is lost is said, and no more is lost than has to be."""

import io
import json
import subprocess
import tarfile
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from webdataset.tariterators import group_by_keys, tar_file_expander

from tests.trainer.others import Member, caption, header_at, image, img2dataset_folder, sample, write_tar
from trainer import tars
from trainer.tars import Members, RawSample, Skipped, samples_of

USUAL = Members()


def read(shard: str | Path, members: Members = USUAL) -> tuple[list[RawSample], list[Skipped]]:
    found = list(samples_of(str(shard), members, threading.Event()))
    return [one for one in found if isinstance(one, RawSample)], [one for one in found if isinstance(one, Skipped)]


def keys(raws: list[RawSample]) -> list[str]:
    return [raw.key for raw in raws]


def as_the_library_reads(shard: Path) -> list[str]:
    with shard.open("rb") as stream:
        return [one["__key__"] for one in group_by_keys(tar_file_expander([{"url": str(shard), "stream": stream}]))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return img2dataset_folder(tmp_path / "data", shards=1, each=10)


KEYS = [f"00000{i:04}" for i in range(10)]


# ── as they are made ──────────────────────────────────────────────────────────────────────────────


def test_img2dataset(folder: Path) -> None:
    raws, lost = read(folder / "00000.tar")
    assert keys(raws) == KEYS == as_the_library_reads(folder / "00000.tar") and not lost
    assert [(raw.image, raw.captions) for raw in raws] == [(image(i), (caption(i),)) for i in range(10)]


def test_datacomp_has_uids_in_the_json(tmp_path: Path) -> None:
    members: list[Member] = []
    for i in range(5):
        meta = {"uid": f"{i:032x}", "text": caption(i), "original_width": 24, "sha256": "0" * 64}
        members += [(f"0000{i}.json", json.dumps(meta).encode()), (f"0000{i}.webp", image(i))]
    raws, lost = read(write_tar(tmp_path / "a.tar", members))
    assert [(raw.key, raw.captions) for raw in raws] == [(f"0000{i}", (caption(i),)) for i in range(5)] and not lost


@pytest.mark.parametrize("form", ["ustar", "gnu", "pax", "v7"])
def test_gnu_tar(folder: Path, form: str) -> None:
    where = folder / "files" / ("long" * (40 if form in {"gnu", "pax"} else 8))
    where.mkdir(parents=True)
    for name, data in [member for i in range(3) for member in sample(f"{i:04}", i)]:
        (where / name).write_bytes(data)
    words = ["tar", f"--format={form}", "--sort=name", "-C", str(folder / "files"), "-cf", str(folder / "g.tar"), "."]
    subprocess.run(words, check=True)
    raws, lost = read(folder / "g.tar")
    assert keys(raws) == [f"./{where.name}/{i:04}" for i in range(3)] and not lost


def test_the_recipe_says_which_members_count(tmp_path: Path) -> None:
    members = [("0.png", image(0)), ("0.jpg", image(1)), ("0.alt", b"alt"), ("0.txt", b"txt")]
    meta = json.dumps({"meta": {"title": "a title"}, "texts": ["one", "", 7, "two"], "empty": " "}).encode()
    shard = write_tar(tmp_path / "a.tar", [*members, ("0.json", meta)])

    def one(images: list[str], captions: list[str]) -> tuple[bytes, tuple[str, ...]]:
        (raw,), lost = read(shard, Members(images, captions))
        assert not lost
        return raw.image, raw.captions

    assert Members.named([".JPG", "png"], ["TXT", ".json.Title"]) == Members(["jpg", "png"], ["txt", "json.Title"])
    assert one(["jpg", "png"], ["txt", "alt"]) == (image(1), ("txt",))
    assert one(["png", "jpg"], ["alt", "txt"]) == (image(0), ("alt",))
    assert one(["png"], ["json.meta.title"]) == (image(0), ("a title",))
    assert one(["png"], ["json.meta", "json.meta.no.title", "json.empty", "json.texts"]) == (image(0), ("one", "two"))


# ── what is incomplete ────────────────────────────────────────────────────────────────────────────


def test_samples_without_a_picture_or_a_caption_are_counted_and_are_no_damage(tmp_path: Path) -> None:
    whole = sample("3", 3)
    members = [("0.txt", b"no picture"), ("1.jpg", image(1)), ("2.jpg", image(2)), ("2.txt", b" \n"), *whole]
    raws, lost = read(write_tar(tmp_path / "a.tar", members))
    assert keys(raws) == ["3"]
    assert sorted((one.key, one.reason, one.detail, one.is_damage) for one in lost) == [
        ("0", "no_picture", "it has txt", False),
        ("1", "no_caption", "it has jpg", False),
        ("2", "no_caption", "it has jpg, txt", False),
    ]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("0.json", b'{"caption": "cut sho', "Unterminated string"),
        ("0.json", b"[" * 500_000, "RecursionError"),
        ("0.json", b"[1]", ""),
        ("0.txt", "un châle".encode("latin-1"), "utf-8"),
        ("0.txt", b"x" * (tars.MAX_TEXT + 1), "1,048,577 bytes"),
    ],
)
def test_a_caption_that_cannot_be_read_is_damage(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    raws, lost = read(write_tar(tmp_path / "a.tar", [("0.jpg", image(0)), (name, data), *sample("1", 1)]))
    assert keys(raws) == ["1"]
    assert [one.reason for one in lost] == ["caption_unreadable" if said else "no_caption"] and said in lost[0].detail


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("0.txt", b"\xef\xbb\xbfa red square"),
        ("0.txt", "a red square".encode("utf-16")),
        ("0.json", b'\xef\xbb\xbf{"caption": "a red square"}'),
        ("0.json", '{"caption": "a red square"}'.encode("utf-16")),
        ("0.json", b'{"caption": "a red square", "similarity": NaN, "punsafe": Infinity}'),
        ("0.json", b'{"caption": NaN, "text": "a red square"}'),
    ],
    ids=[
        "mark before text",
        "utf-16 text",
        "mark before json",
        "utf-16",
        "an empty cell of pandas",
        "an empty caption of pandas",
    ],
)
def test_captions_as_other_tools_write_them(tmp_path: Path, name: str, data: bytes) -> None:
    raws, lost = read(write_tar(tmp_path / "a.tar", [("0.jpg", image(0)), (name, data)]))
    assert not lost and [raw.captions for raw in raws] == [("a red square",)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    "text", ["a red square", "ω", "красный квадрат — «кот»", "1\n2\n3\n", "a\tb\tc\t", "bell\a and\x1b[0m"]
)
def test_a_text_of_two_bytes_a_letter_is_told_without_a_mark(tmp_path: Path, text: str, encoding: str) -> None:
    members = [("0.jpg", image(0)), ("0.txt", text.encode(encoding))]
    raws, lost = read(write_tar(tmp_path / "a.tar", members))
    assert not lost and [raw.captions for raw in raws] == [(text,)]


def test_a_picture_beyond_all_measure_does_not_wait_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tars, "MAX_IMAGE", 500)
    raws, lost = read(write_tar(tmp_path / "a.tar", [("0.jpg", bytes(501)), ("0.txt", b"zeros"), *sample("1", 1)]))
    assert keys(raws) == ["1"] and [one.reason for one in lost] == ["too_many_bytes"]


# ── keys and order ────────────────────────────────────────────────────────────────────────────────


def test_keys_with_dots_are_not_merged(tmp_path: Path) -> None:
    names = [f"img.v1.{i:04}" for i in range(3)]
    shard = write_tar(tmp_path / "a.tar", [member for i, key in enumerate(names) for member in sample(key, i)])
    assert as_the_library_reads(shard) == ["img"]  # with nine members
    raws, lost = read(shard)
    assert [(raw.key, raw.captions) for raw in raws] == [(key, (caption(i),)) for i, key in enumerate(names)]
    assert not lost


def test_further_members_of_a_sample_are_left_alone(tmp_path: Path) -> None:
    members: list[Member] = []
    for i in range(3):
        jpg, txt, meta = sample(f"{i:03}", i)
        seg, mac = (f"{i:03}.seg.png", image(50)), (f"._{i:03}.jpg", b"Mac OS X")
        members += [mac, jpg, meta, (f"{i:03}.npy", bytes(3000)), seg, txt]
    raws, lost = read(write_tar(tmp_path / "a.tar", members))
    assert [(raw.key, raw.image) for raw in raws] == [(f"{i:03}", image(i)) for i in range(3)] and not lost


def test_a_sample_that_looks_like_members_of_the_one_before_is_none_of_them(tmp_path: Path) -> None:
    names = ["photo", "photo.v2", "photo.v3"]  # as `tar cf a.tar *` has them
    shard = write_tar(tmp_path / "a.tar", [member for i, key in enumerate(names) for member in sample(key, i)])
    raws, lost = read(shard)
    assert [(raw.key, raw.image, raw.captions) for raw in raws] == [
        (key, image(i), (caption(i),)) for i, key in enumerate(names)
    ]
    assert not lost


def test_members_in_another_order_are_put_together(tmp_path: Path) -> None:
    members = [member for i in range(5) for member in sample(f"{i:03}", i)]
    members.sort(key=lambda member: member[0].rpartition(".")[2])  # all pictures, then all json, then all texts
    shard = write_tar(tmp_path / "a.tar", members)
    assert len(as_the_library_reads(shard)) == 15
    raws, lost = read(shard, Members(captions=["txt"]))
    assert sorted((raw.key, raw.captions[0]) for raw in raws) == [(f"{i:03}", caption(i)) for i in range(5)]
    assert not lost


def test_parts_that_wait_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(image(0)) + len(image(1))
    monkeypatch.setattr(tars, "_MAX_WAITING", size)
    pictures = [(f"{i}.jpg", image(i)) for i in range(4)]
    texts = [(f"{i}.txt", caption(i).encode()) for i in range(4)]
    raws, lost = read(write_tar(tmp_path / "a.tar", [*pictures, *texts]))
    assert 1 <= len(raws) < 4 and sorted([*keys(raws), *(one.key for one in lost)]) == ["0", "1", "2", "3"]
    assert all(one.reason == "members_apart" and one.is_damage for one in lost)
    _, lost = read(write_tar(tmp_path / "b.tar", pictures))
    assert [(one.reason, one.is_damage) for one in lost] == [("no_caption", False)] * 4
    raws, _ = read(write_tar(tmp_path / "c.tar", [*pictures, *sample("0", 5)]))
    assert [(raw.key, raw.captions) for raw in raws] == [("0", (caption(5),))]


def test_upper_case_endings_and_a_name_that_comes_twice(tmp_path: Path) -> None:
    raws, lost = read(write_tar(tmp_path / "a.tar", [("0.JPG", image(0)), ("0.Txt", b"a caption")]))
    assert [(raw.key, raw.captions) for raw in raws] == [("0", ("a caption",))] and not lost
    raws, lost = read(write_tar(tmp_path / "b.tar", [*sample("0", 0), ("1.jpg", image(1)), ("1.jpg", image(2))]))
    assert keys(raws) == ["0"]
    assert [one.reason for one in lost] == ["shard_damaged"] and "duplicate file name" in lost[0].detail


# ── damage ────────────────────────────────────────────────────────────────────────────────────────


def cut_in_a_body(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: header_at(path, "000000006.jpg") + 512 + 40])


def cut_in_a_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: header_at(path, "000000006.jpg") + 100])


def cut_between_members(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: header_at(path, "000000006.jpg")])


def damage_a_header(path: Path) -> None:
    data = bytearray(path.read_bytes())
    at = header_at(path, "000000006.jpg")
    data[at + 148 : at + 156] = bytes(8)  # its checksum
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "reason", "said"),
    [
        (cut_in_a_body, "shard_cut", "it ends within a member"),
        (cut_in_a_header, "shard_cut", "it ends within a member"),
        (cut_between_members, "shard_cut", "without the mark of its end"),
        (damage_a_header, "shard_damaged", "bad checksum; what follows is lost"),
    ],
)
def test_a_shard_that_is_cut_or_has_a_damaged_header_is_said(
    folder: Path, damage: Callable[[Path], None], reason: str, said: str
) -> None:
    shard = folder / "00000.tar"
    damage(shard)
    if damage is not cut_in_a_body:
        assert as_the_library_reads(shard) == KEYS[:6]  # without a word
    raws, lost = read(shard)
    assert keys(raws) in (KEYS[:6], KEYS[:5])  # the last one before the damage may be a part of a sample
    assert [(one.reason, one.shard, one.key, one.is_damage) for one in lost] == [(reason, str(shard), "", True)]
    assert said in lost[0].detail


def test_the_samples_before_a_damaged_header_are_all_read(folder: Path) -> None:
    damage_a_header(folder / "00000.tar")
    assert keys(read(folder / "00000.tar")[0]) == KEYS[:6]


@pytest.mark.parametrize("beside", ["00000_stats.json", "sizes.json"])
def test_a_whole_shard_that_has_fewer_samples_than_is_said_of_it(folder: Path, beside: str) -> None:
    shard = write_tar(folder / "00000.tar", [member for i in range(7) for member in sample(KEYS[i], i)])
    if beside == "sizes.json":
        (folder / "00000_stats.json").unlink()
        (folder / "sizes.json").write_text(json.dumps({"00000.tar": 10}))
    raws, lost = read(shard)
    assert keys(raws) == KEYS[:7]
    assert [(one.reason, one.detail) for one in lost] == [("shard_short", "it holds 7 samples of 10")]


def test_a_tar_without_the_mark_of_its_end_is_whole_if_all_samples_are_there(folder: Path) -> None:
    shard = folder / "00000.tar"
    end = header_at(shard, "000000009.json")
    size = -(-len(sample(KEYS[9], 9)[2][1]) // 512) * 512
    shard.write_bytes(shard.read_bytes()[: end + 512 + size])
    raws, lost = read(shard)
    assert keys(raws) == KEYS and not lost
    (folder / "00000_stats.json").write_text("{}")
    raws, lost = read(shard)
    assert keys(raws) == KEYS and [one.reason for one in lost] == ["shard_cut"]


def test_several_tars_in_one_are_not_read_as_the_first_alone(folder: Path) -> None:
    raws, lost = read(f"pipe:cat {folder}/00000.tar {folder}/00000.tar")
    assert keys(raws) == KEYS
    assert [one.reason for one in lost] == ["shard_damaged"] and "several tars in one?" in lost[0].detail


@pytest.mark.parametrize(
    ("data", "reason", "said"),
    [
        (b"", "shard_cut", ""),
        (b"<html>" * 500, "shard_damaged", "a web page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "shard_damaged", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "shard_damaged", "git lfs pull"),
        (b"\xfd7zXZ" + bytes(5000), "shard_damaged", "xz, and only plain tars and gzip are read"),
        (bytes(20480), "shard_short", ""),
    ],
    ids=["empty", "a page", "an error", "a pointer", "xz", "zeros"],
)
def test_what_is_no_tar(tmp_path: Path, data: bytes, reason: str, said: str) -> None:
    (tmp_path / "a.tar").write_bytes(data)
    raws, lost = read(tmp_path / "a.tar")
    assert not raws and [one.reason for one in lost] == [reason] and said in lost[0].detail


def test_a_shard_that_is_not_there(tmp_path: Path) -> None:
    assert [one.reason for one in read(tmp_path / "a.tar")[1]] == ["shard_unreadable"]


# ── made to hurt ──────────────────────────────────────────────────────────────────────────────────


def sparse() -> bytes:
    """A header of GNU's old form for a file of 8 GB of which nothing is stored."""
    info = tarfile.TarInfo("1.jpg")
    info.type = tarfile.GNUTYPE_SPARSE
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[483:495] = b"77777777777\0"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def pax(records: dict[str, str]) -> bytes:
    info = tarfile.TarInfo("1.jpg")
    info.pax_headers = records
    return info.tobuf(tarfile.PAX_FORMAT)


def huge(kind: bytes) -> bytes:
    info = tarfile.TarInfo("1.jpg")
    info.type, info.size = kind, 8 << 30
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    "header",
    [
        sparse(),
        pax({"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(8 << 30)}),
        pax({"GNU.sparse.map": "0,1", "GNU.sparse.size": str(8 << 30)}),
        pax({"size": str(8 << 30)}),
        huge(tarfile.REGTYPE),
        huge(tarfile.GNUTYPE_LONGNAME),
        huge(tarfile.XHDTYPE),
    ],
    ids=["sparse", "pax sparse 1.0", "pax sparse 0.1", "pax size", "huge", "a long name", "a pax header"],
)
def test_what_would_take_memory_without_bounds_is_refused(tmp_path: Path, header: bytes) -> None:
    path = write_tar(tmp_path / "a.tar", sample("0", 0))
    with tarfile.open(path) as tar:
        end = tar.getmembers()[-1].offset_data + 512
    path.write_bytes(path.read_bytes()[:end] + header + bytes(1 << 20))
    tracemalloc.start()
    _, lost = read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [one.reason for one in lost] == ["shard_damaged"] and peak < 16 << 20


def test_links_devices_and_folders_are_no_samples(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, kind in (("0.jpg", tarfile.SYMTYPE), ("1.jpg", tarfile.LNKTYPE), ("2.jpg", tarfile.CHRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, "/etc/passwd", 4096 if kind == tarfile.SYMTYPE else 0
            tar.addfile(info)
        for name, data in sample("3", 3):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    raws, lost = read(tmp_path / "a.tar")
    assert keys(raws) == ["3"] and not lost
