"""The options of a scoring job for each query. They are checked by the same rules as the members of a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import orjson
from pydantic import ValidationError

from astec.export.artifact.labels.metadata import Selection
from astec.export.artifact.store import Artifact
from astec.server.api.label_filter import to_selection
from astec.server.api.schema import PredictRequest
from astec.server.errors import FieldError, InvalidFieldError, to_server_error


class OptionError(ValueError):
    """An option is invalid, or the model does not support it; the message names it."""


class ScoringOptions(NamedTuple):
    """The options for each query; the defaults are the same as in a request.

    Attributes:
        top_k: The most labels of a query.
        min_score: Labels with a lower score are left out.
        probabilities: Whether to add the probability that a label is right.
        selection: The labels that may be predicted; None for all.
    """

    top_k: int
    min_score: float = 0.0
    probabilities: bool = False
    selection: Selection | None = None

    def identity(self) -> Mapping[str, object]:
        """Return the options as JSON values, by the names of the command's options, to compare two jobs."""
        selection = self.selection or Selection((), ())
        return {
            "top-k": self.top_k,
            "min-score": self.min_score,
            "probabilities": self.probabilities,
            "filter": orjson.dumps(dict(selection.filter)).decode(),
            "exclude": orjson.dumps(dict(selection.exclude)).decode(),
        }


def parse_options(
    artifact: Artifact,
    top_k: int,
    min_score: float = 0.0,
    probabilities: bool = False,
    wanted: str | None = None,
    unwanted: str | None = None,
) -> ScoringOptions:
    """Check options against a model.

    Args:
        artifact: The model.
        top_k: The most labels of a query.
        min_score: Labels with a lower score are left out.
        probabilities: Whether to add the probability that a label is right.
        wanted: The member `filter` of a request, as JSON text; None for no filter.
        unwanted: The member `exclude` of a request, as JSON text; None for no filter.

    Raises:
        OptionError: An option is invalid, or the model does not support it.
    """
    if probabilities and artifact.manifest.calibration is None:
        raise OptionError(
            "--probabilities: the model does not know how likely a label is right. Leave the option out, or export the "
            "model again with astec-export, from a run with held-out texts."
        )
    members = {"top_k": top_k, "min_score": min_score, "filter": _json("filter", wanted)}
    try:
        request = PredictRequest.model_validate(members | {"exclude": _json("exclude", unwanted)})
        selection = to_selection(artifact.label_metadata, request.filter, request.exclude)
    except (ValidationError, InvalidFieldError) as error:
        raise OptionError("; ".join(map(_problem, _fields(error)))) from error
    return ScoringOptions(top_k, min_score, probabilities, selection)


def _json(option: str, text: str | None) -> object:
    try:
        return None if text is None else orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise OptionError(
            f"--{option} {text} is no JSON: {error}. Give an object in quotes of the shell, "
            f'for example --{option} \'{{"country": ["DE", "AT"]}}\'.'
        ) from error


def _fields(error: ValidationError | InvalidFieldError) -> list[FieldError]:
    """Return the invalid fields that the server would list in its response."""
    invalid = to_server_error(error)
    assert isinstance(invalid, InvalidFieldError)  # noqa: S101  # Text that is not JSON was refused before.
    return invalid.errors


def _problem(found: FieldError) -> str:
    option, _, column = found.field.partition(".")
    return f"--{option.replace('_', '-')}{f' {column}' * bool(column)}: {found.message}"
