"""What an evaluation reads, found before anything is computed: the model, its files, and all that [eval] names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core import recipe as recipes
from core import runs
from core.files import digest
from core.inputs import Source, digest_file
from core.manifest import Manifest, read_manifest
from trainer import stage
from trainer.config import Config as TrainConfig
from trainer.evals import answers, by_file, eval_sets, models, people
from trainer.evals.by_file import ByFile
from trainer.evals.config import Config, check
from trainer.evals.encoder import Model
from trainer.evals.eval_sets import Found
from trainer.evals.people import People


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """All inputs of an evaluation; what a recipe does not name is None or empty."""

    trained: Manifest | None  # of the recipe's own model
    pack: Manifest | None  # that it was trained on
    files: Mapping[str, Source]  # of the trained model: "merges", and with eval.pictures "pictures" and "labels"
    sets: Found
    models: Sequence[Model]  # of eval.models
    features: Sequence[ByFile]  # of eval.features
    answers: Mapping[str, Mapping[str, Source]]  # set → group of people → the file of their answers
    people: People | None  # what the bias probes are asked on

    @property
    def upstream(self) -> dict[str, Manifest]:
        """The stages that this one stands on, by name."""
        return {name: one for name, one in (("train", self.trained), ("pack", self.pack)) if one}

    @property
    def raw_files(self) -> dict[str, Any]:
        """What is known of the files of sets and people, for the next run."""
        return {**self.sets.memory.known, **(self.people.memory.known if self.people else {})}

    def digests(self, config: Config) -> dict[str, Any]:
        """The manifest's `inputs`: what identifies each, by the names that a rerun says of what has changed."""
        found: dict[str, Any] = {name: one.digest for name, one in self.upstream.items()}
        found |= {kind: one.digest for kind, one in self.files.items()}
        if config.sets:
            found["sets"] = {one.name: digest(dict(one.digests)) for one in self.sets.there}
        if self.models:
            found["models"] = {one.name: one.digest for one in self.models}
        if self.features:
            found["features"] = {one.name: one.digest for one in self.features}
        if self.answers:
            found["answers"] = answers.digests(self.answers)
        if self.people:
            found["people"] = self.people.digest
        return found


def find(recipe: recipes.Recipe, config: Config, known: Mapping[str, Any]) -> Inputs:
    """Look for all inputs; sets that are not there are said. `known`: what an earlier run knew of raw files.

    UsageError where the recipe is wrong or a file is missing, Failure where a file cannot be what it is taken for.
    """
    trained = _trained(recipe, config)
    on_pack = trained and "pack" in trained.facts["inputs"]  # else on tars of others, of which nothing was held out
    pack = runs.require_finished(recipe, "pack", "eval") if on_pack else None
    check(recipe.path, config)
    files = _files(recipe, config, trained) if trained else {}
    found = eval_sets.find(recipe, config, known)
    for sentence in found.missing:
        print(f"eval: {sentence}", flush=True)
    return Inputs(
        trained=trained,
        pack=pack,
        files=files,
        sets=found,
        models=models.find(recipe, config),
        features=by_file.find(recipe, config, found.there),
        answers=answers.find(recipe, config, found.there),
        people=people.find(recipe, config, known),
    )


def _trained(recipe: recipes.Recipe, config: Config) -> Manifest | None:
    """The recipe's training; None where it is not finished and there are other models to evaluate. Else UsageError."""
    if (config.models or config.features) and read_manifest(recipe.folder("train")) is None:
        left = ", and eval.pictures with it (a tar of eval.sets is for all models)" if config.pictures else ""
        print(f"eval: train is not finished: the recipe's own model is left out{left}", flush=True)
        return None
    return runs.require_finished(recipe, "train", "eval")


def _files(recipe: recipes.Recipe, config: Config, trained: Manifest) -> dict[str, Source]:
    """The files that the trained model is evaluated with. UsageError where one is missing, or not the model's."""
    files = {"merges": stage.merges_of(recipe, recipe.config("train", TrainConfig).merges, trained)}
    if config.pictures:
        for kind, path in (("pictures", config.pictures), ("labels", config.labels)):
            found = stage.source(recipe, f"eval.{kind}", path)
            files[kind] = Source(found, digest_file(found))
    return files
