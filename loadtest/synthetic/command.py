"""`astec-loadtest synth-artifact`: an artifact of any size without training, to measure how costs grow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from astec.export.artifact.manifest import WeightType
from astec.export.console import console

EXIT_BAD_INPUT = 2
QUERIES_SUFFIX = ".queries.jsonl"


def synth_artifact(
    target: Annotated[Path, typer.Argument(help="Where the artifact goes; must not exist.", show_default=False)],
    labels: Annotated[int, typer.Option(help="Labels.")] = 1_000_000,
    points: Annotated[int, typer.Option(help="Training points, at least as many as labels.")] = 1_000_000,
    dim: Annotated[int, typer.Option(help="Dimensions of the representations.")] = 300,
    queries: Annotated[
        int, typer.Option(help="Texts to ask, with their labels, written beside the artifact.")
    ] = 10_000,
    sparse_term: Annotated[bool, typer.Option(help="With the sparse linear term, as trained models have it.")] = True,
    weights: Annotated[
        WeightType, typer.Option(help="Type of embeddings, classifiers, representatives and vectors of the index.")
    ] = "float32",
    seed: Annotated[int, typer.Option(help="Of everything made up.")] = 0,
) -> None:
    """Make an artifact of made-up data, packed and verified as any other, and TARGET.queries.jsonl to ask it.

    A million labels and points take 6 GiB of memory.
    """
    # Only here, because the other command needs none of what makes data and artifacts.
    from astec.export.artifact.verification import ArtifactError
    from astec.export.packing.verify import VerificationError
    from astec.loadtest.synthetic.model import ModelSizes, make_artifact

    beside = target.with_name(target.name + QUERIES_SUFFIX)
    try:
        make_artifact(target, beside, ModelSizes(labels, points, dim, queries, sparse_term), seed, weights)
    except (ValueError, OSError, ArtifactError, VerificationError) as error:
        console.print(f"synth-artifact: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(EXIT_BAD_INPUT) from error
    console.print(f"published {target}, with queries in {beside}", markup=False, soft_wrap=True)
