"""What torch computed in training, ONNX and the server compute again.

Shapes: B queries, D dimensions, L labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from export.artifact.featurizer import Bags
from export.artifact.sparse import SPARSE_SLOPE
from export.artifact.store import Artifact, open_artifact
from export.checkpoint import Checkpoint, read_checkpoint
from server.encoder import Encoder
from server.predictor import Predictor
from trainer.extreme import ExtremeModel
from trainer.surrogate import encode

# Of float32 sums over up to a few hundred tokens and 32 dimensions, taken in another order.
REPRESENTATION_TOLERANCE = 1e-5
LOGIT_TOLERANCE = 1e-4
SCORE_TOLERANCE = 1e-5
TOP_K = 5


@dataclass(frozen=True)
class Trained:
    """What torch makes of the queries, from the run's own arrays: `v` and `x_hat` [B, D], `logits` [B, L]."""

    checkpoint: Checkpoint
    bags: Bags
    v: NDArray[np.float32]
    x_hat: NDArray[np.float32]
    logits: NDArray[np.float32]


@pytest.fixture(scope="module")
def artifact(demo_artifact: Path) -> Artifact:
    return open_artifact(demo_artifact)


@pytest.fixture(scope="module")
def trained(demo_run: Path, demo_queries: list[str]) -> Trained:
    checkpoint = read_checkpoint(demo_run)
    arrays = checkpoint.model
    model = ExtremeModel(*(torch.from_numpy(array) for array in (arrays.residual, arrays.classifier, arrays.bias)))
    bags = checkpoint.featurizer.transform(demo_queries)
    v_BD = encode(torch.from_numpy(arrays.embeddings), bags)
    x_hat_BD = model.transform(torch.from_numpy(v_BD))
    logits_BL = x_hat_BD @ model.classifier.T + model.bias
    return Trained(checkpoint, bags, v_BD, x_hat_BD.numpy(), logits_BL.numpy())


def assert_close(actual: NDArray[np.float32], expected: NDArray[np.float32], tolerance: float) -> None:
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= tolerance * max(1.0, float(np.abs(expected).max()))


def test_the_queries_try_everything(trained: Trained) -> None:
    lengths = trained.bags.lengths()
    assert (lengths == 0).any()
    assert lengths.max() > 20
    assert (trained.v.any(axis=1) == (lengths > 0)).mean() > 0.95


def test_served_features_are_the_trained_ones(trained: Trained, artifact: Artifact, demo_queries: list[str]) -> None:
    served = artifact.featurizer.transform(demo_queries)
    assert np.array_equal(served.ids, trained.bags.ids)
    assert np.array_equal(served.weights, trained.bags.weights)
    assert np.array_equal(served.offsets, trained.bags.offsets)


def test_onnx_representations_are_those_of_torch(trained: Trained, artifact: Artifact) -> None:
    session = onnxruntime.InferenceSession(str(artifact.encoder_path), providers=["CPUExecutionProvider"])
    ids_BT, weights_BT = trained.bags.padded()
    v_BD, x_hat_BD = session.run(("v", "x_hat"), {"token_ids": ids_BT, "token_weights": weights_BT})
    assert_close(v_BD, trained.v, REPRESENTATION_TOLERANCE)
    assert_close(x_hat_BD, trained.x_hat, REPRESENTATION_TOLERANCE)


def test_served_representations_and_logits_are_those_of_torch(trained: Trained, artifact: Artifact) -> None:
    v_BD, x_hat_BD = Encoder(artifact.encoder_path).encode(trained.bags)
    assert_close(v_BD, trained.v, REPRESENTATION_TOLERANCE)
    assert_close(x_hat_BD, trained.x_hat, REPRESENTATION_TOLERANCE)
    assert_close(x_hat_BD @ artifact.classifier.T + artifact.bias, trained.logits, LOGIT_TOLERANCE)


def test_an_empty_query_is_zero_everywhere(trained: Trained, artifact: Artifact) -> None:
    empty = np.flatnonzero(trained.bags.lengths() == 0)
    v_BD, x_hat_BD = Encoder(artifact.encoder_path).encode(trained.bags.take(empty))
    for representation_BD in (trained.v[empty], trained.x_hat[empty], v_BD, x_hat_BD):
        assert not representation_BD.any()


def test_served_scores_and_order_are_those_of_torch(
    trained: Trained, artifact: Artifact, demo_queries: list[str]
) -> None:
    rankings, _ = Predictor(artifact).predict(demo_queries, TOP_K)
    alpha, gamma = trained.checkpoint.alpha, trained.checkpoint.gamma
    probabilities_BL = torch.from_numpy(trained.logits).sigmoid().numpy()
    similarities_BL = best_similarities(trained)
    dense_BL = alpha * probabilities_BL + (1 - alpha) / (1 + np.exp(-similarities_BL))
    scores_BL = (1 - gamma) * dense_BL + gamma / (1 + np.exp(-SPARSE_SLOPE * sparse_logits(trained)))
    assert gamma > 0, "the sparse term has a say"
    for row, ranking in enumerate(rankings):
        shortlist = np.flatnonzero(np.isfinite(similarities_BL[row]))
        expected_K = np.sort(scores_BL[row, shortlist])[::-1][:TOP_K]
        assert len(ranking.scores) == len(expected_K)
        assert ranking.scores == pytest.approx(expected_K, abs=SCORE_TOLERANCE)
        # The label at each rank has the score of that rank in torch as well: the same order, but for ties.
        assert scores_BL[row, ranking.label_ids] == pytest.approx(expected_K, abs=SCORE_TOLERANCE)


def sparse_logits(trained: Trained) -> NDArray[np.float32]:
    """u_l . x + c_l of every label, [B, L]."""
    sparse, bags = trained.checkpoint.sparse, trained.bags
    assert sparse is not None
    num_features = trained.checkpoint.featurizer.num_features
    u_LV = csr_matrix((sparse.values, sparse.indices, sparse.indptr), shape=(len(sparse.bias), num_features))
    x_BV = csr_matrix((bags.weights, bags.ids, bags.offsets), shape=(len(bags), num_features))
    logits_BL: NDArray[np.float32] = (x_BV @ u_LV.T).toarray() + sparse.bias
    return logits_BL


def best_similarities(trained: Trained) -> NDArray[np.float32]:
    """Highest cosine of any hit that stands for a label, [B, L]; -inf for what no hit brought."""
    checkpoint = trained.checkpoint
    best_BL = np.full(trained.logits.shape, -np.inf, np.float32)
    points = checkpoint.point_labels
    labels_of_points = np.split(points.indices, points.indptr[1:-1])
    labels_of_centroids = [[label] for label in checkpoint.centroid_labels.tolist()]
    graphs = (
        (checkpoint.centroids, labels_of_centroids, checkpoint.centroid_neighbours),
        (checkpoint.points, labels_of_points, checkpoint.point_neighbours),
    )
    for index, labels_of, neighbours in graphs:
        ids_BK, similarities_BK = index.search(trained.v, neighbours)
        for row in np.flatnonzero(trained.v.any(axis=1)):
            for hit, similarity in zip(ids_BK[row], similarities_BK[row], strict=True):
                if hit >= 0:
                    labels = np.asarray(labels_of[hit])
                    best_BL[row, labels] = np.maximum(best_BL[row, labels], similarity)
    return best_BL
