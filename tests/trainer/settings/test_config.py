"""The settings of a training run."""

from astec.trainer.settings.config import TrainerConfig


def test_the_first_seed_is_that_of_what_learners_share() -> None:
    assert TrainerConfig().seed == 0
    assert TrainerConfig(seeds=(3, 1)).seed == 3
