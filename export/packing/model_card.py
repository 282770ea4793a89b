"""The model card: what a user should know about a model before using it."""

from __future__ import annotations

from collections.abc import Sequence

from astec.export.artifact.manifest import Manifest, UpdateDescription
from astec.export.calibration.fit import CALIBRATED_RANKS, FOLDS, CalibrationFit
from astec.export.model.checkpoint import Checkpoint
from astec.export.search.tradeoff_table import tell_fresh_loss, tradeoff_markdown
from astec.export.search.trial import Trial

MODEL_CARD_FILE = "model_card.md"

_CARD = """# {name}

Matches short texts to the most relevant of {labels:,} labels (Astec, DeepXML framework; Dahiya et al., WSDM 2021).

## Intended use

Ranking a closed set of labels, such as advertiser bid phrases, for short texts of 3 to 10 words like those it was
trained on.
Scores order the labels of one text; they are not probabilities. {probabilities}

## Data

{texts:,} training texts; {held_out_texts:,} more were held out to choose how the parts of a score are mixed.
{dropped_texts_without_label:,} texts without a label were left out.
{label_texts:,} labels were learnt from as texts, too.
Input: {kind}. Vocabulary: {num_features:,} tokens.

## Parts of a score

What is mixed: {mixed}.

| part | share in percent |
|---|---|
{parts}

## Figures on the held-out texts

| metric | percent |
|---|---|
{metrics}

They chose the shares above, so that they flatter the model a little: measure on a test file with `astec-evaluate`.

{reliability}## How labels are searched

{search}

## Training

{training}

## Limits

- A label is predicted where texts carried it, or where it was added by its own text alone (`added_labels` above), which
  is found less well; so are rare labels (compare PSP@k with P@k).
- A text without a known token gets an empty answer.
- The model repeats the biases of the clicks or labels it was trained on.
"""


_CHOSEN_FROM = """The cheapest of these ways within the limits, on held-out texts (exact: without an index). Losses of
P@k and PSP@k are in points, by the probabilities that labels are right. {fresh_loss}

{table}"""


_NO_PROBABILITIES = "There were not enough held-out texts to learn those from."
_PROBABILITIES = "Ask for `probabilities` to learn how likely a label is right."
_RELIABILITY = """## Probabilities

Learnt from {pairs:,} pairs of a held-out text and one of its best {ranks} labels. Below, each text is judged by a map
that was fitted on other texts ({folds} folds). Expected calibration error {error:.2f} percent; of the scores taken for
probabilities {raw_error:.2f}. Brier score {brier:.4f} and {raw_brier:.4f}.

| labels | probability, mean in percent | right, percent |
|---|---|---|
{bins}

"""


_UPDATES = """
## Updates

All above is about the full export. Since then `astec-update` has changed the labels. Added labels are known by their
texts alone, and are searched beside the indices. Removed labels are in no answer.

| when | version that was updated | added since the export | removed since the export | labels left |
|---|---|---|---|---|
"""
_UPDATE = "| {created} | {version} | {added:,} | {removed:,} | {left:,} |\n"


def render_model_card(
    checkpoint: Checkpoint,
    name: str,
    trials: Sequence[Trial],
    fresh_loss: tuple[float, float] | None = None,
    fit: CalibrationFit | None = None,
) -> str:
    """Return the text of `model_card.md`.

    Args:
        checkpoint: the model.
        name: of the model.
        trials: the measured ways to search, from which the plan was chosen; empty if the plan was given.
        fresh_loss: the losses of P@k and of PSP@k on texts that did not choose the plan; None: they were not measured.
        fit: the map from scores to probabilities; None if there is none.
    """
    training = checkpoint.training
    return _CARD.format(
        name=name,
        labels=len(checkpoint.labels),
        texts=training["texts"],
        held_out_texts=training["held_out_texts"],
        label_texts=training.get("label_texts", 0),
        dropped_texts_without_label=training["dropped_texts_without_label"],
        kind="text" if checkpoint.featurizer.kind == "text" else "feature ids",
        num_features=checkpoint.featurizer.num_features,
        mixed="logits" if checkpoint.shares.logistic is not None else "probabilities",
        parts="\n".join(f"| {part} | {100 * share:.1f} |" for part, share in _parts(checkpoint) if share > 0),
        metrics="\n".join(f"| {metric} | {value:.2f} |" for metric, value in checkpoint.metrics.items()),
        search=_search(trials, fresh_loss) if trials else "As given to the exporter.",
        probabilities=_NO_PROBABILITIES if fit is None else _PROBABILITIES,
        reliability="" if fit is None else _reliability(fit),
        training="\n".join(f"- {key}: {value}" for key, value in training.items()),
    )


def tell_update(created: str, old: Manifest, update: UpdateDescription, num_labels: int) -> str:
    """Return what an update adds to the end of `model_card.md`: a row, and a table around the first one.

    Args:
        created: the time of the update.
        old: the manifest of the artifact that is updated.
        update: this update and those before.
        num_labels: the labels of the new artifact, removed ones included.
    """
    row = _UPDATE.format(
        created=created,
        version=old.model.version,
        added=update.added_labels,
        removed=update.removed_labels,
        left=num_labels - update.removed_labels,
    )
    return row if old.update is not None else _UPDATES + row


def _search(trials: Sequence[Trial], fresh_loss: tuple[float, float] | None) -> str:
    told = "" if fresh_loss is None else tell_fresh_loss(fresh_loss)
    return _CHOSEN_FROM.format(fresh_loss=told, table=tradeoff_markdown(trials))


def _reliability(fit: CalibrationFit) -> str:
    bins = [
        f"| {part.predictions:,} | {100 * part.probability:.1f} | {100 * part.frequency:.1f} |"
        for part in fit.probabilities.bins
    ]
    return _RELIABILITY.format(
        pairs=fit.calibration.pairs,
        ranks=CALIBRATED_RANKS,
        folds=FOLDS,
        error=100 * fit.probabilities.expected_error,
        raw_error=100 * fit.scores.expected_error,
        brier=fit.probabilities.brier,
        raw_brier=fit.scores.brier,
        bins="\n".join(bins),
    )


def _parts(checkpoint: Checkpoint) -> list[tuple[str, float]]:
    """Return the parts of a score with the share of each."""
    weights = checkpoint.shares.weights()
    total = sum(weights.parts().values())
    learners, _, dim = checkpoint.model.residuals.shape
    encoders = f"an encoder of {dim} dimensions" if learners == 1 else f"{learners} encoders of {dim} dimensions each"
    return [
        (f"classifiers over {encoders}", weights.classifier / total),
        ("similarity to the texts of the label", weights.similarity / total),
        ("linear classifiers over the tokens, and the label's own", weights.sparse / total),
        ("votes of the nearest training texts", weights.votes / total),
        ("re-ranker: classifiers over an encoder of its own", weights.reranker / total),
    ]
