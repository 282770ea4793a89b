"""The artifact: written whole or not at all, and opened only if its files are what its manifest says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.encoder.embeddings import EMBEDDINGS_STEM, RERANKER_EMBEDDINGS_STEM, Embeddings
from astec.export.artifact.encoder.head import HEAD_PROJECTION_FILE, HEAD_RESIDUAL_FILE, Head
from astec.export.artifact.labels.label_counts import open_label_counts
from astec.export.artifact.labels.metadata import LabelMetadata
from astec.export.artifact.labels.removed_labels import open_removed_labels
from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.manifest import (
    MANIFEST_CHECKSUM_FILE,
    MANIFEST_FILE,
    FileRecord,
    Manifest,
)
from astec.export.artifact.scoring.dense import CLASSIFIER_STEM, RERANKER_STEM, DenseClassifier
from astec.export.artifact.scoring.shares import Shares
from astec.export.artifact.scoring.sparse import SparseClassifier
from astec.export.artifact.shortlist.hidden import REMOVED, VISIBLE, Hidden
from astec.export.artifact.shortlist.representatives import REPRESENTATIVES_STEM
from astec.export.artifact.shortlist.shard_ids import ShardIds
from astec.export.artifact.shortlist.shortlister import Shortlister
from astec.export.artifact.signals.histograms import SIGNALS_FILE, Histograms, open_histograms
from astec.export.artifact.storage.array_file import map_bytes
from astec.export.artifact.storage.atomic_files import sha256_of, write_folder_atomically
from astec.export.artifact.storage.checked_arrays import require, require_finite
from astec.export.artifact.storage.weight_files import rows_file
from astec.export.artifact.text.bags import Bag, Bags, Query, QueryKindError
from astec.export.artifact.text.featurizer import Featurizer, open_featurizer
from astec.export.artifact.text.sequence_reader import SequenceReader, open_stored_reader
from astec.export.artifact.text.words import Sequences
from astec.export.artifact.verification import (
    REEXPORT,
    ArtifactError,
    Verification,
    allowed_links,
    artifact_folder,
    checksum_line,
    read_manifest,
    verify_files,
)

ENCODER_FILE = "encoder.onnx"
LABELS_STEM = "labels"
POINT_TEXTS_STEM = "point_texts"


@dataclass(frozen=True, slots=True)
class Artifact:
    """An opened artifact: small parts in memory, large ones memory-mapped and shared between processes.

    Attributes:
        path: the artifact's folder.
        manifest: describes everything in it.
        featurizer: turns queries into bags of tokens.
        labels: the text of each label.
        label_counts: the number of training texts of each label, int64 [L].
        encoder_graph: the bytes of the ONNX graph, which computes all representations from the embeddings. Mapped like
            the arrays, so that workers that start later have the verified graph, whatever becomes of its name.
        embeddings: of the encoder's tokens, words or pieces.
        classifier: over x-hat.
        reranker_embeddings: of the re-ranker; None without a re-ranker.
        reranker: the classifier over x-tilde; None without a re-ranker.
        shortlister: brings the labels to score.
        sparse: the classifier over the tokens themselves; None where it has no share of a score.
        reader: reads the words or pieces of a query in their order; None where the encoder reads a bag or a vector.
        label_metadata: the attributes by which requests filter labels; None where there are none.
        point_texts: the texts of the training points; None unless the artifact was exported with them.
        head: computes what the ONNX graph computes after the bag; None where the graph does more than that.
        removed: the labels that updates have taken out of the model, as `REMOVED`; None where there are none.
        signals: the histograms of the signals of held-out texts; empty for artifacts from before there were any, and
            for runs without held-out texts.
        shard: the ids of labels and training points in the whole model; None where this is the whole model.
    """

    path: Path
    manifest: Manifest
    featurizer: Featurizer
    labels: TextTable
    label_counts: NDArray[np.int64]
    encoder_graph: NDArray[np.uint8]
    embeddings: Embeddings
    classifier: DenseClassifier
    reranker_embeddings: Embeddings | None
    reranker: DenseClassifier | None
    shortlister: Shortlister
    sparse: SparseClassifier | None
    reader: SequenceReader | None
    label_metadata: LabelMetadata | None
    point_texts: TextTable | None = None
    head: Head | None = None
    removed: Hidden | None = None
    signals: Histograms = field(default_factory=dict)
    shard: ShardIds | None = None

    def check(self, query: Query) -> None:
        """Raise QueryKindError if this model cannot read the query."""
        self.featurizer.check(query)
        count = self.manifest.dimensions.num_features
        if self.manifest.encoder.reads == "vector" and isinstance(query, Bag) and len(query.ids) not in (0, count):
            raise QueryKindError(f"this model takes vectors of {count} numbers, and this one has {len(query.ids)}")
        if self.reader is not None:
            self.reader.check(query)

    def featurize(self, queries: Sequence[Query]) -> tuple[Bags, Sequences | None]:
        """Return the bags of B queries, and their words or pieces in order where the encoder reads these.

        Raises:
            QueryKindError: `check` refuses a query.
        """
        return self.featurizer.transform(queries), None if self.reader is None else self.reader.read(queries)


@contextmanager
def write_artifact(
    target: Path,
    describe: Callable[[dict[str, FileRecord]], Manifest],
    known: Mapping[str, FileRecord] = MappingProxyType({}),
) -> Iterator[Path]:
    """Yield a temporary folder to fill; after the block it is hashed, described, opened and published as `target`.

    If the block or a check fails, nothing is published.

    Args:
        target: the path of the artifact; must not exist.
        describe: makes the manifest from the records of the written files.
        known: records of files that need not be hashed to be described; opening the artifact compares them.

    Raises:
        FileExistsError: `target` exists.
        ArtifactError: the written files do not open.
    """
    with write_folder_atomically(target) as folder:
        yield folder
        records = {
            path.name: known.get(path.name) or FileRecord(bytes=path.stat().st_size, sha256=sha256_of(path))
            for path in sorted(folder.iterdir())
        }
        content = (json.dumps(describe(records).model_dump(mode="json"), indent=2) + "\n").encode()
        (folder / MANIFEST_FILE).write_bytes(content)
        (folder / MANIFEST_CHECKSUM_FILE).write_bytes(checksum_line(content))
        open_artifact(folder)


def open_artifact(path: Path, verify: Verification = "hashes", allow_links_under: Path | None = None) -> Artifact:
    """Verify and map the artifact at `path`.

    Args:
        path: a folder that `write_artifact` published.
        verify: "sizes" opens faster. Then damage that leaves a file's size unchanged, and weights that are NaN or
            infinite, are found only where they would lead a search out of its arrays.
        allow_links_under: files may be links that lie in this folder and lead to places in it; None: no file may be a
            link.

    Raises:
        ArtifactError: a file is missing, unlisted, of a wrong size or hash, a link that is not allowed or outside the
            folder, the format version is unknown, the files contradict one another, or a weight is NaN or infinite.
    """
    try:
        links = allowed_links(allow_links_under)
        path = path if links is None else artifact_folder(path, links)
        manifest = read_manifest(path, links)
        verify_files(path, manifest, verify, links)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error}. Check the path and its permissions") from error
    try:
        artifact = _open_parts(path, manifest)
        if verify == "hashes":
            require_finite(_float_weights(artifact))
            if artifact.label_metadata is not None:
                artifact.label_metadata.require_order()
        return artifact
    except (ValueError, RuntimeError, KeyError, EOFError, OSError) as error:
        raise ArtifactError(f"{path} cannot be loaded although its {verify} are right: {error}. {REEXPORT}") from error


def _open_parts(path: Path, manifest: Manifest) -> Artifact:
    sizes, int8 = manifest.dimensions, manifest.weights == "int8"
    # Read by the server only.
    require(ENCODER_FILE in manifest.files, f"{MANIFEST_FILE} lists no {ENCODER_FILE}")
    featurizer = _open_featurizer(path, manifest)
    labels = TextTable.open(path, LABELS_STEM)
    require(len(labels) == sizes.num_labels, f"{LABELS_STEM}: {len(labels)} labels, not {sizes.num_labels}")
    num_embeddings = sizes.num_features if manifest.encoder.embeddings is None else manifest.encoder.embeddings
    reranker_embeddings, reranker = None, None
    if sizes.reranker_dim:  # whose weights are never in int8
        shape = (sizes.num_features, sizes.reranker_dim)
        reranker_embeddings = Embeddings.open(path, RERANKER_EMBEDDINGS_STEM, shape, int8=False)
        reranker = DenseClassifier.open(path, RERANKER_STEM, (sizes.num_labels, sizes.reranker_dim), int8=False)
    return Artifact(
        path=path,
        manifest=manifest,
        featurizer=featurizer,
        labels=labels,
        classifier=DenseClassifier.open(path, CLASSIFIER_STEM, (sizes.num_labels, sizes.dim), int8=int8),
        label_counts=open_label_counts(path, sizes.num_labels),
        encoder_graph=map_bytes(path / ENCODER_FILE),
        embeddings=Embeddings.open(path, EMBEDDINGS_STEM, (num_embeddings, sizes.dim), int8=int8),
        reranker_embeddings=reranker_embeddings,
        reranker=reranker,
        shortlister=Shortlister.open(path, manifest, measured=Shares.of(manifest.scoring).weights().similarity > 0),
        sparse=_open_sparse(path, manifest),
        reader=open_stored_reader(path, manifest.encoder, featurizer),
        point_texts=_open_point_texts(path, manifest),
        label_metadata=_open_label_metadata(path, manifest),
        head=Head.open(path, sizes.dim, sizes.learners, sizes.shortlist_dim) if manifest.head else None,
        removed=_open_removed(path, manifest),
        signals=open_histograms(path) if SIGNALS_FILE in manifest.files else {},
        shard=None if manifest.shard is None else ShardIds.open(path, manifest),
    )


def _open_featurizer(path: Path, manifest: Manifest) -> Featurizer:
    featurizer, identity, sizes = open_featurizer(path), manifest.featurizer, manifest.dimensions
    count = featurizer.num_features
    require(featurizer.kind == identity.kind, "featurizer.json is of another kind than the manifest says")
    require(count == sizes.num_features, f"the featurizer has {count} features, not {sizes.num_features}")
    require(
        featurizer.vocabulary_sha256() == identity.vocabulary_sha256,
        "the vocabulary is not the one that the model was trained with",
    )
    if manifest.encoder.reads == "vector":
        require(count == sizes.dim, f"the encoder takes {count} features as they are, and has {sizes.dim} dimensions")
    return featurizer


def _open_sparse(path: Path, manifest: Manifest) -> SparseClassifier | None:
    sizes, num_weights = manifest.dimensions, manifest.scoring.sparse_weights
    if not num_weights:
        return None
    return SparseClassifier.open(path, sizes.num_labels, sizes.num_features, num_weights)


def _open_point_texts(path: Path, manifest: Manifest) -> TextTable | None:
    if not manifest.training_texts:
        return None
    texts, num_points = TextTable.open(path, POINT_TEXTS_STEM), manifest.dimensions.num_points
    require(len(texts) == num_points, f"{POINT_TEXTS_STEM}: {len(texts)} texts, not {num_points}")
    return texts


def _open_removed(path: Path, manifest: Manifest) -> Hidden | None:
    if manifest.update is None or not manifest.update.removed_labels:
        return None
    num_labels = manifest.dimensions.num_labels
    hidden = np.full(num_labels, VISIBLE, np.uint8)
    hidden[open_removed_labels(path, manifest.update.removed_labels, num_labels)] = REMOVED
    return hidden


def _open_label_metadata(path: Path, manifest: Manifest) -> LabelMetadata | None:
    if not manifest.label_metadata:
        return None
    return LabelMetadata.open(path, manifest.label_metadata, manifest.dimensions.num_labels)


def _float_weights(artifact: Artifact) -> dict[str, NDArray[np.float32]]:
    """Return all rows of weights in float32, by their file."""
    representatives, head = artifact.shortlister.representatives, artifact.head
    rows: dict[str, NDArray[Any] | None] = {
        rows_file(EMBEDDINGS_STEM): artifact.embeddings.rows,
        rows_file(CLASSIFIER_STEM): artifact.classifier.rows,
        rows_file(REPRESENTATIVES_STEM): None if representatives is None else representatives.vectors,
        rows_file(RERANKER_EMBEDDINGS_STEM): _rows(artifact.reranker_embeddings),
        rows_file(RERANKER_STEM): _rows(artifact.reranker),
        HEAD_RESIDUAL_FILE: None if head is None else head.residual,
        HEAD_PROJECTION_FILE: None if head is None else head.projection,
    }
    present = {name: array for name, array in rows.items() if array is not None and array.size}
    return {name: array for name, array in present.items() if array.dtype == np.float32}


def _rows(part: Embeddings | DenseClassifier | None) -> NDArray[Any] | None:
    return None if part is None else part.rows
