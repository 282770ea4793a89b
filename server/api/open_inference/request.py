"""Parsing of inference requests: JSON, and bytes of tensors after it, to a request of `/predict`."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, NamedTuple

from astec.server.api.open_inference.schema import InferInput, InferRequest, OutputName, QueryInput
from astec.server.api.open_inference.tensors import unpack_int32, unpack_texts
from astec.server.api.predict import WITHOUT_CALIBRATION, too_many_queries
from astec.server.api.request_body import BYTE_ORDER_MARK
from astec.server.api.schema import PredictRequest
from astec.server.errors import FieldError, InvalidFieldError

HEADER = "Inference-Header-Content-Length"
"""The header with the number of bytes of a body that are JSON, if tensors follow."""


class ParsedInferRequest(NamedTuple):
    """The content of an inference request.

    Attributes:
        request: The queries and parameters, as a request of `/predict`.
        outputs: The outputs that it asks for; True: as bytes after the JSON.
        id: The id that the response repeats.
    """

    request: PredictRequest
    outputs: dict[OutputName, bool]
    id: str | None


def parse_infer_request(
    body: bytes, header: str | None, max_queries: int, outputs: Collection[OutputName]
) -> ParsedInferRequest:
    """Parse the body of an inference request.

    Args:
        body: JSON, and the bytes of tensors after it.
        header: The value of `HEADER`; None: the whole body is JSON.
        max_queries: The most queries in a request; more are refused before they are unpacked.
        outputs: The outputs of the model.

    Raises:
        InvalidFieldError: An input is missing, repeated, or does not fit its shape; or the model lacks an output.
        ValidationError: The body is not JSON, or a field is not valid by the protocol or out of range.
    """
    json_bytes = len(body) if header is None else _json_bytes(header, len(body))
    infer = InferRequest.model_validate_json(body[:json_bytes].removeprefix(BYTE_ORDER_MARK))
    return read_infer_request(infer, body[json_bytes:], max_queries, outputs)


def read_infer_request(
    infer: InferRequest, tail: bytes, max_queries: int, outputs: Collection[OutputName]
) -> ParsedInferRequest:
    """Read an inference request whose JSON, or what took its place, is parsed.

    Args:
        infer: The request.
        tail: The bytes of the inputs that have a `binary_data_size`, one after the other.
        max_queries: The most queries in a request; more are refused before they are unpacked.
        outputs: The outputs of the model.

    Raises:
        InvalidFieldError: An input is missing, repeated, or does not fit its shape; or the model lacks an output.
        ValidationError: A field is out of range.
    """
    inputs = _read_inputs(infer, tail, max_queries)
    fields: dict[str, Any] = infer.parameters.model_dump(include={"top_k", "min_score"}, exclude_none=True)
    if "query" not in inputs:
        raise _invalid("inputs", "There is no query, whose labels are to be ranked")
    if "top_k" in inputs:
        if "top_k" in fields:
            raise _invalid("parameters.top_k", "It is an input, too; give one of them")
        fields["top_k"] = inputs["top_k"][0]
    request = PredictRequest.model_validate({"queries": inputs["query"], **fields})
    return ParsedInferRequest(request, _requested_outputs(infer, outputs), infer.id)


def _json_bytes(header: str, body_bytes: int) -> int:
    if not re.fullmatch("[0-9]{1,10}", header) or int(header) > body_bytes:
        raise _invalid(HEADER, f"It is no number of bytes of this body, which has {body_bytes}")
    return int(header)


def _read_inputs(infer: InferRequest, tail: bytes, max_queries: int) -> dict[str, list[str] | list[int]]:
    """Return the elements of each input; the binary inputs follow one another in `tail`."""
    inputs: dict[str, list[str] | list[int]] = {}
    for position, tensor in enumerate(infer.inputs):
        field = f"inputs.{position}"
        if tensor.name in inputs:
            raise _invalid(field, f"There is another {tensor.name} before it")
        if tensor.shape[0] > max_queries:
            raise too_many_queries(field, tensor.shape[0], max_queries)
        size = tensor.parameters.binary_data_size
        if size is not None and size > len(tail):
            raise _invalid(field, f"Of {size} bytes {len(tail)} are there")
        content, tail = (None, tail) if size is None else (tail[:size], tail[size:])
        try:
            inputs[tensor.name] = _elements(tensor, content)
        except ValueError as error:
            raise _invalid(field, str(error)) from error
    if tail:
        raise _invalid("inputs", f"{len(tail)} bytes behind the JSON are no input's by its binary_data_size")
    return inputs


def _elements(tensor: InferInput, content: bytes | None) -> list[str] | list[int]:
    """Return the elements of an input; `content` is its part of the bytes after the JSON, None if it has none.

    Raises:
        ValueError: They do not fit shape and datatype, are missing, or are both in the JSON and after it.
    """
    count = tensor.shape[0]
    if content is not None and tensor.data is None:
        return unpack_texts(content, count) if isinstance(tensor, QueryInput) else unpack_int32(content, count)
    if content is not None or tensor.data is None:
        raise ValueError("Give either data, or bytes behind the JSON and their binary_data_size")
    if len(tensor.data) != count:
        raise ValueError(f"There are {len(tensor.data)} elements, but {count} by the shape")
    return tensor.data


def _requested_outputs(infer: InferRequest, outputs: Collection[OutputName]) -> dict[OutputName, bool]:
    default = infer.parameters.binary_data_output
    if not infer.outputs:
        return dict.fromkeys(outputs, default)
    for position, output in enumerate(infer.outputs):
        if output.name not in outputs:  # No other output depends on the model.
            raise _invalid(f"outputs.{position}", WITHOUT_CALIBRATION)
    wanted = {output.name: output.parameters.binary_data for output in infer.outputs}
    return {name: default if is_binary is None else is_binary for name, is_binary in wanted.items()}


def _invalid(field: str, message: str) -> InvalidFieldError:
    return InvalidFieldError([FieldError(field=field, message=message)])
