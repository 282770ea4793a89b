"""Text to tokens to TF-IDF weights: hand-worked, then against a slow reference."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astec.export.artifact.text.bags import Bag, Bags, QueryKindError
from astec.export.artifact.text.description import FEATURIZER_FILE
from astec.export.artifact.text.featurizer import IDF_FILE, TABLE_FILE, TextFeaturizer, open_featurizer
from astec.export.artifact.text.featurizer_config import FeaturizerConfig
from astec.export.artifact.text.token_counts import count_tokens

FIXED = settings(derandomize=True, deadline=None, max_examples=150)
WORDS_ONLY = FeaturizerConfig(word_ngrams=1, min_char_ngram=0, max_char_ngram=0, min_df=1)
EVERY_KIND = FeaturizerConfig(word_ngrams=2, min_char_ngram=3, max_char_ngram=4, min_df=1)
CORPUS = (
    "red cat",
    "red dog",
    "cheap running shoes",
    "grosse strasse",
    "日本語 テキスト",
    "an óg",
    "running",
    "c++ 등산",
)
FEATURIZER = TextFeaturizer.fit(CORPUS, EVERY_KIND)

# Words of the corpus, what folds into them, separators, an emoji and a lone surrogate: likely to meet, unlike any code
# points at random, of which a few are mixed in.
NEAR_CORPUS = st.sampled_from("redcatgoRED ß-é\u0301İ\n\t🎉\ud800Ⅷ日本+#.%\u200d靴ュリ등")
TEXTS = st.text(NEAR_CORPUS | st.characters(), max_size=40)
CONFIGS = st.builds(
    lambda words, chars, min_df, max_features: FeaturizerConfig(words, chars[0], chars[1], min_df, max_features),
    st.integers(1, 4),
    st.tuples(st.integers(0, 4), st.integers(0, 4)).map(lambda pair: (min(pair), max(pair))),
    st.integers(1, 2),
    st.sampled_from([5, 1000]),
)
CORPORA = st.lists(st.text("aAbé1 -", max_size=12), min_size=1, max_size=8)


def weights_of(featurizer: TextFeaturizer, text: str) -> dict[str, float]:
    bags = featurizer.transform([text])
    return {featurizer.vocabulary[i]: w for i, w in zip(bags.ids.tolist(), bags.weights.tolist(), strict=True)}


def same(first: Bags, second: Bags) -> bool:
    pairs = (
        (first.ids, second.ids),
        (first.weights.view(np.int32), second.weights.view(np.int32)),
        (first.offsets, second.offsets),
    )
    return all(np.array_equal(one, other) for one, other in pairs)


def reference_tokens(text: str, config: FeaturizerConfig) -> list[str]:
    words = "".join(c if c.isalnum() else " " for c in text.lower().replace("é", "e")).split()
    runs = range(1, config.word_ngrams + 1)
    tokens = [" ".join(words[i : i + n]) for n in runs for i in range(len(words) - n + 1)]
    lengths = range(max(config.min_char_ngram, 1), config.max_char_ngram + 1)
    for word in (f"<{word}>" for word in words):
        tokens += [f"~{word[i : i + n]}" for n in lengths for i in range(len(word) - n + 1)]
    return tokens


def reference_idf(texts: list[str], config: FeaturizerConfig) -> dict[str, float]:
    df = Counter(token for text in texts for token in set(reference_tokens(text, config)))
    kept = sorted((token for token in df if df[token] >= config.min_df), key=lambda token: (-df[token], token))
    return {token: math.log((1 + len(texts)) / (1 + df[token])) + 1 for token in kept[: config.max_features]}


def reference_weights(text: str, config: FeaturizerConfig, idf: dict[str, float]) -> dict[str, float]:
    tf = Counter(token for token in reference_tokens(text, config) if token in idf)
    weights = {token: (1 + math.log(count)) * idf[token] for token, count in tf.items()}
    norm = math.sqrt(sum(weight * weight for weight in weights.values()))
    return {token: weight / norm for token, weight in weights.items()}


def test_tokens_of_a_short_text() -> None:
    config = FeaturizerConfig(word_ngrams=2, min_char_ngram=3, max_char_ngram=3)
    tokens = TextFeaturizer.fit(CORPUS, config).tokens("Red, cats")
    assert tokens == ["red", "~<re", "~red", "~ed>", "cats", "red cats", "~<ca", "~cat", "~ats", "~ts>"]


def test_a_subword_that_spans_the_word_is_not_the_word() -> None:
    tokens = FEATURIZER.tokens("as")
    assert tokens == ["as", "~<as", "~<as>", "~as>"]


def test_weights_of_a_short_text() -> None:
    featurizer = TextFeaturizer.fit(["red cat", "red dog"], WORDS_ONLY)
    assert list(featurizer.vocabulary) == ["red", "cat", "dog"]
    # ln(3 / 3) + 1 and ln(3 / 2) + 1
    assert featurizer.idf == pytest.approx([1.0, 1.405465, 1.405465], abs=1e-6)
    # (1 + ln 2) * 1 = 1.693147 and 1 * 1.405465, divided by their norm 2.200473
    assert weights_of(featurizer, "RED cat red qqq") == pytest.approx({"red": 0.769447, "cat": 0.638711}, abs=1e-6)


@FIXED
@given(texts=CORPORA, config=CONFIGS)
def test_vocabulary_and_weights_are_those_of_the_reference(texts: list[str], config: FeaturizerConfig) -> None:
    idf = reference_idf(texts, config)
    if not idf:
        with pytest.raises(ValueError, match="no token occurs in min_df"):
            TextFeaturizer.fit(texts, config)
        return
    featurizer = TextFeaturizer.fit(texts, config)
    assert list(featurizer.vocabulary) == list(idf)
    assert featurizer.idf == pytest.approx(list(idf.values()), rel=1e-6)
    for text in texts:
        assert weights_of(featurizer, text) == pytest.approx(reference_weights(text, config, idf), rel=1e-5)


@FIXED
@given(texts=st.lists(TEXTS, max_size=6))
def test_a_batch_is_its_texts_one_by_one_bit_for_bit(texts: list[str]) -> None:
    batch = FEATURIZER.transform(texts)
    assert len(batch) == len(texts)
    for row, text in enumerate(texts):
        assert same(FEATURIZER.transform([text]), batch.take(np.array([row])))


@FIXED
@given(text=TEXTS)
def test_a_bag_has_unit_norm_and_known_ids_once_each_or_nothing(text: str) -> None:
    bags = FEATURIZER.transform([text])
    assert len(np.unique(bags.ids)) == len(bags.ids)
    if len(bags.ids):
        assert 0 <= bags.ids.min() <= bags.ids.max() < FEATURIZER.num_features
        assert np.linalg.norm(bags.weights) == pytest.approx(1, abs=1e-6)


@FIXED
@given(text=TEXTS)
def test_tokens_are_what_is_looked_up(text: str) -> None:
    known = set(FEATURIZER.vocabulary)
    assert weights_of(FEATURIZER, text).keys() == {token for token in FEATURIZER.tokens(text) if token in known}


@pytest.mark.parametrize("text", ["", "   ", "\n\n", "🎉🎉", "!?-_", "\ud800", "qqqq", "\u200b"])
def test_a_text_without_a_known_token_is_empty(text: str) -> None:
    bags = FEATURIZER.transform([text, "red cat", text])
    assert bags.lengths()[[0, 2]].tolist() == [0, 0]
    assert bags.lengths()[1] > 0


def test_no_texts_at_all() -> None:
    bags = FEATURIZER.transform([])
    assert (len(bags), len(bags.ids), len(bags.weights)) == (0, 0, 0)


def test_only_the_first_max_chars_count() -> None:
    config = FeaturizerConfig(word_ngrams=1, min_char_ngram=0, max_char_ngram=0, min_df=1, max_chars=7)
    featurizer = TextFeaturizer.fit(["red cat", "dog"], config)
    assert weights_of(featurizer, "red cat dog").keys() == {"red", "cat"}
    assert featurizer.tokens("x" * 1_000_000) == ["x" * 7]


def test_a_line_break_separates_words_and_not_texts() -> None:
    assert FEATURIZER.tokens("red\ncat") == FEATURIZER.tokens("red cat")
    assert len(FEATURIZER.transform(["red\ncat", "dog"])) == 2


def test_save_and_open_round_trip(tmp_path: Path) -> None:
    FEATURIZER.save(tmp_path)
    opened = open_featurizer(tmp_path)
    assert isinstance(opened, TextFeaturizer)
    assert opened.config == FEATURIZER.config
    assert opened.vocabulary == FEATURIZER.vocabulary
    assert opened.vocabulary_sha256() == FEATURIZER.vocabulary_sha256()
    assert same(opened.transform(CORPUS), FEATURIZER.transform(CORPUS))


def test_an_artifact_of_before_names_no_rules_and_keeps_its_own(tmp_path: Path) -> None:
    corpus = ["C++ and c#", "Größe 50%", "红色跑步鞋 🍕", "sho\u200bes"]
    TextFeaturizer.fit(corpus, FeaturizerConfig(min_df=1, rules=1)).save(tmp_path)
    description = json.loads((tmp_path / FEATURIZER_FILE).read_text())
    # As the versions of before wrote it: with these settings, and no others.
    assert description["config"].pop("rules") == 1
    assert list(description["config"]) == [
        "word_ngrams",
        "min_char_ngram",
        "max_char_ngram",
        "min_df",
        "max_features",
        "max_chars",
    ]
    (tmp_path / FEATURIZER_FILE).write_text(json.dumps(description))
    opened = open_featurizer(tmp_path)
    assert isinstance(opened, TextFeaturizer)
    assert opened.config.rules == 1
    assert weights_of(opened, "c++").keys() == weights_of(opened, "c").keys() == {"c", "~<c>"}
    assert opened.tokens("ß é🍕跑") == ["ss", "~<ss", "~<ss>", "~ss>", "é", "ss é", "~<é>", "跑", "é 跑", "~<跑>"]
    assert opened.tokens("跑步鞋")[:4] == ["跑步鞋", "~<跑步", "~<跑步鞋", "~跑步鞋"]
    assert opened.tokens("sho\u200bes")[0] == "sho"
    (tmp_path / "again").mkdir()
    opened.save(tmp_path / "again")
    again = open_featurizer(tmp_path / "again")
    assert isinstance(again, TextFeaturizer)
    assert again.config == opened.config


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    FEATURIZER.save(tmp_path)
    np.save(tmp_path / IDF_FILE, FEATURIZER.idf[:-1])
    with pytest.raises(ValueError, match=IDF_FILE):
        open_featurizer(tmp_path)


def test_a_table_of_another_vocabulary_is_refused(tmp_path: Path) -> None:
    FEATURIZER.save(tmp_path)
    np.save(tmp_path / TABLE_FILE, np.load(tmp_path / TABLE_FILE)[1:])
    with pytest.raises(ValueError, match=TABLE_FILE):
        open_featurizer(tmp_path)


@pytest.mark.parametrize(
    "description",
    [
        "not json",
        "[]",
        "{}",
        '{"kind": "ids"}',
        '{"kind": "text", "config": {"stemming": 1}}',
        '{"kind": "text", "config": {"word_ngrams": "two"}}',
        '{"kind": "text", "config": {"word_ngrams": 9}}',
        '{"kind": "text", "config": {"rules": 3}}',
    ],
)
def test_a_description_that_is_none_is_refused_by_name(tmp_path: Path, description: str) -> None:
    FEATURIZER.save(tmp_path)
    (tmp_path / FEATURIZER_FILE).write_text(description)
    with pytest.raises(ValueError, match=FEATURIZER_FILE):
        open_featurizer(tmp_path)


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ({"word_ngrams": 0}, "word_ngrams is 0"),
        ({"word_ngrams": 5}, "word_ngrams is 5"),
        ({"min_char_ngram": 5}, "min_char_ngram is 5 and max_char_ngram 4"),
        ({"max_char_ngram": 9}, "max_char_ngram 9"),
        ({"min_char_ngram": -1}, "min_char_ngram is -1"),
        ({"min_df": 0}, "min_df is 0"),
        ({"max_features": 0}, "max_features is 0"),
        ({"max_chars": 0}, "max_chars is 0"),
        ({"rules": 0}, "rules is 0, and this version knows 1 to 2; a model with later rules needs a later version"),
        ({"rules": 3}, "rules is 3"),
    ],
)
def test_a_setting_out_of_range_is_named(setting: dict[str, int], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        FeaturizerConfig(**setting)


def test_nothing_to_learn_from_says_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"min_df = 2 of the 2 training texts; lower min_df"):
        TextFeaturizer.fit(["red", "dog"], FeaturizerConfig(min_df=2))


def test_names_become_a_vocabulary_of_words() -> None:
    featurizer = TextFeaturizer.from_names(["Red", "CAT ", "red"], np.array([2, 1, 1]), num_texts=2)
    assert featurizer.idf == pytest.approx([1.0, 1.405465, 1.405465], abs=1e-6)
    # A name given twice is known by its first id.
    assert featurizer.transform(["cat RED"]).ids.tolist() == [1, 0]


def test_a_bag_passes_through_a_text_model_in_its_place() -> None:
    bag = Bag(np.array([3, 1], np.int32), np.array([3.0, 4.0], np.float32))
    mixed = FEATURIZER.transform(["red", bag, "cat", bag, "qqq"])
    alone = FEATURIZER.transform(["red", "cat"])
    assert mixed.take(np.array([1])).ids.tolist() == [3, 1]
    assert mixed.take(np.array([3])).weights == pytest.approx([0.6, 0.8])
    assert same(mixed.take(np.array([0, 2])), alone)
    assert mixed.lengths()[4] == 0


@pytest.mark.parametrize("unknown", [-1, FEATURIZER.num_features])
def test_an_id_outside_the_vocabulary_is_refused(unknown: int) -> None:
    bag = Bag(np.array([0, unknown], np.int32), np.ones(2, np.float32))
    with pytest.raises(QueryKindError, match=f"between 0 and {FEATURIZER.num_features - 1}"):
        FEATURIZER.check(bag)
    with pytest.raises(QueryKindError):
        FEATURIZER.transform(["red", bag])


def test_check_lets_any_text_pass() -> None:
    for text in ("", "🎉", "\ud800", "x" * 100_000):
        FEATURIZER.check(text)


def test_names_are_looked_up_as_whole_tokens() -> None:
    featurizer = TextFeaturizer.fit(["red car", "Straße"], EVERY_KIND)
    names = ["red", "CAR", "red-car", "  red\n  car ", "strasse", "re", "car red", "", "-", "red car red"]
    found = ["red", "car", "red car", "red car", "strasse", None, None, None, None, None]
    ids = featurizer.token_ids(names)
    assert ids.dtype == np.int32
    assert [featurizer.vocabulary[i] if i >= 0 else None for i in ids.tolist()] == found
    assert featurizer.token_ids([]).shape == (0,)


def test_further_words_are_as_rare_as_can_be_and_known_tokens_stay_as_they_are() -> None:
    texts = ["red shoes", "red hats"]
    fitted = TextFeaturizer.fit(texts, FeaturizerConfig(min_df=1))
    larger = fitted.with_words(["Boots", "red", "", "rain coats", "boots"], len(texts))
    assert list(larger.vocabulary) == [*fitted.vocabulary, "boots"]
    np.testing.assert_array_equal(larger.idf[:-1], fitted.idf)
    assert larger.idf[-1] == np.float32(np.log(3) + 1)
    before, after = (featurizer.transform(texts) for featurizer in (fitted, larger))
    np.testing.assert_array_equal(before.ids, after.ids)
    np.testing.assert_array_equal(before.weights, after.weights)
    assert larger.num_features - 1 in larger.transform(["rain boots"]).ids


def test_more_tokens_are_counted_than_there_was_room_for() -> None:
    texts = [f"w{number} w{number % 70_000} w{number} common" for number in range(70_100)]
    counts = count_tokens(texts, WORDS_ONLY)
    df = dict(zip(counts.names, counts.df.tolist(), strict=True))
    assert len(counts) == len(df) == 70_101
    assert (df["common"], df["w5"], df["w500"], df["w70050"]) == (70_100, 2, 1, 1)
