"""The label text term: the cosine of a query's and a label's bag, alone and within a trained sparse term.

Shapes: C candidates, L labels.
"""

import numpy as np
import pytest
from numpy.typing import NDArray

from astec.export.artifact.scoring.sparse import SparseClassifier
from astec.export.artifact.shortlist.candidates import Candidates
from astec.export.artifact.text.featurizer import TextFeaturizer
from astec.export.artifact.text.featurizer_config import FeaturizerConfig
from astec.export.model.label_text_term import label_text_term, with_label_texts

LABELS = ["running shoes", "trail shoes", "garden hose", "xylophone"]
FEATURIZER = TextFeaturizer.fit(LABELS[:3], FeaturizerConfig(min_df=1))
QUERIES = FEATURIZER.transform(["running shoes", "cheap trail running shoes", "hose"])
LABEL_BAGS = FEATURIZER.transform(LABELS)


def logits_of_all(sparse: SparseClassifier) -> NDArray[np.float32]:
    """Return the logits of all labels for all queries, [B, L]."""
    labels_C = np.tile(np.arange(len(LABELS), dtype=np.int32), len(QUERIES))
    nothing_C = np.zeros(len(labels_C), np.float32)
    candidates = Candidates(labels_C, nothing_C, nothing_C, len(LABELS) * np.arange(len(QUERIES) + 1))
    return sparse.logits(candidates, QUERIES).reshape(len(QUERIES), len(LABELS))


def trained_term() -> SparseClassifier:
    """Return a term with a few weights for three of the labels."""
    values = np.array([0.5, -0.25, 1.0], np.float32)
    bias_L = np.array([-0.5, 0.25, 0.0, -1.0], np.float32)
    return SparseClassifier.build(
        np.array([0, 2, 3, 3, 3]), np.array([0, 2, 2], np.int32), values, bias_L, FEATURIZER.num_features
    )


def test_a_label_matches_its_own_text_best_and_foreign_words_not_at_all() -> None:
    logits_BL = logits_of_all(label_text_term(LABEL_BAGS, FEATURIZER.num_features))
    assert logits_BL[0, 0] == pytest.approx(1, abs=1e-6)
    assert 0 < logits_BL[0, 1] < 1
    assert logits_BL[0, 2] == 0
    assert (logits_BL[:, 3] == 0).all(), "no token of the label is known"
    assert logits_BL[2].argmax() == 2


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_term_within_a_trained_one_has_the_logits_of_both(share: float) -> None:
    trained, texts = trained_term(), label_text_term(LABEL_BAGS, FEATURIZER.num_features)
    mixed = with_label_texts(trained, LABEL_BAGS, share, FEATURIZER.num_features)
    expected_BL = (1 - share) * logits_of_all(trained) + share * logits_of_all(texts)
    assert logits_of_all(mixed) == pytest.approx(expected_BL, abs=1e-6)


def test_without_a_trained_term_label_texts_stand_alone() -> None:
    alone = with_label_texts(None, LABEL_BAGS, 1.0, FEATURIZER.num_features)
    assert logits_of_all(alone) == pytest.approx(logits_of_all(label_text_term(LABEL_BAGS, FEATURIZER.num_features)))
