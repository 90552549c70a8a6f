"""The registry: its counts are the paper's, its words are OpenAI's, and labels of published data find their classes."""

import ast
import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Failure, UsageError
from evaluation import prompts, sets
from evaluation.classes import fold, match_classes
from tests.conftest import DATA
from tests.evaluation import made
from tests.running import ROOT

META = DATA / "evalmeta"
# Classes and templates of OpenAI's prompts.md and notebook, counted; train and test pictures of Table 9.
COUNTS = """birdsnap 500/1, cifar10 10/18, cifar100 100/18, clevr_counts 8/1, caltech101 102/34, country211 211/5,
dtd 47/8, eurosat 10/3, fgvc_aircraft 100/2, fer2013 7/6, flowers102 102/1, food101 101/1, gtsrb 43/3, hatefulmemes 2/1,
kitti 4/1, kinetics700 700/28, mnist 10/1, oxford_pets 37/1, voc2007 20/1, pcam 2/1, resisc45 45/18, rendered_sst2 2/1,
stl10 10/2, sun397 397/2, stanford_cars 196/8, ucf101 101/48, imagenet 1000/80"""
TABLE_9 = """food101 75750/25250, cifar10 50000/10000, cifar100 50000/10000, birdsnap 42283/2149, sun397 19850/19850,
stanford_cars 8144/8041, fgvc_aircraft 6667/3333, voc2007 5011/4952, dtd 3760/1880, oxford_pets 3680/3669,
caltech101 3060/6085, flowers102 2040/6149, mnist 60000/10000, fer2013 32140/3574, stl10 1000/8000, eurosat 10000/5000,
resisc45 3150/25200, gtsrb 26640/12630, kitti 6770/711, country211 43200/21100, pcam 294912/32768, ucf101 9537/1794,
kinetics700 494801/31669, clevr_counts 2000/500, hateful_memes 8500/500, rendered_sst2 7792/1821,
imagenet 1281167/50000"""


def figures(text: str) -> dict[str, tuple[int, int]]:
    found = re.findall(r"(\w+) (\d+)/(\d+)", text.replace("hatefulmemes", "hateful_memes"))
    return {name: (int(one), int(other)) for name, one, other in found}


# ── the registry ──


def test_the_registry_has_all_sets_of_the_paper() -> None:
    found = [sets.load(name) for name in sets.names()]
    assert len([one for one in found if one.task == "classification" and not one.shift]) == 27
    assert len([one for one in found if one.shift]) == 7
    assert [one.name for one in found if one.task == "retrieval"] == ["flickr30k", "mscoco"]
    assert [one.name for one in found if one.task == "geolocation"] == ["im2gps"]


def test_sizes_are_those_of_table_9_and_its_errors_are_said() -> None:
    for name, (train, test) in figures(TABLE_9).items():
        one = sets.load(name)
        assert (one.paper.get("train", one.train), one.test) == (train, test), name
    said = {name: sets.load(name).paper for name in sets.names() if sets.load(name).paper}
    assert said == {"food101": {"classes": 102}, "fer2013": {"classes": 8}, "country211": {"train": 43200}}
    assert all(sets.load(name).note for name in said)
    country = sets.load("country211")
    assert country.train == 211 * 200 and country.test == 211 * 100


def test_metrics_are_those_of_table_9() -> None:
    others = {name: sets.load(name).metric for name in sets.names() if sets.load(name).metric != "accuracy"}
    assert others == {
        "fgvc_aircraft": "mean_per_class",
        "oxford_pets": "mean_per_class",
        "caltech101": "mean_per_class",
        "flowers102": "mean_per_class",
        "voc2007": "map11",
        "kinetics700": "mean_top1_top5",
        "hateful_memes": "roc_auc",
        "flickr30k": "recall_at_k",
        "mscoco": "recall_at_k",
        "im2gps": "within_km",
    }


def test_an_unknown_set_is_named_with_what_was_meant() -> None:
    with pytest.raises(UsageError, match="there is no evaluation set 'fod101'; did you mean food101"):
        sets.load("fod101")


def test_the_document_has_every_set() -> None:
    text = (ROOT / "docs" / "evaluation.md").read_text()
    for one in map(sets.load, sets.names()):
        hub = f"`wds_{one.benchmark.replace('/', '-')}`" if one.benchmark else ""
        row = [
            f"`{one.name}`",
            f"[{one.title}]({one.page})",
            one.metric,
            one.classes or "",
            f"{one.test:,}",
            one.licence,
        ]
        assert f"| {' | '.join(map(str, [*row, hub]))} |\n" in text, one.name


# ── words ──


def test_classes_and_templates_are_as_many_as_published() -> None:
    """clip_paper.md, section 9: 26 sets of prompts.md and ImageNet's 1,000 classes x 80 templates."""
    counts = figures(COUNTS)
    assert len(counts) == 27
    for name, (classes, templates) in counts.items():
        words = sets.load(name).prompts()
        assert (len(words.names), len(words.templates), sets.load(name).classes) == (classes, templates, classes), name
    assert sum(map(len, sets.load("imagenet").prompts().texts())) == 80_000
    assert len({name for some in sets.load("imagenet").names for name in some}) == 998  # missile and sunglasses, twice


@pytest.mark.skipif(not META.exists(), reason="needs OPENWIT_DATA")
def test_shipped_words_are_those_of_the_source() -> None:
    blocks = re.findall(r"^## \w+\n.*?```bash\n(.*?)```", (META / "clip.prompts.md").read_text(), re.S | re.M)
    published = [{n.targets[0].id: ast.literal_eval(n.value) for n in ast.parse(b).body} for b in blocks]
    shipped = prompts.published("clip")
    for one in published:
        assert one in shipped.values()
    assert len(published) == 26 and len(shipped) == 27
    assert shipped["imagenet"]["classes"] == json.loads((META / "clip.imagenet_classes.json").read_text())
    assert shipped["imagenet"]["templates"] == json.loads((META / "clip.imagenet_templates.json").read_text())
    for language in prompts.LANGUAGES:
        found = prompts.published(language)["imagenet1k"]
        assert found["classes"] == json.loads((META / f"cb.{language}_classnames.json").read_text())["imagenet1k"]
    assert prompts.babel()["de"][1] == json.loads((META / "cb.babel_imagenet.json").read_text())["DE"][1]


def test_synonyms_are_put_into_every_template() -> None:
    texts = sets.load("fer2013").prompts().texts()
    assert [len(some) for some in texts] == [6, 6, 6, 12, 12, 18, 12]
    assert "a photo of a spooked looking face." in texts[5]


def test_odd_sets() -> None:
    kitti = sets.load("kitti")
    for choice in ("paper", "single", "ensemble", "contextless"):
        assert kitti.prompts(choice).texts()[3] == ["a photo i took with no car."]
    assert sets.load("clevr_counts").prompts().texts()[:2] == [["a photo of 10 objects."], ["a photo of 3 objects."]]
    assert sets.load("mnist").prompts().texts()[7] == ['a photo of the number: "7".']
    assert 'a zoomed in photo of a "stop" traffic sign.' in sets.load("gtsrb").prompts().texts()[14]
    assert sets.load("pcam").prompts().texts()[0] == ["this is a photo of lymph node"]


def test_choices_of_prompts() -> None:
    pets = sets.load("oxford_pets")
    assert pets.prompts("single").texts()[0] == ["a photo of a Abyssinian."]
    assert pets.prompts("contextless").texts()[0] == ["Abyssinian"]
    assert len(pets.prompts("ensemble").texts()[0]) == 80
    assert set(prompts.SELECTED) < set(pets.prompts("ensemble").templates)
    with pytest.raises(
        UsageError, match="there are no prompts 'fr' for the set oxford_pets: give one of paper, single"
    ):
        pets.prompts("fr")
    with pytest.raises(UsageError, match="im2gps has no classes: its task is geolocation"):
        sets.load("im2gps").prompts()


def test_clip_benchmark_has_other_words() -> None:
    """shards_and_trainers.md, section 4: resisc45 has 4 templates, not 18; pcam 2, not 1."""
    assert len(sets.load("resisc45").prompts("clip_benchmark").templates) == 4
    assert len(sets.load("pcam").prompts("clip_benchmark").templates) == 2
    clevr = sets.load("clevr_counts").prompts("clip_benchmark")
    assert [name[0] for name in clevr.names] == ["ten", "three", "four", "five", "six", "seven", "eight", "nine"]


def test_languages() -> None:
    italian = sets.load("imagenet_sketch").prompts("it")
    assert italian.texts()[0][0] == "una brutta foto di una tinca" and len(italian.names) == 1000
    german = sets.load("imagenet").prompts("babel-de")
    assert len(german.classes) == 738 and german.texts()[:2] == [["Schleie"], ["Goldfisch"]]
    assert len(prompts.babel()) == 93
    with pytest.raises(UsageError, match="Babel-ImageNet has af, am"):
        sets.load("imagenet").prompts("babel-tlh")


# ── labels ──


def meant(name: str, *found: str) -> list[str]:
    one = sets.load(name)
    numbers = match_classes(found, one.names, one.also(), one.numbers, "the data")
    return [one.names[number][0] for number in numbers]


def test_labels_of_published_data_find_their_classes() -> None:
    assert meant("eurosat", "AnnualCrop", "SeaLake", "Forest") == ["annual crop land", "lake or sea", "forest"]
    assert meant("country211", "JP", "GB", "XK") == ["Japan", "United Kingdom", "Kosovo"]
    assert meant("country211", "SZ", "MF", "BQ") == ["Eswatini", "Saint-Martin", "Bonaire, Saint Eustatius and Saba"]
    assert meant("fer2013", "disgust", "surprise") == ["disgusted", "surprised"]
    assert meant("ucf101", "ApplyEyeMakeup", "YoYo") == ["Apply Eye Makeup", "Yo Yo"]
    assert meant("food101", "apple_pie", "waffles") == ["apple pie", "waffles"]
    assert meant("imagenet", "n01443537", "great_white_shark") == ["goldfish", "great white shark"]
    assert meant("imagenet", "tench, Tinca tinca", "goldfish, Carassius auratus") == ["tench", "goldfish"]
    assert meant("clevr_counts", "three", "10") == ["3", "10"]


def test_caltech_folders_are_all_classes_of_the_set() -> None:
    lines = (DATA / "cls" / "caltech101_72px.labels.tsv").read_text().splitlines()
    found = sorted({line.split("\t")[1] for line in lines})
    assert len(set(meant("caltech101", *found))) == len(found) == 100


def test_numbers_count_from_0_or_from_1() -> None:
    folders = sorted(map(str, range(1000)))  # 0, 1, 10, 100 …, as readers that sort texts see them
    one = sets.load("imagenet_v2")
    assert match_classes(folders, one.names, one.also(), one.numbers, "") == [int(name) for name in folders]
    flowers = sets.load("flowers102").names
    assert meant("flowers102", *map(str, range(1, 103))) == [name[0] for name in flowers]
    assert meant("flowers102", "0", "1") == [flowers[0][0], flowers[1][0]]
    assert meant("flowers102", "102", "7") == [flowers[101][0], flowers[6][0]]
    with pytest.raises(Failure, match="labels from 3 to 7, which may count from 0 or from 1: give names"):
        meant("flowers102", "3", "7")
    with pytest.raises(Failure, match="labels from 0 to 102, and the set 102 classes"):
        meant("flowers102", "0", "102")
    assert meant("gtsrb", "00000", "00014") == ["red and white circle 20 kph speed limit", "stop"]
    with pytest.raises(Failure, match="labels that are no class of the set"):
        meant("eurosat", "0", "1")  # in which order?


def test_labels_that_are_no_class_are_named_with_the_nearest() -> None:
    with pytest.raises(Failure) as said:
        meant("oxford_pets", "Abysinian", "beagle", "gazelle hound")
    assert str(said.value) == (
        "the data has labels that are no class of the set, 2 of 3: 'Abysinian' ('Abyssinian'?), 'gazelle hound'; "
        "rename them to classes of the set ('Abyssinian', …), or take them out"
    )
    with pytest.raises(Failure, match="two labels for the class 'beagle', 'beagle' and 'Beagle': make them one"):
        meant("oxford_pets", "beagle", "Beagle")
    with pytest.raises(Failure, match="the label 'missile', a name of the classes 657 and 744: give ids"):
        meant("imagenet", "missile")


def test_classes_in_their_order_may_have_one_name_twice() -> None:
    imagenet = sets.load("imagenet")
    found = [name[0] for name in imagenet.names]
    assert match_classes(found, imagenet.names, imagenet.also(), True, "") == list(range(1000))


def test_a_name_of_two_classes_is_told_by_its_place_in_their_order() -> None:
    """CLIP_benchmark's class names of ImageNet-R: 200 in the order of the classes, with one "missile" of two."""
    assert match_classes(["minivan", "missile", "mitten"], *imagenet_words(), False, "") == [656, 657, 658]
    assert match_classes(["printer", "missile", "projector"], *imagenet_words(), False, "") == [742, 744, 745]
    with pytest.raises(Failure, match="'missile', a name of the classes 657 and 744"):
        match_classes(["mitten", "missile", "minivan"], *imagenet_words(), False, "")
    with pytest.raises(Failure, match="'missile', a name of the classes 657 and 744"):
        match_classes(["tench", "missile", "toilet paper"], *imagenet_words(), False, "")


def imagenet_words() -> tuple[list[list[str]], list[list[str]]]:
    return sets.load("imagenet").names, sets.load("imagenet").also()


@given(st.integers(0, 2**32), st.sampled_from(["imagenet", "ucf101", "eurosat", "country211", "sun397"]))
def test_any_labels_in_any_order_find_their_classes(seed: int, name: str) -> None:
    one = sets.load(name)
    words = [others[0] if others else some[0] for some, others in zip(one.names, one.also(), strict=True)]
    chosen = random.Random(seed).sample(range(len(words)), min(20, len(words)))
    written = [words[number].upper().replace(" ", "_") for number in chosen]
    assert match_classes(written, one.names, one.also(), one.numbers, "") == chosen


@given(st.text())
def test_folding_twice_is_folding_once(text: str) -> None:
    assert fold(fold(text)) == fold(text)


def test_fold() -> None:
    assert fold("Apple_Pie") == fold("apple pie") == fold("APPLE-PIE") == "applepie"
    assert fold("cafe\u0301") == fold("café") != fold("cafe")
    assert fold("+") == "+" != fold("-")
    assert fold("テンチ") == "テンチ"


# ── finding ──


def test_what_is_missing_is_said_and_the_rest_is_found(tmp_path: Path) -> None:
    made.class_folders(tmp_path / "caltech101" / "test")
    own = made.class_folders(tmp_path / "own" / "folder")
    there, missing, mine, nowhere = sets.find(
        ["caltech101", "food101", str(own), str(tmp_path / "nowhere")], str(tmp_path)
    )
    assert isinstance(there, sets.Located) and isinstance(mine, sets.Located)
    assert isinstance(missing, sets.Missing) and isinstance(nowhere, sets.Located)
    assert missing.sentence == (
        f"food101 (Food-101, licence: see its page) is not in {tmp_path}. Download food-101.tar.gz (meta/test.txt "
        "lists the test pictures), from https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/, and put the "
        f"pictures into {tmp_path}/food101, a folder a class. The hub's clip-benchmark/wds_food101 works as it is. "
        "docs/evaluation.md has the other layouts."
    )
    with pytest.raises(Failure, match=f"{tmp_path}/nowhere is not there: give its right path"):
        nowhere.open()
    found = there.open()
    assert len(found.classes) == 102 and found.classes[6] == "airplane"
    assert [found.classes[number] for number in found.numbers()] == [
        name for name in ("accordion", "airplane", "anchor", "ant") for _ in range(made.EACH)
    ]
    assert there.remarks(found) == [
        "caltech101 has 12 examples here and 6,085 in the paper: results differ",
        "caltech101 has pictures of 4 classes here, of 102",
    ]
    assert mine.open().classes == made.CLASSES and mine.remarks(mine.open()) == []


def test_caltech_as_a_tar_with_labels(tmp_path: Path) -> None:
    """All 8,242 pictures of OPENWIT_DATA, below another name."""
    for ending in ("tar", "labels.tsv"):
        (tmp_path / f"caltech101.{ending}").symlink_to(DATA / "cls" / f"caltech101_72px.{ending}")
    (found,) = sets.find(["caltech101"], str(tmp_path))
    assert isinstance(found, sets.Located) and found.layout == "tar"
    pictures = found.open()
    assert len(pictures) == 8242 and pictures.ids[0] == "101_ObjectCategories/Faces/image_0001.jpg"
    assert pictures.classes[pictures.numbers()[0]] == "off-center face"
    assert np.bincount(pictures.numbers(), minlength=102).tolist().count(0) == 2  # background and centered face
    assert next(iter(pictures)).pictures[0].startswith(b"\xff\xd8")
    assert found.remarks(pictures)[1] == "caltech101 has pictures of 100 classes here, of 102"


def test_a_set_that_is_there_and_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "dtd").mkdir()
    (found,) = sets.find(["dtd"], str(tmp_path))
    assert isinstance(found, sets.Located)
    with pytest.raises(Failure, match=r"/dtd has no folders by class, no metadata.csv"):
        found.open()


def test_wrong_names_are_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean mnist"):
        sets.find(["mnits"], str(tmp_path))
    with pytest.raises(UsageError, match="'mnist' is given twice"):
        sets.find(["mnist", "mnist"], str(tmp_path))


def test_wrong_labels_of_a_set_are_named(tmp_path: Path) -> None:
    made.class_folders(tmp_path / "oxford_pets")
    (found,) = sets.find(["oxford_pets"], str(tmp_path))
    assert isinstance(found, sets.Located)
    with pytest.raises(Failure, match=r"labels that are no class of the set, 4 of 4: 'accordion'"):
        found.open()


def test_imagenet_is_tested_on_val_and_v2_by_number(tmp_path: Path) -> None:
    names = dict(zip(made.CLASSES, ("n01440764", "n01443537", "n01484850", "n01491361"), strict=True))
    made.class_folders(tmp_path / "imagenet" / "val", names, "JPEG")
    made.class_folders(tmp_path / "imagenet_v2", dict(zip(made.CLASSES, ("0", "10", "2", "999"), strict=True)), "jpeg")
    imagenet, second = sets.find(["imagenet", "imagenet_v2"], str(tmp_path))
    assert isinstance(imagenet, sets.Located) and isinstance(second, sets.Located)
    assert imagenet.open().numbers().tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert second.open().numbers().tolist() == [0] * 3 + [10] * 3 + [2] * 3 + [999] * 3  # ids sort as texts


def test_a_shift_of_some_classes_is_evaluated_among_these(tmp_path: Path) -> None:
    names = dict(zip(made.CLASSES, ("n01498041", "n01531178", "n01534433", "n01558993"), strict=True))
    made.class_folders(tmp_path / "imagenet_a", names)
    (found,) = sets.find(["imagenet_a"], str(tmp_path))
    assert isinstance(found, sets.Located)
    pictures = found.open()
    assert pictures.subset == tuple(sorted(set(pictures.numbers().tolist()))) == (6, 11, 13, 15)
    assert found.remarks(pictures)[1] == "imagenet_a has pictures of 4 classes here, of 200"


def test_clips_may_be_frames_that_somebody_took_out(tmp_path: Path) -> None:
    names = dict(zip(made.CLASSES, ("Archery", "YoYo", "Biking", "TaiChi"), strict=True))
    made.class_folders(tmp_path / "ucf101", names)
    (found,) = sets.find(["ucf101"], str(tmp_path))
    assert isinstance(found, sets.Located)
    assert len(found.open()) == 12
    (tmp_path / "ucf101").rename(tmp_path / "frames")
    made.write_tar(tmp_path / "ucf101.tar", {"0.jpg": b"x"})
    (tmp_path / "ucf101.tsv").write_text("0.jpg\tYoYo\n")
    (in_a_tar,) = sets.find(["ucf101"], str(tmp_path))
    assert isinstance(in_a_tar, sets.Located) and len(in_a_tar.open()) == 1
    made.class_folders(tmp_path / "ucf101", {label: f"{name}/clip_1" for label, name in names.items()})
    assert [len(example.pictures) for example in found.open(frames="all")] == [3] * 4
    assert len(found.open()) == 4 and len(next(iter(found.open())).pictures) == 1


def test_words_about_a_set_of_ones_own(tmp_path: Path) -> None:
    made.class_folders(tmp_path / "own", {"ant": "red_ant"})
    (found,) = sets.find([str(tmp_path / "own")], "")
    assert isinstance(found, sets.Located)
    assert found.prompts(found.open()).texts()[3] == ["a photo of a red ant."]
    assert found.prompts(found.open(), "contextless").texts()[3] == ["red ant"]


def own(base: Path, *labels: str) -> sets.Located:
    """A set of one's own with a picture of each of these classes."""
    for label in labels:
        (base / label).mkdir(parents=True)
        (base / label / "1.jpg").write_bytes(b"x")
    (found,) = sets.find([str(base)], "sets")
    assert isinstance(found, sets.Located)
    return found


def test_wordnet_ids_stand_for_the_names_that_clip_has_for_them(tmp_path: Path) -> None:
    one = own(tmp_path / "imagenette", "n01440764", "n02102040")
    assert one.prompts(one.open()).names == (("tench",), ("English Springer Spaniel",))
    other = own(tmp_path / "tiny", "n01440764", "n00007846")
    with pytest.raises(Failure, match=r"has 1 classes that are WordNet ids and none of ImageNet's 1,000 \(n00007846\)"):
        other.prompts(other.open())


@pytest.mark.parametrize("labels", [("Cat", "cat"), ("cat ", "cat"), ("t_shirt", "t shirt")])
def test_classes_that_prompts_call_the_same_are_refused(labels: tuple[str, str], tmp_path: Path) -> None:
    one = own(tmp_path / "mine", *labels, "dog")
    with pytest.raises(Failure, match=f"prompts call the same, {min(labels)!r} and {max(labels)!r}: make them one"):
        one.prompts(one.open())


def test_what_is_odd_about_a_set_of_ones_own_is_said(tmp_path: Path) -> None:
    one = own(tmp_path / "mine", "001.Albatross", "10", "dog")
    (tmp_path / "mine" / "dog" / "2").write_bytes(b"x")
    assert [said.partition(" ")[2] for said in one.remarks(one.open())] == [
        "left out 1 of its files, which have no picture's extension",
        "has 2 classes whose names begin with numbers ('001.Albatross', '10'): prompts say them as they stand; where "
        "they are no names, rename the classes",
    ]
    made.write_tar(tmp_path / "w" / "test" / "0.tar", {"a.jpg": b"x", "a.cls": b"1"})
    (tmp_path / "w" / "classnames.txt").write_text("cat\ndog\n")
    (wds,) = sets.find([f"{tmp_path}/w"], "sets")
    assert isinstance(wds, sets.Located)
    assert wds.remarks(wds.open()) == [f"{tmp_path}/w names 2 classes, of which 1 have no picture (cat)"]


def test_imagenet_by_number_counts_from_0(tmp_path: Path) -> None:
    words = imagenet_words()
    with pytest.raises(Failure, match=r"labels from 1 to 1000: numbers from 1 are in several orders around"):
        match_classes([str(n) for n in range(1, 1001)], *words, True, "val", sets.load("imagenet").first_number)
    assert match_classes(["0", "999"], *words, True, "val", sets.load("imagenet").first_number) == [0, 999]


def test_nested_folders_of_sun397_are_read_by_its_classes(tmp_path: Path) -> None:
    names = ("a/abbey", "a/airplane_cabin", "a/apartment_building/outdoor", "b/badminton_court/indoor")
    made.class_folders(tmp_path / "sun397", dict(zip(made.CLASSES, names, strict=True)))
    (found,) = sets.find(["sun397"], str(tmp_path))
    assert isinstance(found, sets.Located)
    pictures = found.open()
    assert [pictures.classes[number] for number in pictures.numbers()[::3]] == [
        "abbey",
        "airplane cabin",
        "apartment building outdoor",
        "badminton court indoor",
    ]
