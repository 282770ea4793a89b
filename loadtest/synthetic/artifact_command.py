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
    points: Annotated[
        int, typer.Option(help="Number of training points, at least a quarter of the labels.")
    ] = 1_000_000,
    dim: Annotated[int, typer.Option(help="Dimensions of the representations.")] = 300,
    queries: Annotated[
        int, typer.Option(help="Number of test texts with labels, written beside the artifact.")
    ] = 10_000,
    graph_dim: Annotated[
        int, typer.Option(help="Dimensions of the graph over the training points. Fewer: built and searched faster.")
    ] = 64,
    ef_construction: Annotated[
        int, typer.Option(help="Points examined for each new one of the graph. Fewer: built faster, less is found.")
    ] = 100,
    sparse_weights: Annotated[
        int, typer.Option(help="The most weights of a label in the sparse term, of one text's tokens. 0: no such term.")
    ] = 1_000,
    weights: Annotated[
        WeightType, typer.Option(help="Type of embeddings, classifiers, representatives and vectors of the index.")
    ] = DEFAULT_WEIGHTS,
    seed: Annotated[int, typer.Option(help="Seed of all random data.")] = 0,
) -> None:
    """Make an artifact of random data, packed and verified as any other, and TARGET.queries.jsonl with queries for it.

    Ten million labels with --dim 128 --graph-dim 32 --sparse-weights 32 and a quarter as many points took 11 GiB of
    memory and, until it was done, 15 GiB of disk beside TARGET.
    """
    # Imported only here, because the other command needs nothing that makes data and artifacts.
    from astec.export.artifact.verification import ArtifactError
    from astec.export.packing.verify import VerificationError
    from astec.loadtest.synthetic.model import ModelSizes, make_artifact

    beside = target.with_name(target.name + QUERIES_SUFFIX)
    try:
        sizes = ModelSizes(labels, points, dim, queries, graph_dim, ef_construction, sparse_weights)
        make_artifact(target, beside, sizes, seed, weights)
    except (ValueError, OSError, ArtifactError, VerificationError) as error:
        fail("synth-artifact", str(error))
    console.print(f"published {target}, with queries in {beside}", markup=False, soft_wrap=True)
