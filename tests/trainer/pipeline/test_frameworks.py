"""Training by every framework, from texts to a model through the command line."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from astec.export.model.checkpoint import Checkpoint
from astec.export.model.checkpoint_folder import read_checkpoint
from astec.trainer.modules.surrogate.labels import hash_labels
from astec.trainer.pipeline.frameworks import FRAMEWORKS
from astec.trainer.settings.config import ConfigError, TrainerConfig
from astec.trainer.settings.config_file import load_config

pytestmark = pytest.mark.slow

HASHED = ("surrogate.method=hashed", "surrogate.num_clusters=4")
NUM_LABELS = 9


@pytest.fixture
def trained(
    tmp_path: Path,
    shop_rows: list[tuple[str, list[str]]],
    write_jsonl: Callable[..., Path],
    cheap_settings: tuple[str, ...],
    astec_train: Callable[..., tuple[int, str]],
) -> Callable[..., Checkpoint]:
    """Return a function that trains with some settings on top of the cheap ones."""
    data = write_jsonl(tmp_path / "train.jsonl", shop_rows)

    def train(*settings: str) -> Checkpoint:
        run = tmp_path / "-".join(settings).replace("=", "_").replace("/", "_")
        overrides = [word for setting in settings for word in ("--set", setting)]
        code, said = astec_train(data, run, *cheap_settings, *overrides)
        assert code == 0, said
        return read_checkpoint(run)

    return train


def test_the_settings_name_every_framework() -> None:
    names = TrainerConfig.model_json_schema()["properties"]["framework"]["enum"]
    assert names == list(FRAMEWORKS)


@pytest.mark.parametrize("kind", ["boe", "gru"])
@pytest.mark.parametrize("framework", ["deepxml", "deepxml-ova", "deepxml-anns", "end-to-end"])
def test_a_framework_makes_a_model(trained: Callable[..., Checkpoint], framework: str, kind: str) -> None:
    checkpoint = trained(f"framework={framework}", f"encoder.kind={kind}")
    assert checkpoint.model.classifier.shape == (NUM_LABELS, 8)
    assert checkpoint.model.front.description.kind == kind
    assert np.isfinite(checkpoint.model.classifier).all()


def test_labels_of_a_bucket_share_a_classifier(trained: Callable[..., Checkpoint]) -> None:
    model = trained("framework=mach", *HASHED).model
    buckets_L = hash_labels(NUM_LABELS, 4, seed=0)
    shared = [[np.array_equal(one, other) for other in model.classifier] for one in model.classifier]
    assert np.array_equal(shared, buckets_L[:, None] == buckets_L)
    assert 1 < len(set(buckets_L.tolist())) < NUM_LABELS


def test_repetitions_tell_labels_of_a_bucket_apart(trained: Callable[..., Checkpoint]) -> None:
    model = trained("framework=mach", *HASHED, "seeds=[0,1,2,3]", "encoder.kind=mlp").model
    assert model.classifier.shape == (NUM_LABELS, 4 * 8)
    assert len(np.unique(model.classifier, axis=0)) == NUM_LABELS


def test_mach_without_buckets_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, ["framework=mach"])
    assert str(caught.value) == "framework mach hashes labels: set surrogate.method=hashed, not clusters"


def test_parts_that_may_have_no_share_get_none(trained: Callable[..., Checkpoint]) -> None:
    no_others = ("mix.similarity=false", "mix.votes=false", "mix.label_text=false", "sparse.enabled=false")
    parts = trained(*no_others).shares.weights().parts()
    assert {part for part, weight in parts.items() if weight} == {"classifier"}
    assert trained(*no_others, "mix.method=shares").shares.weights() == (1, 0, 0, 0, 0, 0, False)
