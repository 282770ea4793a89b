"""Write an artifact whole or not at all; open one only when every byte is what its manifest says."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from astec.export.artifact.encoder.embeddings import Embeddings
from astec.export.artifact.encoder.head import Head
from astec.export.artifact.index.backends import index_backend
from astec.export.artifact.kernels.weight_rows import NO_SCALES, read_only
from astec.export.artifact.labels.label_sets import LabelSets
from astec.export.artifact.labels.metadata import LabelMetadata
from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.manifest import (
    FORMAT_VERSION,
    MANIFEST_CHECKSUM_FILE,
    MANIFEST_FILE,
    FileRecord,
    IndexDescription,
    Manifest,
)
from astec.export.artifact.scoring.sparse import MAX_HEADS, SparseClassifier
from astec.export.artifact.scoring.token_bits import is_arranged, num_words
from astec.export.artifact.shortlist.label_graph import LabelGraph
from astec.export.artifact.shortlist.representatives import Representatives, label_bounds
from astec.export.artifact.shortlist.shortlister import Shortlister
from astec.export.artifact.storage.array_file import map_array
from astec.export.artifact.storage.atomic_files import sha256_of, write_folder_atomically
from astec.export.artifact.text.bags import Bag, Bags, Query, QueryKindError
from astec.export.artifact.text.featurizer import Featurizer, open_featurizer
from astec.export.artifact.text.pieces import TOKENIZER_FILE
from astec.export.artifact.text.sequence_reader import SequenceReader, open_reader
from astec.export.artifact.text.words import Sequences

logger = logging.getLogger(__name__)

Verification = Literal["hashes", "sizes"]
"""What of an artifact's files is compared with its manifest: every byte, or names and sizes only."""

_MAX_MANIFEST_BYTES = 4 << 20
_MAX_QUOTED_CHARS = 100  # of what a manifest says, in an error
_CHUNK_BYTES = 1 << 20  # of an array, small enough to stay in a cache while it is looked at twice


@dataclass(frozen=True, slots=True)
class ArtifactFiles:
    """The names of everything in an artifact, besides the featurizer's own files."""

    encoder: str = "encoder.onnx"
    head_residual: str = "head.residual.npy"
    head_projection: str = "head.projection.npy"
    tokenizer: str = TOKENIZER_FILE
    embeddings: str = "embeddings.npy"
    embeddings_scales: str = "embeddings.scales.npy"
    centroids: str = "centroids.index"
    centroid_labels: str = "centroid_labels.npy"
    representatives: str = "representatives.npy"
    representatives_scales: str = "representatives.scales.npy"
    points: str = "points.index"
    point_labels_indptr: str = "point_labels.indptr.npy"
    point_labels_indices: str = "point_labels.indices.npy"
    classifier: str = "classifier.npy"
    classifier_scales: str = "classifier.scales.npy"
    classifier_bias: str = "classifier.bias.npy"
    reranker_embeddings: str = "reranker.embeddings.npy"
    reranker: str = "reranker.npy"
    reranker_bias: str = "reranker.bias.npy"
    label_counts: str = "label_counts.npy"
    sparse_indptr: str = "sparse.indptr.npy"
    sparse_indices: str = "sparse.indices.npy"
    sparse_values: str = "sparse.values.npy"
    sparse_words: str = "sparse.words.npy"
    sparse_bias: str = "sparse.bias.npy"
    sparse_head: str = "sparse.head.npy"
    sparse_posting_indptr: str = "sparse.postings.indptr.npy"
    sparse_posting_heads: str = "sparse.postings.heads.npy"
    sparse_posting_values: str = "sparse.postings.values.npy"
    labels: str = "labels"
    model_card: str = "model_card.md"
    point_texts: str = "point_texts"
    label_values: str = "label_values"
    label_values_indptr: str = "label_values.indptr.npy"
    label_values_labels: str = "label_values.labels.npy"


FILES = ArtifactFiles()


class ArtifactError(Exception):
    """An artifact that cannot be trusted or read; the message names the file and the remedy."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """An opened artifact: small things in memory, large ones memory-mapped and shared between processes.

    Shapes: `classifier` [L, D] in float32, or in int8 times `classifier_scales` float32 [L] (else [0]); `bias` float32
    [L]; `reranker` float32 [L, D~] and `reranker_bias` float32 [L]; `label_counts` (training texts of each label) int64
    [L]. Without a re-ranker what is named after it is None; so is `reader`, which brings the words or pieces of a query
    in their order, where the encoder reads none. `point_texts` are those of the training points, where the artifact
    carries them; `head` is what the ONNX graph does after v, where that is all it does.
    """

    path: Path
    manifest: Manifest
    featurizer: Featurizer
    labels: TextTable
    label_counts: NDArray[np.int64]
    embeddings: Embeddings
    classifier: NDArray[np.float32] | NDArray[np.int8]
    classifier_scales: NDArray[np.float32]
    bias: NDArray[np.float32]
    reranker_embeddings: Embeddings | None
    reranker: NDArray[np.float32] | None
    reranker_bias: NDArray[np.float32] | None
    shortlister: Shortlister
    sparse: SparseClassifier | None
    reader: SequenceReader | None
    label_metadata: LabelMetadata | None
    point_texts: TextTable | None = None
    head: Head | None = None

    @property
    def encoder_path(self) -> Path:
        """The ONNX graph of all that the encoder does after the embeddings."""
        return self.path / FILES.encoder

    def check(self, query: Query) -> None:
        """Raises QueryKindError for a query that this model cannot read."""
        self.featurizer.check(query)
        count = self.manifest.dimensions.num_features
        if self.manifest.encoder.reads == "vector" and isinstance(query, Bag) and len(query.ids) not in (0, count):
            raise QueryKindError(f"this model takes vectors of {count} numbers, and this one has {len(query.ids)}")
        if self.reader is not None:
            self.reader.check(query)

    def featurize(self, queries: Sequence[Query]) -> tuple[Bags, Sequences | None]:
        """The bags of B queries, and their words or pieces in order where the encoder reads such.

        Raises:
            QueryKindError: for a query that `check` refuses.
        """
        return self.featurizer.transform(queries), None if self.reader is None else self.reader.read(queries)


@contextmanager
def write_artifact(target: Path, describe: Callable[[dict[str, FileRecord]], Manifest]) -> Iterator[Path]:
    """A temporary folder to fill; when the block ends well it is hashed, described, opened and published as `target`.

    Args:
        target: where the artifact will be; must not exist.
        describe: makes the manifest from the records of the files written.

    Raises:
        FileExistsError: `target` exists.
        ArtifactError: what was written does not open.
    """
    with write_folder_atomically(target) as folder:
        yield folder
        records = {
            path.name: FileRecord(bytes=path.stat().st_size, sha256=sha256_of(path))
            for path in sorted(folder.iterdir())
        }
        content = (json.dumps(describe(records).model_dump(mode="json"), indent=2) + "\n").encode()
        (folder / MANIFEST_FILE).write_bytes(content)
        (folder / MANIFEST_CHECKSUM_FILE).write_bytes(_checksum_line(content))
        open_artifact(folder)


def open_artifact(path: Path, verify: Verification = "hashes") -> Artifact:
    """Verify and map the artifact at `path`.

    Args:
        path: a folder that `write_artifact` published.
        verify: "sizes" opens faster; of what was damaged without changing its size, and of weights that are no
            numbers, it finds only what would lead a search out of its arrays.

    Raises:
        ArtifactError: a file is missing, unlisted, of a wrong size or hash, a link or outside the folder, the format
            version is unknown, the files contradict one another, or a weight is NaN or infinite.
    """
    try:
        manifest = read_manifest(path)
        verify_files(path, manifest, verify)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error}. Check the path and its permissions") from error
    try:
        artifact = _load(path, manifest)
        if verify == "hashes":
            _require_finite_weights(artifact)
            if artifact.label_metadata is not None:
                artifact.label_metadata.require_order()
        return artifact
    except (ValueError, RuntimeError, KeyError, EOFError, OSError) as error:
        raise ArtifactError(f"{path} cannot be loaded although its {verify} are right: {error}. {_REEXPORT}") from error


def read_manifest(path: Path) -> Manifest:
    """The manifest of the artifact at `path`, its own checksum verified.

    Raises:
        ArtifactError: no artifact, a damaged manifest or an unknown format version.
    """
    manifest_path, checksum_path = path / MANIFEST_FILE, path / MANIFEST_CHECKSUM_FILE
    for required in (manifest_path, checksum_path):
        if not required.is_file() or required.is_symlink():
            raise ArtifactError(
                f"{path} is not an artifact: it has no {required.name}. Export a run with astec-export RUN ARTIFACT"
            )
        if required.stat().st_size > _MAX_MANIFEST_BYTES:
            raise ArtifactError(f"{required} is larger than {_MAX_MANIFEST_BYTES} bytes. {_REEXPORT}")
    content = manifest_path.read_bytes()
    if checksum_path.read_bytes() != _checksum_line(content):
        raise ArtifactError(f"{MANIFEST_FILE} does not match {MANIFEST_CHECKSUM_FILE} in {path}. {_REEXPORT}")
    try:
        fields: Any = json.loads(content, object_pairs_hook=_distinct_keys)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{manifest_path} is not JSON: {error}. {_REEXPORT}") from error
    version = fields.get("format_version") if isinstance(fields, dict) else None
    if version != FORMAT_VERSION:
        raise ArtifactError(
            f"{manifest_path} has format version {_quoted(version)}; this program reads version {FORMAT_VERSION}. "
            "Export the run again with this version of astec, or serve it with the version that exported it"
        )
    try:
        return Manifest.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])[:_MAX_QUOTED_CHARS]
        where = f"{manifest_path}: field {field}" if field else str(manifest_path)
        raise ArtifactError(f"{where}: {first['msg']}. {_REEXPORT}") from error


def _distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, where other programs might see the one or the other of two equal keys."""
    fields: dict[str, Any] = {}
    for key, value in pairs:
        if key in fields:
            raise ArtifactError(f"{MANIFEST_FILE} has the key {_quoted(key)} twice in one object. {_REEXPORT}")
        fields[key] = value
    return fields


def _quoted(value: object) -> str:
    return repr(value)[:_MAX_QUOTED_CHARS]


def verify_files(path: Path, manifest: Manifest, verify: Verification = "hashes") -> None:
    """Compare the folder with the manifest: names, kinds, sizes, then hashes on all CPUs unless only sizes are wanted.

    Raises:
        ArtifactError: naming the first file that differs.
    """
    begun_s = time.perf_counter()
    expected = set(manifest.files) | {MANIFEST_FILE, MANIFEST_CHECKSUM_FILE}
    found = {entry.name: entry for entry in os.scandir(path)}
    for name in sorted(expected - found.keys()):
        raise ArtifactError(f"{name} is missing from {path}. {_REEXPORT}")
    for name in sorted(found.keys() - expected):
        raise ArtifactError(f"{name} in {path} is not listed in {MANIFEST_FILE}. Remove it, or export the run again")
    for name, record in manifest.files.items():
        if not found[name].is_file(follow_symlinks=False):
            raise ArtifactError(f"{name} in {path} is a link or no plain file. {_REEXPORT}")
        if (size := found[name].stat().st_size) != record.bytes:
            raise ArtifactError(f"{name} in {path} has {size} bytes, not {record.bytes}. {_REEXPORT}")
    if verify == "hashes":
        _verify_hashes(path, manifest)
    megabytes = sum(record.bytes for record in manifest.files.values()) / 1e6
    logger.info("verified %s of %.0f MB in %.2f s", verify, megabytes, time.perf_counter() - begun_s)


def _verify_hashes(path: Path, manifest: Manifest) -> None:
    # The largest file, begun last, would leave the other CPUs without work.
    names = sorted(manifest.files, key=lambda name: manifest.files[name].bytes, reverse=True)
    with ThreadPoolExecutor() as pool:  # hashing releases the GIL
        digests = dict(zip(names, pool.map(sha256_of, (path / name for name in names)), strict=True))
    for name, record in manifest.files.items():
        if digests[name] != record.sha256:
            raise ArtifactError(f"{name} in {path} does not have the hash in {MANIFEST_FILE}. {_REEXPORT}")


_REEXPORT = "Copy the artifact again, or export the run again"


def _checksum_line(content: bytes) -> bytes:
    """What `sha256sum manifest.json` prints, so that people can check by hand."""
    return f"{sha256(content).hexdigest()}  {MANIFEST_FILE}\n".encode()


def _load(path: Path, manifest: Manifest) -> Artifact:
    sizes = manifest.dimensions
    # Opened by the server alone.
    _require(FILES.encoder in manifest.files, f"{MANIFEST_FILE} lists no {FILES.encoder}")
    featurizer = open_featurizer(path)
    _require(featurizer.kind == manifest.featurizer.kind, "featurizer.json is of another kind than the manifest says")
    _require(
        featurizer.num_features == sizes.num_features,
        f"the featurizer has {featurizer.num_features} features, not {sizes.num_features}",
    )
    _require(
        featurizer.vocabulary_sha256() == manifest.featurizer.vocabulary_sha256,
        "the vocabulary is not the one that the model was trained with",
    )
    labels = TextTable.open(path, FILES.labels)
    _require(len(labels) == sizes.num_labels, f"{FILES.labels}: {len(labels)} labels, not {sizes.num_labels}")
    reranker_embeddings, reranker, reranker_bias = None, None, None
    if sizes.reranker_dim:
        shape = (sizes.num_features, sizes.reranker_dim)
        reranker_embeddings = Embeddings(_load_array(path, FILES.reranker_embeddings, np.float32, shape), NO_SCALES)
        reranker = _load_array(path, FILES.reranker, np.float32, (sizes.num_labels, sizes.reranker_dim))
        reranker_bias = _load_finite(path, FILES.reranker_bias, sizes.num_labels)
    weights, scales = _load_weights(
        path, manifest, FILES.classifier, FILES.classifier_scales, (sizes.num_labels, sizes.dim)
    )
    return Artifact(
        path=path,
        manifest=manifest,
        featurizer=featurizer,
        labels=labels,
        label_counts=_load_array(path, FILES.label_counts, np.int64, (sizes.num_labels,)),
        embeddings=_load_embeddings(path, manifest),
        classifier=weights,
        classifier_scales=scales,
        bias=_load_finite(path, FILES.classifier_bias, sizes.num_labels),
        reranker_embeddings=reranker_embeddings,
        reranker=reranker,
        reranker_bias=reranker_bias,
        shortlister=_load_shortlister(path, manifest),
        sparse=_load_sparse(path, manifest) if manifest.scoring.sparse_weights else None,
        reader=_load_reader(path, featurizer, manifest),
        point_texts=_load_point_texts(path, manifest) if manifest.training_texts else None,
        label_metadata=_load_label_metadata(path, manifest) if manifest.label_metadata else None,
        head=_load_head(path, manifest) if manifest.head else None,
    )


def _load_reader(path: Path, featurizer: Featurizer, manifest: Manifest) -> SequenceReader | None:
    """None where the encoder reads a query in no order."""
    encoder, sizes = manifest.encoder, manifest.dimensions
    if encoder.reads == "vector":
        count = featurizer.num_features
        _require(count == sizes.dim, f"the encoder takes {count} features as they are, and has {sizes.dim} dimensions")
    tokenizer = (path / FILES.tokenizer).read_bytes() if FILES.tokenizer in manifest.files else None
    reader = open_reader(encoder, featurizer, tokenizer)
    if reader is not None:
        rows, what = encoder.embeddings, encoder.reads
        # A transformer may have rows to spare, for pieces that its tokenizer does not have.
        fits = rows == reader.num_rows or (what == "pieces" and rows is not None and rows > reader.num_rows)
        _require(fits, f"the encoder has embeddings of {rows} {what}, and {reader.num_rows} are read")
    return reader


def _load_head(path: Path, manifest: Manifest) -> Head:
    sizes = manifest.dimensions
    residual = _load_array(path, FILES.head_residual, np.float32, (sizes.dim, sizes.dim // sizes.learners))
    if FILES.head_projection in manifest.files:
        projection = _load_array(path, FILES.head_projection, np.float32, (sizes.dim, sizes.shortlist_dim))
    else:
        _require(sizes.shortlist_dim == sizes.dim, f"there is no {FILES.head_projection}")
        projection = read_only(np.empty((sizes.dim, 0), np.float32))
    return Head(residual, projection)


def _load_point_texts(path: Path, manifest: Manifest) -> TextTable:
    texts, num_points = TextTable.open(path, FILES.point_texts), manifest.dimensions.num_points
    _require(len(texts) == num_points, f"{FILES.point_texts}: {len(texts)} texts, not {num_points}")
    return texts


def _load_embeddings(path: Path, manifest: Manifest) -> Embeddings:
    rows, sizes = manifest.encoder.embeddings, manifest.dimensions
    shape = (sizes.num_features if rows is None else rows, sizes.dim)
    return Embeddings(*_load_weights(path, manifest, FILES.embeddings, FILES.embeddings_scales, shape))


def _load_sparse(path: Path, manifest: Manifest) -> SparseClassifier:
    sizes, count = manifest.dimensions, manifest.scoring.sparse_weights
    indptr = _load_indptr(path, FILES.sparse_indptr, sizes.num_labels)
    head = _load_array(path, FILES.sparse_head, np.int32, (sizes.num_labels,))
    _require_ids(FILES.sparse_head, head, "head label", MAX_HEADS, least=-1)
    num_heads = int(head.max()) + 1
    posting_indptr = _load_indptr(path, FILES.sparse_posting_indptr, sizes.num_features if num_heads else 0)
    by_label, by_token = int(indptr[-1]), int(posting_indptr[-1])
    _require(
        by_label + by_token == count,
        f"{FILES.sparse_indptr} ends at {by_label} and {FILES.sparse_posting_indptr} at {by_token}, "
        f"not at {count} together",
    )
    indices = _load_array(path, FILES.sparse_indices, np.int32, (by_label,))
    _require_ids(FILES.sparse_indices, indices, "token", sizes.num_features)
    words = _load_array(path, FILES.sparse_words, np.uint64, (num_words(indptr) + 1,))
    _require(is_arranged(indptr, indices, words), f"{FILES.sparse_words} is not that of {FILES.sparse_indices}")
    posting_heads = _load_array(path, FILES.sparse_posting_heads, np.uint16, (by_token,))
    _require_ids(FILES.sparse_posting_heads, posting_heads, "head label", num_heads)
    return SparseClassifier(
        indptr=indptr,
        indices=indices,
        values=_load_finite(path, FILES.sparse_values, by_label),
        words=words,
        bias=_load_finite(path, FILES.sparse_bias, sizes.num_labels),
        head=head,
        posting_indptr=posting_indptr,
        posting_heads=posting_heads,
        posting_values=_load_finite(path, FILES.sparse_posting_values, by_token),
    )


def _load_label_metadata(path: Path, manifest: Manifest) -> LabelMetadata:
    values = TextTable.open(path, FILES.label_values)
    count = sum(column.values for column in manifest.label_metadata)
    _require(len(values) == count, f"{FILES.label_values}: {len(values)} values, not {count}")
    indptr = _load_indptr(path, FILES.label_values_indptr, count)
    num_labels = manifest.dimensions.num_labels
    labels = _load_label_ids(path, FILES.label_values_labels, int(indptr[-1]), num_labels)
    return LabelMetadata(tuple(manifest.label_metadata), values, LabelSets(indptr, labels), num_labels)


def _load_weights(
    path: Path, manifest: Manifest, name: str, scales_name: str, shape: tuple[int, int]
) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Rows of weights and their scales."""
    if manifest.weights == "float32":
        return _load_array(path, name, np.float32, shape), NO_SCALES
    return _load_array(path, name, np.int8, shape), _load_finite(path, scales_name, shape[0])


def _load_shortlister(path: Path, manifest: Manifest) -> Shortlister:
    sizes = manifest.dimensions
    representatives, centroids, points = None, None, None
    if manifest.centroids is not None or manifest.scoring.shares().similarity > 0:
        labels = _load_label_ids(path, FILES.centroid_labels, sizes.num_representatives, sizes.num_labels)
        _require(not np.any(np.diff(labels) < 0), f"{FILES.centroid_labels} does not ascend")
    if manifest.scoring.shares().similarity > 0:
        shape = (sizes.num_representatives, sizes.dim)
        vectors, scales = _load_weights(path, manifest, FILES.representatives, FILES.representatives_scales, shape)
        representatives = Representatives(label_bounds(labels, sizes.num_labels), vectors, scales)
    if manifest.centroids is not None:
        sets = LabelSets.one_each(labels)
        centroids = _load_graph(path / FILES.centroids, manifest.centroids, sets, sizes.shortlist_dim)
    if manifest.points is not None:
        sets = _load_label_sets(path, sizes.num_points, sizes.num_labels)
        points = _load_graph(path / FILES.points, manifest.points, sets, sizes.shortlist_dim)
    return Shortlister(centroids, points, representatives, manifest.max_candidates)


def _load_graph(path: Path, description: IndexDescription, labels: LabelSets, dim: int) -> LabelGraph:
    index = index_backend(description.backend).load(path, dim, description.graph.params())
    vectors = len(labels.indptr) - 1
    _require(index.count == vectors, f"{path.name} has {index.count} vectors, and there are labels for {vectors}")
    return LabelGraph(index, labels, description.neighbours)


def _load_label_sets(path: Path, num_points: int, num_labels: int) -> LabelSets:
    indptr = _load_indptr(path, FILES.point_labels_indptr, num_points)
    return LabelSets(indptr, _load_label_ids(path, FILES.point_labels_indices, int(indptr[-1]), num_labels))


def _load_indptr(path: Path, name: str, count: int) -> NDArray[np.int64]:
    indptr = _load_array(path, name, np.int64, (count + 1,))
    # Compared, not subtracted: differences of any 64 bits may overflow into the range.
    _require(int(indptr[0]) == 0 and not np.any(indptr[1:] < indptr[:-1]), f"{name} does not ascend from 0")
    return indptr


def _load_label_ids(path: Path, name: str, count: int, num_labels: int) -> NDArray[np.int32]:
    ids = _load_array(path, name, np.int32, (count,))
    _require_ids(name, ids, "label", num_labels)
    return ids


def _require_ids(name: str, ids: NDArray[Any], kind: str, count: int, least: int = 0) -> None:
    if len(ids):
        lowest, highest = int(ids.min()), int(ids.max())
        _require(least <= lowest and highest < count, f"{name}: {kind} ids {lowest}..{highest} of {count} {kind}s")


def _load_finite(path: Path, name: str, count: int) -> NDArray[np.float32]:
    array = _load_array(path, name, np.float32, (count,))
    _require(_is_finite(array), f"{name} holds NaN or infinity")
    return array


def _load_array(path: Path, name: str, dtype: type[np.generic], shape: tuple[int, ...]) -> NDArray[Any]:
    array = map_array(path / name)
    _require(array.dtype == dtype, f"{name} is {array.dtype}, not {np.dtype(dtype)}")
    _require(array.shape == shape, f"{name} has shape {array.shape}, not {shape}")
    return array


def _require_finite_weights(artifact: Artifact) -> None:
    """Look at all rows of weights in float32, on all CPUs."""
    mu, reranker_embeddings = artifact.shortlister.representatives, artifact.reranker_embeddings
    rows = {
        FILES.embeddings: artifact.embeddings.rows,
        FILES.classifier: artifact.classifier,
        FILES.representatives: None if mu is None else mu.vectors,
        FILES.reranker_embeddings: None if reranker_embeddings is None else reranker_embeddings.rows,
        FILES.reranker: artifact.reranker,
        FILES.head_residual: None if artifact.head is None else artifact.head.residual,
        FILES.head_projection: None if artifact.head is None else artifact.head.projection,
    }
    present = {name: array for name, array in rows.items() if array is not None and array.size}
    numbers = {name: array for name, array in present.items() if array.dtype == np.float32}
    with ThreadPoolExecutor() as pool:
        for name, finite in zip(numbers, pool.map(_is_finite, numbers.values()), strict=True):
            _require(finite, f"{name} holds NaN or infinity")


def _is_finite(array: NDArray[Any]) -> bool:
    num_rows = 1 + _CHUNK_BYTES // max(1, array[:1].nbytes)
    chunks = (array[begin : begin + num_rows] for begin in range(0, len(array), num_rows))
    # NaN spreads to both extremes; looking at these allocates nothing.
    return all(np.isfinite([chunk.min(), chunk.max()]).all() for chunk in chunks)


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise ValueError(problem)
