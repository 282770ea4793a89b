"""What generated clients need of the OpenAPI schema: names, and no more freedom in the types than answers have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from astec.export.artifact.store import Artifact
from astec.server.api.openapi import requested, without_defaults
from astec.server.app import create_app
from astec.server.metrics.board import MetricsBoard
from astec.server.settings import Settings

REQUESTS = ("PredictRequest", "InferRequest")
Parts = Iterator[tuple[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def schema(described_artifact: Artifact) -> dict[str, Any]:
    app = create_app(Settings(artifact=described_artifact.path), described_artifact, MetricsBoard(1).metrics(0))
    assert app.openapi() == app.openapi()  # What is asked for twice is changed once.
    return app.openapi()


@pytest.fixture(scope="module")
def components(schema: dict[str, Any]) -> dict[str, Any]:
    return schema["components"]["schemas"]


def operations(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return [operation for path in schema["paths"].values() for operation in path.values()]


def parts(schema: object, place: str) -> Parts:
    """Yield every object within a schema, with its place."""
    if isinstance(schema, dict):
        yield place, schema
        for name, part in schema.items():
            yield from parts(part, f"{place}.{name}")
    elif isinstance(schema, list):
        for position, part in enumerate(schema):
            yield from parts(part, f"{place}.{position}")


def alternatives(part: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in (*part.get("anyOf", ()), *part.get("oneOf", ())) if one.get("type") != "null"]


def test_every_operation_has_a_name_of_its_own(schema: dict[str, Any]) -> None:
    names = [operation["operationId"] for operation in operations(schema)]
    assert len(set(names)) == len(names)
    assert all(name.isidentifier() for name in names)


def test_whatever_is_answered_with_a_body_has_a_schema(schema: dict[str, Any]) -> None:
    for operation in operations(schema):
        for status, response in operation["responses"].items():
            assert response["content"], (operation["operationId"], status)
            for content in response["content"].values():
                assert content["schema"], (operation["operationId"], status)


def test_no_field_of_a_request_has_to_be_given_because_it_has_a_default(components: dict[str, Any]) -> None:
    names = requested(components, REQUESTS)
    assert {"Features", "Query", "QueryInput", "OutputParameters"} < names
    assert not names & {"Prediction", "InferResponse"}
    for name in names:
        assert [place for place, part in parts(components[name], name) if "default" in part] == []
    told = components["PredictRequest"]["properties"]["top_k"]["description"]
    assert told == "Most labels per query; 5 if left out."


def test_every_choice_of_types_has_a_name(schema: dict[str, Any], components: dict[str, Any]) -> None:
    inline = [place for place, part in parts(schema["paths"], "paths") if len(alternatives(part)) > 1]
    for name, component in components.items():
        inline += [place for place, part in parts(component, name) if place != name and len(alternatives(part)) > 1]
    assert inline == []
    named = {name for name, component in components.items() if alternatives(component)}
    assert named == {"InferInput", "LabelValue", "LabelValues", "OutputData", "PredictAnswer", "Query"}


def test_null_is_only_where_it_is_answered(components: dict[str, Any]) -> None:
    answered = components.keys() - requested(components, REQUESTS)
    found = {
        place.partition(".properties.")[0] + "." + place.split(".")[2]
        for name in answered
        for place, part in parts(components[name], name)
        if part.get("type") == "null"
    }
    assert found == {"ModelDescription.max_candidates", "ModelDescription.calibration"}


async def test_the_description_of_the_model_has_the_documented_fields(
    components: dict[str, Any], described_artifact: Artifact, serving
) -> None:
    async with serving(described_artifact)() as (_, client):
        described = (await client.get("/v1/model")).json()
    documented = components["ModelDescription"]
    assert set(documented["required"]) <= set(described)
    assert documented["additionalProperties"] is True
    assert {"model", "calibration", "examples", "label_metadata"} <= set(documented["required"])


def test_a_default_is_told_in_the_description() -> None:
    fields = {
        "told": {"type": "number", "description": "A limit.", "default": 0.5},
        "alone": {"type": "boolean", "default": False},
        "nothing": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        "object": {"$ref": "#/components/schemas/Other", "default": {"size": None}},
    }
    told = without_defaults({"type": "object", "properties": fields})["properties"]
    assert told == {
        "told": {"type": "number", "description": "A limit; 0.5 if left out."},
        "alone": {"type": "boolean", "description": "false if left out."},
        "nothing": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "object": {"$ref": "#/components/schemas/Other"},
    }
    assert without_defaults({"type": "string"}) == {"type": "string"}
