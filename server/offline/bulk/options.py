"""What a job asks about each of its queries: the members of a request, under the rules that a server has for them."""

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
    """An option that the model cannot serve, or that is none; the message names it."""


class Options(NamedTuple):
    """How much of each ranking is wanted, and of which labels; the defaults are a request's.

    Attributes:
        top_k: most labels of a query.
        min_score: labels with a lower score are left out.
        probabilities: also say how likely each label is right.
        selection: the labels that may be answered; None: all.
    """

    top_k: int
    min_score: float = 0.0
    probabilities: bool = False
    selection: Selection | None = None

    def identity(self) -> Mapping[str, object]:
        """What tells them from others, by the names of the command's options, as JSON has it."""
        selection = self.selection or Selection((), ())
        return {
            "top-k": self.top_k,
            "min-score": self.min_score,
            "probabilities": self.probabilities,
            "filter": orjson.dumps(dict(selection.filter)).decode(),
            "exclude": orjson.dumps(dict(selection.exclude)).decode(),
        }


def to_options(
    artifact: Artifact,
    top_k: int,
    min_score: float = 0.0,
    probabilities: bool = False,
    wanted: str | None = None,
    unwanted: str | None = None,
) -> Options:
    """Check what is asked of a model; `wanted` and `unwanted` are a request's `filter` and `exclude`, as JSON.

    Raises:
        OptionError: Something of it cannot be.
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
    return Options(top_k, min_score, probabilities, selection)


def _json(option: str, text: str | None) -> object:
    try:
        return None if text is None else orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise OptionError(
            f"--{option} {text} is no JSON: {error}. Give an object in quotes of the shell, "
            f'for example --{option} \'{{"country": ["DE", "AT"]}}\'.'
        ) from error


def _fields(error: ValidationError | InvalidFieldError) -> list[FieldError]:
    """The invalid fields that a server would tell of."""
    invalid = to_server_error(error)
    assert isinstance(invalid, InvalidFieldError)  # noqa: S101  # What is not JSON did not come as far as here.
    return invalid.errors


def _problem(found: FieldError) -> str:
    option, _, column = found.field.partition(".")
    return f"--{option.replace('_', '-')}{f' {column}' * bool(column)}: {found.message}"
