"""Logistic regression: against a hand-worked case, the optimum's own conditions, and weights that may not be negative.

Shapes: P pairs, F features.
"""

import numpy as np
import pytest
from numpy.typing import NDArray

from astec.export.calibration.logistic_regression import fit_logistic_regression


def drawn_pairs(weights_F: list[float], bias: float, count: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Draw pairs whose outcomes follow a logistic model."""
    generator = np.random.default_rng(0)
    features_PF = generator.standard_normal((count, len(weights_F)))
    logits_P = features_PF @ np.array(weights_F) + bias
    return features_PF, generator.random(count) < 1 / (1 + np.exp(-logits_P))


def test_without_a_feature_that_tells_the_bias_is_the_logit_of_the_share() -> None:
    features_PF = np.zeros((4, 1))
    fit = fit_logistic_regression(features_PF, np.array([True, False, False, False]), ridge=1.0)
    assert fit.weights == pytest.approx([0.0])
    assert fit.bias == pytest.approx(np.log(1 / 3))


def test_worth_counts_pairs_more_than_once() -> None:
    features_PF, hits_P = drawn_pairs([1.0, -0.5], 0.3, 300)
    worth_P: NDArray[np.float64] = np.tile([1.0, 2.0, 3.0], 100)
    repeated = np.repeat(np.arange(300), worth_P.astype(int))
    weighed = fit_logistic_regression(features_PF, hits_P, worth_P, ridge=0.1)
    again = fit_logistic_regression(features_PF[repeated], hits_P[repeated], ridge=0.1)
    assert weighed.weights == pytest.approx(again.weights)
    assert weighed.bias == pytest.approx(again.bias)


def test_it_finds_the_weights_that_made_the_data() -> None:
    fit = fit_logistic_regression(*drawn_pairs([2.0, 0.5], -1.0, 40_000), ridge=0.0)
    assert fit.weights == pytest.approx([2.0, 0.5], abs=0.06)
    assert fit.bias == pytest.approx(-1.0, abs=0.04)


def test_the_penalty_pulls_weights_to_zero_and_leaves_the_bias() -> None:
    pairs = drawn_pairs([2.0], -1.0, 1_000)
    free, pulled = (fit_logistic_regression(*pairs, ridge=ridge) for ridge in (0.0, 1e6))
    assert abs(pulled.weights[0]) < 0.01 < free.weights[0]
    assert pulled.bias == pytest.approx(np.log(pairs[1].mean() / (1 - pairs[1].mean())), abs=0.01)


def test_a_weight_that_would_be_negative_is_left_out_of_the_fit() -> None:
    features_PF, hits_P = drawn_pairs([1.5, -1.0, 0.5], 0.0, 5_000)
    fit = fit_logistic_regression(features_PF, hits_P, ridge=0.1, nonnegative=True)
    without = fit_logistic_regression(features_PF[:, [0, 2]], hits_P, ridge=0.1)
    assert fit.weights == pytest.approx([without.weights[0], 0.0, without.weights[1]], abs=1e-6)
    assert fit.bias == pytest.approx(without.bias, abs=1e-6)


def test_pairs_that_a_feature_separates_have_a_finite_weight() -> None:
    features_PF = np.linspace(-1, 1, 20)[:, None]
    fit = fit_logistic_regression(features_PF, features_PF[:, 0] > 0, ridge=1e-3)
    assert np.isfinite(fit.weights).all()
    assert fit.weights[0] > 1
