"""From a checkpoint to an artifact: verified, whole, and named by its content."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields, replace
from itertools import product
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from astec.export.artifact.index.base import Backend
from astec.export.artifact.manifest import Logistic
from astec.export.artifact.scoring.shares import Shares
from astec.export.artifact.scoring.sparse import SparseClassifier
from astec.export.artifact.shortlist.votes import join
from astec.export.artifact.store import open_artifact
from astec.export.artifact.verification import ArtifactError
from astec.export.model.checkpoint import Checkpoint
from astec.export.packing.model_card import render_model_card
from astec.export.packing.options import PackOptions
from astec.export.packing.pack import pack
from astec.export.packing.verify import ENCODER_TOLERANCE, LOGIT_TOLERANCE, VerificationError
from astec.export.search.indices import Indices
from astec.export.search.judge import Figures
from astec.export.search.plan import IndexPlan, ShortlistKind
from astec.export.search.trial import Trial
from tests.artifact_files import FILES

pytestmark = pytest.mark.slow  # an artifact is exported for each test


def test_the_artifact_is_the_run(full_checkpoint: Checkpoint, full_indices: Indices, tmp_path: Path) -> None:
    report = pack(full_checkpoint, full_indices, tmp_path / "artifact", "shoes", PackOptions("v7", "float32"))
    artifact = open_artifact(tmp_path / "artifact")
    assert (artifact.manifest.model.name, artifact.manifest.model.version) == ("shoes", "v7")
    scoring = artifact.manifest.scoring
    for share in ("alpha", "beta", "gamma", "delta"):
        assert getattr(scoring, share) == getattr(full_checkpoint.shares, share) > 0
    sizes = artifact.manifest.dimensions
    assert (sizes.learners, sizes.dim) == (3, full_checkpoint.model.embeddings.shape[1])
    assert (sizes.shortlist_dim, artifact.manifest.weights) == (24, "float32")
    for side in ("centroids", "points"):
        description, plan = getattr(artifact.manifest, side), full_indices.plan.sides()[side]
        assert (description.backend, description.graph.params()) == (plan.backend, plan.params)
        assert description.neighbours == plan.neighbours
    mu = artifact.shortlister.representatives
    assert mu is not None
    assert np.array_equal(mu.vectors, full_checkpoint.centroids)
    for label in (0, 19, len(full_checkpoint.labels) - 1):
        assert (full_checkpoint.centroid_labels[mu.indptr[label] : mu.indptr[label + 1]] == label).all()
    assert artifact.manifest.metrics == full_checkpoint.metrics
    assert np.array_equal(artifact.embeddings.rows, full_checkpoint.model.embeddings)
    assert np.array_equal(artifact.classifier.rows, full_checkpoint.model.classifier)
    assert np.array_equal(artifact.classifier.bias, full_checkpoint.model.bias)
    assert full_checkpoint.reranker is not None
    assert sizes.reranker_dim == full_checkpoint.reranker.embeddings.shape[1]
    assert artifact.reranker_embeddings is not None
    assert np.array_equal(artifact.reranker_embeddings.rows, full_checkpoint.reranker.embeddings)
    assert np.array_equal(artifact.reranker.rows, full_checkpoint.reranker.classifier)
    assert np.array_equal(artifact.reranker.bias, full_checkpoint.reranker.bias)
    assert np.array_equal(artifact.label_counts, full_checkpoint.label_counts)
    assert artifact.labels == full_checkpoint.labels
    assert artifact.sparse is not None
    assert full_checkpoint.sparse is not None
    for field in fields(SparseClassifier):
        assert np.array_equal(getattr(artifact.sparse, field.name), getattr(full_checkpoint.sparse, field.name))
    assert report.texts == len(full_checkpoint.reference.v)
    assert report.encoder_error <= ENCODER_TOLERANCE
    assert report.logit_error <= LOGIT_TOLERANCE
    card = (tmp_path / "artifact" / FILES.model_card).read_text()
    assert card.startswith("# shoes\n")
    assert f"P@1 | {full_checkpoint.metrics['P@1']:.2f}" in card
    # 0.7 * 0.6 * 0.6, 0.7 * 0.6 * 0.4, 0.7 * 0.25, 0.7 * 0.15 and 0.3.
    parts = [line.split(" | ") for line in card.splitlines() if "encoder" in line or line[2:5] in ("sim", "lin", "vot")]
    assert [share.removesuffix(" |") for _, share in parts] == ["25.2", "16.8", "17.5", "10.5", "30.0"]
    assert "3 encoders of 16 dimensions each" in parts[0][0]
    assert "As given to the exporter." in card


def test_a_model_of_one_learner_and_no_other_part(
    make_checkpoint: Callable[..., Checkpoint], build_indices: Callable[..., Indices], tmp_path: Path
) -> None:
    checkpoint = make_checkpoint(parts=False)
    pack(checkpoint, build_indices(checkpoint), tmp_path / "artifact", "demo")
    artifact = open_artifact(tmp_path / "artifact")
    sizes = artifact.manifest.dimensions
    assert (sizes.learners, sizes.reranker_dim) == (1, 0)
    assert sizes.shortlist_dim == sizes.dim == 16
    assert (artifact.reranker_embeddings, artifact.reranker) == (None, None)
    assert artifact.sparse is None
    assert [name for name in artifact.manifest.files if name.startswith(("reranker", "sparse"))] == []
    card = (tmp_path / "artifact" / FILES.model_card).read_text()
    assert "| classifiers over an encoder of 16 dimensions | 60.0 |" in card
    assert "re-ranker" not in card


POINTS_FILES = {FILES.points, FILES.point_labels_indptr, FILES.point_labels_indices}
# What a shortlist of one kind needs besides what every model has; similarities are measured with representatives.
FILES_OF_KIND = {
    ("points", 0.6): POINTS_FILES | {FILES.centroid_labels, FILES.representatives},
    ("points", 1): POINTS_FILES,
    ("centroids", 0.6): {FILES.centroids, FILES.centroid_labels, FILES.representatives},
    ("centroids", 1): {FILES.centroids, FILES.centroid_labels},
    ("union", 1): POINTS_FILES | {FILES.centroids, FILES.centroid_labels},
}


@pytest.mark.parametrize("backend", get_args(Backend))
@pytest.mark.parametrize(("kind", "alpha"), FILES_OF_KIND)
def test_a_shortlist_has_the_files_that_it_needs_and_opens(
    make_checkpoint: Callable[..., Checkpoint],
    build_indices: Callable[..., Indices],
    tmp_path: Path,
    backend: Backend,
    kind: ShortlistKind,
    alpha: float,
) -> None:
    checkpoint = replace(make_checkpoint(parts=False), shares=Shares(alpha))
    pack(checkpoint, build_indices(checkpoint, dim=8, backend=backend, kind=kind), tmp_path / "artifact", "demo")
    artifact = open_artifact(tmp_path / "artifact")
    every = POINTS_FILES | {FILES.centroids, FILES.centroid_labels, FILES.representatives}
    assert every & artifact.manifest.files.keys() == FILES_OF_KIND[kind, alpha]
    shortlister = artifact.shortlister
    assert (shortlister.points is None, shortlister.centroids is None) == (kind == "centroids", kind == "points")
    assert (shortlister.representatives is None) == (alpha == 1)


def test_one_compiled_kernel_searches_every_kind_of_artifact(
    make_checkpoint: Callable[..., Checkpoint], build_indices: Callable[..., Indices], tmp_path: Path
) -> None:
    """An image that carries the kernel for one of them compiles nothing for the others."""
    checkpoint = make_checkpoint(parts=False)
    kernels = []
    for kind, backend in product(("union", "points", "centroids"), ("hnswlib", "hnsw-int8", "flat")):
        target = tmp_path / f"{kind} {backend}"
        pack(checkpoint, build_indices(checkpoint, dim=8, backend=backend, kind=kind), target, "demo")
        open_artifact(target).shortlister.search(np.ones((2, 8), np.float32), np.ones((2, 16), np.float32))
        kernels.append(len(join.signatures))
    assert len(set(kernels)) == 1


def test_quantized_weights_are_within_half_a_step(
    full_checkpoint: Checkpoint, full_artifact: Path, int8_artifact: Path
) -> None:
    artifact, unrounded = open_artifact(int8_artifact), open_artifact(full_artifact)
    mu = artifact.shortlister.representatives
    assert mu is not None
    pairs = [
        (artifact.embeddings.rows, artifact.embeddings.scales, full_checkpoint.model.embeddings),
        (artifact.classifier.rows, artifact.classifier.scales, full_checkpoint.model.classifier),
        (mu.vectors, mu.scales, full_checkpoint.centroids),
    ]
    for codes, scales, rows in pairs:
        assert codes.dtype == np.int8
        assert np.all(np.abs(codes * scales[:, None] - rows) <= 0.501 * scales[:, None])
    assert artifact.reranker_embeddings is not None
    assert np.array_equal(artifact.reranker_embeddings.rows, full_checkpoint.reranker.embeddings)
    assert np.array_equal(artifact.reranker.rows, full_checkpoint.reranker.classifier)
    assert artifact.manifest.weights == "int8"
    assert artifact.manifest.model.version != unrounded.manifest.model.version


@pytest.mark.parametrize("logistic", [None, Logistic(slope=7.5, bias=-3.0)], ids=["probabilities", "logits"])
def test_the_card_tells_the_shares_of_all_parts_in_percent(
    full_checkpoint: Checkpoint, logistic: Logistic | None
) -> None:
    shares = replace(full_checkpoint.shares, logistic=logistic)
    card = render_model_card(replace(full_checkpoint, shares=shares), "demo", [])
    parts = card.partition("## Parts of a score")[2].partition("##")[0]
    assert f"What is mixed: {'probabilities' if logistic is None else 'logits'}." in parts
    assert sum(float(share) for share in re.findall(r"([\d.]+) \|$", parts, re.MULTILINE)) == pytest.approx(
        100, abs=0.5
    )


def test_the_card_tells_what_the_plan_was_chosen_from(
    full_checkpoint: Checkpoint, full_indices: Indices, tmp_path: Path
) -> None:
    figures = Figures({f"{name}@{k}": 10.0 * k for name in ("P", "PSP") for k in (1, 3, 5)}, labels=31.4)
    trials = [
        Trial(None, "exact", figures, cost_us=1e3, losses=np.zeros((2, 1))),
        Trial(full_indices.plan, "hnswlib", figures, cost_us=2, search_us=5.0, weights="int8"),
    ]
    pack(
        full_checkpoint,
        full_indices,
        tmp_path / "artifact",
        "demo",
        PackOptions(trials=trials, fresh_loss=(0.0831, 0.2)),
    )
    card = (tmp_path / "artifact" / FILES.model_card).read_text()
    assert "| all labels | all |  | exact |  |  |  | 31 | 10.00 | 30.00 | 50.00 | 10.00 | 50.00 | 0.00 | 0.00 |" in card
    way = "| union | 24 | 20 + 15 | hnswlib, int8 | 8 + 8 | 100 + 100 |  |"
    assert f"{way} 31 | 10.00 | 30.00 | 50.00 | 10.00 | 50.00 |  |  |" in card
    assert "the chosen way is expected to lose 0.08 points of P@k and 0.20 of PSP@k" in card
    assert "As given to the exporter." not in card


def test_equal_models_have_equal_versions_whatever_their_name(
    full_checkpoint: Checkpoint, build_indices: Callable[..., Indices], tmp_path: Path
) -> None:
    manifests = []
    for name in ("one", "two"):
        pack(full_checkpoint, build_indices(full_checkpoint, dim=24), tmp_path / name, name)
        manifests.append(open_artifact(tmp_path / name).manifest)
    assert manifests[0].model.version == manifests[1].model.version
    assert {manifest.model.name for manifest in manifests} == {"one", "two"}
    differing = {name for name in manifests[0].files if manifests[0].files[name] != manifests[1].files[name]}
    assert differing == {FILES.model_card}


@pytest.fixture(scope="module")
def version(full_checkpoint: Checkpoint, full_indices: Indices, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The version of the unchanged model."""
    target = tmp_path_factory.mktemp("unchanged") / "artifact"
    pack(full_checkpoint, full_indices, target, "demo")
    return open_artifact(target).manifest.model.version


# The shares are in no file of their own, and all change answers.
@pytest.mark.parametrize(
    "change",
    [
        lambda checkpoint: {"label_counts": checkpoint.label_counts + 1},
        lambda checkpoint: {"shares": replace(checkpoint.shares, alpha=checkpoint.shares.alpha / 2)},
        lambda checkpoint: {"shares": replace(checkpoint.shares, beta=checkpoint.shares.beta / 2)},
        lambda checkpoint: {"shares": replace(checkpoint.shares, gamma=checkpoint.shares.gamma / 2)},
        lambda checkpoint: {"shares": replace(checkpoint.shares, delta=checkpoint.shares.delta / 2)},
    ],
    ids=["label_counts", "alpha", "beta", "gamma", "delta"],
)
def test_another_model_has_another_version(
    full_checkpoint: Checkpoint,
    full_indices: Indices,
    version: str,
    tmp_path: Path,
    change: Callable[[Checkpoint], dict[str, Any]],
) -> None:
    pack(replace(full_checkpoint, **change(full_checkpoint)), full_indices, tmp_path / "other", "demo")
    assert open_artifact(tmp_path / "other").manifest.model.version != version


# Neither is how an index is searched.
@pytest.mark.parametrize(
    "change",
    [
        lambda plan: replace(plan, neighbours=plan.neighbours + 1),
        lambda plan: replace(plan, params=replace(plan.params, ef_search=plan.params.ef_search + 1)),
    ],
    ids=["neighbours", "ef_search"],
)
def test_another_way_to_search_has_another_version(
    full_checkpoint: Checkpoint,
    full_indices: Indices,
    version: str,
    tmp_path: Path,
    change: Callable[[IndexPlan], IndexPlan],
) -> None:
    assert full_indices.plan.points is not None
    plan = replace(full_indices.plan, points=change(full_indices.plan.points))
    pack(full_checkpoint, replace(full_indices, plan=plan), tmp_path / "other", "demo")
    assert open_artifact(tmp_path / "other").manifest.model.version != version


def test_an_existing_target_is_refused_and_left_alone(
    full_checkpoint: Checkpoint, full_indices: Indices, tmp_path: Path
) -> None:
    (tmp_path / "kept").write_text("precious")
    with pytest.raises(FileExistsError, match="exists already; choose another path, or remove it first"):
        pack(full_checkpoint, full_indices, tmp_path, "demo")
    assert (tmp_path / "kept").read_text() == "precious"


def test_what_does_not_verify_is_not_published(
    full_checkpoint: Checkpoint, full_indices: Indices, tmp_path: Path
) -> None:
    doubled = replace(full_checkpoint.model, residuals=full_checkpoint.model.residuals * 2)
    with pytest.raises(VerificationError, match="Nothing was published"):
        pack(replace(full_checkpoint, model=doubled), full_indices, tmp_path / "artifact", "demo")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reranker": None}, r"scoring\.beta is 0\.3, but there is no re-ranker"),
        ({"sparse": None}, r"gamma is 0\.25, but there is no sparse term"),
        ({"shares": Shares(0.6, 0.3, 0.9, 0.15)}, r"gamma 0\.9 and delta 0\.15 are more than 1 together"),
    ],
)
def test_a_share_that_no_part_can_have_is_not_published(
    full_checkpoint: Checkpoint, full_indices: Indices, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        pack(replace(full_checkpoint, **change), full_indices, tmp_path / "artifact", "demo")
    assert list(tmp_path.iterdir()) == []


def test_votes_that_no_point_can_cast_are_not_published(
    full_checkpoint: Checkpoint, build_indices: Callable[..., Indices], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"scoring\.delta is 0\.15, but there are no points to vote"):
        pack(full_checkpoint, build_indices(full_checkpoint, kind="centroids"), tmp_path / "artifact", "demo")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("part", ["embeddings", "classifier"])
def test_weights_that_int8_cannot_hold_are_not_published(
    full_checkpoint: Checkpoint, full_indices: Indices, tmp_path: Path, part: str
) -> None:
    weights = getattr(full_checkpoint.model, part).copy()
    weights[3, 3] = np.nan
    spoilt = replace(full_checkpoint, model=replace(full_checkpoint.model, **{part: weights}))
    with pytest.raises(ValueError, match="NaN or infinity, which int8 cannot; export with --weights float32"):
        pack(spoilt, full_indices, tmp_path / "artifact", "demo", PackOptions(weights="int8"))
    assert list(tmp_path.iterdir()) == []


def test_parts_that_do_not_fit_are_not_published(
    full_checkpoint: Checkpoint, full_indices: Indices, tmp_path: Path
) -> None:
    strays = full_checkpoint.centroid_labels.copy()
    strays[-1] = len(full_checkpoint.labels)
    with pytest.raises(ArtifactError, match=FILES.centroid_labels):
        pack(replace(full_checkpoint, centroid_labels=strays), full_indices, tmp_path / "artifact", "demo")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "version", "field"), [("x" * 129, None, "name"), ("demo", "y" * 129, "version")])
def test_an_identity_too_long_is_named(
    full_checkpoint: Checkpoint, full_indices: Indices, tmp_path: Path, name: str, version: str | None, field: str
) -> None:
    with pytest.raises(ValueError, match=f"{field} has 129 characters, the limit is 128"):
        pack(full_checkpoint, full_indices, tmp_path / "artifact", name, PackOptions(version))
    assert list(tmp_path.iterdir()) == []
