"""Models for the whole suite: a tiny one by the real trainer and exporter, and untrained ones with any parts.

Shapes: N texts, R reference texts, B texts of a batch, D dimensions, K labels of a reference text.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from astec.export.artifact.index.base import Backend, HnswParams
from astec.export.artifact.labels.label_sets import LabelSets
from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.scoring.shares import Shares
from astec.export.artifact.scoring.sparse import MIN_HEAD_WEIGHTS, SparseClassifier
from astec.export.artifact.text.bags import Bags
from astec.export.artifact.text.featurizer import TextFeaturizer
from astec.export.artifact.text.featurizer_config import FeaturizerConfig
from astec.export.model.checkpoint import Checkpoint, DenseArrays, HeldOutTexts, Reference
from astec.export.search.indices import IndexBuilder, Indices
from astec.export.search.plan import IndexPlan, ShortlistKind, ShortlistPlan
from astec.trainer.demo.log import DemoLogConfig, sample_queries, write_demo_log
from tests.shared_folders import SharedFolders

pytest_plugins = ["tests.markers"]

# Seconds to train, and still far better than guessing: 2,000 queries over a few hundred phrases.
DEMO_LOG = DemoLogConfig(seed=7, num_queries=2_000, num_test_queries=300, num_phrases=600)
DEMO_SETTINGS = (
    "model.dim=32",
    "surrogate.min_steps=60",
    "surrogate.epochs=4",
    "extreme.min_steps=60",
    "extreme.epochs=4",
    "shortlist.num_hard_negatives=50",
    "shortlist.num_random_negatives=5",
)


@pytest.fixture(scope="session")
def shared_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedFolders]:
    """The folders that all test processes of this run build once and share; tests copy what they want to change."""
    own = tmp_path_factory.getbasetemp()
    # Under xdist, this process has a folder of its own in that of the run.
    folders = SharedFolders((own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared")
    yield folders
    assert not folders.modified(), "tests changed files that other tests use: copy the folder first"


@pytest.fixture(scope="session")
def demo_data(shared_folders: SharedFolders) -> Path:
    """A folder with a small demo click log: train.jsonl.gz and test.jsonl.gz."""
    return shared_folders.get("demo_data", lambda folder: write_demo_log(folder, DEMO_LOG))


@pytest.fixture(scope="session")
def demo_run(demo_data: Path, shared_folders: SharedFolders) -> Path:
    """A finished run of the trainer on the demo log."""
    settings = [argument for setting in DEMO_SETTINGS for argument in ("--set", setting)]

    def train(run: Path) -> None:
        _run("astec.trainer", str(demo_data), str(run), "--device", "cpu", *settings)

    return shared_folders.get("demo_run", train)


@pytest.fixture(scope="session")
def demo_artifact(demo_run: Path, shared_folders: SharedFolders) -> Path:
    """The demo run, exported."""

    def export(artifact: Path) -> None:
        _run("astec.export", str(demo_run), str(artifact), "--name", "demo")

    return shared_folders.get("demo_artifact", export)


@pytest.fixture(scope="session")
def quoting_artifact(demo_run: Path, shared_folders: SharedFolders) -> Path:
    """The demo run, exported with the texts of its training points."""
    pinned = ("--shortlist", "points", "--dim", "32", "--neighbours", "20", "--m", "8", "--ef-search", "50")

    def export(artifact: Path) -> None:
        _run("astec.export", str(demo_run), str(artifact), "--name", "demo", "--training-texts", *pinned)

    return shared_folders.get("quoting_artifact", export)


@pytest.fixture(scope="session")
def demo_queries() -> list[str]:
    """Queries as users send them: many of the demo market, some empty, unknown, long or not ASCII."""
    odd = ["", "   ", "🎉🎉", "qqqq zzzz xxxx", "Größe Straße", "cheap " * 200, "ÀÉÎ õü 日本語", "running shoes"]
    return [*sample_queries(200, seed=3), *odd]


@pytest.fixture(scope="session")
def make_checkpoint() -> Callable[..., Checkpoint]:
    """An untrained model: random numbers where a trained one has learnt ones, and any parts, in a fraction of a second.

    Arguments: `learners` and `reranker_dim` (0: none); `parts`, whether votes and the sparse term have a share.
    """
    return _random_checkpoint


_LEARNER_DIM, _NUM_LABELS, _NUM_TEXTS, _NUM_HELD_OUT = 16, 150, 600, 100
_GRAPH = HnswParams(m=8, ef_construction=100, ef_search=100)


@pytest.fixture(scope="session")
def build_indices() -> Callable[..., Indices]:
    """Indices of a checkpoint by a plan that is given, not searched for.

    Arguments: the checkpoint, `dim` (None: all), `backend`, `kind` of the shortlist, and `max_candidates` of it.
    """
    return _build_indices


def _build_indices(
    checkpoint: Checkpoint,
    *,
    dim: int | None = None,
    backend: Backend = "hnswlib",
    kind: ShortlistKind = "union",
    max_candidates: int | None = None,
) -> Indices:
    builder = IndexBuilder(checkpoint)
    plans = {
        "centroids": IndexPlan(backend, _GRAPH, checkpoint.centroid_neighbours),
        "points": IndexPlan(backend, _GRAPH, checkpoint.point_neighbours),
    }
    chosen = {side: plan for side, plan in plans.items() if kind in (side, "union")}
    centroids, points = chosen.get("centroids"), chosen.get("points")
    return builder.build(ShortlistPlan(dim or builder.dim, centroids, points, max_candidates))


def _random_checkpoint(*, learners: int = 1, reranker_dim: int = 0, parts: bool = True) -> Checkpoint:
    rng = np.random.default_rng(learners + reranker_dim)
    texts = list(dict.fromkeys(sample_queries(4 * _NUM_TEXTS, seed=11)))[:_NUM_TEXTS]
    featurizer = TextFeaturizer.fit(texts, FeaturizerConfig(min_df=1))
    model = _random_arrays(rng, featurizer.num_features, learners, learners * _LEARNER_DIM)
    reranker = _random_arrays(rng, featurizer.num_features, 1, reranker_dim) if reranker_dim else None
    v_ND, _ = _encode(model, featurizer.transform(texts))
    units_ND = v_ND / np.linalg.norm(v_ND, axis=1, keepdims=True)
    labels_N = np.arange(len(texts), dtype=np.int32) % _NUM_LABELS
    # Another label each, never the same one, so that labels differ in frequency.
    others_N = (labels_N + labels_N // 2 + 1) % _NUM_LABELS
    point_labels = LabelSets(np.arange(0, 2 * len(texts) + 1, 2), np.stack([labels_N, others_N], axis=1).ravel())
    centroid_texts = np.argsort(labels_N[: _NUM_LABELS + 20], kind="stable")  # some labels have two representatives
    centroid_labels = labels_N[centroid_texts]
    bags = featurizer.transform([*texts[:60], ""])
    v_RD, x_hat_RD = _encode(model, bags)
    labels_RK = rng.integers(0, _NUM_LABELS, (len(bags), 5)).astype(np.int32)
    logits_RK = np.einsum("rkd,rd->rk", model.classifier[labels_RK], x_hat_RD) + model.bias[labels_RK]
    x_tilde_RD = np.empty((len(bags), 0), np.float32) if reranker is None else _encode(reranker, bags)[1]
    sparse = _random_sparse(rng, featurizer.num_features) if parts else None
    return Checkpoint(
        shares=Shares(
            alpha=0.6, beta=0.3 if reranker_dim else 0.0, gamma=0.25 if parts else 0.0, delta=0.15 if parts else 0.0
        ),
        sparse=sparse,
        metrics={"P@1": 12.5},
        training={"texts": len(texts), "held_out_texts": 0, "dropped_texts_without_label": 0},
        featurizer=featurizer,
        labels=TextTable.from_texts([f"label {label}" for label in range(_NUM_LABELS)]),
        label_counts=np.bincount(point_labels.indices, minlength=_NUM_LABELS),
        num_texts=len(texts),
        model=model,
        reranker=reranker,
        centroids=units_ND[centroid_texts],
        centroid_labels=centroid_labels,
        centroid_neighbours=20,
        points=units_ND,
        point_labels=point_labels,
        point_neighbours=15,
        reference=Reference(bags, v_RD, x_hat_RD, x_tilde_RD, labels_RK, logits_RK),
        held_out=_held_out(
            featurizer.transform(texts[:_NUM_HELD_OUT]),
            model,
            reranker,
            sparse,
            point_labels,
            _means(units_ND, labels_N),
        ),
        point_texts=TextTable.from_texts(texts),
    )


def _means(units_ND: NDArray[np.float32], labels_N: NDArray[np.int32]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Unit means of the texts that are not held out, by label, and the labels."""
    means_LD = np.zeros((_NUM_LABELS, units_ND.shape[1]), np.float32)
    np.add.at(means_LD, labels_N[_NUM_HELD_OUT:], units_ND[_NUM_HELD_OUT:])
    return means_LD / np.linalg.norm(means_LD, axis=1, keepdims=True), np.arange(_NUM_LABELS, dtype=np.int32)


def _held_out(
    bags: Bags,
    model: DenseArrays,
    reranker: DenseArrays | None,
    sparse: SparseClassifier | None,
    point_labels: LabelSets,
    centroids: tuple[NDArray[np.float32], NDArray[np.int32]],
) -> HeldOutTexts:
    """The first texts, which are training points too, as after a refit; `centroids` are as they were before."""
    count = len(bags)
    x_tilde_RD = np.empty((count, 0), np.float32) if reranker is None else _encode(reranker, bags)[1]
    indptr = point_labels.indptr[: count + 1]
    labels = LabelSets(indptr, point_labels.indices[: indptr[-1]])
    return HeldOutTexts(bags, *_encode(model, bags), x_tilde_RD, labels, np.arange(count), *centroids, sparse)


def _random_arrays(rng: np.random.Generator, num_features: int, learners: int, dim: int) -> DenseArrays:
    block = dim // learners
    return DenseArrays(
        embeddings=rng.standard_normal((num_features, dim)).astype(np.float32),
        residuals=(rng.standard_normal((learners, block, block)) / block**0.5).astype(np.float32),
        classifier=(rng.standard_normal((_NUM_LABELS, dim)) / dim**0.5).astype(np.float32),
        bias=rng.standard_normal(_NUM_LABELS).astype(np.float32),
    )


def _random_sparse(rng: np.random.Generator, num_features: int) -> SparseClassifier:
    counts = rng.integers(0, 2 * MIN_HEAD_WEIGHTS, _NUM_LABELS)
    rows = [np.sort(rng.permutation(num_features)[:count]).astype(np.int32) for count in counts]
    values = rng.standard_normal(counts.sum()).astype(np.float32)
    bias = rng.standard_normal(_NUM_LABELS).astype(np.float32)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    return SparseClassifier.build(indptr, np.concatenate(rows), values, bias, num_features)


def _encode(arrays: DenseArrays, bags: Bags) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """v and x-hat by plain numpy, [B, D] each."""
    v_BD = np.zeros((len(bags), arrays.embeddings.shape[1]))
    rows = np.repeat(np.arange(len(bags)), bags.lengths())
    np.add.at(v_BD, rows, bags.weights[:, None] * arrays.embeddings[bags.ids])
    v_BD = np.maximum(v_BD, 0)
    parts = np.split(v_BD, len(arrays.residuals), axis=1)
    moved = [part @ residual.T for part, residual in zip(parts, arrays.residuals, strict=True)]
    x_hat_BD = v_BD + np.maximum(np.concatenate(moved, axis=1), 0)
    return v_BD.astype(np.float32), x_hat_BD.astype(np.float32)


def _run(module: str, *arguments: str) -> None:
    """Run a command of the product as its user does: another process, its output shown if it fails."""
    subprocess.run([sys.executable, "-m", module, *arguments], check=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell how many samples of the documentation were executed."""
    name = re.compile(r"tests/docs/test_samples\.py::test_a_sample_\w+\[")
    passed, failed = (
        sum(name.match(report.nodeid) is not None for report in terminalreporter.getreports(outcome))
        for outcome in ("passed", "failed")
    )
    if passed + failed:
        terminalreporter.write_line(f"documentation samples: {passed + failed} executed, {passed} passed")
