"""The evaluation of a finished model on its held-out texts, in all and by label frequency."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.shortlist.candidates import Candidates
from astec.export.artifact.text.bags import Bags
from astec.export.artifact.text.id_featurizer import IdFeaturizer
from astec.trainer.data.examples import Examples
from astec.trainer.data.training_data import TrainingData
from astec.trainer.report.evaluation import (
    EVALUATION_FILE,
    Evaluation,
    EvaluationError,
    RankedLabel,
    Sample,
    evaluate,
    read_evaluation,
    write_evaluation,
)
from astec.trainer.report.quantiles import by_frequency, frequency_quantiles

HELD_OUT = np.array([4, 5])


def shop(texts: TextTable | None) -> TrainingData:
    """Six texts of two features; labels shoes (4), red (2), lamp (2), of which the last two texts are held out."""
    labels_NL = csr_matrix(np.array([[1, 1, 0], [1, 0, 0], [1, 0, 0], [0, 0, 1], [1, 1, 0], [0, 0, 1]], np.float32))
    bags = Bags(np.tile(np.array([0, 1], np.int32), 6), np.tile(np.array([0.6, 0.8], np.float32), 6), np.arange(7) * 2)
    return TrainingData(
        IdFeaturizer(2), TextTable.from_texts(["shoes", "red", "lamp"]), Examples(bags, labels_NL), 0, texts
    )


def evaluated(data: TrainingData, summary: dict[str, Any] | None = None) -> Evaluation:
    """Candidates red, lamp and shoes for text 4, and none for text 5."""
    candidates = Candidates(
        np.array([0, 1, 2], np.int32),
        np.array([0.5, 0.9, 0.7], np.float32),
        np.zeros(3, np.float32),
        np.array([0, 3, 3]),
    )
    scores_C = np.array([0.1, 0.8, 0.3], np.float32)
    return evaluate(data, HELD_OUT, candidates, scores_C, {"alpha": 0.5}, summary or dict[str, Any](texts=4))


TEXTS = TextTable.from_texts([f"text {row}" for row in range(6)])


def test_candidates_are_ranked_by_their_final_scores() -> None:
    evaluation = evaluated(shop(TEXTS))
    assert evaluation.ranked.tolist() == [[1, 2, 0, -1, -1], [-1] * 5]
    assert evaluation.scores[0, :3] == pytest.approx([0.8, 0.3, 0.1])
    assert evaluation.hits().tolist() == [[True, False, True, False, False], [False] * 5]
    assert evaluation.metrics()["P@1"] == 50.0
    assert evaluation.metrics()["P@3"] == pytest.approx(100 / 3)


def test_frequencies_are_those_of_what_was_learnt() -> None:
    evaluation = evaluated(shop(TEXTS))
    assert (evaluation.label_counts.tolist(), evaluation.num_texts) == ([3, 1, 1], 4)


def test_shortlist_recall_goes_by_similarity_up_to_the_longest() -> None:
    evaluation = evaluated(shop(TEXTS))
    assert evaluation.recall == pytest.approx({1: 25.0, 2: 25.0, 3: 50.0})
    assert evaluation.shortlist_size == 1.5


def test_samples_are_texts_with_their_labels_and_predictions() -> None:
    first, second = evaluated(shop(TEXTS)).samples
    names = [(prediction.label, prediction.relevant) for prediction in first.predictions]
    assert (first.text, first.relevant) == ("text 4", ("shoes", "red"))
    assert names == [("red", True), ("lamp", False), ("shoes", True)]
    assert second == Sample("text 5", ("lamp",), ())


def test_texts_that_came_as_feature_ids_show_the_heaviest() -> None:
    assert evaluated(shop(None)).samples[0].text == "features 1 (0.80), 0 (0.60)"


def test_an_evaluation_comes_back_as_it_was_written(tmp_path: Path) -> None:
    evaluation = evaluated(shop(TEXTS), {"device": "Größe", "seed": 3, "share": 0.5, "mixed": None})
    write_evaluation(tmp_path, evaluation)
    again = read_evaluation(tmp_path)
    for field in fields(Evaluation):
        if field.name not in ("ranked", "scores", "relevant", "label_counts"):
            assert getattr(again, field.name) == getattr(evaluation, field.name)
    assert again.hits().tolist() == evaluation.hits().tolist()
    assert again.scores.tolist() == evaluation.scores.tolist()
    assert again.metrics() == evaluation.metrics()
    best = again.samples[0].predictions[0]
    assert best == RankedLabel("red", best.score, relevant=True)
    assert best.score == pytest.approx(0.8)


def test_a_run_that_did_not_finish_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        EvaluationError, match=rf"{tmp_path.name} has no {EVALUATION_FILE}: its training did not finish"
    ):
        read_evaluation(tmp_path)


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_damaged_evaluation_is_refused(keep: int, tmp_path: Path) -> None:
    write_evaluation(tmp_path, evaluated(shop(TEXTS)))
    path = tmp_path / EVALUATION_FILE
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(EvaluationError, match=r"is damaged: .* Train again"):
        read_evaluation(tmp_path)


def test_quantiles_hold_like_numbers_of_training_pairs() -> None:
    counts_L = np.array([1, 20, 5, 5, 10, 2, 2, 5])
    quantiles_L = frequency_quantiles(counts_L)
    assert quantiles_L.tolist() == [4, 1, 3, 3, 2, 4, 4, 4]
    zipf_L = np.random.default_rng(0).permutation(1000 // np.arange(1, 301))
    mass = np.bincount(frequency_quantiles(zipf_L), zipf_L, 5)
    assert mass.min() > 0.1 * zipf_L.sum()
    assert mass.sum() == zipf_L.sum()


def test_labels_without_a_training_text_are_tail() -> None:
    assert frequency_quantiles(np.array([0, 9, 0])).tolist() == [4, 2, 4]
    assert frequency_quantiles(np.zeros(3, np.int64)).tolist() == [0, 0, 0], "all alike"


def test_contributions_add_up() -> None:
    evaluation = evaluated(shop(TEXTS))
    shoes, red, lamp = by_frequency(evaluation)
    metrics, weights_L = evaluation.metrics(), evaluation.inverse_propensities()
    assert [(quantile.num_labels, quantile.mean_count) for quantile in (shoes, red, lamp)] == [(1, 3), (1, 1), (1, 1)]
    assert (shoes.precision, red.precision, lamp.precision) == (10.0, 10.0, 0.0), "of two texts' five places each"
    assert shoes.precision + red.precision == metrics["P@5"]
    assert shoes.psp + red.psp + lamp.psp == pytest.approx(metrics["PSP@5"])
    assert shoes.psp / red.psp == pytest.approx(weights_L[0] / weights_L[1])
    assert (shoes.recall, red.recall, lamp.recall) == (100.0, 100.0, 0.0)
    assert [quantile.relevant_share for quantile in (shoes, red, lamp)] == pytest.approx([100 / 3] * 3)
