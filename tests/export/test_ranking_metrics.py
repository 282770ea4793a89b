import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astec.export.ranking_metrics import RankingMetrics, inverse_propensities

KS = (1, 3, 5)
NUM_LABELS = 12


def ids(*labels):
    return np.array(labels, np.int64)


def measure(predicted, relevant, **options):
    metrics = RankingMetrics(**options)
    metrics.update(np.array(predicted, np.int64), relevant)
    return metrics.result()


def slow_reference(predicted, relevant, inv, ks):
    """Compute the metrics by their definitions, row by row and term by term."""
    rows = [(list(p), set(r.tolist())) for p, r in zip(predicted, relevant, strict=True) if len(r)]
    out: dict[str, Any] = {}
    for k in ks:
        precision = ndcg = recall = psp = best_psp = psndcg = best_psndcg = 0.0
        for ranked, wanted in rows:
            ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, len(wanted)) + 1))
            for rank, label in enumerate(ranked[:k], start=1):
                if label in wanted:
                    precision += 1 / k
                    recall += 1 / len(wanted)
                    ndcg += 1 / math.log2(rank + 1) / ideal
                    psp += inv[label]
                    psndcg += inv[label] / math.log2(rank + 1) / ideal
            for rank, weight in enumerate(sorted((inv[label] for label in wanted), reverse=True)[:k], start=1):
                best_psp += weight
                best_psndcg += weight / math.log2(rank + 1) / ideal
        count = len(rows)
        out |= {f"P@{k}": precision / count, f"nDCG@{k}": ndcg / count, f"R@{k}": recall / count}
        out |= {f"PSP@{k}": psp / best_psp, f"PSnDCG@{k}": psndcg / best_psndcg}
    return {name: 100 * value for name, value in out.items()}


@st.composite
def rankings(draw):
    """Draw rows: ranked labels padded with -1, relevant labels (at least one row has some), and label weights."""
    num_rows = draw(st.integers(1, 6))
    permutation = st.permutations(range(NUM_LABELS))
    labels = st.lists(st.integers(0, NUM_LABELS - 1), max_size=8)
    predicted = np.full((num_rows, draw(st.integers(0, 7))), -1, np.int64)
    for row in predicted:
        filled = draw(st.integers(0, len(row)))
        row[:filled] = draw(permutation)[:filled]
    relevant = [ids(*draw(labels)) for _ in range(num_rows - 1)] + [ids(*draw(labels), 0)]
    weights = draw(st.lists(st.floats(1, 50), min_size=NUM_LABELS, max_size=NUM_LABELS))
    return predicted, relevant, np.array(weights)


def test_plain_metrics_of_a_hand_worked_example():
    # Row 1: relevant {1, 2}, hits at ranks 1 and 3. Row 2: relevant {7}, hit at rank 2.
    result = measure([[1, 9, 2, 8, 6], [5, 7, 4, 3, 0]], [ids(1, 2), ids(7)], recall_ks=(1, 3))

    # P@1 = (1 + 0) / 2; P@3 = (2/3 + 1/3) / 2; P@5 = (2/5 + 1/5) / 2
    assert result["P@1"] == pytest.approx(50)
    assert result["P@3"] == pytest.approx(50)
    assert result["P@5"] == pytest.approx(30)
    # nDCG@3, row 1: (1 + 1/2) / (1 + 0.6309298) = 0.9197208; row 2: 0.6309298 / 1
    assert result["nDCG@1"] == pytest.approx(50)
    assert result["nDCG@3"] == pytest.approx(77.53253, abs=1e-4)
    # R@1 = (1/2 + 0) / 2; R@3 = (2/2 + 1/1) / 2
    assert result["R@1"] == pytest.approx(25)
    assert result["R@3"] == pytest.approx(100)


def test_propensity_scored_metrics_of_a_hand_worked_example():
    # Weights 1, 2, 4 of labels 0, 1, 2. Row 1: relevant {0, 2}, ranked 0, 1, 2. Row 2: relevant {1}, ranked 2, 1, 0.
    result = measure(
        [[0, 1, 2], [2, 1, 0]], [ids(0, 2), ids(1)], ks=(1, 3), inv_propensities_L=np.array([1.0, 2.0, 4.0])
    )

    # PSP@1: got 1 + 0, best 4 + 2. PSP@3: got (1 + 4) + 2, best (4 + 1) + 2.
    assert result["PSP@1"] == pytest.approx(100 / 6)
    assert result["PSP@3"] == pytest.approx(100)
    # PSnDCG@3 got: row 1 (1 + 4/2) / 1.6309298 = 1.8394415, row 2 2 * 0.6309298 / 1 = 1.2618595; sum 3.1013010
    # best: row 1 (4 + 1 * 0.6309298) / 1.6309298 = 2.8394415, row 2 2 / 1; sum 4.8394415
    assert result["PSnDCG@1"] == pytest.approx(100 / 6)
    assert result["PSnDCG@3"] == pytest.approx(64.08386, abs=1e-4)


def test_inverse_propensities_of_a_hand_worked_example():
    # N = e^3, A = 1, B = 1: C = (3 - 1) * 2 = 4; 1 + 4 / (N_l + 1) for N_l = 0, 1, 3
    inv_L = inverse_propensities(np.array([0, 1, 3]), round(math.e**3), a=1.0, b=1.0)
    exact_c = (math.log(20) - 1) * 2  # round(e^3) = 20
    assert inv_L == pytest.approx([1 + exact_c, 1 + exact_c / 2, 1 + exact_c / 4])
    assert exact_c == pytest.approx(4, abs=0.01)


def test_inverse_propensities_never_favour_common_labels():
    assert inverse_propensities(np.array([0, 1, 2]), num_points=2).tolist() == [1, 1, 1]
    inv_L = inverse_propensities(np.arange(1000), num_points=1000)
    assert np.all(np.diff(inv_L) < 0)
    assert inv_L[-1] > 1


def test_a_perfect_ranking_scores_100_everywhere():
    inv_L = np.array([1.0, 3.0, 2.0, 9.0, 5.0, 4.0])
    predicted = [[3, 4, 5, 1, 2, 0], [1, 0, -1, -1, -1, -1]]
    result = measure(predicted, [ids(0, 1, 2, 3, 4, 5), ids(0, 1)], inv_propensities_L=inv_L, recall_ks=(6,))
    # P@3 and P@5 cannot reach 100 for a row with two relevant labels; all normalised metrics do.
    for name in ("P@1", "nDCG@1", "nDCG@3", "nDCG@5", "PSP@1", "PSP@3", "PSP@5", "PSnDCG@1", "PSnDCG@5", "R@6"):
        assert result[name] == pytest.approx(100), name


def test_rows_without_a_relevant_label_are_skipped_and_counted():
    metrics = RankingMetrics()
    metrics.update(np.array([[1, 2], [3, 4]]), [ids(), ids(3)])
    metrics.update(np.array([[1, 2]]), [ids()])
    assert (metrics.points, metrics.skipped) == (1, 2)
    assert metrics.result()["P@1"] == pytest.approx(100)


def test_duplicate_relevant_labels_count_once():
    assert measure([[3, 1]], [ids(3, 3, 3)], ks=(1,), recall_ks=(1,)) == pytest.approx(
        {"P@1": 100, "nDCG@1": 100, "R@1": 100}
    )


def test_recall_alone_measures_a_shortlist():
    assert measure([[4, 2, 9, 7]], [ids(2, 7, 8)], ks=(), recall_ks=(2, 100)) == pytest.approx(
        {"R@2": 100 / 3, "R@100": 200 / 3}
    )


def test_nothing_to_measure_is_an_error():
    metrics = RankingMetrics()
    metrics.update(np.array([[1]]), [ids()])
    with pytest.raises(ValueError, match="none of 1 rows has a relevant label"):
        metrics.result()


@pytest.mark.parametrize(
    ("predicted", "relevant", "problem"),
    [
        ([[1, 2]], [ids(1), ids(2)], r"shape \(1, 2\) do not fit 2 rows"),
        ([1, 2], [ids(1), ids(2)], r"shape \(2,\)"),
        ([[1, 1]], [ids(1)], "same label twice"),
        ([[1, -2]], [ids(1)], "id -2 of a predicted label"),
        ([[1, 12]], [ids(1)], "id 12 of a predicted label .* below 12"),
        ([[1, 2]], [ids(-1)], "id -1 of a relevant label"),
        ([[1, 2]], [ids(40)], "id 40 of a relevant label .* below 12"),
    ],
)
def test_input_that_does_not_fit_is_refused_and_not_counted(predicted, relevant, problem):
    metrics = RankingMetrics(inv_propensities_L=np.ones(NUM_LABELS))
    with pytest.raises(ValueError, match=problem):
        metrics.update(np.array(predicted, np.int64), relevant)
    assert (metrics.points, metrics.skipped) == (0, 0)


@pytest.mark.parametrize(("ks", "recall_ks"), [((0, 1), (1,)), ((1,), (-3,)), ((), ())])
def test_ranks_below_one_are_refused(ks, recall_ks):
    with pytest.raises(ValueError, match="ranks of at least 1"):
        RankingMetrics(ks=ks, recall_ks=recall_ks)


def test_impossible_counts_are_refused():
    with pytest.raises(ValueError, match="num_points is 0"):
        inverse_propensities(np.array([1]), 0)
    with pytest.raises(ValueError, match="count is -1"):
        inverse_propensities(np.array([3, -1]), 10)


@settings(derandomize=True, deadline=None)
@given(rankings())
def test_agrees_with_the_definitions_written_out(case):
    predicted, relevant, inv_L = case
    assert measure(predicted, relevant, inv_propensities_L=inv_L) == pytest.approx(
        slow_reference(predicted, relevant, inv_L, KS)
    )


@settings(derandomize=True, deadline=None)
@given(rankings())
def test_every_metric_is_a_percentage(case):
    predicted, relevant, inv_L = case
    result = measure(predicted, relevant, inv_propensities_L=inv_L)
    assert all(0 <= value <= 100 + 1e-9 for value in result.values()), result


@settings(derandomize=True, deadline=None)
@given(rankings())
def test_no_ranking_beats_the_relevant_labels_by_decreasing_weight(case):
    predicted, relevant, inv_L = case
    best = np.full((len(predicted), NUM_LABELS), -1, np.int64)
    for row, labels in zip(best, relevant, strict=True):
        distinct = np.unique(labels)
        row[: len(distinct)] = distinct[np.argsort(-inv_L[distinct], kind="stable")]
    ideal = measure(best, relevant, inv_propensities_L=inv_L)
    actual = measure(predicted, relevant, inv_propensities_L=inv_L)
    assert all(ideal[name] >= value - 1e-9 for name, value in actual.items())


@settings(derandomize=True, deadline=None)
@given(rankings(), st.randoms(use_true_random=False), st.integers(1, 4))
def test_neither_row_order_nor_chunking_matters(case, random, chunk):
    predicted, relevant, inv_L = case
    order = list(range(len(relevant)))
    random.shuffle(order)
    metrics = RankingMetrics(inv_propensities_L=inv_L)
    for start in range(0, len(order), chunk):
        rows = order[start : start + chunk]
        metrics.update(predicted[rows], [relevant[row] for row in rows])
    assert metrics.result() == pytest.approx(measure(predicted, relevant, inv_propensities_L=inv_L))


def test_the_standard_error_of_precision_is_that_of_a_mean():
    relevant, predicted = [ids(0), ids(1), ids(2), ids(3, 4)], [[0, 5], [5, 1], [6, 7], [4, 3]]
    metrics = RankingMetrics(ks=(1, 2), recall_ks=(1,))
    metrics.update(np.array(predicted[:3], np.int64), relevant[:3])
    metrics.update(np.array(predicted[3:], np.int64), relevant[3:])
    errors = metrics.standard_errors()
    assert errors.keys() == metrics.result().keys()
    for name, values in (("P@1", [1, 0, 0, 1]), ("P@2", [0.5, 0.5, 0, 1]), ("R@1", [1, 0, 0, 0.5])):
        assert errors[name] == pytest.approx(100 * np.std(values, ddof=1) / 2), name


def test_the_standard_error_of_a_propensity_scored_metric_is_its_spread_over_samples():
    """Samples of 400 rows are drawn from one distribution 300 times."""
    rng = np.random.default_rng(3)
    weights_L = 1 + 9 * rng.random(NUM_LABELS)
    values, errors = [], []
    for _ in range(300):
        metrics = RankingMetrics(ks=(1, 3), inv_propensities_L=weights_L)
        order = rng.permuted(np.tile(np.arange(NUM_LABELS), (400, 1)), axis=1)
        relevant = [row[:count] for row, count in zip(order, rng.integers(1, 5, 400), strict=True)]
        predicted = np.where(rng.random((400, 1)) < 0.4, order[:, :3], order[:, 6:9])
        metrics.update(predicted, relevant)
        values.append(metrics.result())
        errors.append(metrics.standard_errors())
    for name in ("PSP@1", "PSP@3", "PSnDCG@3"):
        spread = np.std([value[name] for value in values], ddof=1)
        assert np.mean([error[name] for error in errors]) == pytest.approx(spread, rel=0.15), name


def test_one_row_has_no_standard_error():
    metrics = RankingMetrics()
    metrics.update(np.array([[0]], np.int64), [ids(0)])
    assert math.isnan(metrics.standard_errors()["P@1"])
