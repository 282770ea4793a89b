"""From a checkpoint to a verified artifact."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from astec.export.artifact.encoder.embeddings import EMBEDDINGS_STEM, RERANKER_EMBEDDINGS_STEM, Embeddings
from astec.export.artifact.encoder.head import Head
from astec.export.artifact.labels.label_counts import save_label_counts
from astec.export.artifact.labels.metadata import LabelMetadata
from astec.export.artifact.labels.text_table import TextTable, text_files
from astec.export.artifact.manifest import (
    FORMAT_VERSION,
    MAX_IDENTITY_CHARS,
    Calibration,
    Dimensions,
    FeaturizerIdentity,
    FileRecord,
    GraphDescription,
    IndexDescription,
    LabelColumn,
    Manifest,
    ModelIdentity,
    Scoring,
    Weights,
)
from astec.export.artifact.scoring.dense import CLASSIFIER_STEM, RERANKER_STEM, DenseClassifier
from astec.export.artifact.shortlist.label_graph import CENTROIDS_FILE, POINT_LABELS_FILES, POINTS_FILE
from astec.export.artifact.shortlist.representatives import Representatives, save_centroid_labels
from astec.export.artifact.store import ENCODER_FILE, LABELS_STEM, POINT_TEXTS_STEM, write_artifact
from astec.export.artifact.text.featurizer import Featurizer
from astec.export.artifact.text.pieces import TOKENIZER_FILE
from astec.export.calibration.fit import CalibrationFit
from astec.export.model.checkpoint import Checkpoint
from astec.export.model.encoder_graph import write_encoder
from astec.export.packing.model_card import MODEL_CARD_FILE, render_model_card
from astec.export.packing.verify import VerificationReport, verify_files_against
from astec.export.search.indices import Indices
from astec.export.search.plan import IndexPlan, ShortlistPlan
from astec.export.search.tradeoff import Trial

_VERSION_DIGITS = 12


def pack(
    checkpoint: Checkpoint,
    indices: Indices,
    target: Path,
    name: str,
    version: str | None = None,
    weights: Weights = "float32",
    trials: Sequence[Trial] = (),
    fit: CalibrationFit | None = None,
    *,
    label_metadata: LabelMetadata | None = None,
    training_texts: bool = False,
) -> VerificationReport:
    """Write `checkpoint` as the artifact `target`; it is published only if it passes verification.

    Args:
        checkpoint: a finished run.
        indices: over its vectors.
        target: must not exist.
        name: of the model, in every response.
        version: of the model; None takes the first digits of a hash over all that changes answers: equal models, equal
            versions.
        weights: of embeddings, classifiers and representatives; int8 takes a quarter of the memory.
        trials: what the plan of the indices was chosen from, for the model card.
        fit: how likely a label with a score is right; None: the artifact does not know.
        training_texts: whether the artifact carries the texts of the training points, for explanations to quote.
        label_metadata: what labels can be filtered by, of the checkpoint's labels.

    Raises:
        ValueError: `name` or `version` is too long, or there are no texts to carry, or no index over their points.
        FileExistsError: `target` exists.
        VerificationError: the artifact does not do what the run did.
        ArtifactError: the run's parts do not fit one another.
    """
    require_identity(name, version)
    if training_texts:
        require_point_texts(checkpoint)
        if indices.points is None:
            raise ValueError(f"a shortlist of {indices.plan.kind} has no training points whose texts it could carry")

    def describe(files: dict[str, FileRecord]) -> Manifest:
        plan = indices.plan
        calibration = None if fit is None else fit.calibration
        columns = [] if label_metadata is None else list(label_metadata.columns)
        own = version or _content_version(checkpoint, plan, calibration, files, columns)
        identity = ModelIdentity(name=name, version=own)
        parts = calibration, weights, files, identity, columns
        return _describe(checkpoint, plan, *parts, training_texts=training_texts)

    with write_artifact(target, describe) as folder:
        _write_files(checkpoint, indices, weights, folder)
        if label_metadata is not None:
            label_metadata.save(folder)
        if training_texts:
            require_point_texts(checkpoint).save(folder, POINT_TEXTS_STEM)
        (folder / MODEL_CARD_FILE).write_text(render_model_card(checkpoint, name, trials, fit))
        return verify_files_against(checkpoint, indices, folder)


def require_identity(name: str, version: str | None) -> None:
    """Raises ValueError where a model cannot be called so."""
    for field, value in (("name", name), ("version", version or "")):
        if len(value) > MAX_IDENTITY_CHARS:
            raise ValueError(
                f"the model's {field} has {len(value)} characters, the limit is {MAX_IDENTITY_CHARS}; "
                f"choose another with --{field}"
            )


def require_point_texts(checkpoint: Checkpoint) -> TextTable:
    """The texts of the training points.

    Raises:
        ValueError: the run has none.
    """
    if checkpoint.point_texts is None:
        raise ValueError(
            "the run holds no training texts: it learnt from feature ids, or is from before runs kept them; train "
            "again, or export without --training-texts"
        )
    return checkpoint.point_texts


def _write_files(checkpoint: Checkpoint, indices: Indices, weights: Weights, folder: Path) -> None:
    """Ask every part of the model to write its files."""
    model, reranker, int8 = checkpoint.model, checkpoint.reranker, weights == "int8"
    checkpoint.featurizer.save(folder)
    checkpoint.labels.save(folder, LABELS_STEM)
    if model.front.tokenizer is not None:
        (folder / TOKENIZER_FILE).write_bytes(model.front.tokenizer)
    write_encoder(folder / ENCODER_FILE, model, reranker, indices.projection)
    if _has_head(checkpoint):
        Head.of(model.residuals, indices.projection).save(folder)
    Embeddings.of(model.embeddings, int8=int8).save(folder, EMBEDDINGS_STEM)
    save_label_counts(folder, checkpoint.label_counts)
    DenseClassifier.of(model.classifier, model.bias, int8=int8).save(folder, CLASSIFIER_STEM)
    if reranker is not None:  # never in int8
        Embeddings.of(reranker.embeddings).save(folder, RERANKER_EMBEDDINGS_STEM)
        DenseClassifier.of(reranker.classifier, reranker.bias).save(folder, RERANKER_STEM)
    _write_shortlister(checkpoint, indices, folder, int8=int8)
    if checkpoint.sparse is not None:
        checkpoint.sparse.save(folder)


def _write_shortlister(checkpoint: Checkpoint, indices: Indices, folder: Path, *, int8: bool) -> None:
    vectors, labels, measured = checkpoint.centroids, checkpoint.centroid_labels, checkpoint.shares().similarity > 0
    if indices.centroids is not None or measured:
        save_centroid_labels(folder, labels)
    if measured:
        Representatives.of(vectors, labels, len(checkpoint.labels), int8=int8).save(folder)
    if indices.centroids is not None:
        indices.centroids.save(folder / CENTROIDS_FILE)
    if indices.points is not None:
        indices.points.save(folder / POINTS_FILE)
        checkpoint.point_labels.save(folder, POINT_LABELS_FILES)


def _has_head(checkpoint: Checkpoint) -> bool:
    """Whether all that the graph does after the bag is what `Head` does."""
    return checkpoint.model.front.is_bag_of_embeddings and checkpoint.reranker is None


def _describe(
    checkpoint: Checkpoint,
    plan: ShortlistPlan,
    calibration: Calibration | None,
    weights: Weights,
    files: dict[str, FileRecord],
    identity: ModelIdentity,
    label_columns: list[LabelColumn],
    *,
    training_texts: bool,
) -> Manifest:
    featurizer: Featurizer = checkpoint.featurizer
    model, reranker = checkpoint.model, checkpoint.reranker
    return Manifest(
        format_version=FORMAT_VERSION,
        model=identity,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        dimensions=Dimensions(
            num_features=featurizer.num_features,
            dim=model.dim,
            shortlist_dim=plan.dim,
            learners=len(model.residuals),
            reranker_dim=0 if reranker is None else reranker.dim,
            num_labels=len(checkpoint.labels),
            num_representatives=len(checkpoint.centroids),
            num_points=len(checkpoint.points),
            num_texts=checkpoint.num_texts,
        ),
        featurizer=FeaturizerIdentity(kind=featurizer.kind, vocabulary_sha256=featurizer.vocabulary_sha256()),
        centroids=_describe_index(plan.centroids),
        points=_describe_index(plan.points),
        max_candidates=plan.max_candidates,
        weights=weights,
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
        calibration=calibration,
        encoder=model.front.description,
        training_texts=training_texts,
        label_metadata=label_columns,
        head=_has_head(checkpoint),
    )


def _describe_index(plan: IndexPlan | None) -> IndexDescription | None:
    if plan is None:
        return None
    return IndexDescription(backend=plan.backend, graph=GraphDescription.of(plan.params), neighbours=plan.neighbours)


def _content_version(
    checkpoint: Checkpoint,
    plan: ShortlistPlan,
    calibration: Calibration | None,
    files: dict[str, FileRecord],
    label_columns: list[LabelColumn],
) -> str:
    # The card tells the name and how long training took: words about a model, not the model. Nor are quoted texts.
    without = (MODEL_CARD_FILE, *text_files(POINT_TEXTS_STEM))
    hashes = {name: record.sha256 for name, record in sorted(files.items()) if name not in without}
    mix = [checkpoint.alpha, checkpoint.beta, checkpoint.gamma, checkpoint.delta]
    parts: list[object] = [hashes, asdict(plan), mix]
    if calibration is not None:
        parts.append(calibration.model_dump())
    if label_columns:
        parts.append([column.model_dump() for column in label_columns])
    content = json.dumps(parts)
    return sha256(content.encode()).hexdigest()[:_VERSION_DIGITS]
