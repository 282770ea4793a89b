"""A warm start: what an old run knows is taken over by name, and an old run that does not suit is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from astec.export.artifact.text.featurizer import TextFeaturizer
from astec.export.model.checkpoint import Checkpoint
from astec.export.model.checkpoint_folder import CHECKPOINT_FOLDER, read_checkpoint
from astec.trainer.run.folder import CONFIG_FILE, HISTORY_FILE, ORIGIN_FILE
from astec.trainer.run.warm_start import FASTER, SURROGATE_EPOCHS, find_by_text, kept_file, warm_settings
from astec.trainer.settings.config import AUTO
from astec.trainer.settings.config_file import load_config

pytestmark = pytest.mark.slow

Train = Callable[..., tuple[int, str]]
WriteJsonl = Callable[..., Path]
ShopRows = list[tuple[str, list[str]]]
NO_LEARNING = ("--set", "surrogate.learning_rate=1e-12", "--set", "extreme.learning_rate=1e-12")


@pytest.fixture
def old_run(
    astec_train: Train, tmp_path: Path, shop_rows: ShopRows, write_jsonl: WriteJsonl, cheap_settings: tuple[str, ...]
) -> Path:
    """A run that never saw a phone."""
    rows = [(text, labels) for text, labels in shop_rows if "phone" not in labels]
    run = tmp_path / "old"
    code, said = astec_train(write_jsonl(tmp_path / "old.jsonl", rows), run, *cheap_settings)
    assert code == 0, said
    return run


@pytest.fixture
def new_data(tmp_path: Path, shop_rows: ShopRows, write_jsonl: WriteJsonl) -> Path:
    return write_jsonl(tmp_path / "new.jsonl", shop_rows)


def vectors(checkpoint: Checkpoint) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the embeddings by token and the classifiers, with biases, by label."""
    assert isinstance(checkpoint.featurizer, TextFeaturizer)
    model = checkpoint.model
    lines = np.column_stack([model.classifier, model.bias])
    return (
        dict(zip(checkpoint.featurizer.vocabulary, model.embeddings, strict=True)),
        dict(zip(checkpoint.labels, lines, strict=True)),
    )


def test_tokens_and_labels_that_stay_begin_as_they_were(
    astec_train: Train, old_run: Path, new_data: Path, tmp_path: Path
) -> None:
    """Without learning, what is taken over is unchanged, and a new label points to the mean of its texts."""
    code, said = astec_train(new_data, tmp_path / "new", "--warm-start", old_run, "--device", "cpu", *NO_LEARNING)
    assert code == 0, said
    assert "warm start from old: 8 of 9 labels" in said
    old, new = read_checkpoint(old_run), read_checkpoint(tmp_path / "new")
    (old_tokens, old_labels), (new_tokens, new_labels) = vectors(old), vectors(new)
    assert set(new_labels) - set(old_labels) == {"phone"}
    for label, line in old_labels.items():
        assert new_labels[label] == pytest.approx(line, abs=1e-5)
    kept = old_tokens.keys() & new_tokens.keys()
    assert len(kept) > 50
    for token in kept:
        assert new_tokens[token] == pytest.approx(old_tokens[token], abs=1e-5)
    *direction, bias = new_labels["phone"]
    assert np.linalg.norm(direction) > 0
    assert bias == pytest.approx(np.mean([line[-1] for line in old_labels.values()]), abs=1e-5)
    training = new.training
    assert (training["warm_start"], training["labels_taken_over"]) == ("old", 8)
    assert isinstance(training["warm_start_version"], str)
    clusterings = [json.loads(line) for line in (tmp_path / "new" / HISTORY_FILE).read_text().splitlines()]
    assert [line["clusters"] for line in clusterings if line["stage"] == "clustering"] == [9]


def test_texts_that_the_old_run_has_learnt_choose_no_shares(
    astec_train: Train,
    shop_rows: ShopRows,
    write_jsonl: WriteJsonl,
    tmp_path: Path,
    cheap_settings: tuple[str, ...],
) -> None:
    """The new run holds out those that the old one held out too, and new ones."""
    rows = [(f"{text} number{number}", labels) for number, (text, labels) in enumerate(shop_rows)]
    half = write_jsonl(tmp_path / "half.jsonl", rows[: len(rows) // 2])
    assert astec_train(half, tmp_path / "old", *cheap_settings)[0] == 0
    whole = write_jsonl(tmp_path / "whole.jsonl", rows)
    code, said = astec_train(whole, tmp_path / "new", "--warm-start", tmp_path / "old", "--device", "cpu")
    assert code == 0, said
    assert "which flatters the figures" not in said
    held, learnt = [], []
    for run in (tmp_path / "old", tmp_path / "new"):
        checkpoint = read_checkpoint(run)
        assert checkpoint.point_texts is not None
        texts, held_rows = list(checkpoint.point_texts), checkpoint.held_out.points.tolist()
        held.append({texts[row] for row in held_rows})
        learnt.append(set(texts) - held[-1])
    assert held[0] < held[1]
    assert not held[1] & learnt[0]
    assert len(held[1] - held[0]) > 0

    code, said = astec_train(
        whole, tmp_path / "time", "--warm-start", tmp_path / "new", "--device", "cpu", "--set", "validation.split=time"
    )
    assert code == 0, said
    assert "held-out texts, which flatters the figures of this run" in said


def test_of_embeddings_beside_word_vectors_the_learnt_part_is_taken_over(
    astec_train: Train, new_data: Path, tmp_path: Path, cheap_settings: tuple[str, ...]
) -> None:
    """Without learning the embeddings are the same; words that no text has are not taken over, but known again."""
    code, said = astec_train(new_data, tmp_path / "old", *cheap_settings, "--set", "word_vectors.encoder=english")
    assert code == 0, said
    warm = ("--warm-start", tmp_path / "old", "--device", "cpu", *NO_LEARNING)
    code, said = astec_train(new_data, tmp_path / "new", *warm)
    assert code == 0, said
    assert load_config(tmp_path / "new" / CONFIG_FILE, []).word_vectors.encoder == "english"
    old, new = read_checkpoint(tmp_path / "old"), read_checkpoint(tmp_path / "new")
    taken_over = new.training["tokens_taken_over"]
    assert isinstance(taken_over, int)
    assert 50 < taken_over < 1_000
    assert len(new.featurizer.vocabulary) > 70_000
    np.testing.assert_allclose(new.model.embeddings, old.model.embeddings, atol=1e-5)
    np.testing.assert_allclose(new.model.classifier, old.model.classifier, atol=1e-5)


@pytest.mark.parametrize(("before", "now"), [("english", ""), ("", "english")])
def test_word_vectors_may_come_or_go(
    astec_train: Train, new_data: Path, tmp_path: Path, cheap_settings: tuple[str, ...], before: str, now: str
) -> None:
    """Without learning, the learnt part of v gives each label as much of its logit as before."""
    code, said = astec_train(new_data, tmp_path / "old", *cheap_settings, "--set", f"word_vectors.encoder={before}")
    assert code == 0, said
    warm = ("--warm-start", tmp_path / "old", "--device", "cpu", *NO_LEARNING, "--set", f"word_vectors.encoder={now}")
    code, said = astec_train(new_data, tmp_path / "new", *warm)
    assert code == 0, said
    old, new = read_checkpoint(tmp_path / "old"), read_checkpoint(tmp_path / "new")
    learnt = load_config(tmp_path / "new" / CONFIG_FILE, []).model.dim
    (old_tokens, old_labels), (new_tokens, new_labels) = vectors(old), vectors(new)
    token = "phone"
    for label in ("shoes", "phone"):
        logits = [
            float(np.dot(tokens[token][:learnt], labels[label][:learnt]))
            for tokens, labels in ((old_tokens, old_labels), (new_tokens, new_labels))
        ]
        assert abs(logits[0]) > 1e-3
        assert logits[1] == pytest.approx(logits[0], rel=1e-4)
    assert new.model.classifier.shape[1] == (learnt if not now else learnt + 128)
    assert np.abs(new.model.classifier[:, learnt:]).max(initial=0) < 1e-9
    np.testing.assert_allclose(
        new.model.residuals[0, :learnt, :learnt], old.model.residuals[0, :learnt, :learnt], atol=1e-5
    )


def test_what_a_trial_chose_for_the_old_run_a_new_trial_decides(
    astec_train: Train, old_run: Path, new_data: Path, tmp_path: Path
) -> None:
    code, said = astec_train(new_data, tmp_path / "new", "--warm-start", old_run, "--device", "cpu")
    assert code == 0, said
    assert load_config(old_run / CONFIG_FILE, []).word_vectors.encoder == AUTO
    assert load_config(tmp_path / "new" / CONFIG_FILE, []).word_vectors.encoder == AUTO


def test_the_settings_of_the_old_run_are_the_defaults_with_fewer_epochs(
    astec_train: Train, old_run: Path, new_data: Path, tmp_path: Path
) -> None:
    path = old_run / CONFIG_FILE
    path.write_text(path.read_text().replace("epochs = 1\n", "epochs = 8\n"))
    code, said = astec_train(
        new_data, tmp_path / "new", "--warm-start", old_run, "--device", "cpu", "--set", "extreme.epochs=3"
    )
    assert code == 0, said
    config = load_config(tmp_path / "new" / CONFIG_FILE, [])
    assert (config.model.dim, config.surrogate.epochs, config.extreme.epochs) == (8, SURROGATE_EPOCHS, 3)
    assert config.surrogate.min_steps == 4 * SURROGATE_EPOCHS // 8
    old_rate = load_config(path, []).surrogate.learning_rate
    assert config.surrogate.learning_rate == FASTER * old_rate
    assert warm_settings(tmp_path / "new").surrogate == config.surrogate


def test_a_run_without_what_is_kept_of_module_one_makes_clusters_anew(
    astec_train: Train, old_run: Path, new_data: Path, tmp_path: Path
) -> None:
    """A run of an earlier version."""
    kept_file(old_run, 0).unlink()
    code, said = astec_train(new_data, tmp_path / "new", "--warm-start", old_run, "--device", "cpu")
    assert code == 0, said
    assert read_checkpoint(tmp_path / "new").training["labels_taken_over"] == 8


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("model.dim=16", "its model.dim is 8, and that of this run is 16"),
        ("encoder.kind=gru", "its encoder.kind is boe, and that of this run is gru"),
        ("featurizer.word_ngrams=1", "its featurizer.word_ngrams is 2, and that of this run is 1"),
        ("featurizer.max_char_ngram=5", "its featurizer.max_char_ngram is 4, and that of this run is 5"),
        ("featurizer.rules=1", "its featurizer.rules is 2, and that of this run is 1"),
        ("seeds=[1,2]", "its number of seeds is 1, and that of this run is 2"),
        ("framework=end-to-end", "this run's framework is end-to-end, and only those of deepxml and deepxml-ova"),
    ],
)
def test_an_old_run_of_other_parameters_is_refused(
    astec_train: Train, old_run: Path, new_data: Path, tmp_path: Path, setting: str, problem: str
) -> None:
    code, said = astec_train(new_data, tmp_path / "new", "--warm-start", old_run, "--set", setting)
    assert code == 2
    assert f"--warm-start {old_run}: {problem}" in said
    assert not (tmp_path / "new").exists()


def test_an_old_run_that_has_not_finished_or_is_none_is_refused(
    astec_train: Train, old_run: Path, new_data: Path, tmp_path: Path
) -> None:
    shutil.rmtree(old_run / CHECKPOINT_FOLDER)
    code, said = astec_train(new_data, tmp_path / "new", "--warm-start", old_run)
    assert code == 2
    assert f"that run has not finished; finish it with astec-train --resume {old_run}, or name another" in said
    code, said = astec_train(new_data, tmp_path / "new", "--warm-start", tmp_path / "nothing")
    assert code == 2
    assert "there is no run in that folder; name the folder of a finished run" in said
    code, said = astec_train("--resume", old_run, "--warm-start", old_run)
    assert code == 2
    assert "a resumed run keeps its data and settings: leave out --warm-start" in said


def test_an_interrupted_warm_start_goes_on_from_the_same_old_run(
    astec_train: Train, old_run: Path, new_data: Path, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    assert astec_train(new_data, new, "--warm-start", old_run, "--device", "cpu")[0] == 0
    whole = read_checkpoint(new)
    shutil.rmtree(new / CHECKPOINT_FOLDER)
    code, said = astec_train("--resume", new)
    assert code == 0, said
    assert np.array_equal(read_checkpoint(new).model.classifier, whole.model.classifier)

    shutil.rmtree(new / CHECKPOINT_FOLDER)
    origin = json.loads((new / ORIGIN_FILE).read_text())
    (new / ORIGIN_FILE).write_text(json.dumps(origin | {"warm_start_version": "another"}))
    code, said = astec_train("--resume", new)
    assert code == 2
    assert "from which this run started, was changed since" in said


def test_texts_are_found_by_name() -> None:
    assert find_by_text(["a", "b", "c"], ["c", "d", "a"]).tolist() == [2, -1, 0]
