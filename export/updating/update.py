"""From an artifact to an updated one: what changes is written anew, all other files are hard links.

An added label gets rows at the end of every array of labels. Its vector does not join the graphs, which would have to
be built anew: it is stored beside them, and searched exactly. A removed label keeps its rows, and is hidden.

Shapes: A added labels, D dimensions, d dimensions of the indices.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.encoder.inputs import encoder_inputs
from astec.export.artifact.index.added_vectors import save_added_vectors
from astec.export.artifact.labels.label_counts import save_label_counts
from astec.export.artifact.labels.metadata import LabelMetadata
from astec.export.artifact.labels.removed_labels import REMOVED_LABELS_FILE, save_removed_labels
from astec.export.artifact.labels.text_table import TextTable, text_files
from astec.export.artifact.manifest import FileRecord, LabelTextFit, Manifest, ModelIdentity, UpdateDescription
from astec.export.artifact.scoring.dense import CLASSIFIER_STEM
from astec.export.artifact.scoring.sparse import POSTING_FILES, SparseClassifier
from astec.export.artifact.shortlist.hidden import REMOVED
from astec.export.artifact.shortlist.label_graph import POINT_LABELS_FILES
from astec.export.artifact.shortlist.representatives import CENTROID_LABELS_FILE, save_centroid_labels
from astec.export.artifact.storage.atomic_files import link_or_copy, require_absent
from astec.export.artifact.store import LABELS_STEM, POINT_TEXTS_STEM, Artifact, open_artifact, write_artifact
from astec.export.artifact.text.featurizer import TextFeaturizer
from astec.export.model.encoder_graph import run_encoder
from astec.export.packing.added_labels import EncodedTexts, dense_rows, sparse_values
from astec.export.packing.label_table import read_label_metadata
from astec.export.packing.model_card import MODEL_CARD_FILE, tell_update
from astec.export.packing.pack import require_identity
from astec.export.updating.label_changes import LabelChanges
from astec.export.updating.metadata_merge import merge_metadata

_VERSION_DIGITS = 12
_ENCODED_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class UpdateReport:
    """The figures of an update.

    Attributes:
        added: the number of labels added, known by their texts alone.
        restored: the number of labels of earlier removals that came back with their weights.
        removed: the number of labels that no answer names any more.
        unknown: the texts to add without a known token, left out because no query could find them.
        searched_beside: the labels that are searched beside the graphs now, added by this update and earlier ones.
        linked_bytes, written_bytes: the sizes of the files that are hard links, or copies, and of the others.
    """

    added: int
    restored: int
    removed: int
    unknown: list[str]
    searched_beside: int
    linked_bytes: int
    written_bytes: int


def update_artifact(
    source: Path,
    target: Path,
    *,
    add: Sequence[str] | None = None,
    remove: Sequence[str] | None = None,
    label_metadata: Path | None = None,
    version: str | None = None,
) -> UpdateReport:
    """Publish `target`, the artifact `source` with other labels. The source is not changed.

    Args:
        source: an artifact.
        target: the path of the new artifact; must not exist.
        add: labels to add by their texts; None: none.
        remove: labels to remove; None: none.
        label_metadata: a table of label metadata; labels with a row have the values of it, and no others.
        version: of the model; None: a hash of the former version and of what changed.

    Raises:
        ValueError: nothing is to be changed; a label is there already, or not there; the model cannot take labels by
            their texts; or the source is one shard of a model.
        DataError: the table of label metadata cannot be used.
        FileExistsError: `target` exists.
        ArtifactError: the source is no artifact, is of another format version or damaged.
    """
    if source.resolve() == target.resolve():
        raise ValueError(
            f"{target} is the artifact to update, which is never changed; give another path for the new one"
        )
    if source.resolve() in target.resolve().parents:
        raise ValueError(f"{target} lies in the artifact to update, which is never changed; give a path outside of it")
    if add is None and remove is None and label_metadata is None:
        raise ValueError("nothing is to be changed; give --add-labels, --remove-labels or --label-metadata")
    require_absent(target)
    artifact = open_artifact(source)
    _require_whole(artifact)
    require_identity(artifact.manifest.model.name, version)
    update = _Update.prepare(artifact, LabelChanges.check(artifact, add, remove), label_metadata)
    known = dict[str, FileRecord]()

    def describe(files: dict[str, FileRecord]) -> Manifest:
        return update.describe(version, files, {name: file for name, file in files.items() if name not in known})

    with write_artifact(target, describe, known) as folder:
        update.write(folder)
        for name, record in artifact.manifest.files.items():
            if not (folder / name).exists() and (name != REMOVED_LABELS_FILE or len(update.removed)):
                link_or_copy(source / name, folder / name)
                known[name] = record
        written_bytes = sum(path.stat().st_size for path in folder.iterdir() if path.name not in known)
    return UpdateReport(
        added=len(update.changes.added),
        restored=len(update.changes.restored),
        removed=len(update.changes.removed),
        unknown=update.unknown,
        searched_beside=update.description.added_labels,
        linked_bytes=sum(record.bytes for record in known.values()),
        written_bytes=written_bytes,
    )


@dataclass(frozen=True, slots=True)
class _Update:
    """An update that is ready to be written.

    Attributes:
        artifact: the source.
        changes: the labels, without those that no query could find.
        unknown: the texts of those.
        encoded: the texts of the added labels.
        labels: the labels of the new artifact.
        removed: the ids of all labels that are removed then, int32.
        metadata: the new label metadata; None: it stays as it is.
        description: of this update and of those before.
    """

    artifact: Artifact
    changes: LabelChanges
    unknown: list[str]
    encoded: EncodedTexts | None
    labels: TextTable
    removed: NDArray[np.int32]
    metadata: LabelMetadata | None
    description: UpdateDescription

    @classmethod
    def prepare(cls, artifact: Artifact, changes: LabelChanges, label_metadata: Path | None) -> _Update:
        """Encode the added labels and read the label metadata."""
        encoded, unknown, manifest = None, list[str](), artifact.manifest
        if changes.added:
            everything = _encode(artifact, changes.added)
            known = np.flatnonzero(everything.v.any(axis=1))
            added = [changes.added[text] for text in known.tolist()]
            findable = set(added)
            unknown = [text for text in changes.added if text not in findable]
            if len(unknown) == len(changes.added) and not len(changes.restored):
                raise ValueError(
                    f"of none of the {len(unknown)} labels to add a token is known, so that no query could find them; "
                    "train again on texts with their words"
                )
            changes, encoded = changes._replace(added=added), everything.take(known)
        labels = artifact.labels.extended(changes.added)
        hidden_L = np.zeros(len(labels), np.bool_)
        if artifact.removed is not None:
            hidden_L[: len(artifact.labels)] = artifact.removed == REMOVED
        hidden_L[changes.restored] = False
        hidden_L[changes.removed] = True
        removed = np.flatnonzero(hidden_L).astype(np.int32)
        metadata = None
        if label_metadata is not None:
            metadata = merge_metadata(artifact.label_metadata, read_label_metadata(label_metadata, labels))
        before = manifest.update
        description = UpdateDescription(
            base_version=manifest.model.version if before is None else before.base_version,
            updates=1 if before is None else before.updates + 1,
            added_labels=len(changes.added) + (0 if before is None else before.added_labels),
            removed_labels=len(removed),
        )
        return cls(artifact, changes, unknown, encoded, labels, removed, metadata, description)

    def write(self, folder: Path) -> None:
        """Write the files that differ from those of the source."""
        fit = self.artifact.manifest.label_text_fit
        if self.encoded is not None and len(self.encoded.v) and fit is not None:
            self._write_added(folder, self.encoded, fit)
        if len(self.removed):
            save_removed_labels(folder, self.removed)
        if self.metadata is not None:
            self.metadata.save(folder)
        card = self.artifact.path / MODEL_CARD_FILE
        told = tell_update(_now(), self.artifact.manifest, self.description, len(self.labels))
        (folder / MODEL_CARD_FILE).write_text((card.read_text() if card.exists() else "") + told)

    def _write_added(self, folder: Path, encoded: EncodedTexts, fit: LabelTextFit) -> None:
        """Write each array of labels with rows for the added labels at its end."""
        artifact, count = self.artifact, len(encoded.v)
        first, shortlister = len(artifact.labels), artifact.shortlister
        ids = np.arange(first, first + count, dtype=np.int32)
        self.labels.save(folder, LABELS_STEM)
        save_label_counts(folder, np.append(artifact.label_counts, np.zeros(count, np.int64)))
        artifact.classifier.extended(*dense_rows(encoded.x_hat, fit)).save(folder, CLASSIFIER_STEM)
        if artifact.sparse is not None:
            self._sparse(artifact.sparse, encoded, fit).save(folder, but=POSTING_FILES)
        if shortlister.representatives is not None:
            shortlister.representatives.extended(encoded.v).save(folder)
        if CENTROID_LABELS_FILE in artifact.manifest.files:
            labels = np.load(artifact.path / CENTROID_LABELS_FILE, allow_pickle=False)
            save_centroid_labels(folder, np.append(labels, ids))
        if shortlister.points is not None:
            shortlister.points.labels.and_one_each(ids).save(folder, POINT_LABELS_FILES)
        if artifact.point_texts is not None:
            artifact.point_texts.extended(self.changes.added).save(folder, POINT_TEXTS_STEM)
        beside = next(graph.added for graph in (shortlister.points, shortlister.centroids) if graph is not None)
        save_added_vectors(folder, np.concatenate([beside, encoded.z]) if len(beside) else encoded.z)

    def _sparse(self, sparse: SparseClassifier, encoded: EncodedTexts, fit: LabelTextFit) -> SparseClassifier:
        values, bias = sparse_values(encoded.bags, fit)
        return sparse.extended(encoded.bags.offsets, encoded.bags.ids, values, bias)

    def describe(
        self, version: str | None, files: dict[str, FileRecord], written: Mapping[str, FileRecord]
    ) -> Manifest:
        """Return the manifest of the new artifact, given all of its files and those of them that were written."""
        old, count = self.artifact.manifest, len(self.changes.added)
        sizes, has_sparse = old.dimensions, self.artifact.sparse is not None
        more_weights = len(self.encoded.bags.ids) if self.encoded is not None and has_sparse else 0
        metadata = list(old.label_metadata if self.metadata is None else self.metadata.columns)
        without = (MODEL_CARD_FILE, *text_files(POINT_TEXTS_STEM))
        hashes = {name: file.sha256 for name, file in sorted(written.items()) if name not in without}
        changed = [old.model.version, hashes, len(self.removed), [column.model_dump() for column in metadata]]
        digits = sha256(json.dumps(changed).encode()).hexdigest()[:_VERSION_DIGITS]
        return old.model_copy(
            update={
                "model": ModelIdentity(name=old.model.name, version=version or digits),
                "created": _now(),
                "dimensions": sizes.model_copy(
                    update={
                        "num_labels": sizes.num_labels + count,
                        "num_representatives": sizes.num_representatives + count,
                        "num_points": sizes.num_points + count,
                    }
                ),
                "scoring": old.scoring.model_copy(update={"sparse_weights": old.scoring.sparse_weights + more_weights}),
                "files": files,
                "label_metadata": metadata,
                "update": self.description,
            }
        )


def _require_whole(artifact: Artifact) -> None:
    """Raise ValueError for one shard of a model."""
    if (shard := artifact.manifest.shard) is not None:
        raise ValueError(
            f"{artifact.path} is shard {shard.index} of {shard.count}: updated, it would be of another model than the "
            "other shards; change the labels with astec-export --shards"
        )


def _encode(artifact: Artifact, texts: Sequence[str]) -> EncodedTexts:
    """Encode the texts of labels as queries are encoded.

    Raises:
        ValueError: the model takes no texts, or its artifact does not hold what labels are added by.
    """
    if not isinstance(artifact.featurizer, TextFeaturizer):
        raise ValueError("labels are added by their texts, and this model was trained on feature ids")
    if artifact.reranker is not None:
        raise ValueError("labels cannot be added to a model with a re-ranker; train with reranker.enabled=false")
    if artifact.manifest.label_text_fit is None:
        raise ValueError(
            "the artifact does not hold what labels are added by (label_text_fit): it was exported by an earlier "
            "version of astec, or from a run without held-out texts; export the run again"
        )
    graph, reads = artifact.encoder_graph.tobytes(), artifact.manifest.encoder.reads
    parts = []
    for begin in range(0, len(texts), _ENCODED_AT_ONCE):
        bags, sequences = artifact.featurize(texts[begin : begin + _ENCODED_AT_ONCE])
        outputs = run_encoder(graph, encoder_inputs(reads, artifact.embeddings, bags, sequences))
        parts.append(EncodedTexts.of(bags, outputs))
    return EncodedTexts.join(parts)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
