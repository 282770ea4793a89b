"""Every recipe can be trained, and contains only settings that differ from the defaults."""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest

from astec.export.model.checkpoint_folder import read_checkpoint
from astec.trainer.settings.config_file import load_config
from astec.trainer.settings.listing import changed_settings

pytestmark = pytest.mark.slow

RECIPES = sorted((Path(str(files("astec.trainer"))) / "recipes").glob("*.toml"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_a_recipe_trains(
    recipe: Path,
    tmp_path: Path,
    shop_rows: list[tuple[str, list[str]]],
    write_jsonl: Callable[..., Path],
    cheap_settings: tuple[str, ...],
    astec_train: Callable[..., tuple[int, str]],
) -> None:
    assert changed_settings(load_config(recipe, []))
    data = write_jsonl(tmp_path / "train.jsonl", shop_rows)
    code, said = astec_train(data, tmp_path / "run", "--config", recipe, *cheap_settings)
    assert code == 0, said
    weights, config = read_checkpoint(tmp_path / "run").shares.weights(), load_config(recipe, [])
    assert weights.sparse == 0 or config.sparse.enabled
    assert weights.votes == 0 or config.mix.votes
    assert weights.similarity == 0 or config.mix.similarity
