"""Pictures with captions, for retrieval, and with places, for geolocation."""

import json
from pathlib import Path

import numpy as np
import pytest
import webdataset

from core.errors import Failure
from evaluation import sets
from evaluation.examples import Captioned
from tests.evaluation import made

BODIES = made.pictures()["ant"]
CAPTIONS = (("an ant", "a black ant"), ("two ants, walking",), ("ants",))


def holds(found: Captioned) -> bool:
    return [files[0] for _, files in found.bodies()] == BODIES and found.captions == CAPTIONS


def located(name: str, root: Path) -> sets.Located:
    (found,) = sets.find([name], str(root))
    assert isinstance(found, sets.Located), found.sentence
    return found


def write_pictures(base: Path) -> list[str]:
    base.mkdir(parents=True)
    for number, body in enumerate(BODIES):
        (base / f"{number}.jpg").write_bytes(body)
    return [f"{number}.jpg" for number in range(len(BODIES))]


def test_texts_know_their_pictures(tmp_path: Path) -> None:
    names = write_pictures(tmp_path / "images")
    lines = [(f"images/{name}", text) for name, some in zip(names, CAPTIONS, strict=True) for text in some]
    (tmp_path / "metadata.csv").write_text("file_name,caption\n" + "".join(f'{one},"{text}"\n' for one, text in lines))
    captioned = located(str(tmp_path), tmp_path).open_captions()
    assert holds(captioned)
    texts, picture = captioned.texts()
    assert texts == ["an ant", "a black ant", "two ants, walking", "ants"] and picture.tolist() == [0, 0, 1, 2]


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("file_name,Text\nimages/0.jpg,an ant\n", "retrieval"),
        ("file_name,text,label\nimages/0.jpg,an ant,ant\n", "classification"),
        ("file_name,about\nimages/0.jpg,an ant\n", "classification"),
    ],
)
def test_a_set_of_ones_own_with_captions_and_no_labels_is_for_retrieval(tmp_path: Path, text: str, task: str) -> None:
    write_pictures(tmp_path / "test" / "images")
    (tmp_path / "test" / "metadata.csv").write_text(text)
    assert located(str(tmp_path), tmp_path).task == task


def test_a_list_of_captions_in_one_cell_is_named(tmp_path: Path) -> None:
    (name, *_) = write_pictures(tmp_path / "images")
    text = f"""file_name,raw\nimages/{name},"['an ant', 'a black ant']"\n"""
    (tmp_path / "metadata.csv").write_text(text)
    with pytest.raises(Failure, match=r"line 2 has a list in one cell \(\['an ant', 'a black ant'\]\): write a row a"):
        located(str(tmp_path), tmp_path).open_captions()


@pytest.mark.parametrize("cell", ["", "nan", "None"])
def test_what_programs_write_for_no_caption_is_none(cell: str, tmp_path: Path) -> None:
    (name, *_) = write_pictures(tmp_path / "images")
    (tmp_path / "metadata.csv").write_text(f"file_name,caption\nimages/{name},{cell}\n")
    with pytest.raises(Failure, match=f"line 2 has no caption \\('{cell}'\\): add it, or take the row out"):
        located(str(tmp_path), tmp_path).open_captions()


def karpathy(base: Path, filepath: str = "") -> Path:
    """A listing as Karpathy's: three pictures of the test split, and one of train, which is not there."""
    names = write_pictures(base / (filepath or "flickr30k-images"))
    images: list[dict[str, object]] = [
        {"filename": name, "split": "test", "sentences": [{"raw": text, "tokens": []} for text in some]}
        for name, some in zip(names, CAPTIONS, strict=True)
    ]
    images.append({"filename": "gone.jpg", "split": "train", "sentences": [{"raw": "gone"}]})
    for image in images if filepath else ():
        image["filepath"] = filepath
    path = base / ("dataset_coco.json" if filepath else "dataset_flickr30k.json")
    path.write_text(json.dumps({"images": images, "dataset": "made"}))
    return path


def test_karpathys_listings(tmp_path: Path) -> None:
    karpathy(tmp_path / "flickr30k")
    karpathy(tmp_path / "mscoco", "val2014")
    (tmp_path / "mscoco" / "train2014").mkdir()
    assert located(str(tmp_path / "mscoco"), tmp_path).task == "retrieval"
    (tmp_path / "mscoco" / "val2014" / "9.jpg").write_bytes(b"x")
    flickr, coco = located("flickr30k", tmp_path), located("mscoco", tmp_path)
    assert holds(flickr.open_captions()) and holds(coco.open_captions())
    assert coco.open_captions().ids[0] == "val2014/0.jpg" and coco.open_captions().left_out["of_other_splits"] == 1
    assert coco.remarks(coco.open_captions()) == ["mscoco has 3 examples here and 5,000 in the paper: results differ"]
    with pytest.raises(Failure, match="has pictures with captions, and no classes"):
        flickr.open()
    with pytest.raises(Failure, match="has no pictures of the split val, but of test, train: give one"):
        flickr.open_captions("val")


def test_karpathys_listings_that_do_not_fit_are_named(tmp_path: Path) -> None:
    path = karpathy(tmp_path / "flickr30k")
    found = located("flickr30k", tmp_path)
    whole = json.loads(path.read_text())
    (path.parent / "flickr30k-images" / "2.jpg").unlink()
    with pytest.raises(Failure, match=r"names 3 pictures, of which 1 are not in its folder, 2\.jpg"):
        found.open_captions()
    whole["images"][1]["sentences"] = [{"raw": " "}]
    path.write_text(json.dumps(whole))
    with pytest.raises(Failure, match=r"picture 1 of the split \(1\.jpg\) has no caption"):
        found.open_captions()
    path.write_text("{}")
    with pytest.raises(Failure, match=r"is no listing of the Karpathy splits \(KeyError\('images'\)\)"):
        found.open_captions()


def benchmark(base: Path, captions: tuple[str, ...] = ("an ant\na black ant\n", "two ants,  walking", "ants")) -> None:
    (base / "test").mkdir(parents=True)
    (base / "dataset_type.txt").write_text("retrieval\n")
    (base / "test" / "nshards.txt").write_text("1")
    with webdataset.TarWriter(str(base / "test" / "0.tar")) as sink:
        for number, (body, text) in enumerate(zip(BODIES, captions, strict=True)):
            sink.write({"__key__": f"s{number:07d}", "jpg": body, "txt": text})


def test_clip_benchmarks_tars(tmp_path: Path) -> None:
    benchmark(tmp_path / "wds_flickr30k")
    assert located(str(tmp_path / "wds_flickr30k"), tmp_path).task == "retrieval"
    assert holds(located("flickr30k", tmp_path).open_captions())
    benchmark(tmp_path / "wds_mscoco_captions", ("ant\n\nants", "ant", "ants"))
    with pytest.raises(Failure, match=r"s0000000\.txt in .*0\.tar has an empty caption: add it"):
        located("mscoco", tmp_path).open_captions()


# ── places ──


def places(root: Path, *rows: str) -> sets.Located:
    names = write_pictures(root / "im2gps")
    lines = [f"{name},{row}\n" for name, row in zip(names, rows, strict=True)]
    (root / "im2gps" / "metadata.csv").write_text("file_name,Latitude,lon\n" + "".join(lines))
    return located("im2gps", root)


def test_places(tmp_path: Path) -> None:
    found = places(tmp_path, "35.6762,139.6503", "-90,-180", "0,180").open_places()
    assert found.places.dtype == np.float64 and found.places.tolist() == [[35.6762, 139.6503], [-90, -180], [0, 180]]
    assert [files[0] for _, files in found.bodies()] == BODIES


@pytest.mark.parametrize("row", ["90.5,0", "0,181", "nan,0", ",0", "N 35,0", "inf,0"])
def test_places_that_are_none_are_named(row: str, tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"metadata\.csv, line 3 has the position '.*', not degrees from -(90|180) to"):
        places(tmp_path, "0,0", row, "0,0").open_places()
