"""From a checkpoint to a verified artifact."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import numpy as np

from export.artifact.featurizer import Featurizer
from export.artifact.manifest import (
    FORMAT_VERSION,
    MAX_IDENTITY_CHARS,
    Dimensions,
    FeaturizerIdentity,
    FileRecord,
    Manifest,
    ModelIdentity,
    Scoring,
)
from export.artifact.store import FILES, write_artifact
from export.checkpoint import Checkpoint, describe_index
from export.model_card import render_model_card
from export.onnx_encoder import write_encoder
from export.verify import VerificationReport, verify_files_against

_VERSION_DIGITS = 12


def pack(checkpoint: Checkpoint, target: Path, name: str, version: str | None) -> VerificationReport:
    """Write `checkpoint` as the artifact `target`; it is published only if it passes verification.

    Args:
        checkpoint: a finished run.
        target: must not exist.
        name: of the model, in every response.
        version: of the model; None takes the first digits of a hash over all that changes answers: equal models, equal
            versions.

    Raises:
        ValueError: `name` or `version` is too long.
        FileExistsError: `target` exists.
        VerificationError: the artifact does not do what the run did.
        ArtifactError: the run's parts do not fit one another.
    """
    for field, value in (("name", name), ("version", version or "")):
        if len(value) > MAX_IDENTITY_CHARS:
            raise ValueError(
                f"the model's {field} has {len(value)} characters, the limit is {MAX_IDENTITY_CHARS}; "
                f"choose another with --{field}"
            )

    def describe(files: dict[str, FileRecord]) -> Manifest:
        return _describe(
            checkpoint, files, ModelIdentity(name=name, version=version or _content_version(checkpoint, files))
        )

    with write_artifact(target, describe) as folder:
        _write_files(checkpoint, folder, name)
        return verify_files_against(checkpoint, folder)


def _write_files(checkpoint: Checkpoint, folder: Path, name: str) -> None:
    model = checkpoint.model
    checkpoint.featurizer.save(folder)
    checkpoint.labels.save(folder, FILES.labels)
    write_encoder(folder / FILES.encoder, FILES.encoder_weights, model, checkpoint.reranker)
    np.save(folder / FILES.label_counts, checkpoint.label_counts)
    np.save(folder / FILES.classifier, np.ascontiguousarray(model.classifier))
    np.save(folder / FILES.classifier_bias, np.ascontiguousarray(model.bias))
    if checkpoint.reranker is not None:
        np.save(folder / FILES.reranker, np.ascontiguousarray(checkpoint.reranker.classifier))
        np.save(folder / FILES.reranker_bias, np.ascontiguousarray(checkpoint.reranker.bias))
    checkpoint.centroids.save(folder / FILES.centroids)
    np.save(folder / FILES.centroid_labels, checkpoint.centroid_labels)
    checkpoint.points.save(folder / FILES.points)
    np.save(folder / FILES.point_labels_indptr, checkpoint.point_labels.indptr)
    np.save(folder / FILES.point_labels_indices, checkpoint.point_labels.indices)
    if checkpoint.sparse is not None:
        np.save(folder / FILES.sparse_indptr, checkpoint.sparse.indptr)
        np.save(folder / FILES.sparse_indices, checkpoint.sparse.indices)
        np.save(folder / FILES.sparse_values, checkpoint.sparse.values)
        np.save(folder / FILES.sparse_bias, checkpoint.sparse.bias)
        np.save(folder / FILES.sparse_head, checkpoint.sparse.head)
        np.save(folder / FILES.sparse_posting_indptr, checkpoint.sparse.posting_indptr)
        np.save(folder / FILES.sparse_posting_heads, checkpoint.sparse.posting_heads)
        np.save(folder / FILES.sparse_posting_values, checkpoint.sparse.posting_values)
    (folder / FILES.model_card).write_text(render_model_card(checkpoint, name))


def _describe(checkpoint: Checkpoint, files: dict[str, FileRecord], identity: ModelIdentity) -> Manifest:
    featurizer: Featurizer = checkpoint.featurizer
    model, reranker = checkpoint.model, checkpoint.reranker
    return Manifest(
        format_version=FORMAT_VERSION,
        model=identity,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        dimensions=Dimensions(
            num_features=featurizer.num_features,
            dim=model.embeddings.shape[1],
            learners=len(model.residuals),
            reranker_dim=0 if reranker is None else reranker.embeddings.shape[1],
            num_labels=len(checkpoint.labels),
            num_representatives=checkpoint.centroids.count,
            num_points=checkpoint.points.count,
            num_texts=checkpoint.num_texts,
        ),
        featurizer=FeaturizerIdentity(kind=featurizer.kind, vocabulary_sha256=featurizer.vocabulary_sha256()),
        centroids=describe_index(checkpoint.centroids, checkpoint.centroid_neighbours),
        points=describe_index(checkpoint.points, checkpoint.point_neighbours),
        scoring=Scoring(
            alpha=checkpoint.alpha,
            beta=checkpoint.beta,
            gamma=checkpoint.gamma,
            delta=checkpoint.delta,
            sparse_weights=0 if checkpoint.sparse is None else checkpoint.sparse.num_weights,
        ),
        metrics=checkpoint.metrics,
        training=checkpoint.training,
        files=files,
    )


def _content_version(checkpoint: Checkpoint, files: dict[str, FileRecord]) -> str:
    # The card tells the name and how long training took: words about a model, not the model.
    hashes = {name: record.sha256 for name, record in sorted(files.items()) if name != FILES.model_card}
    indices = [
        describe_index(checkpoint.centroids, checkpoint.centroid_neighbours).model_dump(),
        describe_index(checkpoint.points, checkpoint.point_neighbours).model_dump(),
    ]
    mix = [checkpoint.alpha, checkpoint.beta, checkpoint.gamma, checkpoint.delta]
    content = json.dumps([hashes, indices, mix])
    return sha256(content.encode()).hexdigest()[:_VERSION_DIGITS]
