"""The arguments of predictions in process: they have the limits of a request of the HTTP API, and its meaning."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pydantic import ValidationError

from astec.export.artifact.labels.metadata import LabelValue, Selection
from astec.export.artifact.store import Artifact
from astec.server.api.schema import PredictRequest

Conditions = Mapping[str, LabelValue | Collection[LabelValue]]
"""One value or several, by the name of a column of the model's label metadata."""


def checked(
    top_k: int, min_score: float, probabilities: bool, wanted: Conditions | None, unwanted: Conditions | None
) -> PredictRequest:
    """Return the arguments of a prediction as a request of the HTTP API, under whose limits they are checked.

    Raises:
        ValueError: An argument is outside of its limits.
    """
    arguments = {
        "top_k": top_k,
        "min_score": min_score,
        "probabilities": probabilities,
        "filter": _with_lists(wanted),
        "exclude": _with_lists(unwanted),
    }
    try:
        return PredictRequest.model_validate(arguments)
    except ValidationError as error:
        problems = []
        for found in error.errors(include_url=False):
            # A part that begins with a colon names the kind of a value, and is no part of the argument.
            name = ".".join(str(part) for part in found["loc"] if not str(part).startswith(":"))
            problems.append(f"{name} is {found['input']!r}: {found['msg']}")
        raise ValueError("; ".join(problems)) from error


def selection_of(artifact: Artifact, request: PredictRequest) -> Selection | None:
    """Return which labels `filter` and `exclude` leave; None where all are left.

    Raises:
        ValueError: The model has no such column, or no probabilities although these are requested.
    """
    if request.probabilities and artifact.manifest.calibration is None:
        raise ValueError(
            f"probabilities=True: model {artifact.manifest.model.name!r} has no calibration. Leave the argument out, "
            "or export the model again with astec-export, from a run with held-out texts"
        )
    if request.filter is None and request.exclude is None:
        return None
    # Needs the web framework, for its error type.
    from astec.server.api.label_filter import to_selection
    from astec.server.errors import InvalidFieldError

    try:
        return to_selection(artifact.label_metadata, request.filter, request.exclude)
    except InvalidFieldError as error:
        raise ValueError("; ".join(f"{found.field}: {found.message}" for found in error.errors)) from error


def _with_lists(conditions: Conditions | None) -> object:
    """Return conditions as JSON has them: a dictionary, with lists for collections of any kind."""
    if not isinstance(conditions, Mapping):
        return conditions
    return {
        name: list(given) if isinstance(given, Collection) and not isinstance(given, str) else given
        for name, given in conditions.items()
    }
