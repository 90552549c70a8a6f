"""The registry: its counts are the paper's, and its words are OpenAI's."""

import ast
import json
import re
from pathlib import Path

import pytest

from core.errors import UsageError
from evaluation import prompts, sets
from tests.running import ROOT

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


def test_shipped_words_are_those_of_the_source(data: Path) -> None:
    meta = data / "evalmeta"
    blocks = re.findall(r"^## \w+\n.*?```bash\n(.*?)```", (meta / "clip.prompts.md").read_text(), re.S | re.M)
    published = [{n.targets[0].id: ast.literal_eval(n.value) for n in ast.parse(b).body} for b in blocks]
    shipped = prompts.published("clip")
    for one in published:
        assert one in shipped.values()
    assert len(published) == 26 and len(shipped) == 27
    assert shipped["imagenet"]["classes"] == json.loads((meta / "clip.imagenet_classes.json").read_text())
    assert shipped["imagenet"]["templates"] == json.loads((meta / "clip.imagenet_templates.json").read_text())
    for language in prompts.LANGUAGES:
        found = prompts.published(language)["imagenet1k"]
        assert found["classes"] == json.loads((meta / f"cb.{language}_classnames.json").read_text())["imagenet1k"]
    assert prompts.babel()["de"][1] == json.loads((meta / "cb.babel_imagenet.json").read_text())["DE"][1]


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
