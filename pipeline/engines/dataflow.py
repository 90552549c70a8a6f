"""Dataflow: pipelines are handed to Google's service, whose workers run a container that has openwit in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

import apache_beam as beam

from core.errors import UsageError
from pipeline.engines import graph
from pipeline.tasks.attempt import Task

if TYPE_CHECKING:
    from pipeline.engines import Config

NEEDED = ("project", "region", "temp_location")


class Dataflow:
    """Runs pipelines as Dataflow jobs, one after another, with the Beam options of the recipe."""

    name = "dataflow"

    def __init__(self, config: Config) -> None:
        if not find_spec("apitools"):  # what Beam speaks to the service with
            raise UsageError(
                "engine.runner = dataflow needs what is not installed: pip install '.[gcp]', then run again"
            )
        missing = [f"engine.options.{key}" for key in NEEDED if not config.options.get(key)]
        if missing:
            raise UsageError(f"engine.runner = dataflow needs {', '.join(missing)}: give them in the recipe")
        self._options = [f"--{key}={value}" for key, value in config.options.items()]

    def run(self, transform: beam.PTransform, lanes: Sequence[tuple[Task, ...]]) -> None:
        """Run a transform over lanes of tasks, dealt to the workers."""
        self._submit(lambda pipeline: graph.over_lanes(pipeline, transform, lanes, deal=True))

    def shuffle(self, transform: beam.PTransform, reads: Sequence[Task], tasks: Sequence[Task]) -> None:
        """Run a transform over {"reads": tasks, "tasks": tasks}."""
        self._submit(lambda pipeline: graph.shuffle(pipeline, transform, reads, tasks, deal=True))

    def _submit(self, build: Callable[[beam.Pipeline], None]) -> None:
        from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner

        graph.run(DataflowRunner(), ["--runner=DataflowRunner", *self._options], build)
