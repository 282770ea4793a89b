"""Clicks of a log: rows of a text are joined, and pairs weigh as the settings say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from astec.export.readers import open_dataset
from astec.trainer.data.clicks import Traffic, number_texts, weigh_clicks
from astec.trainer.data.loading import load_training_data
from astec.trainer.data.training_data import TrainingData
from astec.trainer.data.validation_split import split_validation
from astec.trainer.settings.config import ClicksSection, LabelsSection, TrainerConfig, ValidationSection
from tests.trainer.data.conftest import WORDS_ONLY

Rows = list[dict[str, Any]]


def load(
    folder: Path, rows: Sequence[dict[str, Any]], valid: Sequence[dict[str, Any]] = (), **clicks: Any
) -> TrainingData:
    for name, some in (("train", rows), ("valid", valid)):
        if some:
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    config = TrainerConfig(
        featurizer=WORDS_ONLY, labels=LabelsSection(as_texts=False), clicks=ClicksSection.model_validate(clicks)
    )
    held = open_dataset(folder, "valid") if valid else None
    return load_training_data(open_dataset(folder, "train"), config, skip_bad_lines=False, valid=held)


def weights(data: TrainingData) -> dict[str, dict[str, Any]]:
    """Return the weight of each pair, by text and label."""
    assert data.texts is not None
    names = list(data.label_texts)
    dense_NL = data.examples.labels.toarray()
    return {
        text: {names[label]: pytest.approx(row[label]) for label in np.flatnonzero(row)}
        for text, row in zip(data.texts, dense_NL, strict=True)
    }


CLICKS: Rows = [
    {"text": "red shoes", "labels": {"shoes": 3, "red": 1}},
    {"text": "lamp", "labels": ["lamp"]},
    {"text": "Red  Shoes", "labels": ["shoes", "boots"], "clicks": 4},
    {"text": "lost", "labels": []},
]


def test_rows_of_a_text_are_joined_and_their_clicks_added_up(tmp_path: Path) -> None:
    data = load(tmp_path, CLICKS, weighting="linear")
    assert weights(data) == {"red shoes": {"shoes": 7 / 4, "red": 1 / 4, "boots": 4 / 4}, "lamp": {"lamp": 1 / 4}}
    assert data.traffic == Traffic(rows=3, clicks=8.0, texts=2, repeated_share=7 / 8)
    assert (data.num_texts, data.dropped_rows) == (2, 1)
    assert data.label_counts().tolist() == [1, 1, 1, 1]


def test_by_default_weights_grow_with_the_logarithm_of_clicks(tmp_path: Path) -> None:
    data = load(tmp_path, CLICKS)
    mean = (np.log2(8) + 1) / 2
    of_text = {"shoes": 3 / mean, "red": 1 / mean, "boots": np.log2(5) / mean}
    assert weights(data) == {"red shoes": of_text, "lamp": {"lamp": 1 / mean}}


@pytest.mark.parametrize(
    ("rows", "clicks"),
    [
        ([{"text": "one", "labels": {"a": 5, "b": 5}}, {"text": "two", "labels": ["b"], "clicks": 5}], {}),
        ([{"text": "one", "labels": {"a": 1, "b": 1}}, {"text": "two", "labels": ["b"], "clicks": 1}], {}),
        ([{"text": "one", "labels": {"a": 9, "b": 2}}, {"text": "two", "labels": ["b"]}], {"weighting": "none"}),
    ],
)
def test_equal_clicks_and_clicks_that_are_not_used_are_no_clicks(
    tmp_path: Path, rows: list[dict[str, Any]], clicks: dict[str, Any]
) -> None:
    data, plain = (
        load(tmp_path, some, **clicks)
        for some in (rows, [{"text": row["text"], "labels": list(row["labels"])} for row in rows])
    )
    assert data.examples.labels.data.tobytes() == plain.examples.labels.data.tobytes()
    assert np.all(data.examples.labels.data == 1)
    assert list(data.label_texts) == list(plain.label_texts)


def test_without_clicks_rows_of_a_text_stay_apart_unless_they_are_to_be_joined(tmp_path: Path) -> None:
    rows: Rows = [{"text": "one", "labels": [label]} for label in ("a", "a", "b")]
    apart = load(tmp_path, rows)
    assert (apart.num_texts, apart.traffic) == (3, None)
    joined = load(tmp_path, rows, join=True, weighting="linear")
    assert weights(joined) == {"one": {"a": 1, "b": 0.5}}
    assert joined.traffic == Traffic(rows=3, clicks=3.0, texts=1, repeated_share=1.0)
    kept = load(tmp_path, [{**rows[0], "clicks": 3}, *rows[1:]], join=False, weighting="linear")
    assert kept.num_texts == 3
    assert kept.examples.labels.data.tolist() == pytest.approx([9 / 5, 3 / 5, 3 / 5])


def test_rows_of_a_validation_file_are_joined_among_themselves(tmp_path: Path) -> None:
    valid: Rows = [{"text": "lamp", "labels": ["lamp"]}, {"text": "lamp", "labels": ["red"], "clicks": 2}]
    data = load(tmp_path, CLICKS, valid, weighting="linear")
    assert (data.num_texts, data.num_valid_texts) == (3, 1)
    assert data.examples.labels[2].sum() == pytest.approx(3 / 4), "the mean is that of the training file"


def test_joined_texts_are_held_out_as_texts(tmp_path: Path) -> None:
    rows: Rows = [{"text": f"word{i}", "labels": ["a", f"{i % 3}"], "clicks": 1 + i % 2} for i in range(40)] * 2
    data = load(tmp_path, rows)
    split = split_validation(data, ValidationSection(), seed=0)
    assert (split.kind, split.repeated_share, len(split.held)) == ("texts", 1.0, 4)


def test_bags_of_features_are_joined_too(tmp_path: Path) -> None:
    """Values of labels are clicks in the format of the XC repository."""
    (tmp_path / "trn_X_Xf.txt").write_text("3 4\n0:3 2:4\n1:1\n2:8 0:6\n")
    (tmp_path / "trn_X_Y.txt").write_text("3 3\n2:1\n1:2 0:0\n2:3\n")
    config = TrainerConfig(clicks=ClicksSection(weighting="linear"))
    data = load_training_data(open_dataset(tmp_path, "train"), config, skip_bad_lines=False)
    assert list(data.label_texts) == ["1", "2"]
    assert data.examples.labels.toarray().tolist() == [[0, pytest.approx(4 / 3)], [pytest.approx(2 / 3), 0]]


def test_keys_that_are_not_read_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows: Rows = [
        {"text": "one", "labels": ["a"], "price": 3},
        {"text": "two", "labels": ["a"], "count": 1, "shop": "x"},
    ]
    load(tmp_path, rows)
    assert "keys that are not understood are left out: 'price' (1 line), 'shop' (1 line)" in capsys.readouterr().err


def test_texts_are_numbered_as_they_come() -> None:
    first, text_N = number_texts(np.array([7, 3, 7, 9, 3]))
    assert first.tolist() == [0, 1, 3]
    assert text_N.tolist() == [0, 1, 0, 2, 1]


def test_the_mean_of_the_texts_that_are_learnt_from_is_one() -> None:
    clicks, indptr = np.array([4.0, 1.0, 2.0, 100.0]), np.array([0, 2, 3, 4])
    assert weigh_clicks(clicks, indptr, "linear", num_learnt=2).tolist() == pytest.approx(
        [4 / 3, 1 / 3, 2 / 3, 100 / 3]
    )
