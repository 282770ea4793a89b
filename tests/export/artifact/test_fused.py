"""All stages in one kernel beside the stages themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from astec.export.artifact.encoder.embeddings import Embeddings
from astec.export.artifact.encoder.head import apply_head
from astec.export.artifact.fused import Pipeline
from astec.export.artifact.index.base import Backend
from astec.export.artifact.manifest import WeightType
from astec.export.artifact.scoring.ranker import Ranker
from astec.export.artifact.scoring.shares import Shares
from astec.export.artifact.shortlist.shortlister import Shortlister
from astec.export.artifact.signals.query_signals import measure, place_for_signals
from astec.export.artifact.store import Artifact, open_artifact
from astec.export.artifact.text.id_featurizer import IdFeaturizer
from astec.export.model.checkpoint import Checkpoint
from astec.export.packing.options import PackOptions
from astec.export.packing.pack import pack
from astec.export.search.indices import Indices

TOP_K = 7
ODD_TEXTS = ["", " ", "qqqqq", "Überraschung für Größen", "a" * 3_000, "shoes\nshoes\tshoes", "日本語 shoes"]


@pytest.fixture(
    scope="module", params=[("float32", "hnsw-float32"), ("float32", "hnsw-int8"), ("int8", "hnsw-int8")], ids=str
)
def artifact(
    request: pytest.FixtureRequest,
    make_checkpoint: Callable[..., Checkpoint],
    build_indices: Callable[..., Indices],
    tmp_path_factory: pytest.TempPathFactory,
) -> Artifact:
    weights: WeightType
    backend: Backend
    weights, backend = request.param
    checkpoint, path = make_checkpoint(learners=3), tmp_path_factory.mktemp("pipeline") / "artifact"
    indices = build_indices(checkpoint, dim=8, backend=backend, kind="points", max_candidates=20)
    pack(checkpoint, indices, path, "demo", PackOptions(weights=weights))
    return open_artifact(path)


@pytest.fixture(scope="module")
def ranker(artifact: Artifact) -> Ranker:
    return Ranker(
        Shares.of(artifact.manifest.scoring).weights(),
        artifact.classifier.arrays(),
        artifact.shortlister.representatives,
        artifact.sparse,
        None,
    )


@pytest.fixture(scope="module")
def pipeline(artifact: Artifact, ranker: Ranker) -> Pipeline:
    return made(artifact, ranker)


def made(artifact: Artifact, ranker: Ranker) -> Pipeline:
    pipeline = Pipeline.of(artifact, ranker)
    assert pipeline is not None
    return pipeline


def test_it_ranks_as_the_stages_do(
    artifact: Artifact, ranker: Ranker, pipeline: Pipeline, demo_queries: list[str]
) -> None:
    texts = [*ODD_TEXTS, *demo_queries[:200]]
    bags, _ = artifact.featurize(texts)
    assert artifact.head is not None
    v_BD, z_Bd, x_hat_BD = apply_head(artifact.embeddings.bag(bags), *artifact.head.arrays())
    nothing_BD = np.empty((len(texts), 0), np.float32)
    labels_BK, scores_BK = ranker.rank(artifact.shortlister.shortlist(z_Bd), v_BD, x_hat_BD, nothing_BD, bags, TOP_K)
    found_BK, found_scores_BK, times = pipeline.rank(texts, TOP_K)
    assert np.array_equal(found_BK, labels_BK)
    np.testing.assert_allclose(found_scores_BK, scores_BK, rtol=0, atol=1e-6)
    assert (found_BK[len(ODD_TEXTS) :] >= 0).any(axis=1).mean() > 0.9
    assert times.shape == (4,)
    assert (times > 0).all()


def test_it_measures_what_is_measured_of_the_ranking(
    artifact: Artifact, pipeline: Pipeline, demo_queries: list[str]
) -> None:
    texts = [*ODD_TEXTS, *demo_queries[:50], "qqqqq running shoes"]
    signals_B3, expected_B3 = place_for_signals(len(texts)), place_for_signals(len(texts))
    labels_BK, scores_BK, _ = pipeline.rank(texts, TOP_K, signals_B3)
    measure(artifact.featurizer, texts, labels_BK, scores_BK, expected_B3)
    np.testing.assert_array_equal(signals_B3, expected_B3)
    assert signals_B3[-1, 0] == 1 / 3
    without, scores, _ = pipeline.rank(texts, TOP_K)
    assert np.array_equal(without, labels_BK)
    assert np.array_equal(scores, scores_BK)


def test_a_text_is_ranked_the_same_to_the_last_bit_in_any_batch(pipeline: Pipeline, demo_queries: list[str]) -> None:
    texts = [*demo_queries[:30], *ODD_TEXTS]
    labels_BK, scores_BK, _ = pipeline.rank(texts, TOP_K)
    for row, text in enumerate(texts):
        alone, scores, _ = pipeline.rank([text], TOP_K)
        assert np.array_equal(labels_BK[row], alone[0])
        assert np.array_equal(scores_BK[row], scores[0])


def test_a_text_without_a_known_token_has_no_label(pipeline: Pipeline) -> None:
    labels_BK, scores_BK, _ = pipeline.rank(["", "qqqqq"], TOP_K)
    assert (labels_BK == -1).all()
    assert not scores_BK.any()


def test_it_outlives_the_artifact_that_it_was_made_of(artifact: Artifact, ranker: Ranker) -> None:
    lost = replace(artifact, embeddings=Embeddings(artifact.embeddings.rows.copy(), artifact.embeddings.scales.copy()))
    for part in (lost.embeddings.rows, lost.embeddings.scales):
        part.setflags(write=False)
    pipeline = made(lost, ranker)
    before = pipeline.rank(["running shoes"], TOP_K)[1].copy()
    del lost, part
    churn = [np.full(1 << 16, 7, np.int8) for _ in range(50)]
    assert np.array_equal(pipeline.rank(["running shoes"], TOP_K)[1], before)
    assert len(churn) == 50


def test_where_a_stage_is_no_kernel_there_is_none(
    artifact: Artifact,
    ranker: Ranker,
    make_checkpoint: Callable[..., Checkpoint],
    build_indices: Callable[..., Indices],
    tmp_path: Path,
) -> None:
    own = artifact.shortlister
    both = Shortlister(own.points, own.points, own.representatives)
    assert Pipeline.of(replace(artifact, head=None), ranker) is None
    assert Pipeline.of(replace(artifact, featurizer=IdFeaturizer(artifact.featurizer.num_features)), ranker) is None
    assert Pipeline.of(replace(artifact, shortlister=both), ranker) is None
    checkpoint = make_checkpoint(learners=3)
    pack(checkpoint, build_indices(checkpoint, kind="points"), tmp_path / "hnswlib", name="demo")
    assert Pipeline.of(open_artifact(tmp_path / "hnswlib"), ranker) is None
