"""A model in this process: open an artifact and rank labels, without a server.

Shapes: B queries, K ranks.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np

from astec.arguments import Conditions, checked, selection_of
from astec.export.artifact.scoring.calibrator import Calibrator
from astec.export.artifact.shortlist.allowed import Allowed
from astec.export.artifact.store import Artifact, open_artifact
from astec.export.artifact.text.bags import Bag, Query, QueryKindError
from astec.export.artifact.verification import Verification
from astec.server.api.schema import Prediction, PredictRequest
from astec.server.engine.explanations.explanation import Explanation
from astec.server.engine.predictor import Predictor

_BATCH_SIZE = 256
"""Queries that are computed together. Answers do not depend on it; it bounds the memory that a long list takes."""


class ExplainedPredictions(NamedTuple):
    """The labels of one query, best first, and the explanation of their scores."""

    predictions: list[Prediction]
    explanation: Explanation


class Model:
    """An opened artifact that ranks labels in this process; made by `astec.load`.

    Threads may share a model. A call computes on the calling thread only, by code that releases Python's global lock.

    Args:
        artifact: An opened artifact.

    Raises:
        ArtifactError: The artifact's encoder does not run, or does not give what the manifest says.
    """

    def __init__(self, artifact: Artifact) -> None:
        self._artifact = artifact
        self._predictor = Predictor(artifact)
        calibration = artifact.manifest.calibration
        self._calibrator = None if calibration is None else Calibrator.of(calibration)

    @property
    def name(self) -> str:
        """The name that the model was exported with."""
        return self._artifact.manifest.model.name

    @property
    def version(self) -> str:
        """The version of the model, computed from its contents at export."""
        return self._artifact.manifest.model.version

    # A str is itself a sequence of str, which a type checker takes for a conflict; it counts as one query.
    @overload
    def predict(  # type: ignore[overload-overlap]
        self,
        queries: Query,
        *,
        top_k: int = ...,
        min_score: float = ...,
        probabilities: bool = ...,
        filter: Conditions | None = ...,
        exclude: Conditions | None = ...,
    ) -> list[Prediction]: ...

    @overload
    def predict(
        self,
        queries: Iterable[Query],
        *,
        top_k: int = ...,
        min_score: float = ...,
        probabilities: bool = ...,
        filter: Conditions | None = ...,
        exclude: Conditions | None = ...,
    ) -> list[list[Prediction]]: ...

    def predict(
        self,
        queries: Query | Iterable[Query],
        *,
        top_k: int = 5,
        min_score: float = 0.0,
        probabilities: bool = False,
        filter: Conditions | None = None,  # noqa: A002  (the name that the HTTP API has)
        exclude: Conditions | None = None,
    ) -> list[Prediction] | list[list[Prediction]]:
        """Return the labels of one query, or a list of labels for each of several queries; best labels first.

        The answers are those of `POST /predict` for the same artifact. A query without a known token has no labels.

        Args:
            queries: One query or several. A query is a text, or a `Bag` of feature ids and weights for a model that was
                trained on features.
            top_k: Most labels of a query, from 1 to 100.
            min_score: Labels with a lower score are left out; from 0 to 1.
            probabilities: Also give each prediction the probability that its label is right.
            filter: By column of the label metadata, one value or several; a label must have one of them.
            exclude: By column of the label metadata, one value or several; a label that has one is left out.

        Raises:
            ValueError: An argument is outside its limits; or the model cannot read such a query, has no calibration or
                has no such column. The message names the argument, its value and the remedy.
        """
        request = checked(top_k, min_score, probabilities, filter, exclude)
        if isinstance(queries, str | Bag) or not isinstance(queries, Iterable):
            self._check("queries", queries)
            return self._rank([queries], request)[0]
        several = list(queries)
        for position, query in enumerate(several):
            self._check(f"queries[{position}]", query)
        return self._rank(several, request)

    def explain(
        self,
        query: Query,
        *,
        top_k: int = 5,
        min_score: float = 0.0,
        filter: Conditions | None = None,  # noqa: A002  (the name that the HTTP API has)
        exclude: Conditions | None = None,
    ) -> ExplainedPredictions:
        """Return the labels of one query and the reasons for their scores. Takes about a quarter of a millisecond more.

        The explanation has the known tokens and the words of the query, the parts of each label's score, the tokens and
        words that count for or against it, and the nearest training texts where the artifact carries them.

        Args:
            query: A text, or a `Bag` for a model that was trained on features.
            top_k: Most labels, from 1 to 100.
            min_score: Labels with a lower score are left out; from 0 to 1.
            filter: By column of the label metadata, one value or several; a label must have one of them.
            exclude: By column of the label metadata, one value or several; a label that has one is left out.

        Raises:
            ValueError: As for `predict`.
        """
        request = checked(top_k, min_score, False, filter, exclude)
        self._check("query", query)
        (predictions,) = self._rank([query], request)
        label_ids = [prediction.label_id for prediction in predictions]
        return ExplainedPredictions(predictions, self._predictor.explainer.explain(query, label_ids))

    def _rank(self, queries: Sequence[Query], request: PredictRequest) -> list[list[Prediction]]:
        """Rank B queries, which this model can read, under the conditions of a request."""
        allowed = self._allowed(request)
        rankings: list[list[Prediction]] = []
        for start in range(0, len(queries), _BATCH_SIZE):
            batch = queries[start : start + _BATCH_SIZE]
            rankings += self._rank_batch(batch, request, None if allowed is None else [allowed] * len(batch))
        return rankings

    def _rank_batch(
        self, queries: Sequence[Query], request: PredictRequest, allowed: Sequence[Allowed] | None
    ) -> list[list[Prediction]]:
        (label_ids_BK, scores_BK), _ = self._predictor.rank(queries, request.top_k, allowed)
        min_score = float(np.float32(request.min_score))  # as the server compares it
        label_lists, score_lists = label_ids_BK.tolist(), scores_BK.tolist()
        probability_lists: list[list[float | None]] = [[None] * len(scores_K) for scores_K in score_lists]
        if request.probabilities and self._calibrator is not None:
            probability_lists = self._calibrator.probabilities(scores_BK).tolist()
        labels = self._artifact.labels
        return [
            [
                Prediction(label_id=label_id, label=labels[label_id], score=score, probability=probability)
                for label_id, score, probability in zip(*lists, strict=True)
                if label_id >= 0 and score >= min_score
            ]
            for lists in zip(label_lists, score_lists, probability_lists, strict=True)
        ]

    def _check(self, name: str, query: object) -> None:
        """Raise ValueError unless this model can read a query; `name` is the argument that it came in."""
        if not isinstance(query, str | Bag):
            raise ValueError(_unknown_kind(name, query))
        try:
            self._predictor.check(query)
        except QueryKindError as error:
            raise QueryKindError(f"{name}: {error}") from error

    def _allowed(self, request: PredictRequest) -> Allowed | None:
        """Return the labels that `filter` and `exclude` leave; None where all are left.

        Raises:
            ValueError: The model does not support the request.
        """
        metadata, selection = self._artifact.label_metadata, selection_of(self._artifact, request)
        if selection is None or metadata is None:
            return None
        return Allowed(metadata.select(selection), request.top_k)


def load(
    path: str | PathLike[str],
    verify: Verification = "hashes",
    allow_links_under: str | PathLike[str] | None = None,
) -> Model:
    """Open an artifact in this process. The first prediction after an installation compiles for some seconds.

    Args:
        path: The folder of an artifact, as `astec-export` publishes it. Its files are memory-mapped: leave them where
            they are while the model is in use. Or an address such as `s3://bucket/model`, from where the artifact is
            copied to this machine once, and then verified by its hashes.
        verify: "hashes" compares every byte of a folder with its manifest; "sizes" opens faster and compares only names
            and sizes.
        allow_links_under: A folder inside which the files may be links, such as the cache of Hugging Face. Default: a
            link is refused.

    Raises:
        ArtifactError: The folder is no artifact, or the artifact is damaged; the message names the file and the remedy.
        ValueError: `verify` is neither of the two.
    """
    if verify not in ("hashes", "sizes"):
        raise ValueError(f"verify is {verify!r}; give 'hashes' or 'sizes'")
    if "://" in os.fspath(path):
        from astec.export.artifact_cache import open_artifact_at  # takes a tenth of a second to load

        return Model(open_artifact_at(path))
    return Model(open_artifact(Path(path), verify, None if allow_links_under is None else Path(allow_links_under)))


def _unknown_kind(name: str, value: object) -> str:
    return f"{name} is of type {type(value).__name__}; give a text (str), or a Bag for a model of feature ids"
