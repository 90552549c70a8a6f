"""A training that ran undisturbed, for all who ask about it: it takes seconds. And the suite on made sets."""

from pathlib import Path

import pytest

from core.recipe import Recipe
from tests.trainer.helpers import LEARN, run_training, small_recipe
from tests.trainer.made_sets import Run


@pytest.fixture(scope="session")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """A recipe that is trained to its end."""
    recipe = small_recipe(tmp_path_factory.mktemp("learnt"), threads=1, **LEARN)
    run_training(recipe)
    return recipe


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Evaluates sets below a folder of the test's own."""
    return Run(tmp_path)
