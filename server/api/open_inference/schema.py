"""The JSON of the Open Inference Protocol, as far as a model that ranks labels for texts needs it.

Features of the protocol that this server has no use for (sequences, priorities, shared memory) are ignored. Validation
of a list stops at its first error, as in `server/api/schema.py`.

Shapes: N queries, K ranks.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag
from pydantic.json_schema import SkipJsonSchema
from typing_extensions import TypeAliasType

from astec.server.api.open_inference.tensors import Datatype

MAX_SIZE = 2**31 - 1

OutputName = Literal["labels", "label_ids", "scores", "probabilities"]


class ProtocolModel(BaseModel):
    """A part of a request or a response; silent conversions are refused."""

    model_config = ConfigDict(strict=True, frozen=True)


class InputParameters(ProtocolModel):
    """The parameters of an input."""

    binary_data_size: int | None = Field(
        default=None, ge=0, le=MAX_SIZE, description="Bytes of the tensor behind the JSON, where it has no `data`."
    )


class QueryInput(ProtocolModel):
    """The queries."""

    name: Literal["query"]
    datatype: Literal["BYTES"]
    shape: list[Annotated[int, Field(ge=1, le=MAX_SIZE)]] = Field(min_length=1, max_length=1, description="[N]")
    parameters: InputParameters = InputParameters()
    data: Annotated[list[str], Field(fail_fast=True)] | None = Field(default=None, description="N texts.")


class TopKInput(ProtocolModel):
    """The most labels per query."""

    name: Literal["top_k"]
    datatype: Literal["INT32"]
    shape: list[Literal[1]] = Field(min_length=1, max_length=1, description="[1]")
    parameters: InputParameters = InputParameters()
    data: Annotated[list[int], Field(fail_fast=True)] | None = Field(default=None, description="One number, 1 to 100.")


def _input_name(value: object) -> str | None:
    name = value.get("name") if isinstance(value, dict) else getattr(value, "name", None)
    return f":{name}" if name in ("query", "top_k") else None


# A name here is one in the schema of the API, and so in clients that are generated from it.
InferInput = TypeAliasType(
    "InferInput",
    Annotated[
        Annotated[QueryInput, Tag(":query")] | Annotated[TopKInput, Tag(":top_k")],
        Discriminator(
            _input_name,
            custom_error_type="input_name",
            custom_error_message="An input is an object whose name is query or top_k",
        ),
    ],
)


class OutputParameters(ProtocolModel):
    """The parameters of a requested output."""

    binary_data: bool | None = Field(
        default=None, description="Bytes behind the JSON instead of `data`; left out: as `binary_data_output` says."
    )


class RequestedOutput(ProtocolModel):
    """An output that the request asks for."""

    name: OutputName
    parameters: OutputParameters = OutputParameters()


class RequestParameters(ProtocolModel):
    """The parameters of the whole request; `top_k` and `min_score` are checked as in `/predict`."""

    top_k: int | None = Field(default=None, description="Most labels per query, as the input of this name.")
    min_score: float | None = Field(default=None, description="Labels below it are left out.")
    binary_data_output: bool = Field(default=False, description="Bytes behind the JSON for every output.")


class InferRequest(ProtocolModel):
    """N queries and the outputs to answer with; all outputs of the model if none is named.

    The output `probabilities` needs a model with a `calibration` (`/v1/model`).
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "inputs": [
                        {"name": "query", "datatype": "BYTES", "shape": [2], "data": ["running shoes", "garden hose"]},
                        {"name": "top_k", "datatype": "INT32", "shape": [1], "data": [3]},
                    ],
                    "outputs": [{"name": "labels"}, {"name": "scores"}],
                }
            ]
        }
    )

    id: str | None = Field(default=None, description="Comes back in the answer.")
    parameters: RequestParameters = RequestParameters()
    inputs: Annotated[list[InferInput], Field(fail_fast=True)] = Field(max_length=2)
    outputs: Annotated[list[RequestedOutput], Field(fail_fast=True)] = Field(default=[], max_length=4)


class TensorMetadata(ProtocolModel):
    """Name, datatype and shape of an input or output; -1 is any size."""

    name: str
    datatype: Datatype
    shape: list[int]


class ServerMetadata(ProtocolModel):
    """The server's name, version and extensions."""

    name: str
    version: str
    extensions: list[str]


class ModelMetadata(ProtocolModel):
    """The model's inputs and outputs. The input `top_k` may be left out."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ServedModel(ProtocolModel):
    """A model that is served, and its part in that."""

    name: str
    version: str
    share: float = Field(description="Percent of the queries that it answers, of those that name no model.")
    shadow: bool = Field(description="Whether it ranks what the others answer, to be compared.")


class ModelList(ProtocolModel):
    """The models that are served; the names are as in the first version of the protocol."""

    models: list[str]
    served: list[ServedModel]


class Live(ProtocolModel):
    """The liveness of the process."""

    live: bool


class Ready(ProtocolModel):
    """The readiness of the server."""

    ready: bool


class ModelReady(Ready):
    """The readiness of the model."""

    name: str


class BinarySize(ProtocolModel):
    """The parameters of an output in bytes."""

    binary_data_size: int


OutputData = TypeAliasType("OutputData", list[str] | list[int] | list[float])


class InferOutput(TensorMetadata):
    """An output: [N, K] elements in row-major order, in `data` or as bytes after the JSON."""

    data: OutputData | SkipJsonSchema[None] = None
    parameters: BinarySize | SkipJsonSchema[None] = None


class InferResponse(ProtocolModel):
    """The rankings of N queries."""

    model_name: str
    model_version: str
    id: str | SkipJsonSchema[None] = None
    parameters: dict[str, Any] | SkipJsonSchema[None] = None
    outputs: list[InferOutput]


def request_schemas() -> dict[str, Any]:
    """Return the OpenAPI components that describe a request."""
    schema = InferRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    definitions: dict[str, Any] = schema.pop("$defs")
    return {**definitions, InferRequest.__name__: schema}
