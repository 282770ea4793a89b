"""`astec-export`: packs a run folder into an artifact that the server can serve."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple, NoReturn

import typer

from astec.export.artifact.index.base import Backend
from astec.export.artifact.labels.metadata import LabelMetadata
from astec.export.artifact.manifest import DEFAULT_WEIGHTS, WeightType
from astec.export.artifact.signals.histograms import Histograms
from astec.export.artifact.storage.atomic_files import require_absent
from astec.export.artifact.verification import ArtifactError
from astec.export.calibration.fit import CALIBRATED_RANKS, MIN_TEXTS, CalibrationFit, fit_calibration
from astec.export.calibration.scored_pairs import ScoredPairs
from astec.export.console import console
from astec.export.model.checkpoint import Checkpoint
from astec.export.model.checkpoint_folder import CheckpointError, read_checkpoint
from astec.export.packing.added_labels import add_labels as add_labels_to
from astec.export.packing.held_out_signals import held_out_signals
from astec.export.packing.label_file import read_labels
from astec.export.packing.label_table import read_label_metadata
from astec.export.packing.options import PackOptions
from astec.export.packing.pack import pack, require_identity, require_point_texts
from astec.export.packing.removed_labels import remove_labels as remove_labels_from
from astec.export.packing.shards import MAX_SHARDS, pack_shards, shard_folder
from astec.export.packing.verify import VerificationError, VerificationReport
from astec.export.search.indices import IndexBuilder
from astec.export.search.plan import SearchSpace, ShortlistKind, ShortlistPlan
from astec.export.search.tradeoff import choose_plan, judge_int8, score_held_out
from astec.export.search.tradeoff_table import tradeoff_table
from astec.export.search.trial import Trial

EXIT_BAD_INPUT = 2
DEFAULTS = SearchSpace()
_SEARCH, _PIN = "How to search", "Pin"

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")


class _Extras(NamedTuple):
    """Data to add to the artifact, and pictures to write."""

    added: Path | None
    removed: Path | None
    label_metadata: Path | None
    training_texts: bool
    plot: Path | None
    reliability_plot: Path | None
    shards: int | None


class _Search(NamedTuple):
    """The chosen plan, its trials, its loss on texts that did not choose it, its calibration, and its signals."""

    plan: ShortlistPlan
    trials: Sequence[Trial]
    fresh_loss: tuple[float, float] | None
    fit: CalibrationFit | None
    signals: Histograms


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A finished run of astec-train.", show_default=False)],
    artifact: Annotated[Path, typer.Argument(help="Folder to publish; must not exist.", show_default=False)],
    name: Annotated[
        str | None, typer.Option(help="Name of the model in every response. Default: the artifact folder's name.")
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="Version of the model. Default: a hash of its content, equal for equal models.")
    ] = None,
    weights: Annotated[
        WeightType,
        typer.Option(
            help="Type of embeddings, classifiers, label representatives and vectors of the default index. int8: a "
            "little less accurate, which is measured and printed. float32: four times the memory, slower."
        ),
    ] = DEFAULT_WEIGHTS,
    max_loss: Annotated[
        float,
        typer.Option(
            min=0,
            help="Points of P@k (mean of P@1, P@3, P@5) that searching may lose on texts that did not choose how to "
            "search, expected from the held-out texts. More: faster.",
            rich_help_panel=_SEARCH,
        ),
    ] = DEFAULTS.max_loss,
    max_psp_loss: Annotated[
        float,
        typer.Option(
            min=0,
            help="Points of PSP@k that searching may lose in the same way. More: faster, worse on rare labels.",
            rich_help_panel=_SEARCH,
        ),
    ] = DEFAULTS.max_psp_loss,
    shortlist: Annotated[
        ShortlistKind | None,
        typer.Option(
            help="Source of the labels to score: the nearest training points, the nearest label representatives "
            "(centroids), or both (union: slower). Default: the cheapest.",
            rich_help_panel=_SEARCH,
            show_default=False,
        ),
    ] = None,
    backend: Annotated[
        Backend | None,
        typer.Option(
            help="Index: hnsw-float32; hnsw-int8 (the same graph, its vectors rounded: smaller, faster, finds a little "
            "less); flat (exact; faster for few vectors); hnswlib (the same graph as hnsw-float32, searched by that "
            "library: slower). Default: flat for few vectors, else hnsw-int8, or hnsw-float32 with --weights float32.",
            rich_help_panel=_SEARCH,
            show_default=False,
        ),
    ] = None,
    dim: Annotated[
        int | None, typer.Option(min=1, help="Dimensions of the indices. Fewer: faster.", rich_help_panel=_PIN)
    ] = None,
    neighbours: Annotated[
        int | None,
        typer.Option(
            min=1, help="Nearest training points whose labels are scored. Fewer: faster.", rich_help_panel=_PIN
        ),
    ] = None,
    centroid_neighbours: Annotated[
        int | None,
        typer.Option(
            min=1, help="Nearest label representatives whose labels are scored. Fewer: faster.", rich_help_panel=_PIN
        ),
    ] = None,
    m: Annotated[
        int | None,
        typer.Option("--m", min=2, help="Links of a node of a graph. Fewer: smaller, faster.", rich_help_panel=_PIN),
    ] = None,
    ef_search: Annotated[
        int | None,
        typer.Option(min=1, help="Candidates visited in a search. Fewer: faster.", rich_help_panel=_PIN),
    ] = None,
    max_candidates: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Most labels of a query to score, chosen by their votes, and therefore the most labels of an answer; "
            "0: all. Fewer: faster, above all for the slowest queries. Default: the fewest within the limits.",
            rich_help_panel=_PIN,
            show_default=False,
        ),
    ] = None,
    add_labels: Annotated[
        Path | None,
        typer.Option(
            help="File of labels that the run has never seen, one text each. The model knows them by their texts "
            "alone, and finds them less well than labels with training texts.",
            exists=True,
            dir_okay=False,
            show_default=False,
        ),
    ] = None,
    remove_labels: Annotated[
        Path | None,
        typer.Option(
            help="File of labels of the run to leave out, one text each, with the training points that carry no other.",
            exists=True,
            dir_okay=False,
            show_default=False,
        ),
    ] = None,
    label_metadata: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            help="Table of label metadata, for requests to filter by: JSON Lines, CSV or Parquet, one row per label "
            "with `label` (its text) or `label_id`, and a column for each attribute.",
            show_default=False,
        ),
    ] = None,
    shards: Annotated[
        int | None,
        typer.Option(
            min=2,
            max=MAX_SHARDS,
            help="Divide the labels between so many artifacts, ARTIFACT/shard-0 and so on, for more labels than one "
            "machine holds. Each is served by itself, and astec.Client or astec-serve --upstream merges their answers. "
            "How to search and the probabilities are chosen once, for the whole model.",
            show_default=False,
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write a PNG of accuracy against cost to this file.")
    ] = None,
    reliability_plot: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="Write a PNG of probabilities against the share of labels that are right."),
    ] = None,
    training_texts: Annotated[
        bool,
        typer.Option(
            "--training-texts",
            help="Store the texts of the training points, for explanations and the playground to quote. All users of "
            "the server can then see some of them: leave it out where queries of the log are private. Searching by "
            "label representatives alone is then not possible.",
        ),
    ] = False,
) -> None:
    """Pack RUN into ARTIFACT, verify it against the run, and publish it: whole, or not at all.

    The way to search labels is chosen on the run's held-out texts: the cheapest within the limits. The options under
    "Pin" fix a value instead of choosing it.
    """
    try:
        space = SearchSpace(
            kinds=_kinds(shortlist, training_texts=training_texts),
            backend=backend,
            dims=DEFAULTS.dims if dim is None else (dim,),
            neighbours=DEFAULTS.neighbours if neighbours is None else (neighbours,),
            centroid_neighbours=DEFAULTS.centroid_neighbours if centroid_neighbours is None else (centroid_neighbours,),
            ms=DEFAULTS.ms if m is None else (m,),
            ef_search=ef_search,
            max_candidates=DEFAULTS.max_candidates if max_candidates is None else _only(max_candidates),
            max_loss=max_loss,
            max_psp_loss=max_psp_loss,
        )
        named = name or artifact.resolve().name
        extras = _Extras(add_labels, remove_labels, label_metadata, training_texts, plot, reliability_plot, shards)
        reports = _export(run, artifact, named, version, weights, space, extras)
    except (
        CheckpointError,
        VerificationError,
        ArtifactError,
        ValueError,
        FileExistsError,
    ) as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{artifact} cannot be written: {error}. Nothing was published")
    for index, report in enumerate(reports):
        recalls = ", ".join(f"{recall:.3f} ({side})" for side, recall in report.recalls.items())
        console.print(
            f"{'' if shards is None else f'shard {index}: '}verified on {report.texts} texts: ONNX within "
            f"{report.encoder_error:.1e} of torch, logits within {report.logit_error:.1e}; recall@10 of the indices "
            f"{recalls}",
            soft_wrap=True,
        )
    served = artifact if shards is None else shard_folder(artifact, 0)
    others = "" if shards is None else f", and the other {shards - 1} shards likewise"
    console.print(f"published {artifact}; serve it: astec-serve {served}{others}", soft_wrap=True)


def _kinds(shortlist: ShortlistKind | None, *, training_texts: bool) -> tuple[ShortlistKind, ...]:
    """Return the sources of labels to try; training points are one of them where their texts are to be quoted."""
    if not training_texts:
        return DEFAULTS.kinds if shortlist is None else (shortlist,)
    if shortlist == "centroids":
        raise ValueError("--shortlist centroids has no training points to quote; leave --training-texts out")
    return ("points", "union") if shortlist is None else (shortlist,)


def _only(max_candidates: int) -> tuple[int, ...]:
    """Return the limit as the only one to choose from; 0 gives no limit."""
    return (max_candidates,) if max_candidates else ()


def _export(
    run: Path,
    artifact: Path,
    name: str,
    version: str | None,
    weights: WeightType,
    space: SearchSpace,
    extras: _Extras,
) -> list[VerificationReport]:
    """Choose how to search the run's labels, then pack and publish it; return the report of each artifact."""
    require_absent(artifact)
    require_identity(name, version)
    for picture in (extras.plot, extras.reliability_plot):
        if picture is not None and not picture.absolute().parent.is_dir():
            raise ValueError(f"{picture} cannot be written: there is no folder {picture.parent}; create it first")
    checkpoint = read_checkpoint(run)
    if extras.removed is not None:
        checkpoint = _remove_labels(checkpoint, extras.removed)
    if extras.added is not None:
        checkpoint = _add_labels(checkpoint, extras.added)
    if extras.training_texts:
        require_point_texts(checkpoint)
    metadata = None if extras.label_metadata is None else _read_label_metadata(extras.label_metadata, checkpoint)
    judged = checkpoint.before_refit()
    builder = IndexBuilder(judged)
    search = _choose_search(builder, checkpoint, space, weights, extras)
    with console.status("packing and verifying"):
        if judged is not checkpoint:
            builder = IndexBuilder(checkpoint)
        options = PackOptions(
            version,
            weights,
            search.trials,
            search.fresh_loss,
            search.fit,
            metadata,
            extras.training_texts,
            search.signals,
        )
        if extras.shards is not None:
            return pack_shards(checkpoint, search.plan, extras.shards, artifact, name, options)
        return [pack(checkpoint, builder.build(search.plan), artifact, name, options)]


def _choose_search(
    builder: IndexBuilder, checkpoint: Checkpoint, space: SearchSpace, weights: WeightType, extras: _Extras
) -> _Search:
    """Choose the plan, show its trials, fit the calibration of its scores, and count the signals of the held-out texts.

    Args:
        builder: of the run before its refit.
        checkpoint: the run after its refit.
        space: the plans to choose from.
        weights: the type of weights.
        extras: pictures to write.
    """
    choice = choose_plan(builder, space)
    plan, trials, fit, signals = choice.plan, choice.trials, None, Histograms()
    if weights == "int8" and space.backend is None:
        plan = plan.in_int8()
    if choice.chosen is None or choice.fresh_loss is None:
        _warn(
            "the run has no held-out texts: what searching and rounding cost was not measured, and the artifact has no "
            "probabilities"
        )
    else:
        if weights == "int8":
            trials = [*trials, judge_int8(builder, plan)]
        _show(trials, choice.chosen, choice.fresh_loss, extras.plot)
        ranking, pairs = score_held_out(builder, plan, weights, CALIBRATED_RANKS)
        fit, signals = _calibrate(pairs, extras.reliability_plot), held_out_signals(checkpoint, ranking)
    if not choice.within_limits:
        _warn(
            f"no way to search is within {space.max_loss:g} points of P@k and {space.max_psp_loss:g} of PSP@k: the "
            "most accurate one is taken; raise --max-loss and --max-psp-loss, or try --shortlist union"
        )
    return _Search(plan, trials, choice.fresh_loss, fit, signals)


def _remove_labels(checkpoint: Checkpoint, path: Path) -> Checkpoint:
    """Remove the labels of a file from the run, one text each; blank lines are skipped."""
    narrowed = remove_labels_from(checkpoint, read_labels(path))
    console.print(
        f"removed {len(checkpoint.labels) - len(narrowed.labels):,} labels, and "
        f"{len(checkpoint.points) - len(narrowed.points):,} training points that carry no other label",
        soft_wrap=True,
    )
    return narrowed


def _add_labels(checkpoint: Checkpoint, path: Path) -> Checkpoint:
    """Add the labels of a file to the run, one text each; blank lines are skipped."""
    texts = read_labels(path)
    with console.status("adding labels"):
        extended = add_labels_to(checkpoint, texts)
    console.print(
        f"added {extended.added} labels, which are known by their texts alone; {extended.present} of the file are the "
        f"run's own, and of {extended.unknown} no token is known: they are left out",
        soft_wrap=True,
    )
    return extended.checkpoint


def _read_label_metadata(path: Path, checkpoint: Checkpoint) -> LabelMetadata:
    """Read the table of label metadata and show its columns."""
    table = read_label_metadata(path, checkpoint.labels)
    columns = ", ".join(f"{column.name} ({column.values:,})" for column in table.metadata.columns)
    console.print(
        f"label metadata: {table.rows - table.unknown:,} of {len(checkpoint.labels):,} labels, columns (and their "
        f"distinct values) {columns}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    if table.unknown:
        _warn(f"{table.unknown:,} of {table.rows:,} rows are about labels that the model does not have: left out")
    return table.metadata


def _show(trials: Sequence[Trial], chosen: Trial, fresh_loss: tuple[float, float], plot: Path | None) -> None:
    """Show the trials as a table, and as a picture if wanted."""
    console.print(tradeoff_table(trials, chosen, fresh_loss), soft_wrap=True)
    if plot is not None:
        # Imported only here, because matplotlib takes longer to load than everything else.
        from astec.export.search.tradeoff_plot import draw_tradeoff

        draw_tradeoff(trials, chosen, plot)


def _calibrate(pairs: ScoredPairs, plot: Path | None) -> CalibrationFit | None:
    """Fit the calibration of scores to probabilities, and show its reliability in a line and as a picture."""
    fit = fit_calibration(pairs)
    if fit is None:
        _warn(
            f"{pairs.num_texts} held-out texts got a label, fewer than the {MIN_TEXTS} that it takes to learn how "
            "likely a label is right: the artifact has no probabilities; train on more texts"
        )
        return None
    console.print(
        f"probabilities learnt from {len(pairs.scores)} labels of {pairs.num_texts} held-out texts: expected "
        f"calibration error {100 * fit.probabilities.expected_error:.2f} percent on texts left out, that of the scores "
        f"{100 * fit.scores.expected_error:.2f}",
        soft_wrap=True,
    )
    if plot is not None:
        from astec.export.calibration.reliability_plot import draw_reliability

        draw_reliability(fit, plot)
    return fit


def _warn(message: str) -> None:
    console.print(message, style="yellow", soft_wrap=True)


def _fail(message: str) -> NoReturn:
    console.print(f"astec-export: {message}", style="red", markup=False, soft_wrap=True)
    raise typer.Exit(EXIT_BAD_INPUT)


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
