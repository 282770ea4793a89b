"""From a checkpoint to a verified artifact."""

from __future__ import annotations

from pathlib import Path

from astec.export.artifact.encoder.embeddings import EMBEDDINGS_STEM, RERANKER_EMBEDDINGS_STEM, Embeddings
from astec.export.artifact.encoder.head import Head
from astec.export.artifact.labels.label_counts import save_label_counts
from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.manifest import MAX_IDENTITY_CHARS, FileRecord, Manifest
from astec.export.artifact.scoring.dense import CLASSIFIER_STEM, RERANKER_STEM, DenseClassifier
from astec.export.artifact.shortlist.label_graph import CENTROIDS_FILE, POINT_LABELS_FILES, POINTS_FILE
from astec.export.artifact.shortlist.representatives import Representatives, save_centroid_labels
from astec.export.artifact.signals.histograms import save_histograms
from astec.export.artifact.store import ENCODER_FILE, LABELS_STEM, POINT_TEXTS_STEM, write_artifact
from astec.export.artifact.text.pieces import TOKENIZER_FILE
from astec.export.model.checkpoint import Checkpoint
from astec.export.model.encoder_graph import write_encoder
from astec.export.packing.added_labels import fit_label_texts
from astec.export.packing.description import describe
from astec.export.packing.model_card import MODEL_CARD_FILE, render_model_card
from astec.export.packing.options import PackOptions
from astec.export.packing.verify import VerificationReport, verify_files_against
from astec.export.search.indices import Indices

_DEFAULTS = PackOptions()


def pack(
    checkpoint: Checkpoint, indices: Indices, target: Path, name: str, options: PackOptions = _DEFAULTS
) -> VerificationReport:
    """Write `checkpoint` as the artifact `target`, which is published only if it passes verification.

    Args:
        checkpoint: a finished run.
        indices: over the checkpoint's vectors.
        target: the path of the artifact; must not exist.
        name: of the model, which every response has.
        options: version, type of weights and optional parts.

    Raises:
        ValueError: the name or version is too long, or training texts are wanted and the run has none or the plan has
            no index over training points.
        FileExistsError: `target` exists.
        VerificationError: the artifact does not reproduce the run's outputs.
        ArtifactError: the run's parts do not fit one another.
    """
    require_identity(name, options.version)
    if options.training_texts:
        require_point_texts(checkpoint)
        if indices.points is None:
            raise ValueError(f"a shortlist of {indices.plan.kind} has no training points whose texts it could carry")

    # A shard cannot be updated: it would be of another model than the other shards.
    label_text_fit = None if options.shard is not None else fit_label_texts(checkpoint)

    def manifest_of(files: dict[str, FileRecord]) -> Manifest:
        return describe(checkpoint, indices.plan, name, options, label_text_fit, files)

    with write_artifact(target, manifest_of) as folder:
        _write_parts(checkpoint, indices, folder, int8=options.weights == "int8")
        if options.label_metadata is not None:
            options.label_metadata.save(folder)
        if options.training_texts:
            require_point_texts(checkpoint).save(folder, POINT_TEXTS_STEM)
        if options.signals:
            save_histograms(folder, options.signals)
        if options.shard is not None:
            options.shard.ids.save(folder)
        card = render_model_card(checkpoint, name, options.trials, options.fresh_loss, options.fit)
        (folder / MODEL_CARD_FILE).write_text(card)
        return verify_files_against(checkpoint, indices, folder)


def require_identity(name: str, version: str | None) -> None:
    """Raise ValueError if a model's name or version is too long."""
    for field, value in (("name", name), ("version", version or "")):
        if len(value) > MAX_IDENTITY_CHARS:
            raise ValueError(
                f"the model's {field} has {len(value)} characters, the limit is {MAX_IDENTITY_CHARS}; "
                f"choose another with --{field}"
            )


def require_point_texts(checkpoint: Checkpoint) -> TextTable:
    """Return the texts of the training points; raise ValueError if the run has none."""
    if checkpoint.point_texts is None:
        raise ValueError(
            "the run holds no training texts: it learnt from feature ids, or is from before runs kept them; train "
            "again, or export without --training-texts"
        )
    return checkpoint.point_texts


def _write_parts(checkpoint: Checkpoint, indices: Indices, folder: Path, *, int8: bool) -> None:
    """Let every part of the model write its files."""
    model, reranker = checkpoint.model, checkpoint.reranker
    checkpoint.featurizer.save(folder)
    checkpoint.labels.save(folder, LABELS_STEM)
    if model.front.tokenizer is not None:
        (folder / TOKENIZER_FILE).write_bytes(model.front.tokenizer)
    write_encoder(folder / ENCODER_FILE, model, reranker, indices.projection)
    if model.front.is_bag_of_embeddings and reranker is None:  # else the graph computes more than a head does
        Head.of(model.residuals, indices.projection).save(folder)
    Embeddings.of(model.embeddings, int8=int8).save(folder, EMBEDDINGS_STEM)
    save_label_counts(folder, checkpoint.label_counts)
    DenseClassifier.of(model.classifier, model.bias, int8=int8).save(folder, CLASSIFIER_STEM)
    if reranker is not None:  # whose weights are never in int8
        Embeddings.of(reranker.embeddings).save(folder, RERANKER_EMBEDDINGS_STEM)
        DenseClassifier.of(reranker.classifier, reranker.bias).save(folder, RERANKER_STEM)
    _write_shortlister(checkpoint, indices, folder, int8=int8)
    if checkpoint.sparse is not None:
        checkpoint.sparse.save(folder)


def _write_shortlister(checkpoint: Checkpoint, indices: Indices, folder: Path, *, int8: bool) -> None:
    vectors, labels = checkpoint.centroids, checkpoint.centroid_labels
    measured = checkpoint.shares.weights().similarity > 0
    if indices.centroids is not None or measured:
        save_centroid_labels(folder, labels)
    if measured:
        Representatives.of(vectors, labels, len(checkpoint.labels), int8=int8).save(folder)
    if indices.centroids is not None:
        indices.centroids.save(folder / CENTROIDS_FILE)
    if indices.points is not None:
        indices.points.save(folder / POINTS_FILE)
        checkpoint.point_labels.save(folder, POINT_LABELS_FILES)
