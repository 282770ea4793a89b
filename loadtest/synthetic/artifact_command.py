"""`astec-loadtest synth-artifact`: makes an artifact of any size without training, to measure how costs grow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from astec.export.artifact.manifest import DEFAULT_WEIGHTS, WeightType
from astec.export.console import console
from astec.loadtest.command_line import fail

QUERIES_SUFFIX = ".queries.jsonl"


def synth_artifact(
    target: Annotated[Path, typer.Argument(help="Folder to write; must not exist.", show_default=False)],
    labels: Annotated[int, typer.Option(help="Number of labels.")] = 1_000_000,
    points: Annotated[int, typer.Option(help="Number of training points, at least as many as labels.")] = 1_000_000,
    dim: Annotated[int, typer.Option(help="Dimensions of the representations.")] = 300,
    queries: Annotated[
        int, typer.Option(help="Number of test texts with labels, written beside the artifact.")
    ] = 10_000,
    sparse_term: Annotated[bool, typer.Option(help="Include the sparse linear term, as in trained models.")] = True,
    weights: Annotated[
        WeightType, typer.Option(help="Type of embeddings, classifiers, representatives and vectors of the index.")
    ] = DEFAULT_WEIGHTS,
    seed: Annotated[int, typer.Option(help="Seed of all random data.")] = 0,
) -> None:
    """Make an artifact of random data, packed and verified as any other, and TARGET.queries.jsonl with queries for it.

    A million labels and points take 6 GiB of memory.
    """
    # Imported only here, because the other command needs nothing that makes data and artifacts.
    from astec.export.artifact.verification import ArtifactError
    from astec.export.packing.verify import VerificationError
    from astec.loadtest.synthetic.model import ModelSizes, make_artifact

    beside = target.with_name(target.name + QUERIES_SUFFIX)
    try:
        make_artifact(target, beside, ModelSizes(labels, points, dim, queries, sparse_term), seed, weights)
    except (ValueError, OSError, ArtifactError, VerificationError) as error:
        fail("synth-artifact", str(error))
    console.print(f"published {target}, with queries in {beside}", markup=False, soft_wrap=True)
