"""astec-evaluate: the command that measures an artifact on a test file, with the code of the server."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Annotated, NamedTuple

import numpy as np
import typer
from numpy.typing import NDArray
from rich.table import Table

from astec.export.artifact.scoring.calibrator import Calibrator
from astec.export.artifact.shortlist.hidden import VISIBLE
from astec.export.artifact.store import Artifact
from astec.export.artifact.text.bags import Query, QueryKindError
from astec.export.artifact.verification import ArtifactError
from astec.export.artifact_cache import open_artifact_at
from astec.export.calibration.fit import CALIBRATED_RANKS
from astec.export.calibration.reliability import Reliability
from astec.export.calibration.scored_pairs import ScoredPairs
from astec.export.console import console
from astec.export.ranking_metrics import RankingMetrics, inverse_propensities
from astec.export.readers import DataError, Dataset, ReadOptions, open_dataset
from astec.export.readers.command_options import (
    Delimiter,
    Encoding,
    LabelColumn,
    LabelSeparator,
    SkipBadLines,
    TextColumn,
    WeightColumn,
)
from astec.export.readers.formats.filtered_pairs import FilteredPairs, find_filter_file
from astec.export.readers.places.remote_path import data_path
from astec.export.search.exhaustive import ExhaustiveShortlister, search_exactly
from astec.server.engine.predictor import Predictor
from astec.server.offline.command_options import AllowLinksUnder

EXIT_BAD_INPUT = 2
_RANKS = (1, 3, 5)
_BATCH_QUERIES = 256
_EXACT_BATCH_LABELS = 2_000_000  # Labels times queries in a batch; limits the memory.

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


@app.command()
def evaluate(
    artifact: Annotated[
        str,
        typer.Argument(
            help="An exported artifact: a folder, or an address such as s3://bucket/model, which is copied to this "
            "machine once.",
            show_default=False,
        ),
    ],
    file: Annotated[
        Path,
        typer.Argument(
            help="Texts with labels, or a folder with a file test.*, in a format that astec-train reads; - is stdin.",
            parser=data_path,
            metavar="FILE",
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
    skip_bad_lines: SkipBadLines = False,
    filter_labels: Annotated[
        Path | None,
        typer.Option(
            "--filter-labels",
            help="File of the XC repository with pairs 'text label' (numbers, from 0) that are left out: they count "
            "neither as right nor as wrong. Default: filter_labels_test.txt beside FILE, if the labels have numbers.",
            parser=data_path,
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    encoding: Encoding = None,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    weight_column: WeightColumn = None,
    label_separator: LabelSeparator = None,
    delimiter: Delimiter = None,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact",
            help="Score every label, with exact neighbours, to see how much accuracy the search loses. Slow.",
        ),
    ] = False,
    allow_links_under: AllowLinksUnder = None,
) -> None:
    """Measure ARTIFACT on FILE: P@k, nDCG@k, PSP@k, PSnDCG@k, and recall of the shortlist.

    If the artifact is calibrated, also measure the probabilities of the best 20 labels: the expected calibration error
    (ECE) and the Brier score, and for comparison the same for the scores.

    Texts whose labels are all unknown to the model are left out and counted, as the tools of the XC repository do.
    Propensities are computed from the label frequencies of the training data.
    """
    reading = ReadOptions(text_column, label_column, weight_column, label_separator, delimiter, encoding)
    try:
        model = open_artifact_at(artifact, allow_links_under=allow_links_under)
        dataset = open_dataset(file, "test", reading)
        filtered = _filtered_pairs(filter_labels, dataset)
        figures = measure(
            model,
            dataset,
            (propensity_a, propensity_b),
            skip_bad_lines=skip_bad_lines,
            exact=exact,
            filtered=filtered,
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


def _filtered_pairs(path: Path | None, dataset: Dataset) -> FilteredPairs | None:
    """Read the pairs to leave out, if they are given or lie beside the test file.

    Raises:
        DataError: the file does not hold pairs, or the labels of the data set have no numbers.
    """
    path = path or find_filter_file(dataset)
    if path is None:
        return None
    filtered = FilteredPairs(path, dataset)
    console.print(f"leaving out the {len(filtered):,} pairs of {path}", markup=False, soft_wrap=True)
    return filtered


def measure(
    artifact: Artifact,
    dataset: Dataset,
    propensity: tuple[float, float],
    *,
    skip_bad_lines: bool,
    exact: bool = False,
    filtered: FilteredPairs | None = None,
) -> dict[str, float | int]:
    """Rank every text of a dataset and compare the ranking with its labels.

    Args:
        artifact: The model.
        dataset: The texts and their labels.
        propensity: The parameters A and B of the propensity model.
        skip_bad_lines: Count malformed lines and continue, instead of raising an error.
        exact: Score every label, instead of the labels on the shortlist.
        filtered: Pairs of a text and a label to leave out of rankings and right labels.

    Returns:
        The figures by name: metrics in percent, and the time per text in microseconds.

    Raises:
        DataError: A line is malformed, unless such lines are skipped; or there are pairs to leave out, and a line is
            skipped or a text missing, so that their numbers do not fit.
        ValueError: No text has a label that the model knows.
    """
    num_labels, batch_queries = len(artifact.labels), _BATCH_QUERIES
    if exact:
        exhaustive = ExhaustiveShortlister(search_exactly(artifact.shortlister), num_labels)
        artifact = replace(artifact, shortlister=exhaustive)
        batch_queries = max(1, min(_BATCH_QUERIES, _EXACT_BATCH_LABELS // num_labels))
    predictor = Predictor(artifact)
    weights_L = inverse_propensities(artifact.label_counts, artifact.manifest.dimensions.num_texts, *propensity)
    metrics = RankingMetrics(_RANKS, weights_L)
    calibration, pairs = artifact.manifest.calibration, list[ScoredPairs]()
    recall_sum, shortlist_labels, seconds = 0.0, 0, 0.0
    batches = _batches(dataset, _label_ids(artifact), batch_queries, filtered, skip_bad_lines=skip_bad_lines)
    for queries, relevant, left_out in batches:
        begun = perf_counter()
        rankings, _ = predictor.rank(queries, _RANKS[-1] + max(map(len, left_out)))
        seconds += perf_counter() - begun
        metrics.update(_without(*rankings, left_out)[0][:, : _RANKS[-1]], relevant)
        if calibration is not None and any(map(len, relevant)):
            pairs.append(_scored_pairs(predictor, queries, relevant, left_out))
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


def _scored_pairs(
    predictor: Predictor,
    queries: list[Query],
    relevant: list[NDArray[np.int64]],
    left_out: list[NDArray[np.int64]],
) -> ScoredPairs:
    """Rank the texts that have a known label, for the calibration figures."""
    kept = [row for row, labels in enumerate(relevant) if len(labels)]
    rankings, _ = predictor.rank([queries[row] for row in kept], CALIBRATED_RANKS)
    ranked_BK, scores_BK = _without(*rankings, [left_out[row] for row in kept])
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


def _without(
    ranked_BK: NDArray[np.int64], scores_BK: NDArray[np.float32], left_out: Sequence[NDArray[np.int64]]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return rankings without some labels of each; those after them move up, and -1 fills the end.

    Args:
        ranked_BK: label ids, best first, padded with -1.
        scores_BK: their scores.
        left_out: the labels to leave out of each ranking.
    """
    ranked_BK, scores_BK = ranked_BK.copy(), scores_BK.copy()
    for row, labels in enumerate(left_out):
        if len(labels):
            order = np.argsort(np.isin(ranked_BK[row], labels), kind="stable")
            kept = len(order) - np.count_nonzero(np.isin(ranked_BK[row], labels))
            ranked_BK[row], scores_BK[row] = ranked_BK[row, order], scores_BK[row, order]
            ranked_BK[row, kept:] = -1
    return ranked_BK, scores_BK


class _Batch(NamedTuple):
    """Queries, and of each the ids of the labels that are right, and of those that are left out."""

    queries: list[Query]
    relevant: list[NDArray[np.int64]]
    left_out: list[NDArray[np.int64]]


def _batches(
    dataset: Dataset,
    label_ids: dict[str, int],
    batch_queries: int,
    filtered: FilteredPairs | None,
    *,
    skip_bad_lines: bool,
) -> Iterator[_Batch]:
    """Yield the queries in batches, with those of their labels that the model knows.

    Raises:
        DataError: A line is malformed; or the numbers of `filtered` do not fit the rows.
    """

    def known(labels: Iterable[str]) -> NDArray[np.int64]:
        return np.array([label_ids[label] for label in labels if label in label_ids], np.int64)

    rows, num_rows = dataset.rows(skip_bad_lines=skip_bad_lines), 0
    while batch := list(islice(rows, batch_queries)):
        left_out: list[list[str]] = [[] for _ in batch]
        if filtered is not None:
            left_out = [filtered.labels_of(number) for number in range(num_rows, num_rows + len(batch))]
        num_rows += len(batch)
        relevant = [
            known(label for label in row.labels if label not in labels)
            for row, labels in zip(batch, left_out, strict=True)
        ]
        yield _Batch([row.query for row in batch], relevant, list(map(known, left_out)))
    if filtered is not None:
        filtered.require_texts(num_rows)
        if dataset.bad_lines:
            problem = f"pairs name texts by number, and {dataset.bad_lines} bad lines were skipped"
            raise DataError(filtered.path, None, problem, "Fix the lines, or move the file of pairs away")


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
