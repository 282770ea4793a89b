"""The manifest of a packed run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import sha256

from astec.export.artifact.encoder.head import HEAD_RESIDUAL_FILE
from astec.export.artifact.labels.text_table import text_files
from astec.export.artifact.manifest import (
    FORMAT_VERSION,
    Dimensions,
    FeaturizerIdentity,
    FileRecord,
    GraphDescription,
    IndexDescription,
    LabelTextFit,
    Manifest,
    ModelIdentity,
    Scoring,
)
from astec.export.artifact.shortlist.label_graph import POINT_LABELS_FILES
from astec.export.artifact.signals.histograms import SIGNALS_FILE
from astec.export.artifact.store import POINT_TEXTS_STEM
from astec.export.model.checkpoint import Checkpoint
from astec.export.packing.model_card import MODEL_CARD_FILE
from astec.export.packing.options import PackOptions
from astec.export.search.plan import IndexPlan, ShortlistPlan

_VERSION_DIGITS = 12


def describe(
    checkpoint: Checkpoint,
    plan: ShortlistPlan,
    name: str,
    options: PackOptions,
    label_text_fit: LabelTextFit | None,
    files: dict[str, FileRecord],
) -> Manifest:
    """Make the manifest of an artifact.

    Args:
        checkpoint: the packed run.
        plan: of its indices.
        name: of the model.
        options: that it was packed with.
        label_text_fit: what labels can be added by later; None: none can be added.
        files: size and hash of each written file, by name.
    """
    metadata, fit = options.label_metadata, options.fit
    version = options.version or _content_version(checkpoint, plan, options, files)
    return Manifest(
        format_version=FORMAT_VERSION,
        model=ModelIdentity(name=name, version=version),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        dimensions=_dimensions(checkpoint, plan),
        featurizer=FeaturizerIdentity(
            kind=checkpoint.featurizer.kind, vocabulary_sha256=checkpoint.featurizer.vocabulary_sha256()
        ),
        centroids=_describe_index(plan.centroids),
        points=_describe_index(plan.points),
        max_candidates=plan.max_candidates,
        weights=options.weights,
        scoring=Scoring(
            **asdict(checkpoint.shares),
            sparse_weights=0 if checkpoint.sparse is None else checkpoint.sparse.num_weights,
        ),
        metrics=checkpoint.metrics,
        training=checkpoint.training,
        files=files,
        calibration=None if fit is None else fit.calibration,
        encoder=checkpoint.model.front.description,
        training_texts=options.training_texts,
        label_metadata=[] if metadata is None else list(metadata.columns),
        head=HEAD_RESIDUAL_FILE in files,
        point_weights=POINT_LABELS_FILES.weights in files,
        label_text_fit=label_text_fit,
        shard=None if options.shard is None else options.shard.description,
    )


def _dimensions(checkpoint: Checkpoint, plan: ShortlistPlan) -> Dimensions:
    return Dimensions(
        num_features=checkpoint.featurizer.num_features,
        dim=checkpoint.model.dim,
        shortlist_dim=plan.dim,
        learners=len(checkpoint.model.residuals),
        reranker_dim=0 if checkpoint.reranker is None else checkpoint.reranker.dim,
        num_labels=len(checkpoint.labels),
        num_representatives=len(checkpoint.centroids),
        num_points=len(checkpoint.points),
        num_texts=checkpoint.num_texts,
    )


def _describe_index(plan: IndexPlan | None) -> IndexDescription | None:
    if plan is None:
        return None
    return IndexDescription(backend=plan.backend, graph=GraphDescription.of(plan.params), neighbours=plan.neighbours)


def _content_version(
    checkpoint: Checkpoint, plan: ShortlistPlan, options: PackOptions, files: Mapping[str, FileRecord]
) -> str:
    """Return the first digits of a hash over everything that changes answers."""
    # The model card holds the name and the training time, which change no answer. Neither do quoted texts and signals.
    without = (MODEL_CARD_FILE, SIGNALS_FILE, *text_files(POINT_TEXTS_STEM))
    hashes = {name: record.sha256 for name, record in sorted(files.items()) if name not in without}
    shares = checkpoint.shares
    parts: list[object] = [hashes, asdict(plan), [shares.alpha, shares.beta, shares.gamma, shares.delta]]
    if shares.logistic is not None:
        parts.append(shares.logistic.model_dump())
    if options.fit is not None:
        parts.append(options.fit.calibration.model_dump())
    if options.label_metadata is not None and options.label_metadata.columns:
        parts.append([column.model_dump() for column in options.label_metadata.columns])
    content = json.dumps(parts)
    return sha256(content.encode()).hexdigest()[:_VERSION_DIGITS]
