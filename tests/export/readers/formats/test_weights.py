"""Weights of pairs of text and label, such as clicks, in the formats that have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astec.export.readers import BadLinesError, Row, open_dataset
from astec.export.readers.formats.jsonl import parse_row
from astec.export.readers.notices import Notices
from astec.export.readers.row import LEAST_WEIGHT, MOST_WEIGHT

WEIGHTS = st.one_of(st.integers(1, 10**15), st.floats(LEAST_WEIGHT, MOST_WEIGHT))


@pytest.mark.parametrize(
    ("record", "labels", "weights"),
    [
        ({"labels": {"a": 12, "b": 0.5}}, ("a", "b"), (12.0, 0.5)),
        ({"labels": {" a": 1, "a ": 2, "": 3}}, ("a",), (3.0,)),
        ({"labels": {"a": 1}}, ("a",), None),
        ({"labels": ["a", 7], "weights": [3, 1]}, ("a", "7"), (3.0, 1.0)),
        ({"labels": ["a", "b"], "weights": [1, 1.0]}, ("a", "b"), None),
        ({"labels": ["a", "b"], "clicks": 12}, ("a", "b"), (12.0, 12.0)),
        ({"labels": ["a", "a"], "count": 2}, ("a",), (2.0,)),
        ({"labels": ["a"], "count": 1}, ("a",), None),
        ({"labels": [], "clicks": 3}, (), None),
        ({"labels": {"a": 3, "b": 1}, "clicks": 4}, ("a", "b"), (3.0, 1.0)),
    ],
)
def test_weights_of_json_lines(record: dict[str, Any], labels: tuple[str, ...], weights: tuple[float, ...]) -> None:
    assert parse_row(json.dumps({"text": "t", **record}), Notices()) == Row("t", labels, weights)


@settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.text("abc ", min_size=1), WEIGHTS))
def test_any_weights_add_up_to_those_of_the_line(weights: dict[str, float]) -> None:
    row = parse_row(json.dumps({"text": "t", "labels": weights}), Notices())
    assert len(set(row.labels)) == len(row.labels)
    assert row.weights is None or len(row.weights) == len(row.labels)
    total = sum(weight for label, weight in weights.items() if label.strip())
    assert sum(row.weights or [1.0] * len(row.labels)) == pytest.approx(total)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"text": "t", "labels": {"a": 0}}', "the weight of 'a' is 0.0; a weight is a finite number above 0"),
        ('{"text": "t", "labels": {"a": -1}}', "the weight of 'a' is -1.0; a weight is a finite number above 0"),
        ('{"text": "t", "labels": {"a": NaN}}', "the weight of 'a' is nan"),
        ('{"text": "t", "labels": {"a": Infinity}}', "the weight of 'a' is inf"),
        ('{"text": "t", "labels": {"a": 1e16}}', "the weight of 'a' is 1e+16; a weight is between 1e-15 and 1e+15"),
        ('{"text": "t", "labels": {"a": 1%s}}' % ("0" * 400), "the weight of 'a' is too large"),
        ('{"text": "t", "labels": {"a": "3"}}', "the weight of 'a' is a string, not a number"),
        ('{"text": "t", "labels": {"a": true}}', "the weight of 'a' is a boolean, not a number"),
        ('{"text": "t", "labels": {"a": 3}, "weights": [3]}', '"labels" holds weights already'),
        ('{"text": "t", "labels": ["a"], "weights": [3, 1]}', '"weights" holds 2 numbers for 1 labels'),
        ('{"text": "t", "labels": ["a"], "weights": 3}', '"weights" is a number, not a list of numbers'),
        ('{"text": "t", "labels": ["a"], "weights": [null]}', 'a number in "weights" is null, not a number'),
        ('{"text": "t", "labels": ["a"], "clicks": 0}', '"clicks" is 0.0; a weight is a finite number above 0'),
        ('{"text": "t", "labels": ["a"], "count": "many"}', '"count" is a string, not a number'),
        ('{"text": "t", "weights": [3]}', '"labels" is missing'),
    ],
)
def test_a_bad_weight_is_a_bad_line(tmp_path: Path, line: str, problem: str) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"text": "a", "labels": ["x"]}\n' + line + "\n")
    with pytest.raises(BadLinesError) as raised:
        list(open_dataset(path, "train").rows(progress=False))
    assert raised.value.line == 2
    assert problem in raised.value.problem


def test_values_of_labels_are_weights_in_the_new_sparse_format(tmp_path: Path) -> None:
    (tmp_path / "trn_X_Xf.txt").write_text("3 2\n0:1\n1:1\n0:2\n")
    (tmp_path / "trn_X_Y.txt").write_text("3 3\n2:12 0:3\n1:1 0:1.0\n2:-1 1:0 0:0.5\n")
    rows = list(open_dataset(tmp_path, "train").rows(progress=False))
    assert [(row.labels, row.weights) for row in rows] == [
        (("2", "0"), (12.0, 3.0)),
        (("1", "0"), None),
        (("0",), (0.5,)),
    ]


def test_a_value_that_no_weight_can_be_is_a_bad_line(tmp_path: Path) -> None:
    (tmp_path / "trn_X_Xf.txt").write_text("1 2\n0:1\n")
    (tmp_path / "trn_X_Y.txt").write_text("1 3\n2:1e20\n")
    with pytest.raises(BadLinesError, match="the value of label id 2 is 1e") as raised:
        list(open_dataset(tmp_path, "train").rows(progress=False))
    assert (raised.value.path.name, raised.value.line) == ("trn_X_Y.txt", 2)


def test_a_second_count_of_a_row_is_said_not_to_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    notices = Notices()
    line = '{"text": "t", "labels": ["a"], "weights": [2], "clicks": 1, "count": 2, "price": 3}'
    assert parse_row(line, notices).weights == (2.0,)
    notices.say(Path("log"))
    assert capsys.readouterr().err == (
        "log: keys that are not understood are left out: 'count' (1 line), 'price' (1 line)\n"
    )
