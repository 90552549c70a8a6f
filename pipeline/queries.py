"""queries: Wikipedia, page views, WordNet → query, the strings that pairs are searched for.

    openwit queries --recipe recipes/real.toml

The CLIP paper's list (section 2.2, footnote): all words that occur at least 100 times in the English Wikipedia, its
bi-grams of high pointwise mutual information, the titles of articles that are often looked for, and the WordNet
synsets that are not in the list already; 500,000 in all. Own lists, one query a line, come before all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Annotated, Any

import msgspec
import numpy as np
import pyarrow as pa

from core.command import exit_now
from core.files import digest, read_bytes
from core.inputs import Source
from core.manifest import Receipt
from core.recipe import RUNTIME
from core.tables import declare, read_table
from pipeline.ids import fold
from pipeline.stage import Definition, Stage, main_of
from pipeline.tables import QUERY, REJECT_QUERY
from pipeline.tasks.attempt import Attempt, Task
from pipeline.text import ngrams, wikipedia, wordnet
from pipeline.text.words import is_word, tokens

RULES_VERSION = 2

ROWS = 4096  # candidates for the list that are judged together

Count = Annotated[int, msgspec.Meta(ge=0)]


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The recipe's [queries] table."""

    wikipedia: Annotated[list[str], RUNTIME] = []  # dumps: pages-articles*.xml.bz2
    pageviews: Annotated[list[str], RUNTIME] = []  # hourly files: pageviews-*.gz
    wordnet: Annotated[list[str], RUNTIME] = []  # WordNet's files, in an archive or a Debian package
    lists: Annotated[list[str], RUNTIME] = []  # own queries, one a line
    min_unigram_count: Count = 100  # occurrences in all dumps; the paper's figure
    bigrams: Count = 100_000  # of the highest mutual information; as many as MetaCLIP fitted
    min_bigram_count: Count = 100  # rarer pairs have the highest information and the least meaning
    min_title_views: Count = 70  # in all files of page views; MetaCLIP's figure
    max_queries: Annotated[int, msgspec.Meta(ge=1)] = 500_000


WORD = declare(
    "word", 1, {"text": (pa.string(), "a word, or an article's title"), "count": (pa.int64(), "occurrences, or views")}
)
TOGETHER = declare(
    "together",
    1,
    {
        "key": (pa.int64(), "the first word's number in the vocabulary times 2^32 plus the second's"),
        "count": (pa.int64(), "how often the second follows the first"),
    },
)


def sources(config: Config) -> dict[str, list[str]]:
    """The raw files, by kind."""
    return {kind: getattr(config, kind) for kind in ("wikipedia", "pageviews", "wordnet", "lists")}


def run(stage: Stage[Config]) -> None:
    dumps = stage.sources["wikipedia"]

    # dump → word, page views → word                                               a task a file
    job = stage.job("words", uses=())
    counted = stage.run(job, count_words, [Task(dump.id, dump.digest, (dump,)) for dump in dumps])
    job = stage.job("views", uses=())
    tasks = [Task(source.id, source.digest, (source,)) for source in stage.sources["pageviews"]]
    viewed = stage.run(job, count_views, tasks)

    # word → word: the vocabulary, words that are frequent in all dumps together    one task
    job = stage.job("vocabulary", ("min_unigram_count",), all_inputs=True)
    words = _paths(stage, counted)
    (vocabulary,) = stage.run(job, choose_words, [Task("vocabulary", args=(words,))])

    # dump, vocabulary → together: which words stand side by side                   a task a file
    job = stage.job("pairs", uses=())
    (frequent,) = _paths(stage, [vocabulary]) or (None,)
    tasks = [
        Task(dump.id, digest(dump.digest, [part.sha256 for part in vocabulary.parts]), (dump, frequent))
        for dump in dumps
        if frequent
    ]
    paired = stage.run(job, count_pairs, tasks)

    # all of them → query                                                           one task
    job = stage.job("queries", all_inputs=True)
    args = (
        words,
        frequent,
        _paths(stage, paired),
        _paths(stage, viewed),
        *map(stage.sources.get, ("wordnet", "lists")),
    )
    stage.run(job, choose_queries, [Task("queries", args=args)])


def steps(stage: Stage[Config]) -> dict[str, int]:
    """How many tasks each step has, once those before it are done."""
    dumps, views = len(stage.sources["wikipedia"]), len(stage.sources["pageviews"])
    return {"words": dumps, "vocabulary": 1, "pairs": dumps, "views": views, "queries": 1}


def _paths(stage: Stage[Config], receipts: Iterable[Receipt]) -> tuple[str, ...]:
    return tuple(stage.path(part) for receipt in receipts for part in receipt.parts)


def count_words(task: Task, config: Config, attempt: Attempt) -> None:
    """One dump: every word with its number of occurrences."""
    articles = 0

    def texts() -> Iterator[str]:
        nonlocal articles
        for article in wikipedia.articles(path):
            articles += 1
            yield wikipedia.plain(article.markup)

    with attempt.reading(task.args[0]) as path:
        _write_counts(ngrams.count_words(texts()), attempt)
    attempt.note("articles", articles)


def count_views(task: Task, config: Config, attempt: Attempt) -> None:
    """One file of page views: every title with its views."""
    with attempt.reading(task.args[0]) as path:
        _write_counts(wikipedia.views(path), attempt)


def choose_words(task: Task, config: Config, attempt: Attempt) -> None:
    """The words of all dumps that occur often enough, the most frequent first."""
    total = _counts(task.args[0])
    frequent = Counter({word: n for word, n in total.items() if n >= config.min_unigram_count})
    attempt.note("words_too_rare", len(total) - len(frequent))
    if frequent:
        _write_counts(frequent, attempt)


def count_pairs(task: Task, config: Config, attempt: Attempt) -> None:
    """One dump: how often each two words of the vocabulary stand side by side."""
    dump, frequent = task.args
    vocabulary = read_table(frequent, WORD)["text"].to_pylist()
    with attempt.reading(dump) as path:
        texts = (wikipedia.plain(article.markup) for article in wikipedia.articles(path))
        pairs = ngrams.count_pairs(texts, vocabulary)
    attempt.rows(pa.table([pairs.keys, pairs.counts], schema=TOGETHER), TOGETHER)


def choose_queries(task: Task, config: Config, attempt: Attempt) -> None:
    """The list: each source in its order, no query twice, at most so many."""
    words, frequent, paired, viewed, wordnets, lists = task.args
    offered = _candidates(words, frequent, paired, viewed, wordnets, lists, config, attempt)
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()

    def verdict(text: str) -> str | None:
        form = " ".join(tokens(text))  # what two texts share that find the same captions
        if not any(is_word(token) for token in form.split()):
            return "not_a_word"
        if form in seen:
            return "already_in_list"
        if len(rows) == config.max_queries:
            return "list_is_full"
        seen.add(form)
        return None

    while some := list(islice(offered, ROWS)):
        attempt.count_in("queries", len(some))
        gone, reasons = [], []
        for source, text, count in some:
            row = {"text": text, "source": source, "count": count}
            if reason := verdict(text):
                gone.append(row)
                reasons.append(reason)
            else:
                rows.append({"id": len(rows), **row})
        rejects = pa.Table.from_pylist(gone, schema=REJECT_QUERY.remove(0))
        attempt.reject_rows("queries", rejects, pa.array(reasons, pa.string()), REJECT_QUERY, "text")
    attempt.count_kept("queries", len(rows))
    attempt.rows(pa.Table.from_pylist(rows, schema=QUERY), QUERY)


def _candidates(
    words: tuple[str, ...],
    frequent: str | None,
    paired: tuple[str, ...],
    viewed: tuple[str, ...],
    wordnets: Sequence[Source],
    lists: Sequence[Source],
    config: Config,
    attempt: Attempt,
) -> Iterator[tuple[str, str, int]]:
    """(source, text, count) of all that may become a query, in the order of the list."""
    for source in lists:
        with attempt.reading(source) as path:
            lines = read_bytes(path).decode("utf-8-sig", "replace").splitlines()
        yield from (("list", fold(line), 0) for line in lines if line.strip())
    if frequent:
        table = read_table(frequent, WORD)
        vocabulary = table["text"].to_pylist()
        for word, count in zip(vocabulary, table["count"].to_pylist(), strict=True):
            yield "unigram", word, count
        pairs = ngrams.add(*(_pairs(path) for path in paired))
        for bigram in ngrams.best_bigrams(pairs, _counts(words), vocabulary, config.bigrams, config.min_bigram_count):
            yield "bigram", *bigram[:2]
    for title, views in _ordered(_counts(viewed)):
        if views >= config.min_title_views:
            yield "title", title, views
    for source in wordnets:
        with attempt.reading(source) as path:
            lemmas = {lemma for synset in wordnet.synsets(path) for lemma in synset.lemmas}
        yield from (("wordnet", lemma, 0) for lemma in sorted(lemmas))


def _pairs(path: str) -> ngrams.Pairs:
    table = read_table(path, TOGETHER)
    return ngrams.Pairs(np.asarray(table["key"].to_numpy()), np.asarray(table["count"].to_numpy()))


def _counts(paths: Iterable[str]) -> Counter[str]:
    total: Counter[str] = Counter()
    for path in paths:
        table = read_table(path, WORD)
        total.update(dict(zip(table["text"].to_pylist(), table["count"].to_pylist(), strict=True)))
    return total


def _ordered(counts: Counter[str]) -> list[tuple[str, int]]:
    """The most frequent first, equals by their text."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _write_counts(counts: Counter[str], attempt: Attempt) -> None:
    ordered = _ordered(counts)
    table = pa.table([[text for text, _ in ordered], [count for _, count in ordered]], schema=WORD)
    attempt.rows(table, WORD)


STAGE = Definition(config=Config, run=run, steps=steps, rules_version=RULES_VERSION, sources=sources)
main = main_of("queries")

if __name__ == "__main__":
    exit_now(main)
