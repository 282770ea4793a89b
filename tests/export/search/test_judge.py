"""Figures of a way to search, computed by hand and from a slow ranking."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from astec.export.artifact.encoder.embeddings import Embeddings
from astec.export.artifact.index.flat import FlatIndex
from astec.export.artifact.labels.label_sets import LabelSets
from astec.export.artifact.scoring.shares import Shares
from astec.export.artifact.shortlist.label_graph import LabelGraph
from astec.export.artifact.shortlist.shortlister import Shortlister
from astec.export.model.checkpoint import Checkpoint, DenseArrays
from astec.export.model.encoder_graph import encoder_graph, run_encoder
from astec.export.ranking_metrics import RankingMetrics, inverse_propensities
from astec.export.search import judge
from astec.export.search.exhaustive import ExhaustiveShortlister
from astec.export.search.indices import IndexBuilder
from astec.export.search.judge import RANKS, Figures, Judge


@pytest.fixture(scope="module")
def checkpoint(make_checkpoint: Callable[..., Checkpoint]) -> Checkpoint:
    return make_checkpoint(learners=2, reranker_dim=8).before_refit()


def all_labels(checkpoint: Checkpoint) -> Callable[[slice], Shortlister]:
    """Return shortlisters with every label as a candidate and no votes."""
    builder = IndexBuilder(checkpoint)
    no_labels = LabelSets(np.zeros(builder.count("points") + 1, np.int64), np.empty(0, np.int32))
    points = LabelGraph(FlatIndex(checkpoint.points), no_labels, 3)
    every = ExhaustiveShortlister(Shortlister(None, points, builder.representatives()), len(checkpoint.labels))
    return lambda rows: every


def figures_of(judge: Judge, shortlister_of: Callable[[slice], Shortlister], chunk_texts: int | None = None) -> Figures:
    return judge.figures(judge.rank(shortlister_of, RANKS[-1], chunk_texts))


def of_classifiers(checkpoint: Checkpoint) -> Checkpoint:
    """Return the checkpoint with a share for its classifiers only."""
    return replace(checkpoint, shares=Shares(1.0))


def with_labels(checkpoint: Checkpoint, labels: list[list[int]]) -> Checkpoint:
    """Return the checkpoint with the labels of the first held-out texts replaced, and without the other texts."""
    indptr = np.concatenate([[0], np.cumsum([len(some) for some in labels])]).astype(np.int64)
    indices = np.array([label for some in labels for label in some], np.int32)
    return replace(
        checkpoint, held_out=replace(checkpoint.held_out.take(len(labels)), labels=LabelSets(indptr, indices))
    )


def test_figures_worked_out_by_hand(checkpoint: Checkpoint) -> None:
    """The right labels of the first text are the classifiers' best three, that of the second text the second best."""
    model, x_hat_RD = checkpoint.model, checkpoint.held_out.x_hat
    best = np.argsort(-(x_hat_RD[:2] @ model.classifier.T + model.bias), axis=1)
    labelled = with_labels(of_classifiers(checkpoint), [best[0, :3].tolist(), best[1, 1:2].tolist()])
    figures = figures_of(Judge(labelled), all_labels(checkpoint))
    # Hits among the first 1, 3 and 5 labels: 1, 3, 3 for the first text and 0, 1, 1 for the second.
    expected = {"P@1": 100 * 1 / 2, "P@3": 100 * 4 / 6, "P@5": 100 * 4 / 10}
    assert {name: figures.metrics[name] for name in expected} == pytest.approx(expected)
    assert figures.precision == pytest.approx(sum(expected.values()) / 3)
    weights = inverse_propensities(checkpoint.label_counts, checkpoint.num_texts)
    first, second = np.sort(weights[best[0, :3]])[::-1], weights[best[1, 1]]
    psp1 = 100 * weights[best[0, 0]] / (first[0] + second)
    assert figures.metrics["PSP@1"] == pytest.approx(psp1)
    assert figures.metrics["PSP@3"] == figures.metrics["PSP@5"] == pytest.approx(100)
    assert figures.propensity_scored == pytest.approx((psp1 + 200) / 3)
    assert figures.labels == len(checkpoint.labels)


def slow_figures(checkpoint: Checkpoint) -> Figures:
    """Compute every part of the score of every label with numpy."""
    held_out, weights, model = checkpoint.held_out, checkpoint.shares.weights(), checkpoint.model
    assert checkpoint.reranker is not None
    assert checkpoint.sparse is not None
    every = all_labels(checkpoint)(slice(None)).search(held_out.v, held_out.v)
    num_texts, num_labels = len(held_out.v), len(checkpoint.labels)
    reranker_RL = held_out.x_tilde @ checkpoint.reranker.classifier.T + checkpoint.reranker.bias
    scores_RL = (
        weights.classifier * sigmoid(held_out.x_hat @ model.classifier.T + model.bias)
        + weights.similarity * sigmoid(every.similarities.reshape(num_texts, num_labels))
        + weights.sparse * sigmoid(2 * checkpoint.sparse.logits(every, held_out.bags).reshape(num_texts, num_labels))
        + weights.reranker * sigmoid(reranker_RL)
    )
    metrics = RankingMetrics(RANKS, inverse_propensities(checkpoint.label_counts, checkpoint.num_texts))
    relevant = np.split(held_out.labels.indices, held_out.labels.indptr[1:-1])
    metrics.update(np.argsort(-scores_RL, axis=1)[:, : RANKS[-1]], relevant)
    result = metrics.result()
    return Figures({f"{name}@{k}": result[f"{name}@{k}"] for name in ("P", "PSP") for k in RANKS}, num_labels)


def sigmoid(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(1 / (1 + np.exp(-x)), np.float32)


@pytest.mark.parametrize("chunk_texts", [None, 7])
def test_every_part_of_a_score_counts(checkpoint: Checkpoint, chunk_texts: int | None) -> None:
    figures = figures_of(Judge(checkpoint), all_labels(checkpoint), chunk_texts)
    expected = slow_figures(checkpoint)
    assert figures.metrics == pytest.approx(expected.metrics)
    assert figures.labels == expected.labels
    assert 0 < figures.precision < 100


def test_quantized_classifiers_are_judged_as_they_will_score(checkpoint: Checkpoint) -> None:
    """One large weight per row takes up the whole range of int8, so that the differences between labels are lost."""
    model = checkpoint.model
    embeddings, classifier, residuals = model.embeddings.copy(), model.classifier.copy(), model.residuals.copy()
    classifier[:, 0] = 1e4
    embeddings[:, 0] = residuals[0, 0] = 0  # the dimension of the large weight is 0 for every text
    spoilt = replace(model, embeddings=embeddings, classifier=classifier, residuals=residuals)
    exact, rounded = figures_of_its_own_best(checkpoint, spoilt)
    assert exact.metrics["P@1"] == 100
    assert rounded.metrics["P@1"] < 90


def test_quantized_embeddings_are_judged_as_they_will_encode(checkpoint: Checkpoint) -> None:
    """The large number is in the embeddings, in a dimension in which all classifiers are 0."""
    model = checkpoint.model
    embeddings, classifier, residuals = model.embeddings.copy(), model.classifier.copy(), model.residuals.copy()
    embeddings[:, 0] = 1e4
    classifier[:, 0] = residuals[:, :, 0] = 0
    spoilt = replace(model, embeddings=embeddings, classifier=classifier, residuals=residuals)
    exact, rounded = figures_of_its_own_best(checkpoint, spoilt)
    assert exact.metrics["P@1"] == 100
    assert rounded.metrics["P@1"] < 90


def figures_of_its_own_best(checkpoint: Checkpoint, model: DenseArrays) -> list[Figures]:
    """Return the figures in float32 and in int8, where the right label is the best one by float32 classifiers."""
    bags = checkpoint.held_out.bags
    encoded = run_encoder(encoder_graph(model), {"bag": Embeddings.of(model.embeddings).bag(bags)})
    held_out = replace(checkpoint.held_out, v=encoded["v"], x_hat=encoded["x_hat"])
    best = np.argsort(-(held_out.x_hat @ model.classifier.T + model.bias), axis=1)[:, :1]
    judged = with_labels(of_classifiers(replace(checkpoint, model=model, held_out=held_out)), best.tolist())
    return [figures_of(Judge(judged, int8=int8), all_labels(judged)) for int8 in (False, True)]


def test_the_labels_that_were_scored_are_counted(checkpoint: Checkpoint) -> None:
    """Of two texts one has no known token: three scored labels of the other are 1.5 labels per text."""
    empty = with_labels(checkpoint, [[1], [2]])
    v_RD = empty.held_out.v.copy()
    v_RD[1] = 0
    empty = replace(empty, held_out=replace(empty.held_out, v=v_RD))
    labels = LabelSets.one_each(np.arange(3, dtype=np.int32))
    points = LabelGraph(FlatIndex(np.eye(3, v_RD.shape[1], dtype=np.float32)), labels, 3)
    figures = figures_of(Judge(empty), lambda rows: Shortlister(None, points, None))
    assert figures.labels == 1.5


def test_of_many_texts_only_so_many_are_judged(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(Judge(checkpoint).texts.v) == len(checkpoint.held_out.v) == 100
    monkeypatch.setattr(judge, "_MIN_TEXTS", 30)
    largest = max(len(checkpoint.points), len(checkpoint.labels)) * checkpoint.model.embeddings.shape[1]
    for products, texts in ((0, 30), (40 * largest, 40), (1e11, 100)):
        monkeypatch.setattr(judge, "_MAX_PRODUCTS", products)
        some = Judge(checkpoint).texts
        assert len(some.v) == len(some.bags) == len(some.labels.indptr) - 1 == texts
        assert len(some.labels.indices) == some.labels.indptr[-1]


def test_without_held_out_texts_there_is_nothing_to_judge_by(checkpoint: Checkpoint) -> None:
    with pytest.raises(
        ValueError, match="no held-out texts to choose how to search by: pin all of it with --shortlist"
    ):
        Judge(replace(checkpoint, held_out=checkpoint.held_out.take(0)))
