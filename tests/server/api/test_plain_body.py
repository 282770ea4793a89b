"""The reader for plain bodies accepts nothing that the full validation refuses, and reads the same."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astec.server.api.plain_body import PlainBody, read_plain
from astec.server.api.schema import PredictRequest

# A busy machine is slow to make inputs; that is no fault of what is tested.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text(), max_size=2)
FIELDS = st.dictionaries(st.sampled_from(["query", "top_k", "min_score", "queries", "other"]), VALUES)
BODIES = st.builds(lambda fields, escaped: json.dumps(fields, ensure_ascii=escaped).encode(), FIELDS, st.booleans())


def check(body: bytes) -> None:
    plain = read_plain(body)
    if plain is not None:
        assert PredictRequest.model_validate_json(body) == PredictRequest(query=plain.query, top_k=plain.top_k)


@patient
@given(BODIES)
def test_what_is_read_is_what_the_validation_reads(body: bytes) -> None:
    check(body)


@patient
@given(BODIES, st.integers(0, 40), st.binary(max_size=3))
def test_also_in_damaged_bodies(body: bytes, at: int, damage: bytes) -> None:
    check(body[:at] + damage + body[at:])


@patient
@given(st.text(), st.integers(1, 100))
def test_every_plain_body_is_read(query: str, top_k: int) -> None:
    assert read_plain(json.dumps({"query": query, "top_k": top_k}).encode()) == (query, top_k)


@pytest.mark.parametrize(
    "body",
    [
        b'{"query": "a", "query": "b"}',
        b'{"top_k": 7, "query": "\\ud83d\\ude80"}',
        b' {"query":"a"}\n',
        b'{"query": "a", "top_k": 100}',
    ],
)
def test_usual_bodies_are_read(body: bytes) -> None:
    assert isinstance(read_plain(body), PlainBody)
    check(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'"a"',
        b"{}",
        b'{"top_k": 5}',
        b'{"query": 1}',
        b'{"query": "a", "top_k": 0}',
        b'{"query": "a", "top_k": 101}',
        b'{"query": "a", "top_k": true}',
        b'{"query": "a", "top_k": 5.0}',
        b'{"query": "a", "top_k": null}',
        b'{"query": "a", "min_score": 0}',
        b'{"query": "\\ud83d"}',
        b'{"query": "a"} x',
        b'\xef\xbb\xbf{"query": "a"}',
    ],
)
def test_everything_else_is_left_to_the_validation(body: bytes) -> None:
    assert read_plain(body) is None
