"""Figures of a model that is still learning."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from astec.export.artifact.shortlist.candidates import Candidates
from astec.trainer.training import probe
from astec.trainer.training.probe import candidate_logits, progress_metrics, recall_metrics

# Text 0 likes labels 0, 1, 2, ... in this order, text 1 the other way round.
X_RD = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
WEIGHT_LD = torch.stack([-torch.arange(6.0), torch.arange(6.0)], dim=1)
BIAS_L = torch.zeros(6)
RELEVANT_RL = csr_matrix(np.array([[1, 0, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0]], np.float32))


def test_precision_over_all_labels() -> None:
    figures = progress_metrics(X_RD, WEIGHT_LD, BIAS_L, RELEVANT_RL, None)
    assert figures == pytest.approx({"P@1": 50.0, "P@3": 50.0, "P@5": 30.0})


def test_the_bias_counts() -> None:
    bias_L = torch.tensor([0.0, 0.0, 0.0, 100.0, 0.0, 0.0])
    assert progress_metrics(X_RD, WEIGHT_LD, bias_L, RELEVANT_RL, None)["P@1"] == 50.0
    assert progress_metrics(X_RD, WEIGHT_LD, -bias_L, RELEVANT_RL, None)["P@3"] == pytest.approx(100 / 3, abs=0.01)


def test_precision_over_candidates_knows_no_other_labels() -> None:
    candidates = Candidates(
        np.array([5, 2, 3], np.int32),
        np.array([0.9, 0.1, 0.5], np.float32),
        np.zeros(3, np.float32),
        np.array([0, 2, 3]),
    )
    figures = progress_metrics(X_RD, WEIGHT_LD, BIAS_L, RELEVANT_RL, candidates)
    assert figures == pytest.approx({"P@1": 100.0, "P@3": 33.33, "P@5": 20.0})


def test_fewer_labels_than_ranks() -> None:
    figures = progress_metrics(X_RD, WEIGHT_LD[:2], BIAS_L[:2], RELEVANT_RL[:, :2], None)
    assert figures == pytest.approx({"P@1": 100.0, "P@3": 33.33, "P@5": 20.0}), "text 1 has no label left"


def test_nothing_relevant_nothing_said() -> None:
    nothing = csr_matrix((2, 6), dtype=np.float32)
    candidates = Candidates(
        np.array([5], np.int32), np.ones(1, np.float32), np.zeros(1, np.float32), np.array([0, 1, 1])
    )
    assert progress_metrics(X_RD, WEIGHT_LD, BIAS_L, nothing, None) == {}
    assert recall_metrics(candidates, nothing) == {}


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    x_RD, weight_LD = torch.randn(7, 4, generator=generator), torch.randn(9, 4, generator=generator)
    bias_L = torch.randn(9, generator=generator)
    relevant_RL = csr_matrix(np.eye(7, 9, dtype=np.float32))
    labels = np.tile(np.arange(9, dtype=np.int32), 7)
    candidates = Candidates(labels, np.zeros(63, np.float32), np.zeros(63, np.float32), np.arange(8) * 9)
    whole = progress_metrics(x_RD, weight_LD, bias_L, relevant_RL, None)
    logits_C = candidate_logits(x_RD, weight_LD, bias_L, candidates)
    assert logits_C.reshape(7, 9) == pytest.approx((x_RD @ weight_LD.T + bias_L).numpy(), abs=1e-5)
    monkeypatch.setattr(probe, "_SCORES_AT_ONCE", 20)
    monkeypatch.setattr(probe, "_PAIRS_AT_ONCE", 10)
    assert progress_metrics(x_RD, weight_LD, bias_L, relevant_RL, None) == whole
    assert progress_metrics(x_RD, weight_LD, bias_L, relevant_RL, candidates) == whole, "all are candidates"
    copied_C = np.empty(63, np.float32)
    probe._multiply_copies(x_RD, weight_LD, bias_L, np.repeat(np.arange(7), 9), labels, copied_C)
    assert copied_C == pytest.approx(logits_C, abs=1e-6), "as on a GPU"


def test_shortlist_recall_by_rank() -> None:
    labels = np.arange(20, dtype=np.int32)
    candidates = Candidates(
        labels, 1 - labels.astype(np.float32) / np.float32(20), np.zeros(20, np.float32), np.array([0, 20])
    )
    relevant_RL = csr_matrix(np.array([[0.0] * 3 + [1] + [0] * 11 + [1] + [0] * 4]))
    recall = recall_metrics(candidates, relevant_RL)
    assert recall == {"shortlist recall@10": 50.0} | {f"shortlist recall@{k}": 100.0 for k in (50, 100, 300)}
