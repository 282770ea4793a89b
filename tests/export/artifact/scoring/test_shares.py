"""The weights of a score's parts that shares multiply out to."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astec.export.artifact.manifest import Logistic, Scoring
from astec.export.artifact.scoring.shares import PartWeights, Shares

SHARE = st.floats(0, 1, width=32)
WEIGHT = st.just(0.0) | st.floats(0.001, 50)


def test_weights_are_the_formula_multiplied_out() -> None:
    expected = PartWeights(classifier=0.294, similarity=0.196, sparse=0.14, votes=0.07, reranker=0.3)
    assert Shares(0.6, beta=0.3, gamma=0.2, delta=0.1).weights() == pytest.approx(expected)


@settings(derandomize=True)
@given(alpha=SHARE, beta=SHARE, gamma=SHARE, delta=SHARE)
def test_weights_add_up_to_one(alpha: float, beta: float, gamma: float, delta: float) -> None:
    weights = Shares(alpha, beta, gamma, min(delta, 1 - gamma)).weights()
    assert sum(weights.parts().values()) == pytest.approx(1)
    assert min(weights.parts().values()) >= 0
    assert not weights.as_logits


@settings(derandomize=True)
@given(parts=st.lists(WEIGHT, min_size=5, max_size=5).filter(any), bias=st.floats(-9, 9))
def test_weights_of_logits_multiply_out_to_themselves(parts: list[float], bias: float) -> None:
    classifier, similarity, sparse, votes, reranker = parts
    weights = PartWeights(classifier, similarity, sparse, votes, reranker, bias, as_logits=True)
    shares = Shares.of_logits(weights)
    assert shares.weights() == pytest.approx(weights, rel=1e-6, abs=1e-9)
    assert [part == 0 for part in shares.weights().parts().values()] == [part == 0 for part in parts]
    Scoring(
        alpha=shares.alpha,
        beta=shares.beta,
        gamma=shares.gamma,
        delta=shares.delta,
        sparse_weights=1,
        logistic=shares.logistic,
    )


def test_shares_are_read_from_a_manifest() -> None:
    scoring = Scoring(alpha=0.6, beta=0.3, gamma=0.2, delta=0.1, sparse_weights=7)
    assert Shares.of(scoring) == Shares(alpha=0.6, beta=0.3, gamma=0.2, delta=0.1)
    logistic = Logistic(slope=7.5, bias=-3.0)
    scoring = scoring.model_copy(update={"logistic": logistic})
    assert Shares.of(scoring) == Shares(alpha=0.6, beta=0.3, gamma=0.2, delta=0.1, logistic=logistic)
