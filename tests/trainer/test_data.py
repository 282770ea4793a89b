"""From a data set to features and labels, and the split that holds texts out."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astec.export.artifact.text.bags import Bags
from astec.export.artifact.text.featurizer import TextFeaturizer
from astec.export.artifact.text.id_featurizer import IdFeaturizer
from astec.export.readers import DataError, open_dataset
from astec.trainer.data import TrainingData, load_training_data, split_validation
from astec.trainer.settings.config import FeaturizerSection, LabelsSection, TrainerConfig, ValidationSection

WORDS_ONLY = FeaturizerSection(word_ngrams=1, min_char_ngram=0, max_char_ngram=0, min_df=1)
WriteJsonl = Callable[..., Path]


def load(path: Path, section: FeaturizerSection = WORDS_ONLY, *, labels_as_texts: bool = False) -> TrainingData:
    config = TrainerConfig(featurizer=section, labels=LabelsSection(as_texts=labels_as_texts))
    return load_training_data(open_dataset(path, "train"), config, skip_bad_lines=False)


def write_xc(folder: Path, **names: str) -> Path:
    """Three rows of the XC repository's format: features 0, 2 and 3 of four, labels 2 and 0 of three."""
    (folder / "trn_X_Xf.txt").write_text("3 4\n0:3 2:4\n2:1\n3:2\n")
    (folder / "trn_X_Y.txt").write_text("3 3\n2:1\n2:1 0:1\n0:1\n")
    for stem, text in names.items():
        (folder / f"{stem}.txt").write_text(text)
    return folder


def test_labels_are_ordered_by_frequency_then_text(tmp_path: Path, write_jsonl: WriteJsonl) -> None:
    rows = [("one", ["b", "z"]), ("two", ["z", "a"]), ("three", ["a", "c", "z"])]
    data = load(write_jsonl(tmp_path / "train.jsonl", rows))
    assert list(data.label_texts) == ["z", "a", "b", "c"]
    assert data.num_labels == 4
    assert data.examples.labels.toarray().tolist() == [[1, 0, 1, 0], [1, 1, 0, 0], [1, 1, 0, 1]]
    assert data.examples.label_counts().tolist() == [3, 2, 1, 1]
    assert data.examples.labels.has_sorted_indices


def test_labels_own_texts_follow_those_of_the_file(tmp_path: Path, write_jsonl: WriteJsonl) -> None:
    """Each carries its own label; it counts for none, and one of which nothing is known is left out."""
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


def test_texts_are_kept_to_be_shown(tmp_path: Path, write_jsonl: WriteJsonl) -> None:
    rows = [("lost", []), ("Größe 40", ["a"]), ("x" * 999, ["b"])]
    data = load(write_jsonl(tmp_path / "train.jsonl", rows))
    assert [data.show(row) for row in range(2)] == ["Größe 40", "x" * 200], "of the rows that are left, their beginning"


def test_feature_ids_are_shown_by_weight(tmp_path: Path) -> None:
    data = load(write_xc(tmp_path))
    assert data.texts is None
    assert data.show(0) == "features 2 (0.80), 0 (0.60)"


def test_features_are_the_bags_in_a_matrix(tmp_path: Path, write_jsonl: WriteJsonl) -> None:
    data = load(write_jsonl(tmp_path / "train.jsonl", [("one two", ["a"]), ("", ["b"]), ("two", ["a"])]))
    features_NV = data.examples.features(data.featurizer.num_features).toarray()
    assert isinstance(data.featurizer, TextFeaturizer)
    one, two = (list(data.featurizer.vocabulary).index(word) for word in ("one", "two"))
    assert np.count_nonzero(features_NV, axis=1).tolist() == [2, 0, 1]
    assert np.linalg.norm(features_NV, axis=1) == pytest.approx([1, 0, 1])
    assert features_NV[0, one] > features_NV[0, two] > 0, "the rarer word weighs more"
    assert features_NV[2, two] == pytest.approx(1)


def test_examples_are_taken_in_the_order_asked_for(tmp_path: Path, write_jsonl: WriteJsonl) -> None:
    examples = load(write_jsonl(tmp_path / "train.jsonl", [("a", ["a"]), ("b", ["b"]), ("c", ["c"])])).examples
    taken = examples.take(np.array([2, 0]))
    assert len(taken) == 2
    assert taken.labels.toarray().tolist() == [[0, 0, 1], [1, 0, 0]]
    assert taken.features(3).toarray().tolist() == examples.features(3).toarray()[[2, 0]].tolist()


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
    np.testing.assert_allclose(
        data.examples.features(4).toarray(), [[0.6, 0, 0.8, 0], [0, 0, 1, 0], [0, 0, 0, 1]], rtol=1e-6
    )


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
    monkeypatch.setattr("astec.trainer.data._CHUNK_ROWS", 2)
    pieces = load(path)
    for name in ("ids", "weights", "offsets"):
        assert getattr(pieces.examples.bags, name).tolist() == getattr(whole.examples.bags, name).tolist(), name
    if kind == "texts":
        assert [pieces.show(row) for row in range(5)] == [text for text, _ in rows]


def distinct(num_rows: int) -> Bags:
    """A bag with a feature of its own in each row."""
    return bags_of([[row] for row in range(num_rows)])


def bags_of(ids: list[list[int]]) -> Bags:
    flat = np.array([one for row in ids for one in row], np.int32)
    return Bags(flat, np.ones(len(flat), np.float32), np.cumsum([0, *map(len, ids)]))


@settings(derandomize=True, deadline=None)
@given(
    texts=st.lists(st.lists(st.integers(0, 5), max_size=3, unique=True).map(sorted), min_size=2, max_size=60),
    share=st.floats(0.01, 0.5),
    seed=st.integers(0, 2**31 - 1),
)
def test_a_text_that_comes_again_is_on_one_side(texts: list[list[int]], share: float, seed: int) -> None:
    size = max(1, int(share * len(texts)))
    learnt, held = split_validation(bags_of(texts), size, seed)
    assert sorted([*learnt.tolist(), *held.tolist()]) == list(range(len(texts)))
    assert 1 <= len(held) <= size
    if min(map(texts.count, texts)) <= size:
        assert not {tuple(texts[row]) for row in learnt} & {tuple(texts[row]) for row in held}


@pytest.mark.parametrize("seed", range(5))
def test_a_text_is_as_likely_held_out_whatever_its_number_of_rows(seed: int) -> None:
    """600 texts each of 1, 5 and 50 rows: a tenth of the rows is a tenth of the texts of every kind."""
    repeats = np.repeat([1, 5, 50], 600)
    rows = np.random.default_rng(100 + seed).permutation(np.repeat(np.arange(len(repeats)), repeats))
    size = len(rows) // 10
    _, held = split_validation(bags_of([[text] for text in rows.tolist()]), size, seed)
    texts_held = np.bincount(repeats[np.unique(rows[held])], minlength=51)[[1, 5, 50]]
    assert len(held) == size
    # The draws are without replacement: a share of a tenth of 600 texts has a standard deviation of 7.
    assert np.all(np.abs(texts_held - 60) < 4 * 7), texts_held


def test_rows_are_split_where_every_text_comes_too_often() -> None:
    learnt, held = split_validation(bags_of([[1], [1], [2], [2], [2]]), 1, 0)
    assert (len(learnt), len(held)) == (4, 1)


@settings(derandomize=True, deadline=None)
@given(
    num_rows=st.integers(2, 30_000),
    fraction=st.floats(0.0001, 0.4999),
    max_rows=st.integers(1, 3_000),
    seed=st.integers(0, 2**31 - 1),
)
def test_the_split_is_disjoint_complete_sorted_and_bounded(
    num_rows: int, fraction: float, max_rows: int, seed: int
) -> None:
    section = ValidationSection(fraction=fraction, max_texts=max_rows)
    learnt, held = split_validation(distinct(num_rows), section.size(num_rows), seed)
    assert sorted([*learnt.tolist(), *held.tolist()]) == list(range(num_rows))
    assert np.all(np.diff(learnt) > 0)
    assert np.all(np.diff(held) > 0)
    assert len(learnt) >= 1
    assert 1 <= len(held) <= max_rows
    assert len(held) <= max(1, round(num_rows * fraction), min(1_000, num_rows // 10))


@pytest.mark.parametrize(
    ("num_rows", "held"), [(2, 1), (80, 8), (5_000, 500), (12_404, 1_000), (45_487, 1_819), (1_000_000, 10_000)]
)
def test_little_data_gives_a_larger_share(num_rows: int, held: int) -> None:
    assert ValidationSection().size(num_rows) == held


def test_the_split_follows_its_seed() -> None:
    (_, first), (_, again), (_, other) = (split_validation(distinct(1_000), 100, seed) for seed in (1, 1, 2))
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()
    assert len(first) == 100
