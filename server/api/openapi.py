"""What is changed in the OpenAPI schema that FastAPI writes, so that generated clients can be used."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from astec.server.errors import MEDIA_TYPE

Schema = dict[str, Any]


def without_defaults(schema: Schema) -> Schema:
    """Return the schema of an object in which no property has a `default`; descriptions say what it was.

    Generators of clients take a property with a default for one that is always there, as in responses, so that requests
    would have to give every field.
    """
    properties = {name: _told(part) for name, part in schema.get("properties", {}).items()}
    return {**schema, "properties": properties} if properties else schema


def requested(components: Schema, names: Iterable[str]) -> set[str]:
    """Return the names of components that requests are made of: these, and all that they refer to."""
    found: set[str] = set()
    left = list(names)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += _references(components[name])
    return found


def keep_problem_type(paths: Schema) -> None:
    """Leave each problem document with its own media type; FastAPI adds `application/json` to it."""
    for path in paths.values():
        for operation in path.values():
            for response in operation["responses"].values():
                content = response.get("content", {})
                if MEDIA_TYPE in content:
                    content.pop("application/json", None)


def _told(schema: Schema) -> Schema:
    kept = {key: value for key, value in schema.items() if key != "default"}
    default = schema.get("default")
    if default is None or isinstance(default, dict | list):
        return kept
    description = kept.get("description", "").removesuffix(".")
    return {**kept, "description": f"{description}; {json.dumps(default)} if left out.".removeprefix("; ")}


def _references(schema: object) -> list[str]:
    if isinstance(schema, dict):
        target = schema.get("$ref")
        own = [target.rpartition("/")[2]] if isinstance(target, str) else []
        return own + [name for part in schema.values() for name in _references(part)]
    return [name for part in schema for name in _references(part)] if isinstance(schema, list) else []
