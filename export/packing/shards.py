"""Packing a run as shards: artifacts that divide its labels between them, for more labels than one machine holds.

Every shard is a whole artifact, with the encoder of the run and an index of its own. What makes scores comparable is
chosen and fitted once, on the whole run: how to search, the space of the indices, the calibration. Similarities, the
sparse term and the classifiers of a label do not depend on other labels. Votes do: they are of the nearest training
points of the whole model. A shard holds the points that carry one of its labels, with the ids that they have in the
whole model, by which `astec.Client` finds the nearest ones of all shards.

Shapes: L labels, N training points.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.kernels.weight_rows import NO_SCALES
from astec.export.artifact.labels.text_table import TextTable
from astec.export.artifact.manifest import ShardDescription
from astec.export.artifact.shortlist.shard_ids import ShardIds
from astec.export.artifact.storage.atomic_files import write_folder_atomically
from astec.export.model.checkpoint import Checkpoint
from astec.export.packing.options import PackOptions, Shard
from astec.export.packing.pack import pack
from astec.export.packing.removed_labels import keep_labels
from astec.export.packing.verify import VerificationReport
from astec.export.search.indices import IndexBuilder
from astec.export.search.plan import ShortlistPlan

MAX_SHARDS = 1024
_HASH_BYTES = 8
_VERSION_DIGITS = 12


def shard_folder(target: Path, index: int) -> Path:
    """Return the folder of a shard."""
    return target / f"shard-{index}"


def pack_shards(
    checkpoint: Checkpoint, plan: ShortlistPlan, count: int, target: Path, name: str, options: PackOptions
) -> list[VerificationReport]:
    """Write `checkpoint` as the artifacts `target/shard-0` and so on, which are published together or not at all.

    Args:
        checkpoint: a finished run.
        plan: of the indices, the same for all shards.
        count: the number of shards.
        target: the folder of the shards; must not exist.
        name: of the model, the same for all shards.
        options: for all shards alike; `version` None: the first digits of the hash of the whole model.

    Returns:
        The report of each shard.

    Raises:
        ValueError: a shard would have no label, or no training point to search; otherwise as `pack`.
        FileExistsError, VerificationError, ArtifactError: as `pack`.
    """
    shards_L = shards_of(checkpoint.labels, count)
    sizes = np.bincount(shards_L, minlength=count)
    if not sizes.all():
        raise ValueError(
            f"of {count} shards, {np.count_nonzero(sizes == 0)} would have none of the {len(shards_L)} labels; "
            "ask for fewer with --shards"
        )
    model_sha256 = _model_sha256(checkpoint, plan, options)
    version = options.version or model_sha256[:_VERSION_DIGITS]
    builder = IndexBuilder(checkpoint)
    directions_DD = builder.directions if plan.dim < builder.dim else None
    reports = []
    with write_folder_atomically(target) as folder:
        for index in range(count):
            labels = np.flatnonzero(shards_L == index)
            narrowed = keep_labels(checkpoint, labels)
            points = narrowed.points if plan.points is not None else narrowed.points[:0]
            if plan.points is not None and not len(points):
                raise ValueError(
                    f"shard {index} of {count} would have {len(labels)} labels and no training point; ask for fewer "
                    "with --shards"
                )
            shard = Shard(
                ShardDescription(index=index, count=count, model_sha256=model_sha256),
                _ids(checkpoint, labels, points),
            )
            metadata = None if options.label_metadata is None else options.label_metadata.take(labels)
            # Signals are compared with those of held-out texts, whose scores are those of the whole model.
            shard_options = replace(options, version=version, label_metadata=metadata, signals={}, shard=shard)
            indices = IndexBuilder(narrowed.checkpoint, directions_DD=directions_DD).build(plan)
            reports.append(pack(narrowed.checkpoint, indices, shard_folder(folder, index), name, shard_options))
    return reports


def shards_of(labels: TextTable, count: int) -> NDArray[np.int64]:
    """Return the shard of each label, int64 [L], by a hash of its text, so that a label keeps its shard for ever."""
    hashes = (blake2b(label.encode(), digest_size=_HASH_BYTES).digest() for label in labels)
    return np.array([int.from_bytes(digest, "big") % count for digest in hashes], np.int64)


def _ids(checkpoint: Checkpoint, labels: NDArray[np.int64], points: NDArray[np.int64]) -> ShardIds:
    """Return the ids of a shard, with the heaviest label's weight of each point."""
    sets = checkpoint.point_labels
    if not len(points) or not len(sets.weights):
        return ShardIds(labels, points, NO_SCALES)
    return ShardIds(labels, points, np.maximum.reduceat(sets.weights, sets.indptr[:-1])[points])


def _model_sha256(checkpoint: Checkpoint, plan: ShortlistPlan, options: PackOptions) -> str:
    """Return a hash over everything that changes answers, the same for any number of shards."""
    shares, model, fit = checkpoint.shares, checkpoint.model, options.fit
    chosen = {
        "plan": asdict(plan),
        "weights": options.weights,
        "version": options.version,
        "shares": [shares.alpha, shares.beta, shares.gamma, shares.delta],
        "logistic": None if shares.logistic is None else shares.logistic.model_dump(),
        "calibration": None if fit is None else fit.calibration.model_dump(),
        "encoder": model.front.description.model_dump(),
        "vocabulary": checkpoint.featurizer.vocabulary_sha256(),
        "num_texts": checkpoint.num_texts,
    }
    content = sha256(json.dumps(chosen, sort_keys=True).encode())
    for array in _arrays(checkpoint, options):
        content.update(f"{array.dtype.str}{array.shape}".encode())
        content.update(np.ascontiguousarray(array).data)
    return content.hexdigest()


def _arrays(checkpoint: Checkpoint, options: PackOptions) -> list[NDArray[Any]]:
    """Return every array of the run that changes answers."""
    arrays: list[NDArray[Any]] = [checkpoint.labels.blob, checkpoint.labels.offsets, checkpoint.label_counts]
    for dense in (checkpoint.model, checkpoint.reranker):
        if dense is not None:
            arrays += [dense.embeddings, dense.residuals, dense.classifier, dense.bias]
    arrays += [checkpoint.centroids, checkpoint.centroid_labels, checkpoint.points]
    sets = [checkpoint.point_labels]
    if options.label_metadata is not None:
        arrays += [options.label_metadata.values.blob, options.label_metadata.values.offsets]
        sets.append(options.label_metadata.labels)
    for labels in sets:
        arrays += [labels.indptr, labels.indices, labels.weights]
    if checkpoint.sparse is not None:
        arrays += [*checkpoint.sparse.by_label(), checkpoint.sparse.bias]
    return arrays
