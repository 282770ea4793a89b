"""The kernel's JSON, compared with that of a library."""

from __future__ import annotations

import json

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astec.export.artifact.labels.text_table import TextTable
from astec.server.engine.predictor import Rankings
from astec.server.engine.ranking_json import NO_PROBABILITIES, to_json

SCORE = st.floats(0, 5, width=32)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)  # UTF-8 cannot encode surrogates.


def single(score: float, text: str = "shoe", least: float = 0.0) -> bytes:
    rankings = Rankings(np.zeros((1, 1), np.int64), np.array([[score]], np.float32))
    (array,) = to_json(rankings, [1], [least], TextTable.from_texts([text]))
    return array


@settings(derandomize=True, deadline=None)
@given(st.data())
def test_arrays_are_those_of_a_json_library(data: st.DataObject) -> None:
    texts = data.draw(st.lists(TEXT, min_size=1, max_size=6))
    num_queries, num_ranks = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 6))
    label_ids, scores = np.full((num_queries, num_ranks), -1), np.zeros((num_queries, num_ranks), np.float32)
    for query in range(num_queries):
        found = data.draw(st.lists(st.tuples(st.integers(0, len(texts) - 1), SCORE), max_size=num_ranks))
        for rank, (label, score) in enumerate(sorted(found, key=lambda pair: -pair[1])):
            label_ids[query, rank], scores[query, rank] = label, score
    most = data.draw(st.lists(st.integers(1, 8), min_size=num_queries, max_size=num_queries))
    least = data.draw(st.lists(st.floats(0, 1), min_size=num_queries, max_size=num_queries))
    probabilities = NO_PROBABILITIES
    wanted = data.draw(st.lists(st.booleans(), min_size=num_queries, max_size=num_queries))
    if any(wanted):
        probabilities = np.where(np.array(wanted)[:, None], scores / 5, np.float32(np.nan))

    arrays = to_json(Rankings(label_ids, scores), most, least, TextTable.from_texts(texts), probabilities)

    assert len(arrays) == num_queries
    for query in range(num_queries):
        assert b"\n" not in arrays[query]
        answer = json.loads(arrays[query].decode())
        kept = [
            (label, score)
            for label, score in zip(label_ids[query].tolist(), scores[query], strict=True)
            if label >= 0 and score >= np.float32(least[query])
        ][: most[query]]
        assert [(entry["label_id"], entry["label"]) for entry in answer] == [(label, texts[label]) for label, _ in kept]
        assert [entry["score"] for entry in answer] == pytest.approx([score for _, score in kept], abs=1e-17)
        said = [entry["probability"] for entry in answer if "probability" in entry]
        expected = [score / 5 for _, score in kept] if wanted[query] else []
        assert said == pytest.approx(expected, rel=1e-6, abs=1e-17)


@settings(derandomize=True, deadline=None, max_examples=1000)
@given(st.floats(2**-16, 9, width=32))
def test_a_score_is_written_as_the_library_writes_float32(score: float) -> None:
    expected = [{"label_id": 0, "label": "shoe", "score": np.float32(score)}]
    assert single(score) == orjson.dumps(expected, option=orjson.OPT_SERIALIZE_NUMPY)


@pytest.mark.parametrize(
    ("score", "written"),
    [
        (0.0, b"0.0"),
        (1.0, b"1.0"),
        (0.5, b"0.5"),
        (1e-7, b"0.0000001"),
        (1e-17, b"0.00000000000000001"),
        (1e-30, b"0.0"),
        (float("nan"), b"0.0"),
    ],
)
def test_scores_at_the_edges(score: float, written: bytes) -> None:
    assert single(score) == b'[{"label_id":0,"label":"shoe","score":%b}]' % written


def test_what_json_escapes_is_escaped() -> None:
    text = "".join(map(chr, range(0x24))) + '\\"/ü\u2028\U0001f45f'
    assert json.loads(single(0.5, text).decode()) == [{"label_id": 0, "label": text, "score": 0.5}]


def test_the_longest_line_has_room() -> None:
    """The longest line: id, score and probability of 19 digits, and a text in which every byte is escaped."""
    text, label = "\x01" * 50, 10**6
    table = TextTable(np.frombuffer(text.encode(), np.uint8), np.zeros(label + 2, np.int64))
    table.offsets[-1] = len(text)
    tiny = np.full((1, 1), 1.2345e-11, np.float32)
    (array,) = to_json(Rankings(np.full((1, 1), label), tiny), [1], [0.0], table, tiny)
    (entry,) = json.loads(array)
    assert (entry["label_id"], entry["label"]) == (label, text)
    assert entry["score"] == entry["probability"] == pytest.approx(1.2345e-11, abs=1e-17)


def test_the_least_score_is_compared_as_what_it_is_in_float32() -> None:
    assert single(float(np.float32(0.7)), least=0.7) != b"[]"
    assert single(np.nextafter(np.float32(0.7), np.float32(0)), least=0.7) == b"[]"
