"""A training that ran undisturbed, for all who ask about it: it takes seconds."""

import pytest

from core.recipe import Recipe
from tests.trainer.helpers import LEARN, run_training, small_recipe


@pytest.fixture(scope="session")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """A recipe that is trained to its end."""
    recipe = small_recipe(tmp_path_factory.mktemp("learnt"), threads=1, **LEARN)
    run_training(recipe)
    return recipe
