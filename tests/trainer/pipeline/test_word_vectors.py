"""Word vectors of a pretrained encoder beside the learnt representation; the encoder is made here at random."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from astec.export.artifact.text.featurizer import TextFeaturizer
from astec.export.model.checkpoint import Checkpoint
from astec.export.model.checkpoint_folder import read_checkpoint
from astec.trainer.settings.config import ENGLISH, ConfigError, WordVectorsSection
from astec.trainer.settings.config_file import load_config
from tests.tiny_transformer import save_tiny_transformer
from tests.trainer.meanings import MEANINGS

pytestmark = pytest.mark.slow

LEARNT, ADDED = 8, 6
UNSEEN = "sandals"
"""A word that the encoder knows and no text has."""

Trained = Callable[..., tuple[int, str, Path]]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory, shop_rows: list[tuple[str, list[str]]]) -> Path:
    words = [*sorted({word for text, _ in shop_rows for word in text.split()}), UNSEEN]
    return save_tiny_transformer(tmp_path_factory.mktemp("encoder"), words, 12)


@pytest.fixture
def trained(
    tmp_path: Path,
    shop_rows: list[tuple[str, list[str]]],
    write_jsonl: Callable[..., Path],
    cheap_settings: tuple[str, ...],
    astec_train: Callable[..., tuple[int, str]],
) -> Trained:
    """Return a function that trains with some settings on top of the cheap ones."""
    data = write_jsonl(tmp_path / "train.jsonl", shop_rows)

    def train(*settings: str) -> tuple[int, str, Path]:
        run = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        overrides = [word for setting in settings for word in ("--set", setting)]
        return *astec_train(data, run, *cheap_settings, *overrides), run

    return train


def checkpoint_with(trained: Trained, *settings: str) -> Checkpoint:
    code, said, run = trained(*settings)
    assert code == 0, said
    return read_checkpoint(run)


def test_word_vectors_are_further_columns_of_the_embeddings(trained: Trained, encoder: Path) -> None:
    checkpoint = checkpoint_with(
        trained, f"word_vectors.encoder={encoder}", f"word_vectors.dim={ADDED}", "word_vectors.weight=2"
    )
    model, featurizer = checkpoint.model, checkpoint.featurizer
    assert isinstance(featurizer, TextFeaturizer)
    assert model.embeddings.shape[1] == model.classifier.shape[1] == LEARNT + ADDED
    added_VD = model.embeddings[:, LEARNT:]
    np.testing.assert_array_equal(added_VD[:, : ADDED // 2], -added_VD[:, ADDED // 2 :])
    is_word_V = np.array([not token.startswith("~") and " " not in token for token in featurizer.vocabulary])
    assert added_VD[is_word_V].any(axis=1).all()
    assert not added_VD[[token.startswith("~") for token in featurizer.vocabulary]].any()


def test_words_that_no_text_has_are_known_by_their_vectors_alone(trained: Trained, encoder: Path) -> None:
    checkpoint = checkpoint_with(trained, f"word_vectors.encoder={encoder}", f"word_vectors.dim={ADDED}")
    embeddings_VD = checkpoint.model.embeddings
    unseen = list(checkpoint.featurizer.vocabulary).index(UNSEEN)
    assert not embeddings_VD[unseen, :LEARNT].any()
    assert embeddings_VD[unseen, LEARNT:].any()
    assert unseen in checkpoint.featurizer.transform([UNSEEN]).ids


def test_a_file_brings_further_words(trained: Trained, encoder: Path, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("Wellington\nwellington boots\n\n")
    settings = (f"word_vectors.encoder={encoder}", f"word_vectors.dim={ADDED}")
    before = set(checkpoint_with(trained, *settings).featurizer.vocabulary)
    after = set(checkpoint_with(trained, *settings, f"word_vectors.words={words}").featurizer.vocabulary)
    assert after - before == {"wellington"}


def test_a_file_of_words_that_is_missing_is_named(trained: Trained, encoder: Path, tmp_path: Path) -> None:
    code, said, _ = trained(f"word_vectors.encoder={encoder}", f"word_vectors.words={tmp_path}/none.txt")
    assert code == 2
    assert "none.txt" in said


def test_their_part_of_v_is_as_long_as_the_weight_says(trained: Trained, encoder: Path) -> None:
    texts = ["red shoes", "blue car"]
    lengths = {}
    for weight in (0.5, 2):
        checkpoint = checkpoint_with(
            trained, f"word_vectors.encoder={encoder}", f"word_vectors.dim={ADDED}", f"word_vectors.weight={weight}"
        )
        bags = checkpoint.featurizer.transform(texts)
        v_D = np.maximum(bags.weights @ checkpoint.model.embeddings[bags.ids], 0)
        lengths[weight] = np.linalg.norm(v_D[LEARNT:]) / np.linalg.norm(v_D[:LEARNT])
    assert lengths[2] / lengths[0.5] == pytest.approx(4, rel=1e-4)


def test_without_an_encoder_nothing_is_added(trained: Trained) -> None:
    assert checkpoint_with(trained, f"word_vectors.dim={ADDED}").model.embeddings.shape[1] == LEARNT


def test_each_learner_has_its_own(trained: Trained, encoder: Path) -> None:
    checkpoint = checkpoint_with(trained, f"word_vectors.encoder={encoder}", f"word_vectors.dim={ADDED}", "seeds=[0,1]")
    assert checkpoint.model.embeddings.shape[1] == 2 * (LEARNT + ADDED)


@pytest.mark.parametrize("setting", ["encoder.kind=gru", "framework=deepxml-anns", "framework=end-to-end"])
def test_an_encoder_that_is_no_bag_or_keeps_learning_is_refused(setting: str) -> None:
    with pytest.raises(ConfigError, match=r"word_vectors\.encoder needs encoder\.kind boe and framework deepxml or"):
        load_config(None, ["word_vectors.encoder=./encoder", setting])


@pytest.mark.parametrize(("rows", "chosen"), [("meanings", ENGLISH), ("codes", "")])
def test_a_trial_decides_about_the_english_words(
    astec_train: Callable[..., tuple[int, str]],
    write_jsonl: Callable[..., Path],
    cheap_settings: tuple[str, ...],
    tmp_path: Path,
    rows: str,
    chosen: str,
) -> None:
    """Labels that only the meaning of words tells need them, others do not."""
    pairs = [(word, [kind]) for kind, words in MEANINGS.items() for word in words]
    if rows == "codes":
        pairs = [(f"q{number % 9} x{number}", [f"k{number % 9}"]) for number in range(len(pairs))]
    code, said = astec_train(write_jsonl(tmp_path / "data.jsonl", pairs), tmp_path / "run", *cheap_settings)
    assert code == 0, said
    assert f"{'English word vectors are' if chosen else 'no word vectors are'} used: in a trial before training" in said
    checkpoint = read_checkpoint(tmp_path / "run")
    assert checkpoint.training.get("word_vectors", "") == chosen
    assert ("hovercraft" in checkpoint.featurizer.vocabulary) == bool(chosen)
    assert checkpoint.model.embeddings.shape[1] == LEARNT + (WordVectorsSection().dim if chosen else 0)


def test_words_that_no_encoder_reads_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"word_vectors\.words is words\.txt, and no encoder reads its words"):
        load_config(None, ["word_vectors.words=words.txt"])


def test_a_folder_without_an_encoder_is_refused_by_name(trained: Trained, tmp_path: Path) -> None:
    code, said, _ = trained(f"word_vectors.encoder={tmp_path}/missing")
    assert code == 2
    assert "word_vectors.encoder" in said
    assert "must be a folder with a tokenizer.json" in said
