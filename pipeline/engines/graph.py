"""The two pipelines that every engine runs, and our own sentence out of what an engine makes of an error."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from core.errors import Failure, UsageError
from pipeline.tasks.attempt import Task


def over_lanes(
    pipeline: beam.Pipeline, transform: beam.PTransform, lanes: Sequence[tuple[Task, ...]], deal: bool = False
) -> None:
    """A transform over lanes of tasks; `deal` spreads them over the engine's workers."""
    created = pipeline | "Lanes" >> beam.Create(lanes, reshuffle=False).with_output_types(tuple[Task, ...])
    if deal:  # of tasks, never of rows
        created = created | "DealLanes" >> beam.Reshuffle().with_output_types(tuple[Task, ...])
    _ = created | transform


def shuffle(
    pipeline: beam.Pipeline,
    transform: beam.PTransform,
    reads: Sequence[Task],
    tasks: Sequence[Task],
    deal: bool = False,
) -> None:
    """A transform over {"reads": tasks, "tasks": tasks}; `deal` spreads the reads over the engine's workers."""
    created = pipeline | "Reads" >> beam.Create(reads, reshuffle=False).with_output_types(Task)
    if deal:
        created = created | "DealReads" >> beam.Reshuffle().with_output_types(Task)
    ends = pipeline | "Tasks" >> beam.Create(tasks, reshuffle=False).with_output_types(Task)
    _ = {"reads": created, "tasks": ends} | transform


def run(runner: beam.runners.PipelineRunner, options: Sequence[str], build: Callable[[beam.Pipeline], None]) -> None:
    """Build a pipeline, run it to its end; errors of ours come back as they were raised."""
    pipeline = beam.Pipeline(runner, PipelineOptions(list(options)))
    build(pipeline)
    pipeline.visit(_KeysAreDeterministic())
    with own_errors():
        result = pipeline.run()
        try:
            result.wait_until_finish()
        except KeyboardInterrupt:
            result.cancel()  # a cluster would go on without us
            raise


class _KeysAreDeterministic(beam.pipeline.PipelineVisitor):
    """Raises TypeError at a shuffle whose keys could be encoded in two ways: each would be a group of its own.

    Engines assume this and not all look: Dataflow's dry run passes without.
    """

    def visit_transform(self, applied: beam.pipeline.AppliedPTransform) -> None:
        if isinstance(applied.transform, beam.GroupByKey):
            elements = applied.inputs[0].element_type
            key = getattr(elements, "tuple_types", (Any,))[0]
            if not beam.coders.registry.get_coder(key).is_deterministic():
                raise TypeError(f"{applied.full_label} groups by {key}, whose encoding is not determined by its value")


_OWN = re.compile(r"core\.errors\.(Failure|UsageError): (.*?)(?: \[while running .*)?$", re.MULTILINE)
_INTERRUPTED = "KeyboardInterrupt [while running "
_WHERE = re.compile(r" \[while running .*", re.DOTALL)


@contextmanager
def own_errors() -> Iterator[None]:
    """Our own sentence out of what Beam makes of an error: the error with words behind it, or its traceback as text."""
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)  # it logs, with a traceback, what it then raises
    try:
        yield
    except Failure as error:
        raise type(error)(_WHERE.sub("", str(error))) from error
    except Exception as error:
        if str(error).startswith(_INTERRUPTED):  # Ctrl-C in the midst of a transform is no error of it
            raise KeyboardInterrupt from error
        found = _OWN.findall(str(error))
        if not found:
            raise
        kind, sentence = found[-1]
        raise (UsageError(sentence) if kind == "UsageError" else Failure(sentence)) from error
