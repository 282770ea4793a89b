"""Loading a data set into features and labels."""

from pathlib import Path

import numpy as np
import pytest

from astec.export.artifact.text.featurizer import TextFeaturizer
from astec.export.artifact.text.id_featurizer import IdFeaturizer
from astec.export.readers import DataError
from tests.trainer.data.conftest import WORDS_ONLY, WriteJsonl, load, write_xc


def test_labels_are_ordered_by_frequency_then_text(tmp_path: Path, write_jsonl: WriteJsonl) -> None:
    rows = [("one", ["b", "z"]), ("two", ["z", "a"]), ("three", ["a", "c", "z"])]
    data = load(write_jsonl(tmp_path / "train.jsonl", rows))
    assert list(data.label_texts) == ["z", "a", "b", "c"]
    assert data.num_labels == 4
    assert data.examples.labels.toarray().tolist() == [[1, 0, 1, 0], [1, 1, 0, 0], [1, 1, 0, 1]]
    assert data.examples.label_counts().tolist() == [3, 2, 1, 1]
    assert data.examples.labels.has_sorted_indices


def test_labels_own_texts_follow_those_of_the_file(tmp_path: Path, write_jsonl: WriteJsonl) -> None:
    """A label's own text carries its label, is not counted among its texts, and is left out if no token is known."""
    rows = [("lamp shade", ["red lamp", "!"]), ("a red shoe", ["red shoe", "red lamp"])]
    path = write_jsonl(tmp_path / "train.jsonl", rows)
    data = load(path, labels_as_texts=True)
    assert list(data.label_texts) == ["red lamp", "!", "red shoe"]
    assert (len(data.examples), data.num_texts, data.num_label_texts) == (4, 2, 2)
    assert data.texts is not None
    assert list(data.texts) == ["lamp shade", "a red shoe", "red lamp", "red shoe"]
    assert data.examples.labels.toarray().tolist() == [[1, 1, 0], [1, 0, 1], [1, 0, 0], [0, 0, 1]]
    assert data.label_counts().tolist() == [2, 1, 1]
    assert data.label_counts(left_out=np.array([0])).tolist() == [1, 0, 1]
    own = data.featurizer.transform(["red shoe"])
    assert data.examples.bags.take(np.array([3])).ids.tolist() == own.ids.tolist()
    assert load(path).num_label_texts == 0


@pytest.mark.parametrize("labels_are_phrases", [True, False])
def test_labels_are_texts_if_a_trial_finds_that_it_helps(
    tmp_path: Path, write_jsonl: WriteJsonl, labels_are_phrases: bool
) -> None:
    phrases = [f"colour{i} thing{j}" for i in range(15) for j in range(15)]
    rows = [(f"buy {phrase}", [phrase if labels_are_phrases else f"{i}"]) for i, phrase in enumerate(phrases)]
    data = load(write_jsonl(tmp_path / "train.jsonl", rows), labels_as_texts="auto")
    assert data.label_text_trial is not None
    assert data.label_text_trial.succeeds == labels_are_phrases
    assert data.num_label_texts == (len(phrases) if labels_are_phrases else 0)
    assert data.num_texts == len(phrases)


def test_few_distinct_tokens_are_all_kept(
    tmp_path: Path, write_jsonl: WriteJsonl, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_jsonl(tmp_path / "train.jsonl", [("red lamp", ["a"]), ("blue lamp", ["b"])])
    automatic = WORDS_ONLY.model_copy(update={"min_df": "auto"})
    assert load(path, automatic).featurizer.num_features == 3
    monkeypatch.setattr("astec.trainer.settings.config.MOST_TOKENS_KEPT", 2)
    kept = load(path, automatic).featurizer
    assert isinstance(kept, TextFeaturizer)
    assert (list(kept.vocabulary), kept.config.min_df) == (["lamp"], 2)


def test_labels_of_data_without_texts_are_none(tmp_path: Path) -> None:
    data = load(write_xc(tmp_path), labels_as_texts=True)
    assert (len(data.examples), data.num_label_texts) == (3, 0)


def test_a_label_given_twice_counts_once(tmp_path: Path, write_jsonl: WriteJsonl) -> None:
    data = load(write_jsonl(tmp_path / "train.jsonl", [("one", ["a", "a"]), ("two", ["b"])]))
    assert data.examples.labels.toarray().tolist() == [[1, 0], [0, 1]]


def test_rows_without_a_label_are_dropped_and_counted(tmp_path: Path, write_jsonl: WriteJsonl) -> None:
    rows = [("one", ["a"]), ("lost", []), ("two", ["b"]), ("lost too", [])]
    data = load(write_jsonl(tmp_path / "train.jsonl", rows))
    assert (len(data.examples), data.dropped_rows) == (2, 2)
    assert isinstance(data.featurizer, TextFeaturizer)
    assert sorted(data.featurizer.vocabulary) == ["one", "two"], "what is dropped teaches no words"


@pytest.mark.parametrize("rows", [[("one", ["a"])], [("one", []), ("two", []), ("three", ["c"])]])
def test_too_few_rows_are_refused(tmp_path: Path, write_jsonl: WriteJsonl, rows: list[tuple[str, list[str]]]) -> None:
    path = write_jsonl(tmp_path / "train.jsonl", rows)
    with pytest.raises(DataError, match=rf"has 1 rows with a label out of {len(rows)}, and at least 2 are needed"):
        load(path)


def test_texts_without_a_frequent_token_are_refused_with_the_setting(tmp_path: Path, write_jsonl: WriteJsonl) -> None:
    path = write_jsonl(tmp_path / "train.jsonl", [("one", ["a"]), ("two", ["b"])])
    with pytest.raises(DataError, match=r"train\.jsonl: no token occurs in min_df = 2 .* --set featurizer\.min_df=1"):
        load(path, WORDS_ONLY.model_copy(update={"min_df": 2}))


def test_features_without_names_make_a_featurizer_of_ids(tmp_path: Path) -> None:
    data = load(write_xc(tmp_path))
    assert isinstance(data.featurizer, IdFeaturizer)
    assert data.featurizer.num_features == 4, "the header's number, not the largest id that occurs"
    assert list(data.label_texts) == ["0", "2"], "labels without names are their ids"
    expected = np.array([[0.6, 0, 0.8, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    np.testing.assert_allclose(data.examples.features(4).toarray(), expected, rtol=1e-6)


def test_features_with_names_make_a_featurizer_of_words(tmp_path: Path) -> None:
    data = load(write_xc(tmp_path, Xf="cheap\nunused\nred\nshoes\n", Y="flights\nnobody's\nshoes\n"))
    assert isinstance(data.featurizer, TextFeaturizer)
    assert list(data.featurizer.vocabulary) == ["cheap", "unused", "red", "shoes"]
    assert list(data.label_texts) == ["flights", "shoes"]
    np.testing.assert_allclose(data.examples.features(4).toarray()[0], [0.6, 0, 0.8, 0], rtol=1e-6)
    bag = data.featurizer.transform(["Red shoes!"])
    assert bag.ids.tolist() == [2, 3]
    assert bag.weights[0] < bag.weights[1], "red occurs in two rows, shoes in one"


@pytest.mark.parametrize("kind", ["texts", "bags"])
def test_rows_are_featurised_the_same_however_many_at_once(
    tmp_path: Path, write_jsonl: WriteJsonl, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    rows = [("one two", ["a"]), ("", ["b"]), ("two three", ["a", "c"]), ("été two", ["c"]), ("one", ["b"])]
    path = write_jsonl(tmp_path / "train.jsonl", rows) if kind == "texts" else write_xc(tmp_path)
    whole = load(path)
    for module in ("chunks", "columns"):
        monkeypatch.setattr(f"astec.trainer.data.{module}.CHUNK_ROWS", 2)
    pieces = load(path)
    for name in ("ids", "weights", "offsets"):
        assert getattr(pieces.examples.bags, name).tolist() == getattr(whole.examples.bags, name).tolist(), name
    if kind == "texts":
        assert [pieces.show(row) for row in range(5)] == [text for text, _ in rows]
