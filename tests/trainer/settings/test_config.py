"""The settings of a training run."""

import pytest

from astec.trainer.settings.config import MOST_TOKENS_KEPT, FeaturizerSection, TrainerConfig
from astec.trainer.settings.config_file import load_config


def test_the_first_seed_is_that_of_what_learners_share() -> None:
    assert TrainerConfig().seed == 0
    assert TrainerConfig(seeds=(3, 1)).seed == 3


@pytest.mark.parametrize(
    ("setting", "num_tokens", "min_df"),
    [("auto", MOST_TOKENS_KEPT, 1), ("auto", MOST_TOKENS_KEPT + 1, 2), (1, 10**7, 1), (3, 10, 3)],
)
def test_rare_tokens_are_dropped_where_there_are_many(setting: str | int, num_tokens: int, min_df: int) -> None:
    section = FeaturizerSection.model_validate({"min_df": setting})
    assert section.build(num_tokens).min_df == min_df


@pytest.mark.parametrize("value", ["auto", "true", "false"])
def test_labels_are_texts_or_not_or_as_a_trial_decides(value: str) -> None:
    chosen = load_config(None, [f"labels.as_texts={value}"]).labels.as_texts
    assert chosen == {"auto": "auto", "true": True, "false": False}[value]
    assert TrainerConfig().labels.as_texts == "auto"
