"""astec-evaluate: the figures of an artifact on a test file, through the code that serves."""

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
_EXACT_BATCH_LABELS = 2_000_000  # of all queries of a batch together: bounds the memory

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command()
def evaluate(
    artifact: Annotated[Path, typer.Argument(help="An exported artifact.", show_default=False)],
    file: Annotated[
        Path,
        typer.Argument(
            help="Texts and labels, or a folder with test.* in it; the formats that astec-train reads.",
            show_default=False,
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout instead of a table.")] = False,
    propensity_a: Annotated[float, typer.Option(help="A of the propensities: 0.55; Amazon 0.6; Wikipedia 0.5.")] = 0.55,
    propensity_b: Annotated[float, typer.Option(help="B of the propensities: 1.5; Amazon 2.6; Wikipedia 0.4.")] = 1.5,
    skip_bad_lines: Annotated[
        bool, typer.Option("--skip-bad-lines", help="Count malformed lines and go on, instead of refusing the file.")
    ] = False,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact",
            help="Score every label, with exact neighbours: shows what searching costs in accuracy. Slow.",
        ),
    ] = False,
) -> None:
    """Measure ARTIFACT on FILE: P@k, nDCG@k, PSP@k, PSnDCG@k, and recall of the shortlist.

    Where the artifact knows how likely a label is right, also how far such probabilities of the best 20 labels are off
    (ECE, the expected calibration error, and the Brier score), beside the same of the scores.

    Texts whose labels are all unknown to the model are left out and counted, as the XC repository's tools do.
    Propensities come from the training data's label frequencies.
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
    """Rank every text of `dataset` and compare with its labels; figures in percent, speed in microseconds per text.

    Args:
        artifact: what ranks.
        dataset: texts and labels.
        propensity: A and B.
        skip_bad_lines: count them and go on.
        exact: score every label.

    Raises:
        DataError: bad lines, unless skipped.
        ValueError: no text with a label the model knows.
    """
    num_labels, batch_queries = len(artifact.labels), _BATCH_QUERIES
    if exact:
        exhaustive = ExhaustiveShortlister(search_exactly(artifact.shortlister), num_labels)
        artifact = replace(artifact, shortlister=exhaustive)
        batch_queries = max(1, min(_BATCH_QUERIES, _EXACT_BATCH_LABELS // num_labels))
    predictor = Predictor(artifact)
    label_ids = {text: label for label, text in enumerate(artifact.labels)}
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


def _scored_pairs(predictor: Predictor, queries: list[Query], relevant: list[NDArray[np.int64]]) -> ScoredPairs:
    """The best labels of the texts with a known label."""
    kept = [row for row, labels in enumerate(relevant) if len(labels)]
    (ranked_BK, scores_BK), _ = predictor.rank([queries[row] for row in kept], CALIBRATED_RANKS)
    return ScoredPairs.of(ranked_BK, scores_BK, [relevant[row] for row in kept])


def _calibration_figures(calibrator: Calibrator, pairs: Sequence[ScoredPairs]) -> dict[str, float]:
    """Expected calibration error and Brier score of probabilities, and of scores taken for them, in percent."""
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
    """Queries and the known labels of each."""
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
