"""From a checkpoint to an artifact: verified, whole, and named by its content."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.artifact.sparse import SparseClassifier
from export.artifact.store import FILES, ArtifactError, open_artifact
from export.checkpoint import Checkpoint
from export.pack import pack
from export.verify import ENCODER_TOLERANCE, LOGIT_TOLERANCE, VerificationError


def test_the_artifact_is_the_run(full_checkpoint: Checkpoint, tmp_path: Path) -> None:
    report = pack(full_checkpoint, tmp_path / "artifact", "shoes", "v7")
    artifact = open_artifact(tmp_path / "artifact")
    assert (artifact.manifest.model.name, artifact.manifest.model.version) == ("shoes", "v7")
    scoring = artifact.manifest.scoring
    for share in ("alpha", "beta", "gamma", "delta"):
        assert getattr(scoring, share) == getattr(full_checkpoint, share) > 0
    sizes = artifact.manifest.dimensions
    assert (sizes.learners, sizes.dim) == (3, full_checkpoint.model.embeddings.shape[1])
    assert artifact.manifest.metrics == full_checkpoint.metrics
    assert np.array_equal(artifact.classifier, full_checkpoint.model.classifier)
    assert np.array_equal(artifact.bias, full_checkpoint.model.bias)
    assert full_checkpoint.reranker is not None
    assert sizes.reranker_dim == full_checkpoint.reranker.embeddings.shape[1]
    assert np.array_equal(artifact.reranker, full_checkpoint.reranker.classifier)
    assert np.array_equal(artifact.reranker_bias, full_checkpoint.reranker.bias)
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


def test_a_model_of_one_learner_and_no_other_part(make_checkpoint: Callable[..., Checkpoint], tmp_path: Path) -> None:
    pack(make_checkpoint(parts=False), tmp_path / "artifact", "demo", None)
    artifact = open_artifact(tmp_path / "artifact")
    sizes = artifact.manifest.dimensions
    assert (sizes.learners, sizes.reranker_dim) == (1, 0)
    assert (artifact.reranker, artifact.reranker_bias, artifact.sparse) == (None, None, None)
    assert [name for name in artifact.manifest.files if name.startswith(("reranker", "sparse"))] == []
    card = (tmp_path / "artifact" / FILES.model_card).read_text()
    assert "| classifiers over an encoder of 16 dimensions | 60.0 |" in card
    assert "re-ranker" not in card


def test_equal_models_have_equal_versions_whatever_their_name(full_checkpoint: Checkpoint, tmp_path: Path) -> None:
    manifests = []
    for name in ("one", "two"):
        pack(full_checkpoint, tmp_path / name, name, None)
        manifests.append(open_artifact(tmp_path / name).manifest)
    assert manifests[0].model.version == manifests[1].model.version
    assert {manifest.model.name for manifest in manifests} == {"one", "two"}
    differing = {name for name in manifests[0].files if manifests[0].files[name] != manifests[1].files[name]}
    assert differing == {FILES.model_card}


# Neither the shares nor the number of neighbours is in a file of its own, and all change answers.
@pytest.mark.parametrize(
    "change",
    [
        lambda checkpoint: {"label_counts": checkpoint.label_counts + 1},
        lambda checkpoint: {"alpha": checkpoint.alpha / 2},
        lambda checkpoint: {"beta": checkpoint.beta / 2},
        lambda checkpoint: {"gamma": checkpoint.gamma / 2},
        lambda checkpoint: {"delta": checkpoint.delta / 2},
        lambda checkpoint: {"point_neighbours": checkpoint.point_neighbours + 1},
    ],
    ids=["label_counts", "alpha", "beta", "gamma", "delta", "neighbours"],
)
def test_another_model_has_another_version(
    full_checkpoint: Checkpoint,
    full_artifact: Path,
    tmp_path: Path,
    change: Callable[[Checkpoint], dict[str, Any]],
) -> None:
    pack(replace(full_checkpoint, **change(full_checkpoint)), tmp_path / "other", "demo", None)
    versions = [open_artifact(path).manifest.model.version for path in (full_artifact, tmp_path / "other")]
    assert versions[0] != versions[1]


def test_an_existing_target_is_refused_and_left_alone(full_checkpoint: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("precious")
    with pytest.raises(FileExistsError, match="exists already; choose another path, or remove it first"):
        pack(full_checkpoint, tmp_path, "demo", None)
    assert (tmp_path / "kept").read_text() == "precious"


def test_what_does_not_verify_is_not_published(full_checkpoint: Checkpoint, tmp_path: Path) -> None:
    doubled = replace(full_checkpoint.model, residuals=full_checkpoint.model.residuals * 2)
    with pytest.raises(VerificationError, match="Nothing was published"):
        pack(replace(full_checkpoint, model=doubled), tmp_path / "artifact", "demo", None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reranker": None}, r"scoring\.beta is 0\.3, but there is no re-ranker"),
        ({"sparse": None}, r"gamma is 0\.25, but there is no sparse term"),
        ({"gamma": 0.9}, r"gamma 0\.9 and delta 0\.15 are more than 1 together"),
    ],
)
def test_a_share_that_no_part_can_have_is_not_published(
    full_checkpoint: Checkpoint, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        pack(replace(full_checkpoint, **change), tmp_path / "artifact", "demo", None)
    assert list(tmp_path.iterdir()) == []


def test_parts_that_do_not_fit_are_not_published(full_checkpoint: Checkpoint, tmp_path: Path) -> None:
    strays = full_checkpoint.centroid_labels.copy()
    strays[-1] = len(full_checkpoint.labels)
    with pytest.raises(ArtifactError, match=FILES.centroid_labels):
        pack(replace(full_checkpoint, centroid_labels=strays), tmp_path / "artifact", "demo", None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "version", "field"), [("x" * 129, None, "name"), ("demo", "y" * 129, "version")])
def test_an_identity_too_long_is_named(
    full_checkpoint: Checkpoint, tmp_path: Path, name: str, version: str | None, field: str
) -> None:
    with pytest.raises(ValueError, match=f"{field} has 129 characters, the limit is 128"):
        pack(full_checkpoint, tmp_path / "artifact", name, version)
    assert list(tmp_path.iterdir()) == []
