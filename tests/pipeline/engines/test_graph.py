"""What every engine's pipelines have in common: keys with one encoding each, and errors in our own sentence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from core.errors import Failure, UsageError
from pipeline.engines import graph


@dataclass(frozen=True)
class Host:
    """A key of a user's own: Beam would pickle it, and pickles of equal values differ."""

    name: str


KEYS: dict[Any, Any] = {int: 7, str: "a", bytes: b"a", tuple[int, str]: (7, "a")}
BAD_KEYS: dict[Any, Any] = {Any: 7, frozenset[int]: frozenset({7}), Host: Host("a"), tuple[int, Any]: (7, 7)}


def grouped(key: Any, value: Any, ran: Path) -> Callable[[beam.Pipeline], None]:
    """A pipeline that groups one row by a key of the declared type; where its steps run they leave a file."""

    def keyed(_: int) -> tuple[Any, int]:
        ran.touch()
        return value, 1

    def build(pipeline: beam.Pipeline) -> None:
        rows = pipeline | beam.Create([1]) | "Key" >> beam.Map(keyed).with_output_types(tuple[key, int])
        _ = rows | "ByKey" >> beam.GroupByKey()

    return build


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_keys_with_one_encoding_are_grouped(key: Any, tmp_path: Path) -> None:
    graph.run(FnApiRunner(), [], grouped(key, KEYS[key], tmp_path / "ran"))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("key", BAD_KEYS, ids=str)
def test_other_keys_are_refused_before_anything_runs(key: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"ByKey groups by .*, whose encoding is not determined by its value"):
        graph.run(FnApiRunner(), [], grouped(key, BAD_KEYS[key], tmp_path / "ran"))
    assert not (tmp_path / "ran").exists()


def test_rows_of_no_declared_type_are_refused() -> None:
    with pytest.raises(TypeError, match=r"ByKey groups by typing\.Any"):
        graph.run(FnApiRunner(), [], lambda pipeline: untyped(pipeline) | "ByKey" >> beam.GroupByKey())


def test_a_group_by_key_inside_another_step_is_looked_at() -> None:
    with pytest.raises(TypeError, match="Sum/GroupByKey groups by"):
        graph.run(FnApiRunner(), [], lambda pipeline: untyped(pipeline) | "Sum" >> beam.CombinePerKey(sum))


def untyped(pipeline: beam.Pipeline) -> beam.PCollection:
    return pipeline | beam.Create([1]) | beam.Map(lambda _: ({}, 1)).with_output_types(Any)


# ── errors ──

# What Spark's and Flink's job servers make of what a Python worker raised; most of its frames are left out.
JAVA = """Pipeline BeamApp-x-0b5c failed in state FAILED: java.lang.RuntimeException: Error received from \
SDK harness for instruction 2: Traceback (most recent call last):
  File "apache_beam/runners/common.py", line 1512, in apache_beam.runners.common.DoFnRunner.process
  File "pipeline/tasks/lanes.py", line 70, in __call__
    self._work(task, config, attempt)
core.errors.{kind}: {sentence}

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "apache_beam/runners/worker/sdk_worker.py", line 310, in _execute
    response = task()
               ^^^^^^
  File "pipeline/tasks/lanes.py", line 70, in __call__
    self._work(task, config, attempt)
core.errors.{kind}: {sentence} [while running 'Commit/ParDo(_CommitLane)']

"""


@pytest.mark.parametrize("kind", [Failure, UsageError])
def test_our_sentence_is_found_in_a_java_traceback(kind: type[Failure]) -> None:
    sentence = "task t0 [of 3] cannot be done: give it up"
    with pytest.raises(Failure) as raised, graph.own_errors():
        raise RuntimeError(JAVA.format(kind=kind.__name__, sentence=sentence))
    assert type(raised.value) is kind and str(raised.value) == sentence


def test_our_error_loses_the_words_that_beam_puts_behind_it() -> None:
    with pytest.raises(UsageError) as raised, graph.own_errors():
        raise UsageError("this is wrong: do it otherwise [while running 'Commit/ParDo(_CommitLane)']")
    assert str(raised.value) == "this is wrong: do it otherwise"


def test_an_error_that_is_not_ours_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match=r"^SparkException: Job aborted$"), graph.own_errors():
        raise RuntimeError("SparkException: Job aborted")


def test_an_interrupt_in_a_transform_is_one() -> None:
    """Beam makes a RuntimeError of it."""

    def work(number: int) -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        graph.run(FnApiRunner(), [], lambda pipeline: pipeline | beam.Create([1]) | beam.Map(work))
