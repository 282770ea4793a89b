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


def test_the_artifact_is_the_run(demo_checkpoint: Checkpoint, tmp_path: Path) -> None:
    report = pack(demo_checkpoint, tmp_path / "artifact", "shoes", "v7")
    artifact = open_artifact(tmp_path / "artifact")
    assert (artifact.manifest.model.name, artifact.manifest.model.version) == ("shoes", "v7")
    scoring = artifact.manifest.scoring
    assert (scoring.alpha, scoring.gamma) == (demo_checkpoint.alpha, demo_checkpoint.gamma)
    assert artifact.manifest.metrics == demo_checkpoint.metrics
    assert np.array_equal(artifact.classifier, demo_checkpoint.model.classifier)
    assert np.array_equal(artifact.bias, demo_checkpoint.model.bias)
    assert np.array_equal(artifact.label_counts, demo_checkpoint.label_counts)
    assert artifact.labels == demo_checkpoint.labels
    assert artifact.sparse is not None
    assert demo_checkpoint.sparse is not None
    for field in fields(SparseClassifier):
        assert np.array_equal(getattr(artifact.sparse, field.name), getattr(demo_checkpoint.sparse, field.name))
    assert report.texts == len(demo_checkpoint.reference.v)
    assert report.encoder_error <= ENCODER_TOLERANCE
    assert report.logit_error <= LOGIT_TOLERANCE
    card = (tmp_path / "artifact" / FILES.model_card).read_text()
    assert card.startswith("# shoes\n")
    assert f"P@1 | {demo_checkpoint.metrics['P@1']:.2f}" in card


def test_equal_models_have_equal_versions_whatever_their_name(demo_checkpoint: Checkpoint, tmp_path: Path) -> None:
    manifests = []
    for name in ("one", "two"):
        pack(demo_checkpoint, tmp_path / name, name, None)
        manifests.append(open_artifact(tmp_path / name).manifest)
    assert manifests[0].model.version == manifests[1].model.version
    assert {manifest.model.name for manifest in manifests} == {"one", "two"}
    differing = {name for name in manifests[0].files if manifests[0].files[name] != manifests[1].files[name]}
    assert differing == {FILES.model_card}


# Neither alpha and gamma nor the number of neighbours is in a file of its own, and all change answers.
@pytest.mark.parametrize(
    "change",
    [
        lambda checkpoint: {"label_counts": checkpoint.label_counts + 1},
        lambda checkpoint: {"alpha": (checkpoint.alpha + 0.05) / 2},
        lambda checkpoint: {"gamma": (checkpoint.gamma + 0.05) / 2},
        lambda checkpoint: {"point_neighbours": checkpoint.point_neighbours + 1},
    ],
    ids=["label_counts", "alpha", "gamma", "neighbours"],
)
def test_another_model_has_another_version(
    demo_checkpoint: Checkpoint,
    demo_artifact: Path,
    tmp_path: Path,
    change: Callable[[Checkpoint], dict[str, Any]],
) -> None:
    pack(replace(demo_checkpoint, **change(demo_checkpoint)), tmp_path / "other", "demo", None)
    versions = [open_artifact(path).manifest.model.version for path in (demo_artifact, tmp_path / "other")]
    assert versions[0] != versions[1]


def test_an_existing_target_is_refused_and_left_alone(demo_checkpoint: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("precious")
    with pytest.raises(FileExistsError, match="exists already; choose another path, or remove it first"):
        pack(demo_checkpoint, tmp_path, "demo", None)
    assert (tmp_path / "kept").read_text() == "precious"


def test_what_does_not_verify_is_not_published(demo_checkpoint: Checkpoint, tmp_path: Path) -> None:
    doubled = replace(demo_checkpoint.model, residual=demo_checkpoint.model.residual * 2)
    with pytest.raises(VerificationError, match="Nothing was published"):
        pack(replace(demo_checkpoint, model=doubled), tmp_path / "artifact", "demo", None)
    assert list(tmp_path.iterdir()) == []


def test_parts_that_do_not_fit_are_not_published(demo_checkpoint: Checkpoint, tmp_path: Path) -> None:
    strays = demo_checkpoint.centroid_labels.copy()
    strays[-1] = len(demo_checkpoint.labels)
    with pytest.raises(ArtifactError, match=FILES.centroid_labels):
        pack(replace(demo_checkpoint, centroid_labels=strays), tmp_path / "artifact", "demo", None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "version", "field"), [("x" * 129, None, "name"), ("demo", "y" * 129, "version")])
def test_an_identity_too_long_is_named(
    demo_checkpoint: Checkpoint, tmp_path: Path, name: str, version: str | None, field: str
) -> None:
    with pytest.raises(ValueError, match=f"{field} has 129 characters, the limit is 128"):
        pack(demo_checkpoint, tmp_path / "artifact", name, version)
    assert list(tmp_path.iterdir()) == []
