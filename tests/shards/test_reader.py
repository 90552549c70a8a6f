import io
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest
from webdataset.tariterators import group_by_keys, tar_file_expander

from core.errors import Failure, UsageError
from core.files import publishing, read_bytes
from pipeline.ids import image_id
from shards.format import SAMPLE, id_at, shard_of, write_rows
from shards.reader import Shards, finished
from tests.running import ROOT
from tests.shards.damage import CHANGES, CUTS, Damage, damage
from tests.shards.helpers import made_images, make_pack

IMAGES = made_images(60)
KEYS = sorted(image_id(url).hex() for url, _, _ in IMAGES)
FAILED = {f"http://failed.test/{i}.jpg": "http_404" for i in range(10)}


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return make_pack(tmp_path / "pack", IMAGES, shards=4, failed=FAILED)


# ── reading ──


def test_every_sample_comes_back_as_it_was_packed(folder: str) -> None:
    packed = {image_id(url).hex(): (url, image, texts) for url, image, texts in IMAGES}
    shards = Shards(folder)
    assert len(shards) == 60
    assert shards.sizes.tolist() == [sum(shard_of(bytes.fromhex(key), 4) == s for key in KEYS) for s in range(4)]
    for i, key in enumerate(KEYS):
        url, image, texts = packed[key]
        sample = shards.sample(i)
        assert (sample.key, sample.image, sample.ext, sample.text) == (key, image, "jpg", texts[0])
        assert sample.meta["url"] == url
        assert shards.captions(i) == texts


def test_ids_are_those_of_the_samples_and_not_of_the_failed(folder: str) -> None:
    ids = Shards(folder).image_ids
    assert [id_at(ids, i).hex() for i in range(len(ids))] == KEYS


def test_webdataset_reads_the_same_samples(folder: str) -> None:
    shards = Shards(folder)
    read = []
    for name in shards.names:
        stream = io.BytesIO(Path(folder, f"{name}.tar").read_bytes())
        read += list(group_by_keys(tar_file_expander([{"url": name, "stream": stream}])))
    ours = [(sample.key, sample.image, sample.text, sample.meta) for sample in shards.iterate()]
    assert ours == [(s["__key__"], s["jpg"], s["txt"].decode(), json.loads(s["json"])) for s in read]


@pytest.mark.parametrize("start", [0, 1, 17, 59, 60])
def test_iterating_starts_anywhere(folder: str, start: int) -> None:
    assert [sample.key for sample in Shards(folder).iterate(start)] == KEYS[start:]


def test_iterating_in_small_blocks_gives_the_same(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shards.reader._AHEAD", 4000)
    shards = Shards(folder)
    assert list(shards.iterate(5)) == [shards.sample(i) for i in range(5, 60)]


@pytest.mark.parametrize("i", [-1, 60])
def test_there_is_no_sample_outside(folder: str, i: int) -> None:
    with pytest.raises(IndexError):
        Shards(folder).sample(i)
    with pytest.raises(IndexError):
        list(Shards(folder).iterate(i + (i > 0)))


def test_shards_may_be_empty(tmp_path: Path) -> None:
    folder = make_pack(tmp_path / "pack", IMAGES[:2], shards=9)
    assert sorted(Shards(folder).sizes.tolist())[:7] == [0] * 7
    assert [s.key for s in Shards(folder).iterate()] == sorted(image_id(url).hex() for url, _, _ in IMAGES[:2])
    nothing = Shards(make_pack(tmp_path / "nothing", [], shards=2))
    assert (len(nothing), list(nothing.iterate()), len(nothing.image_ids)) == (0, [], 0)


def test_a_pack_on_an_object_store(folder: str) -> None:
    store = "memory://reader/pack"
    for path in Path(folder).iterdir():
        if path.is_file():
            fsspec.filesystem("memory").pipe_file(f"/reader/pack/{path.name}", path.read_bytes())
    here, there = Shards(folder), Shards(store)
    assert list(there.iterate()) == list(here.iterate())
    assert there.sample(7) == here.sample(7)
    assert there.digest == here.digest


def test_threads_share_a_reader_with_fewer_handles_than_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shards.reader._HANDLES", (2, 2))
    shards = Shards(make_pack(tmp_path / "pack", IMAGES, shards=16))
    order = [i * 37 % 60 for i in range(600)]
    with ThreadPoolExecutor(8) as threads:
        assert [sample.key for sample in threads.map(shards.sample, order)] == [KEYS[i] for i in order]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files as Linux lists them")
def test_handles_are_bounded_and_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def tars() -> int:
        links = [Path("/proc/self/fd", fd) for fd in os.listdir("/proc/self/fd")]  # noqa: PTH208
        return sum(os.readlink(link).startswith(str(tmp_path)) for link in links if link.is_symlink())  # noqa: PTH115

    monkeypatch.setattr("shards.reader._HANDLES", (3, 3))
    shards = Shards(make_pack(tmp_path / "pack", IMAGES, shards=16))
    assert tars() == 0
    list(shards.iterate())
    assert tars() == 3
    del shards
    assert tars() == 0


# ── damage ──


@pytest.mark.parametrize("how", CUTS.values(), ids=CUTS)
def test_a_short_shard_is_refused_when_the_pack_is_opened(folder: str, how: Damage) -> None:
    whole = Path(folder, "00001.tar").stat().st_size
    damage(folder, "00001", how)
    left = Path(folder, "00001.tar").stat().st_size
    with pytest.raises(Failure, match=rf"00001\.tar has {left} bytes, its manifest says {whole}"):
        Shards(folder)


@pytest.mark.parametrize("how", CHANGES.values(), ids=CHANGES)
def test_a_changed_sample_is_refused_when_it_is_read(folder: str, how: Damage) -> None:
    shards = Shards(folder)
    hurt = int(shards.sizes[0]) + damage(folder, "00001", how)
    with pytest.raises(Failure, match=r"00001\.tar is damaged: the \d+ bytes of the sample at byte \d+ have xxh3"):
        shards.sample(hurt)
    with pytest.raises(Failure, match=r"00001\.tar is damaged"):
        list(shards.iterate())
    assert [shards.sample(i).key for i in range(60) if i != hurt] == KEYS[:hurt] + KEYS[hurt + 1 :]


def test_a_shard_cut_after_opening_is_refused(folder: str) -> None:
    shards = Shards(folder)
    hurt = int(shards.sizes[0]) + damage(folder, "00001", CUTS["cut inside a body"])
    with pytest.raises(Failure, match=r"00001\.tar was cut short: of \d+ bytes from byte \d+ on there are 517"):
        shards.sample(hurt)
    Path(folder, "00003.tar").unlink()
    with pytest.raises(Failure, match=r"00003\.tar cannot be read"):
        shards.sample(59)


@pytest.mark.parametrize("name", ["00002.tar", "00002.parquet"])
def test_a_missing_file_is_refused(folder: str, name: str) -> None:
    Path(folder, name).unlink()
    with pytest.raises(Failure, match=f"{name} is missing"):
        Shards(folder)


def test_a_table_with_other_samples_is_refused(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Shards, "_check_sizes", lambda *_: None)
    with publishing(f"{folder}/00001.parquet") as file:
        write_rows(file, SAMPLE, [])
    shards = Shards(folder)
    with pytest.raises(Failure, match=r"00001\.parquet is not the one that the manifest names"):
        list(shards.iterate())


ANOTHER = [(url, image[::-1], [f"another {text}" for text in texts]) for url, image, texts in IMAGES]


@pytest.mark.parametrize("read", [0, 1, 25], ids="{} samples before".format)
def test_a_pack_that_is_made_again_while_it_is_open_is_never_mixed(folder: str, read: int) -> None:
    texts = {image_id(url).hex(): texts for url, _, texts in IMAGES}
    shards = Shards(folder)
    for i in range(read):
        assert shards.captions(i) == texts[KEYS[i]]
    make_pack(folder, ANOTHER, shards=4, failed=FAILED)
    given, refused = [], 0
    for i in range(60):
        try:
            given.append((KEYS[i], shards.captions(i)))
        except Failure as failure:
            assert "made again" in str(failure)
            refused += 1
    assert all(texts[key] == found for key, found in given)
    assert refused >= 60 - int(shards.sizes[:2].sum()), "of shards that were not open nothing is right"
    with pytest.raises(Failure, match=r"\.parquet is not the one that the manifest names: the pack was made again"):
        _ = shards.image_ids
    assert Shards(folder).captions(0) == [f"another {text}" for text in texts[KEYS[0]]], "opened anew"


def test_a_pack_is_the_one_whose_manifest_was_read(folder: str) -> None:
    before = finished(folder)
    make_pack(folder, IMAGES[:50], shards=4)
    with pytest.raises(Failure, match="its manifest says"):
        Shards(folder, before)


def test_an_index_is_read_once(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def seen(path: str) -> bytes:
        read.append(path)
        return read_bytes(path)

    monkeypatch.setattr("shards.reader.read_bytes", seen)
    shards = Shards(folder)
    assert read == []
    assert len(shards.image_ids) == len(list(shards.iterate())) == 60
    assert len(read) == 4


@pytest.fixture(scope="module")
def many_shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A pack of more shards than a process holds open."""
    return make_pack(tmp_path_factory.mktemp("many") / "pack", made_images(300, 60), shards=270)


@pytest.mark.parametrize(("allowed", "held"), [(64, 16), (200, 50), (4096, 256)])
def test_handles_are_a_quarter_of_what_the_process_may_open(many_shards: str, allowed: int, held: int) -> None:
    program = (
        "import os, resource, sys\n"
        "from shards.reader import Shards\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({allowed}, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))\n"
        "shards = Shards(sys.argv[1])\n"
        "before = len(os.listdir('/proc/self/fd'))\n"
        "assert len(list(shards.iterate())) == 300\n"
        "print(len(os.listdir('/proc/self/fd')) - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, many_shards], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    shards = Shards(many_shards)
    assert int(done.stdout) == min(held, int((shards.sizes > 0).sum()))


def test_a_folder_without_a_manifest_is_not_a_pack(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UsageError, match="is not a finished pack"):
            Shards(str(folder))


def test_files_that_the_manifest_does_not_name_are_not_read(folder: str) -> None:
    shutil.copy(Path(folder, "00001.tar"), Path(folder, "00009.tar"))
    assert len(Shards(folder)) == 60
