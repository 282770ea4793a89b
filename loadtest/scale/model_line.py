"""The shape of an artifact, as a line of a page."""

from __future__ import annotations

from astec.export.artifact.manifest import IndexDescription, Manifest


def describe_model(manifest: Manifest) -> str:
    """Return the sizes of a model, and how it searches."""
    sizes, points = manifest.dimensions, manifest.points
    index = "" if points is None else f", {_describe_index(points)}"
    sparse = manifest.scoring.sparse_weights / sizes.num_labels
    scored = "all" if manifest.max_candidates is None else f"at most {manifest.max_candidates}"
    return (
        f"{sizes.num_points:,} training points, {sizes.num_features:,} tokens, D = {sizes.dim}, {manifest.weights} "
        f"weights, {sparse:.1f} sparse weights a label{index} in {sizes.shortlist_dim} dimensions, {scored} labels "
        "scored"
    )


def _describe_index(points: IndexDescription) -> str:
    if points.backend == "flat":
        return f"exact search (flat) for {points.neighbours} neighbours"
    return f"{points.backend} (m {points.graph.m}, ef {points.graph.ef_search})"
