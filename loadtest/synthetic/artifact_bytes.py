"""`astec-loadtest artifact-bytes`: what an artifact takes for each label and training point, and another size of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from astec.export.artifact.manifest import Manifest
from astec.export.artifact.verification import ArtifactError, read_manifest
from astec.loadtest.command_line import fail
from astec.loadtest.report.markdown import table

Unit = Literal["label", "point", "token", "model"]
"""What a file grows with. The files of a "model" do not grow."""

# By the begin of a file's name; the first that fits counts.
_PARTS: tuple[tuple[str, str, Unit], ...] = (
    ("classifier.", "classifiers", "label"),
    ("reranker.embeddings", "embeddings of the re-ranker", "token"),
    ("reranker.", "classifiers of the re-ranker", "label"),
    ("representatives.", "label representatives", "label"),
    ("centroid_labels", "label representatives", "label"),
    ("centroids.index", "index over label representatives", "label"),
    ("sparse.postings.", "sparse term of frequent labels, by token", "token"),
    ("sparse.", "sparse term", "label"),
    ("labels.", "label texts", "label"),
    ("label_counts", "label counts", "label"),
    ("label_values", "label metadata", "label"),
    ("shard.labels", "ids in the whole model", "label"),
    ("shard.point", "ids of points in the whole model", "point"),
    ("points.index", "index over training points", "point"),
    ("point_labels.", "labels of training points", "point"),
    ("point_texts.", "training texts", "point"),
    ("embeddings.", "embeddings", "token"),
    ("vocabulary", "featurizer", "token"),
    ("featurizer", "featurizer", "token"),
)


@dataclass(frozen=True, slots=True)
class PartBytes:
    """The bytes of the files of one part, and what they grow with."""

    part: str
    unit: Unit
    bytes: int


@dataclass(frozen=True, slots=True)
class ArtifactBytes:
    """The bytes of all parts of an artifact.

    Attributes:
        parts: largest first.
        counts: labels, training points and tokens of the artifact.
    """

    parts: tuple[PartBytes, ...]
    counts: Mapping[Unit, int]

    @classmethod
    def of(cls, manifest: Manifest) -> ArtifactBytes:
        """Add up the files that a manifest lists."""
        sums: dict[tuple[str, Unit], int] = {}
        for name, record in manifest.files.items():
            known = ((part, unit) for begin, part, unit in _PARTS if name.startswith(begin))
            key = next(known, ("encoder and others", "model"))
            sums[key] = sums.get(key, 0) + record.bytes
        sizes = manifest.dimensions
        counts: dict[Unit, int] = {
            "label": sizes.num_labels, "point": sizes.num_points, "token": sizes.num_features, "model": 1
        }  # fmt: skip
        parts = (PartBytes(part, unit, size) for (part, unit), size in sums.items())
        return cls(tuple(sorted(parts, key=lambda part: -part.bytes)), counts)

    def each(self, unit: Unit) -> float:
        """Return the bytes of one label, training point or token in all parts together."""
        return sum(part.bytes for part in self.parts if part.unit == unit) / max(1, self.counts[unit])

    def at(self, counts: Mapping[Unit, int]) -> float:
        """Return the bytes of an artifact of the same kind with other numbers of labels, points and tokens."""
        return sum(self.each(unit) * counts.get(unit, self.counts[unit]) for unit in get_args(Unit))


def artifact_bytes(
    artifact: Annotated[Path, typer.Argument(help="An artifact.", show_default=False)],
    labels: Annotated[int | None, typer.Option(min=1, help="Labels of an artifact of the same kind.")] = None,
    points: Annotated[
        int | None, typer.Option(min=1, help="Training points of it. Default: as many for each label as here.")
    ] = None,
    tokens: Annotated[int | None, typer.Option(min=1, help="Tokens of it. Default: as many as here.")] = None,
) -> None:
    """Say what each part of ARTIFACT takes for each label, training point and token, as a table.

    With --labels, also what an artifact of the same kind with so many labels takes.
    """
    try:
        found = ArtifactBytes.of(read_manifest(artifact))
    except (ArtifactError, OSError) as error:
        fail("artifact-bytes", str(error))
    rows = [
        [
            part.part,
            f"{part.bytes / 2**20:,.1f}",
            "" if part.unit == "model" else f"{part.bytes / max(1, found.counts[part.unit]):,.1f} per {part.unit}",
        ]
        for part in found.parts
    ]
    typer.echo(table(["part", "MiB", "bytes"], rows))
    units = ", ".join(f"{found.each(unit):,.0f} bytes per {unit}" for unit in get_args(Unit) if unit != "model")
    typer.echo(f"\n{found.counts['label']:,} labels, {found.counts['point']:,} points: {units}")
    if labels is not None:
        per_label = found.counts["point"] / found.counts["label"]
        wanted: dict[Unit, int] = {"label": labels, "point": points or round(labels * per_label)}
        if tokens is not None:
            wanted["token"] = tokens
        size = found.at(wanted)
        typer.echo(f"{labels:,} labels, {wanted['point']:,} points: {size / 2**30:,.1f} GiB")
