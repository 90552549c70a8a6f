from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest

from core import recipe
from core.errors import UsageError
from core.recipe import RUNTIME, TABLES, Recipe, Run, expand, in_manifest


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Stands for a stage's own."""

    min_words: Annotated[int, msgspec.Meta(ge=0, le=99)] = 3
    languages: tuple[str, ...] = ("en",)
    share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5
    strict: bool = True
    inputs: Annotated[tuple[str, ...], RUNTIME] = ()
    timeout: Annotated[float, msgspec.Meta(gt=0), RUNTIME] = 10.0


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(text: str) -> str:
        path = tmp_path / "mine.toml"
        path.write_text(text)
        return str(path)

    return write


def wrong(path: str, *settings: str) -> str:
    """The sentence with which a recipe's filter table is refused."""
    with pytest.raises(UsageError) as error:
        recipe.read(path, settings).config("filter", Config)
    sentence = str(error.value)
    assert "\n" not in sentence
    return sentence


# ── what a recipe says ──


def test_defaults_where_the_recipe_is_silent(write: Any) -> None:
    assert recipe.read(write("")).config("filter", Config) == Config()
    assert recipe.read(write("[filter]")).run == Run(out="", seed=0)


def test_a_recipe_says_what_it_says(write: Any) -> None:
    read = recipe.read(write('[run]\nseed = 7\n[filter]\nmin_words = 5\nlanguages = ["en", "de"]\nshare = 1\n'))
    assert read.config("filter", Config) == Config(min_words=5, languages=("en", "de"), share=1.0)
    assert read.run.seed == 7


def test_the_command_line_stands_over_the_recipe(write: Any) -> None:
    settings = ["filter.min_words=9", "filter.languages=['fr']", "filter.strict=false", "run.out=plain/word"]
    read = recipe.read(write("[filter]\nmin_words = 5\n"), settings)
    assert read.config("filter", Config) == Config(min_words=9, languages=("fr",), strict=False)
    assert read.run.out == "plain/word"


def test_the_last_setting_wins(write: Any) -> None:
    assert recipe.read(write(""), ["run.seed=1", "run.seed=2"]).run.seed == 2


@pytest.mark.parametrize(("value", "out"), [("a=b", "a=b"), ("", ""), ("'quoted'", "quoted"), ("x y", "x y")])
def test_a_setting_that_is_no_toml_is_a_string(value: str, out: str, write: Any) -> None:
    assert recipe.read(write(""), [f"run.out={value}"]).run.out == out


def test_folders_follow_the_name_of_the_recipe_or_its_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISK", "/mnt/big")
    assert Recipe("recipes/mine.toml", {}).folder("queries") == str(Path.cwd() / "out/mine/0_queries")
    assert Recipe("mine.toml", {}).folder("pack") == str(Path.cwd() / "out/mine/6_pack")
    assert Recipe("mine.toml", {"run": {"out": "${DISK}/wit/"}}).folder("eval") == "/mnt/big/wit/8_eval"
    assert Recipe("mine.toml", {"run": {"out": "s3://bucket/wit"}}).folder("crawl") == "s3://bucket/wit/1_crawl"


# ── what is refused ──


@pytest.mark.parametrize("seed", [2**63, 2**64, -(2**63) - 1])
def test_a_seed_of_more_than_64_bits_is_refused(seed: int, write: Any) -> None:
    with pytest.raises(UsageError, match=r"run\.seed: Expected `int` [<>]= "):
        _ = recipe.read(write(f"[run]\nseed = {seed}")).run


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[filter]\nmin_word = 5", "[filter] has no key 'min_word'; did you mean 'min_words'?"),
        (
            "[filter]\nzzz = 5",
            "[filter] has no key 'zzz'; known are min_words, languages, share, strict, inputs, timeout",
        ),
        ("[filtre]\nmin_words = 5", "there is no table [filtre]; did you mean 'filter'?"),
        ("[zzz]", f"there is no table [zzz]; known are {', '.join(TABLES)}"),
        ("min_words = 5", "min_words stands outside a table: put it below one of run, engine,"),
        ("filter = 5", "filter stands outside a table"),
        ("[[filter]]\nmin_words = 5", "filter stands outside a table"),
        (
            "[filter]\nmin_words = '5'",
            "filter.min_words: Expected `int`, got `str`; correct it in the recipe or with --set",
        ),
        ("[filter]\nmin_words = 2.5", "filter.min_words: Expected `int`, got `float`"),
        ("[filter]\nmin_words = true", "filter.min_words: Expected `int`, got `bool`"),
        ("[filter]\nmin_words = -1", "filter.min_words: Expected `int` >= 0"),
        ("[filter]\nmin_words = 100", "filter.min_words: Expected `int` <= 99"),
        ("[filter]\nshare = 1.5", "filter.share: Expected `float` <= 1.0"),
        ("[filter]\nshare = nan", "filter.share: Expected `float`"),
        ("[filter]\nstrict = 1", "filter.strict: Expected `bool`, got `int`"),
        ("[filter]\nlanguages = 'en'", "filter.languages: Expected `array`, got `str`"),
        ("[filter]\nlanguages = ['en', 5]", "filter.languages[1]: Expected `str`, got `int`"),
        ("[filter]\ntimeout = 0", "filter.timeout: Expected `float` > 0.0"),
        ("[filter", " is not TOML ("),
        ("[filter]\nmin_words = 1\nmin_words = 2", " is not TOML ("),
    ],
)
def test_a_wrong_recipe_is_refused_with_key_file_and_remedy(text: str, sentence: str, write: Any) -> None:
    path = write(text)
    said = wrong(path)
    assert said.startswith(path)
    assert sentence in said


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("min_words=3", "write it as table.key=value, for example --set filter.min_words=3"),
        ("filter.min_words", "write it as table.key=value"),
        ("filter.=3", "write it as table.key=value"),
        ("filtre.min_words=3", "there is no table [filtre]; did you mean 'filter'?"),
        ("filter.min_word=3", "[filter] has no key 'min_word'; did you mean 'min_words'?"),
        ("filter.min_words=many", "filter.min_words: Expected `int`, got `str`"),
    ],
)
def test_a_wrong_setting_is_refused(setting: str, sentence: str, write: Any) -> None:
    assert sentence in wrong(write("[filter]\nmin_words = 5\n"), setting)


def test_a_setting_over_a_key_outside_a_table_is_refused(write: Any) -> None:
    assert "filter stands outside a table" in wrong(write("filter = 5"), "filter.min_words=3")


def test_a_recipe_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b"\xff\xfe[filter]")
    assert "is not TOML" in wrong(str(tmp_path / "mine.toml"))


def test_a_recipe_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    loop = tmp_path / "loop.toml"
    loop.symlink_to(loop)
    assert f"{loop} cannot be read (OSError: [Errno 40] Too many levels" in wrong(str(loop))
    assert "s4://x is on no file system that is known" in wrong("s4://x")
    assert "is read by gcsfs, which is not here: pip install gcsfs" in wrong("gs://bucket/mine.toml")
    assert "cannot be read (ConnectionRefusedError: " in wrong("ftp://127.0.0.1:1/mine.toml")


def test_a_recipe_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file.toml").touch()
    for path in (tmp_path / "none.toml", tmp_path, tmp_path / "file.toml" / "x"):
        assert f"there is no recipe {path}: give one with --recipe" in wrong(str(path))


# ── environment variables ──


def test_variables_are_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERE", "/data")
    monkeypatch.setenv("YEAR", "2024")
    assert expand("${HERE}/${YEAR}/$YEAR/${}", "mine.toml") == "/data/2024/$YEAR/${}"


def test_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    with pytest.raises(
        UsageError, match=r"mine\.toml needs the environment variable NOT_SET: set it \(export NOT_SET="
    ):
        expand("${NOT_SET}/a", "mine.toml")


# ── the manifest's share ──


def test_keys_that_steer_only_how_a_stage_runs_are_left_out_of_the_manifest() -> None:
    config = Config(min_words=4, inputs=("a.warc",), timeout=1.0)
    assert in_manifest(config) == {"min_words": 4, "languages": ["en"], "share": 0.5, "strict": True}
    assert in_manifest(config) == in_manifest(Config(min_words=4, inputs=("b.warc",)))
