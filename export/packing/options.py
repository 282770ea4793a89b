"""The options of packing a run as an artifact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from astec.export.artifact.labels.metadata import LabelMetadata
from astec.export.artifact.manifest import DEFAULT_WEIGHTS, ShardDescription, WeightType
from astec.export.artifact.shortlist.shard_ids import ShardIds
from astec.export.artifact.signals.histograms import Histograms
from astec.export.calibration.fit import CalibrationFit
from astec.export.search.trial import Trial


@dataclass(frozen=True, slots=True)
class Shard:
    """Which shard of a model is packed, and the ids of its labels and training points in the whole model."""

    description: ShardDescription
    ids: ShardIds


@dataclass(frozen=True, slots=True)
class PackOptions:
    """Options of `pack`.

    Attributes:
        version: of the model; None: the first digits of a hash over everything that changes answers, so that equal
            models have equal versions.
        weights: the type of embeddings, classifiers and representatives; float32 takes four times the memory of int8.
        trials: the measured ways to search, from which the plan of the indices was chosen, for the model card.
        fresh_loss: the losses of P@k and of PSP@k, in points, by searching as planned, on texts that did not choose the
            plan; None: they were not measured.
        fit: the map from scores to probabilities; None: the artifact has no probabilities.
        label_metadata: the attributes by which requests filter labels; None: there are none.
        training_texts: True to include the texts of the training points, which explanations quote.
        signals: the histograms of the signals of the held-out texts; empty: the server compares its queries with none.
        shard: which shard of a model is packed; None: the run is packed as one model.
    """

    version: str | None = None
    weights: WeightType = DEFAULT_WEIGHTS
    trials: Sequence[Trial] = ()
    fresh_loss: tuple[float, float] | None = None
    fit: CalibrationFit | None = None
    label_metadata: LabelMetadata | None = None
    training_texts: bool = False
    signals: Histograms = field(default_factory=dict)
    shard: Shard | None = None
