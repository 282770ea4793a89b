"""What torch computed in training, ONNX and the server compute again from unrounded weights: for a trained model, and
for untrained ones of every shape that a model may have.

Shapes: B queries, D dimensions (of the re-ranker as well), d of the indices, L labels, K hits of a query.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from astec.export.artifact.scoring.sparse import SPARSE_SLOPE
from astec.export.artifact.shortlist.candidates import Candidates
from astec.export.artifact.store import Artifact, open_artifact
from astec.export.artifact.text.bags import Bags
from astec.export.model.checkpoint import Checkpoint, DenseArrays
from astec.export.model.checkpoint_folder import read_checkpoint
from astec.export.model.encoder_graph import run_encoder
from astec.export.packing.options import PackOptions
from astec.export.packing.pack import pack
from astec.export.search.indices import IndexBuilder, Indices
from astec.server.engine.predictor import Predictor
from astec.server.engine.query_encoder import QueryEncoder
from astec.trainer.data.examples import Texts
from astec.trainer.encoders.encoder import Encoder as TorchEncoder
from astec.trainer.settings.section import EncoderSection
from astec.trainer.training.dense_model import DenseModel

# Of float32 sums over up to a few hundred tokens and a hundred dimensions, taken in another order.
REPRESENTATION_TOLERANCE = 1e-5
LOGIT_TOLERANCE = 1e-4
SCORE_TOLERANCE = 1e-5
ARRAYS = ("embeddings", "residuals", "classifier", "bias")
TOP_K = 5
# What the model is made of (None: it is trained), and how its labels are searched.
MODELS: dict[str, tuple[dict[str, Any] | None, dict[str, Any]]] = {
    "trained": (None, {"dim": 16}),
    "one learner, points": ({"parts": False}, {"kind": "points", "dim": 8}),
    "one learner, re-ranker, centroids": ({"reranker_dim": 24, "parts": False}, {"kind": "centroids"}),
    "one learner, all parts, union": ({"reranker_dim": 24}, {"dim": 12}),
    "one learner, all parts, 15 labels of a union": ({"reranker_dim": 24}, {"dim": 12, "max_candidates": 15}),
    "three learners, flat": ({"learners": 3, "parts": False}, {"dim": 24, "backend": "flat"}),
    "three learners, votes and sparse term, points": ({"learners": 3}, {"kind": "points"}),
    "three learners, all parts, union": ({"learners": 3, "reranker_dim": 24}, {"dim": 32}),
}


@dataclass(frozen=True)
class Trained:
    """What torch makes of the queries, from the checkpoint's own arrays."""

    checkpoint: Checkpoint
    bags: Bags
    shortlist_dim: int

    @cached_property
    def z(self) -> NDArray[np.float32]:
        """What the indices are searched with, [B, d]."""
        return IndexBuilder(self.checkpoint).project(self.representations["v"], self.shortlist_dim)

    @cached_property
    def representations(self) -> dict[str, NDArray[np.float32]]:
        """Of each output of the encoder but z, [B, D]."""
        v_BD = torch_model(self.checkpoint.model).encoder.represent(Texts(self.bags))
        found = {"v": v_BD, "x_hat": self._transform(self.checkpoint.model)}
        if self.checkpoint.reranker is not None:
            found["x_tilde"] = self._transform(self.checkpoint.reranker)
        return found

    @cached_property
    def logits(self) -> NDArray[np.float32]:
        """w_l . x-hat + b_l of every label, [B, L]."""
        return logits(self.representations["x_hat"], self.checkpoint.model)

    def _transform(self, arrays: DenseArrays) -> NDArray[np.float32]:
        model = torch_model(arrays)
        x_BD: NDArray[np.float32] = model.transform(torch.from_numpy(model.encoder.represent(Texts(self.bags)))).numpy()
        return x_BD


def torch_model(arrays: DenseArrays) -> DenseModel:
    embeddings, *rest = (torch.from_numpy(getattr(arrays, name)) for name in ARRAYS)
    return DenseModel(TorchEncoder.start(EncoderSection(), embeddings), *rest)


def logits(x_BD: NDArray[np.float32], arrays: DenseArrays) -> NDArray[np.float32]:
    logits_BL: NDArray[np.float32] = x_BD @ arrays.classifier.T + arrays.bias
    return logits_BL


TRAINED = pytest.param("trained", marks=pytest.mark.slow)


@pytest.fixture(scope="module", params=[TRAINED, *(name for name in MODELS if name != "trained")])
def published(
    request: pytest.FixtureRequest,
    make_checkpoint: Callable[..., Checkpoint],
    build_indices: Callable[..., Indices],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Checkpoint, Artifact]:
    """A checkpoint and what was exported of it."""
    parts, search = MODELS[request.param]
    checkpoint = read_checkpoint(request.getfixturevalue("demo_run")) if parts is None else make_checkpoint(**parts)
    path = tmp_path_factory.mktemp("parity") / "artifact"
    pack(checkpoint, build_indices(checkpoint, **search), path, "parity", PackOptions(weights="float32"))
    return checkpoint, open_artifact(path)


@pytest.fixture(scope="module")
def artifact(published: tuple[Checkpoint, Artifact]) -> Artifact:
    return published[1]


@pytest.fixture(scope="module")
def trained(published: tuple[Checkpoint, Artifact], demo_queries: list[str]) -> Trained:
    checkpoint, artifact = published
    dim = artifact.manifest.dimensions.shortlist_dim
    return Trained(checkpoint, checkpoint.featurizer.transform(demo_queries), dim)


def assert_close(actual: NDArray[np.float32], expected: NDArray[np.float32], tolerance: float) -> None:
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= tolerance * max(1.0, float(np.abs(expected).max()))


def test_the_queries_try_everything(trained: Trained) -> None:
    lengths = trained.bags.lengths()
    assert (lengths == 0).any()
    assert lengths.max() > 20
    assert (trained.representations["v"].any(axis=1) == (lengths > 0)).mean() > 0.95


def test_served_features_are_the_trained_ones(trained: Trained, artifact: Artifact, demo_queries: list[str]) -> None:
    served = artifact.featurizer.transform(demo_queries)
    assert np.array_equal(served.ids, trained.bags.ids)
    assert np.array_equal(served.weights, trained.bags.weights)
    assert np.array_equal(served.offsets, trained.bags.offsets)


def test_onnx_representations_are_those_of_torch(trained: Trained, artifact: Artifact) -> None:
    bags: dict[str, Any] = {"bag": artifact.embeddings.bag(trained.bags)}
    if artifact.reranker_embeddings is not None:
        bags["bag_tilde"] = artifact.reranker_embeddings.bag(trained.bags)
    outputs = run_encoder(artifact.encoder_graph.tobytes(), bags)
    projected = artifact.manifest.dimensions.shortlist_dim < artifact.manifest.dimensions.dim
    assert sorted(outputs) == sorted([*trained.representations, *(["z"] if projected else [])])
    expected = trained.representations | {"z": trained.z}
    for name, actual_BD in outputs.items():
        assert_close(actual_BD, expected[name], REPRESENTATION_TOLERANCE)


def test_served_representations_and_logits_are_those_of_torch(trained: Trained, artifact: Artifact) -> None:
    encoded = QueryEncoder(artifact).encode(trained.bags)
    for name, expected_BD in (trained.representations | {"z": trained.z}).items():
        assert_close(getattr(encoded, name), expected_BD, REPRESENTATION_TOLERANCE)
    assert_close(encoded.x_hat @ artifact.classifier.rows.T + artifact.classifier.bias, trained.logits, LOGIT_TOLERANCE)


def test_an_empty_query_is_zero_everywhere(trained: Trained, artifact: Artifact) -> None:
    empty = np.flatnonzero(trained.bags.lengths() == 0)
    encoded = QueryEncoder(artifact).encode(trained.bags.take(empty))
    assert len(empty)
    assert not any(representation_BD.any() for representation_BD in encoded)
    assert not any(representation_BD[empty].any() for representation_BD in trained.representations.values())


def test_served_scores_and_order_are_those_of_torch(
    trained: Trained, artifact: Artifact, demo_queries: list[str]
) -> None:
    rankings, _ = Predictor(artifact).predict(demo_queries, TOP_K)
    checkpoint = trained.checkpoint
    similarities_BL, votes_BL = shortlist(trained, artifact)
    reranker = checkpoint.reranker
    weights = checkpoint.shares.weights()
    part = np.asarray if weights.as_logits else sigmoid
    scores_BL = weights.classifier * part(trained.logits) + weights.votes * votes_BL
    scores_BL += weights.similarity * part(np.where(np.isfinite(similarities_BL), similarities_BL, np.float32(0)))
    if checkpoint.sparse is not None:
        slope = 1 if weights.as_logits else SPARSE_SLOPE
        scores_BL += weights.sparse * part(slope * sparse_logits(trained))
    if reranker is not None:
        x_tilde_BD = trained.representations["x_tilde"]
        scores_BL += weights.reranker * part(logits(x_tilde_BD, reranker))
    if weights.as_logits:
        scores_BL = sigmoid((scores_BL + weights.bias).astype(np.float32))
    for row, ranking in enumerate(rankings):
        shortlisted = np.flatnonzero(np.isfinite(similarities_BL[row]))
        expected_K = np.sort(scores_BL[row, shortlisted])[::-1][:TOP_K]
        assert len(ranking.scores) == len(expected_K)
        assert ranking.scores == pytest.approx(expected_K, abs=SCORE_TOLERANCE)
        # The label at each rank has the score of that rank in torch as well: the same order, but for ties.
        assert scores_BL[row, ranking.label_ids] == pytest.approx(expected_K, abs=SCORE_TOLERANCE)


def test_a_batch_is_its_queries_one_by_one(artifact: Artifact, demo_queries: list[str]) -> None:
    predictor = Predictor(artifact)
    rankings, _ = predictor.predict(demo_queries, TOP_K)
    for query, together in zip(demo_queries, rankings, strict=True):
        (alone,), _ = predictor.predict([query], TOP_K)
        assert together.label_ids.tolist() == alone.label_ids.tolist()
        assert together.scores.tolist() == alone.scores.tolist()


def test_joined_learners_serve_the_mean_of_their_logits(make_checkpoint: Callable[..., Checkpoint]) -> None:
    """Astec-3: representations side by side, one residual each, classifiers divided by their number."""
    checkpoint = make_checkpoint()
    learners = [checkpoint.model, *(shuffled(checkpoint.model, seed) for seed in (1, 2))]
    joined = DenseModel.join([torch_model(learner) for learner in learners]).arrays()
    alone = [Trained(replace(checkpoint, model=learner), checkpoint.reference.bags, 16).logits for learner in learners]
    together = Trained(replace(checkpoint, model=joined), checkpoint.reference.bags, 16).logits
    assert joined.residuals.shape == (3, *checkpoint.model.residuals.shape[1:])
    assert np.abs(alone[0] - alone[1]).max() > 0.1
    assert_close(together, np.mean(alone, axis=0), LOGIT_TOLERANCE)


def shuffled(arrays: DenseArrays, seed: int) -> DenseArrays:
    """Another learner: the numbers of this one in another order."""
    rng = np.random.default_rng(seed)
    numbers: list[Any] = [getattr(arrays, name) for name in ARRAYS]
    moved: list[Any] = [rng.permutation(array.ravel()).reshape(array.shape) for array in numbers]
    return DenseArrays(*moved)


def sigmoid(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return torch.from_numpy(x).sigmoid().numpy()


def sparse_logits(trained: Trained) -> NDArray[np.float32]:
    """u_l . x + c_l of every label, [B, L]."""
    sparse, num_queries = trained.checkpoint.sparse, len(trained.bags)
    assert sparse is not None
    num_labels = len(sparse.bias)
    labels_C = np.tile(np.arange(num_labels, dtype=np.int32), num_queries)
    nothing_C = np.zeros(len(labels_C), np.float32)
    every_label = Candidates(labels_C, nothing_C, nothing_C, num_labels * np.arange(num_queries + 1))
    return sparse.logits(every_label, trained.bags).reshape(num_queries, num_labels)


def shortlist(trained: Trained, artifact: Artifact) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Similarity and vote of every label, [B, L] each; similarity -inf of what no hit brought, or too few."""
    checkpoint, v_BD = trained.checkpoint, trained.representations["v"]
    found: list[dict[int, None]] = [{} for _ in v_BD]  # labels, in the order found
    votes_BL = np.zeros(trained.logits.shape, np.float32)
    if (centroids := artifact.shortlister.centroids) is not None:
        hits_BK, _ = centroids.index.search(trained.z, centroids.neighbours)
        for row, hits_K in enumerate(hits_BK):
            found[row].update(dict.fromkeys(checkpoint.centroid_labels[hits_K].tolist()))
    if (points := artifact.shortlister.points) is not None:
        labels_of_points = np.split(checkpoint.point_labels.indices, checkpoint.point_labels.indptr[1:-1])
        hits_BK, similarities_BK = points.index.search(trained.z, points.neighbours)
        weights_BK = np.maximum(similarities_BK, np.float32(1e-3)) ** 6
        for row, hits_K in enumerate(hits_BK):
            for hit, weight in zip(hits_K, weights_BK[row] / weights_BK[row].sum(), strict=True):
                votes_BL[row, labels_of_points[hit]] += weight
                found[row].update(dict.fromkeys(labels_of_points[hit].tolist()))
    kept_BL = np.zeros(trained.logits.shape, bool)
    for row, labels in enumerate(found):
        best = sorted(labels, key=lambda label: -votes_BL[row, label])
        kept_BL[row, best[: artifact.manifest.max_candidates]] = True
    norms_B1 = np.maximum(np.linalg.norm(v_BD, axis=1, keepdims=True), 1e-30)
    similarities_BL = np.full(trained.logits.shape, -1, np.float32)
    np.maximum.at(similarities_BL.T, checkpoint.centroid_labels, checkpoint.centroids @ (v_BD / norms_B1).T)
    similarities_BL[~(kept_BL & v_BD.any(axis=1, keepdims=True))] = -np.inf
    return similarities_BL, votes_BL
