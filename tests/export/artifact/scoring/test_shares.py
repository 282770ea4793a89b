"""The weights of a score's parts that shares multiply out to."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astec.export.artifact.manifest import Scoring
from astec.export.artifact.scoring.shares import PartWeights, Shares

SHARE = st.floats(0, 1, width=32)


def test_weights_are_the_formula_multiplied_out() -> None:
    expected = PartWeights(classifier=0.294, similarity=0.196, sparse=0.14, votes=0.07, reranker=0.3)
    assert Shares(0.6, beta=0.3, gamma=0.2, delta=0.1).weights() == pytest.approx(expected)


@settings(derandomize=True)
@given(alpha=SHARE, beta=SHARE, gamma=SHARE, delta=SHARE)
def test_weights_add_up_to_one(alpha: float, beta: float, gamma: float, delta: float) -> None:
    weights = Shares(alpha, beta, gamma, min(delta, 1 - gamma)).weights()
    assert sum(weights) == pytest.approx(1)
    assert min(weights) >= 0


def test_shares_are_read_from_a_manifest() -> None:
    scoring = Scoring(alpha=0.6, beta=0.3, gamma=0.2, delta=0.1, sparse_weights=7)
    assert Shares.of(scoring) == Shares(alpha=0.6, beta=0.3, gamma=0.2, delta=0.1)
