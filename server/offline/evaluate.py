"""astec-evaluate: the command that measures an artifact on a test file, with the code of the server."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.table import Table

from astec.export.artifact.scoring.calibrator import Calibrator
from astec.export.artifact.shortlist.hidden import VISIBLE
from astec.export.artifact.store import Artifact, open_artifact
from astec.export.artifact.text.bags import Query, QueryKindError
from astec.export.artifact.verification import ArtifactError
from astec.export.calibration.fit import CALIBRATED_RANKS
from astec.export.calibration.reliability import Reliability
from astec.export.calibration.scored_pairs import ScoredPairs
from astec.export.console import console
from astec.export.ranking_metrics import RankingMetrics, inverse_propensities
from astec.export.readers import DataError, Dataset, open_dataset
from astec.export.search.exhaustive import ExhaustiveShortlister, search_exactly
from astec.server.engine.predictor import Predictor

EXIT_BAD_INPUT = 2
_RANKS = (1, 3, 5)
_BATCH_QUERIES = 256
_EXACT_BATCH_LABELS = 2_000_000  # Labels times queries in a batch; limits the memory.

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command()
def evaluate(
    artifact: Annotated[Path, typer.Argument(help="An exported artifact.", show_default=False)],
    file: Annotated[
        Path,
        typer.Argument(
            help="Texts with labels, or a folder with a file test.*, in a format that astec-train reads.",
            show_default=False,
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
    propensity_a: Annotated[
        float, typer.Option(help="Parameter A of the propensities: 0.55; for Amazon 0.6; for Wikipedia 0.5.")
    ] = 0.55,
    propensity_b: Annotated[
        float, typer.Option(help="Parameter B of the propensities: 1.5; for Amazon 2.6; for Wikipedia 0.4.")
    ] = 1.5,
    skip_bad_lines: Annotated[
        bool, typer.Option("--skip-bad-lines", help="Count and skip malformed lines, instead of refusing the file.")
    ] = False,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact",
            help="Score every label, with exact neighbours, to see how much accuracy the search loses. Slow.",
        ),
    ] = False,
) -> None:
    """Measure ARTIFACT on FILE: P@k, nDCG@k, PSP@k, PSnDCG@k, and recall of the shortlist.

    If the artifact is calibrated, also measure the probabilities of the best 20 labels: the expected calibration error
    (ECE) and the Brier score, and for comparison the same for the scores.

    Texts whose labels are all unknown to the model are left out and counted, as the tools of the XC repository do.
    Propensities are computed from the label frequencies of the training data.
    """
    try:
        figures = measure(
            open_artifact(artifact),
            open_dataset(file, "test"),
            (propensity_a, propensity_b),
            skip_bad_lines=skip_bad_lines,
            exact=exact,
        )
    except (ArtifactError, DataError, QueryKindError, ValueError) as error:
        console.print(f"astec-evaluate: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(EXIT_BAD_INPUT) from error
    if as_json:
        typer.echo(json.dumps(figures))
        return
    table = Table("figure", "value", box=None)
    for name, value in figures.items():
        table.add_row(name, f"{value:.2f}" if isinstance(value, float) else str(value))
    console.print(table)


def measure(
    artifact: Artifact,
    dataset: Dataset,
    propensity: tuple[float, float],
    *,
    skip_bad_lines: bool,
    exact: bool = False,
) -> dict[str, float | int]:
    """Rank every text of a dataset and compare the ranking with its labels.

    Args:
        artifact: The model.
        dataset: The texts and their labels.
        propensity: The parameters A and B of the propensity model.
        skip_bad_lines: Count malformed lines and continue, instead of raising an error.
        exact: Score every label, instead of the labels on the shortlist.

    Returns:
        The figures by name: metrics in percent, and the time per text in microseconds.

    Raises:
        DataError: A line is malformed, unless such lines are skipped.
        ValueError: No text has a label that the model knows.
    """
    num_labels, batch_queries = len(artifact.labels), _BATCH_QUERIES
    if exact:
        exhaustive = ExhaustiveShortlister(search_exactly(artifact.shortlister), num_labels)
        artifact = replace(artifact, shortlister=exhaustive)
        batch_queries = max(1, min(_BATCH_QUERIES, _EXACT_BATCH_LABELS // num_labels))
    predictor = Predictor(artifact)
    label_ids = _label_ids(artifact)
    weights_L = inverse_propensities(artifact.label_counts, artifact.manifest.dimensions.num_texts, *propensity)
    metrics = RankingMetrics(_RANKS, weights_L)
    calibration, pairs = artifact.manifest.calibration, list[ScoredPairs]()
    recall_sum, shortlist_labels, seconds = 0.0, 0, 0.0
    for queries, relevant in _batches(dataset, label_ids, batch_queries, skip_bad_lines):
        begun = perf_counter()
        rankings, _ = predictor.predict(queries, _RANKS[-1])
        seconds += perf_counter() - begun
        ranked_BK = np.full((len(queries), _RANKS[-1]), -1, np.int64)
        for row, ranking in enumerate(rankings):
            ranked_BK[row, : len(ranking.label_ids)] = ranking.label_ids
        metrics.update(ranked_BK, relevant)
        if calibration is not None and any(map(len, relevant)):
            pairs.append(_scored_pairs(predictor, queries, relevant))
        for candidates, wanted in zip(predictor.shortlist(queries), relevant, strict=True):
            recall_sum += np.isin(wanted, candidates).mean() if len(wanted) else 0
            shortlist_labels += len(candidates)
    figures: dict[str, float | int] = dict(metrics.result())
    texts = metrics.points + metrics.skipped
    if calibration is not None:
        figures |= _calibration_figures(Calibrator.of(calibration), pairs)
    return figures | {
        "shortlist recall": 100 * float(recall_sum) / metrics.points,
        "shortlist labels": shortlist_labels / texts,
        "texts": metrics.points,
        "texts without a known label": metrics.skipped,
        "bad lines": dataset.bad_lines,
        f"us per text, batches of {batch_queries}": 1e6 * seconds / texts,
    }


def _label_ids(artifact: Artifact) -> dict[str, int]:
    """Return the label with each text, without those that an update has removed."""
    removed = artifact.removed
    return {text: label for label, text in enumerate(artifact.labels) if removed is None or removed[label] == VISIBLE}


def _scored_pairs(predictor: Predictor, queries: list[Query], relevant: list[NDArray[np.int64]]) -> ScoredPairs:
    """Rank the texts that have a known label, for the calibration figures."""
    kept = [row for row, labels in enumerate(relevant) if len(labels)]
    (ranked_BK, scores_BK), _ = predictor.rank([queries[row] for row in kept], CALIBRATED_RANKS)
    return ScoredPairs.of(ranked_BK, scores_BK, [relevant[row] for row in kept])


def _calibration_figures(calibrator: Calibrator, pairs: Sequence[ScoredPairs]) -> dict[str, float]:
    """Return expected calibration error and Brier score, in percent, of probabilities and of scores used as such."""
    scores_P = np.concatenate([some.scores for some in pairs])
    hits_P = np.concatenate([some.hits for some in pairs])
    if not len(hits_P):
        return {}
    figures: dict[str, float] = {}
    for name, said_P in (("probabilities", calibrator.probabilities(scores_P)), ("scores", scores_P)):
        reliability = Reliability.of(said_P, hits_P)
        figures |= {f"ECE of {name}": 100 * reliability.expected_error, f"Brier of {name}": 100 * reliability.brier}
    return figures


def _batches(
    dataset: Dataset, label_ids: dict[str, int], batch_queries: int, skip_bad_lines: bool
) -> Iterator[tuple[list[Query], list[NDArray[np.int64]]]]:
    """Yield batches: the queries, and the ids of the known labels of each query."""
    rows = dataset.rows(skip_bad_lines=skip_bad_lines)
    while batch := list(islice(rows, batch_queries)):
        relevant = [
            np.array([label_ids[label] for label in row.labels if label in label_ids], np.int64) for row in batch
        ]
        yield [row.query for row in batch], relevant


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
