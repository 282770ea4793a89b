"""Inference requests and responses as messages of gRPC, to and from what the JSON of the protocol is read as.

Shapes: N queries, K ranks.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeVar

import numpy as np
from google.protobuf.message import DecodeError, Message

from astec.server.api.open_inference.calls import DATATYPES
from astec.server.api.open_inference.request import ParsedInferRequest, read_infer_request
from astec.server.api.open_inference.schema import InferRequest, OutputName
from astec.server.api.open_inference.schema import ModelMetadata as Metadata
from astec.server.api.open_inference.tensors import Elements, pack
from astec.server.errors import FieldError, InvalidFieldError
from astec.server.rpc.proto.open_inference_pb2 import (
    InferParameter,
    InferTensorContents,
    ModelInferRequest,
    ModelInferResponse,
    ModelMetadataResponse,
)

Kind = TypeVar("Kind", bound=Message)


def read_message(kind: type[Kind], content: bytes) -> Kind:
    """Return the message of a call.

    Raises:
        InvalidFieldError: The content is none of this kind.
    """
    try:
        message: Kind = kind.FromString(content)
    except DecodeError:
        raise _invalid("body", f"It is no {kind.__name__} in the wire format of Protocol Buffers") from None
    return message


def to_bytes(message: Message) -> bytes:
    """Return a message as it is sent."""
    content: bytes = message.SerializeToString()
    return content


def parse_infer_message(
    message: ModelInferRequest, max_queries: int, outputs: Collection[OutputName]
) -> ParsedInferRequest:
    """Parse the message of an inference request: it is checked as the JSON of a request over HTTP.

    Args:
        message: The message.
        max_queries: The most queries in a request.
        outputs: The outputs of the model.

    Raises:
        InvalidFieldError: An input is missing, repeated, or does not fit its shape; or the model lacks an output.
        ValidationError: A field is not valid by the protocol or out of range.
    """
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise _invalid("raw_input_contents", f"There are {len(raw)} of them, but {len(message.inputs)} inputs")
    inputs = []
    for position, tensor in enumerate(message.inputs):
        read: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
        if not raw:
            read["data"] = _typed_elements(tensor.datatype, tensor.contents, position)
        elif tensor.HasField("contents"):
            raise _invalid(f"inputs.{position}", "It has contents, and raw_input_contents, too; give one of them")
        else:
            read["parameters"] = {"binary_data_size": len(raw[position])}
        inputs.append(read)
    fields: dict[str, Any] = {
        "inputs": inputs,
        "outputs": [{"name": output.name} for output in message.outputs],
        # Who sends bytes gets bytes.
        "parameters": {**_parameters(message), "binary_data_output": bool(raw)},
    }
    if message.id:
        fields["id"] = message.id
    return read_infer_request(InferRequest.model_validate(fields), b"".join(raw), max_queries, outputs)


def infer_response(
    model_name: dict[str, str], parsed: ParsedInferRequest, queries: int, elements: dict[OutputName, Elements]
) -> ModelInferResponse:
    """Return the message that answers an inference request.

    Args:
        model_name: Name and version of the model.
        parsed: The request.
        queries: The number of queries, N.
        elements: The N * K elements of each output.
    """
    response = ModelInferResponse(
        model_name=model_name["name"], model_version=model_name["version"], id=parsed.id or ""
    )
    shape = [queries, parsed.request.top_k]
    for name, is_raw in parsed.outputs.items():
        output = response.outputs.add(name=name, datatype=DATATYPES[name], shape=shape)
        if is_raw:
            response.raw_output_contents.append(pack(DATATYPES[name], elements[name]))
        else:
            output.contents.CopyFrom(_typed_contents(elements[name]))
    return response


def metadata_response(metadata: Metadata) -> ModelMetadataResponse:
    """Return the message that describes the model's inputs and outputs."""
    return ModelMetadataResponse(**metadata.model_dump())


def _parameters(message: ModelInferRequest) -> dict[str, Any]:
    return {name: _value_of(parameter) for name, parameter in message.parameters.items()}


def _value_of(parameter: InferParameter) -> bool | int | str | float | None:
    chosen = parameter.WhichOneof("parameter_choice")
    return None if chosen is None else getattr(parameter, chosen)


def _typed_elements(datatype: str, contents: InferTensorContents, position: int) -> list[str] | list[int]:
    """Return the elements of the input at a position, of a datatype that the model may or may not take.

    Raises:
        InvalidFieldError: A text is not UTF-8.
    """
    if datatype != "BYTES":
        return list(contents.int_contents)
    texts: list[str] = []
    for number, text in enumerate(contents.bytes_contents):
        try:
            texts.append(text.decode())
        except UnicodeDecodeError:
            raise _invalid(f"inputs.{position}", f"Element {number} is not UTF-8") from None  # It quotes the query.
    return texts


def _typed_contents(elements: Elements) -> InferTensorContents:
    if not isinstance(elements, np.ndarray):
        return InferTensorContents(bytes_contents=[str(text).encode() for text in elements])
    if elements.dtype == np.int64:
        return InferTensorContents(int64_contents=elements.tolist())
    return InferTensorContents(fp32_contents=elements.tolist())


def _invalid(field: str, message: str) -> InvalidFieldError:
    return InvalidFieldError([FieldError(field=field, message=message)])
