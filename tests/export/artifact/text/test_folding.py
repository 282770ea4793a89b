"""Folding: which texts are the same, and where words begin and end."""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from astec.export.artifact.text.characters import fold_characters
from astec.export.artifact.text.featurizer import TextFeaturizer
from astec.export.artifact.text.featurizer_config import FeaturizerConfig
from astec.export.artifact.text.folding import fold, fold_and_encode, seen_word_spans, seen_words
from astec.export.artifact.text.segmentation import separate
from astec.export.artifact.text.token_counts import count_tokens

FIXED = settings(derandomize=True, deadline=None, max_examples=100)
RULES = {rules: FeaturizerConfig(rules=rules, min_df=1) for rules in (1, 2)}
BEFORE, NOW = RULES[1], RULES[2]
PAGE = (Path(__file__).parents[4] / "docs" / "texts.md").read_text()

# What rules treat in a way of their own, and neighbours of it.
CURIOUS = st.sampled_from(
    "abC12 .@%+#&/*$€-!\n\t\x00éßİ\u0131ςёй跑靴一いュー등가\u0e01\u0e49\u1780ۀأـَא\u05b8🍕👍🏽👩\u200d\ufe0f🇩🇪🏴"
    "\U000e0067\U000e007f\u200b\u00ad\u0301\u3099ｶﾞ½²™①١\ud800\udfff\ue000"
)
TEXTS = st.text(CURIOUS | st.characters(), max_size=40)
ASCII = st.text(st.sampled_from("abC12 .@%+#&/*$-!\n") | st.characters(max_codepoint=127), max_size=30)


def examples_of(heading: str) -> list[tuple[list[str], list[str]]]:
    """The examples of a table of the page: texts, and the words that each of them becomes."""
    table = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    found = []
    for row in re.findall(r"^\| (.+) \|$", table, re.MULTILINE)[1:]:
        _, texts, words = row.split(" | ")
        pairs = zip(texts.split("; "), words.split("; "), strict=True)
        found += [(re.findall("`([^`]+)`", one), re.findall("`([^`]+)`", other)) for one, other in pairs]
    assert len(found) > 10
    return found


def as_written(text: str) -> str:
    return re.sub(r"\\u([0-9a-f]{4})", lambda code: chr(int(code[1], 16)), text)


@pytest.mark.parametrize(("texts", "words"), examples_of("What is folded") + examples_of("What is a word"))
def test_the_examples_of_the_page(texts: list[str], words: list[str]) -> None:
    assert texts
    for text in texts:
        assert fold(as_written(text), NOW).split() == " ".join(words).split()


def test_what_the_page_says_to_separate_only() -> None:
    (sentence,) = re.findall(r"All other symbols only separate: (.+)\n", PAGE)
    texts = re.findall("`([^`]+)`", sentence)
    assert len(texts) > 5
    for text in texts:
        assert fold(text, NOW).split() == fold(text, BEFORE).split()


@pytest.mark.parametrize(
    ("written", "folded"),
    [
        ("Größe", "grösse"),
        ("e\u0301", "é"),
        ("\uff21\uff22\uff11", "ab1"),
        ("ﬁx", "fix"),
        ("a_b-c", "a b c"),
        ("İ", "i\u0307"),
        ("हिन्दी", "हिन्दी"),
        ("c++ 🍕", "c    "),
        ("跑步鞋", "跑步鞋"),
    ],
)
def test_rules_of_before(written: str, folded: str) -> None:
    assert fold(written, BEFORE) == folded


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("C++/C#/.NET", "c++ c# .net"),
        ("(c#.net)", "c# .net"),
        ("F#? C++! c.", "f# c++ c"),
        ("c++++ x## ..x ...net", "c x x net"),
        ("16/32/64 10/100/1000 a/b/", "16/32/64 10 100 1000 a b"),
        ("c/c++ r&b+", "c c++ r b+"),
        ("Price: US$5.99 (100%)", "price us $5 99 100%"),
        ("%20 50%20", "%20 50% 20"),
        ("*bold* **a** b*", "bold a b*"),
        ("5.5 v2.0 e.g. U.S.", "5 5 v2 0 e g u s"),
        ("l\u2019été", "l ete"),
        ("हिन्दी क्\u200dष", "हिन्दी क्ष"),
        ("👨\u200d👩\u200d👧🏽 a\u200db", "👨\u200d👩\u200d👧🏽 ab"),
        ("🏴\U000e0067\U000e0062\U000e007f x\U000e0067y", "🏴\U000e0067\U000e0062\U000e007f xy"),
        ("1\ufe0f\u20e3 ❤\ufe0f❤", "1 ❤ ❤"),
        ("か\u3099 ゴーグル らーめん", "が ゴーグル らーめん"),
        ("\u3164\uffa0x\ud800y\ue000z", "x y z"),
    ],
)
def test_rules_of_now(written: str, words: str) -> None:
    assert fold(written, NOW).split() == words.split()


def test_tokens_of_dense_scripts() -> None:
    featurizer = TextFeaturizer.fit(["x"], NOW)
    assert featurizer.tokens("登山") == ["登", "山", "登 山"]
    assert featurizer.tokens("ชา") == ["ชา", "~<ช", "~<ชา", "~<ชา>", "~ชา", "~ชา>", "~า>"]
    assert {"~등산", "~<등", "~화>"} <= set(featurizer.tokens("등산화"))
    assert featurizer.tokens("👍🏽") == ["👍🏽", "~👍"]
    assert featurizer.tokens("👩\u200d💻") == ["👩\u200d💻", "~👩", "~💻"]
    assert featurizer.tokens("🇩🇪") == ["🇩🇪"]


def test_tokens_of_dense_scripts_without_character_ngrams() -> None:
    featurizer = TextFeaturizer.fit(["x"], FeaturizerConfig(1, 0, 0, min_df=1))
    assert featurizer.tokens("登山 ชา 👍🏽") == ["登", "山", "ชา", "👍🏽"]


def test_fold_is_idempotent_on_every_character() -> None:
    ranges = (
        range(0x3400),
        range(0xA000, 0xAC80),
        range(0xD7B0, 0xE000),
        range(0xF900, 0x17000),
        range(0x1B000, 0x20000),
    )
    characters = [chr(code) for codes in (*ranges, range(0xE0000, 0xE0200)) for code in codes]
    for config in (BEFORE, NOW):
        alike = {fold(character, config) for character in characters}
        assert [text for text in alike if fold(text, config) != text] == []


@FIXED
@given(text=TEXTS, rules=st.sampled_from([1, 2]), max_chars=st.sampled_from([1, 3, 7, 30]))
@example(text="at&t", rules=2, max_chars=3)
@example(text="ab at&t", rules=2, max_chars=6)
@example(text="👩\u200d💻", rules=2, max_chars=2)
def test_fold_is_idempotent_and_no_longer_than_asked(text: str, rules: int, max_chars: int) -> None:
    config = FeaturizerConfig(rules=rules, max_chars=max_chars)
    folded = fold(text, config)
    assert fold(folded, config) == folded
    assert len(folded) <= max_chars


@FIXED
@given(text=TEXTS)
def test_rules_of_before_leave_nothing_but_words_and_spaces(text: str) -> None:
    assert all(c == " " or unicodedata.category(c)[0] in "LNM" for c in fold(text, BEFORE))


@FIXED
@given(text=ASCII)
def test_the_short_way_for_ascii_is_the_long_way(text: str) -> None:
    together = "".join(map(chr, fold_and_encode(["+" * 200, text.replace("\n", " ")], NOW)))
    assert together.split() == separate(fold_characters(text), 512).split()
    assert fold(text, NOW).split() == separate(fold_characters(text), 512).split()
    assert fold(text, BEFORE) == fold(f"{text} é", BEFORE)[:-2]


@FIXED
@given(
    text=st.text(st.sampled_from("aB1 -!?,;:'\"()[]{}<>_=~^|\\`\n") | st.characters(codec="ascii", categories=["L"]))
)
def test_english_has_the_tokens_of_before(text: str) -> None:
    assert fold(text, NOW) == fold(text, BEFORE)


@FIXED
@given(texts=st.lists(TEXTS | ASCII, max_size=5), rules=st.sampled_from([1, 2]), max_chars=st.sampled_from([4, 512]))
@example(texts=[], rules=2, max_chars=512)
@example(texts=["red\nshoes", "c++"], rules=2, max_chars=512)
@example(texts=["red shoes", "a"], rules=2, max_chars=4)
def test_texts_are_folded_together_as_alone(texts: list[str], rules: int, max_chars: int) -> None:
    config = FeaturizerConfig(rules=rules, max_chars=max_chars)
    lines = "".join(map(chr, fold_and_encode(texts, config))).split("\n")
    assert lines.pop() == ""
    assert [line.split() for line in lines] == ([fold(text, config).split() for text in texts] or [[]])


@FIXED
@given(texts=st.lists(TEXTS, min_size=1, max_size=4), rules=st.sampled_from([1, 2]))
def test_training_counts_the_tokens_that_serving_finds(texts: list[str], rules: int) -> None:
    counts = count_tokens(texts, RULES[rules])
    featurizer = TextFeaturizer.fit(["x", *texts], RULES[rules])
    tokens = [set(featurizer.tokens(text)) for text in texts]
    found = dict(zip(counts.names, counts.df.tolist(), strict=True))
    assert found == {token: sum(token in of_text for of_text in tokens) for token in set[str]().union(*tokens)}
    bags = featurizer.transform(texts)
    for row, of_text in enumerate(tokens):
        assert {featurizer.vocabulary[token] for token in bags.take(np.array([row])).ids.tolist()} == of_text


@pytest.mark.parametrize("rules", RULES.values(), ids=lambda config: f"rules-{config.rules}")
@FIXED
@given(text=TEXTS | ASCII)
@example(text="ｶﾞﾗｽ 등산 ½x™y 🏴\U000e0067\U000e007f café")
@example(text="a\u1100\u1161\u11a8b c")
def test_every_word_has_a_place_in_the_text(text: str, rules: FeaturizerConfig) -> None:
    spans, words = seen_word_spans(text, rules), seen_words(text, rules).split()
    assert len(spans) == len(words)
    for word, (begin, end) in zip(words, spans, strict=True):
        assert 0 <= begin < end <= len(text)
        assert word in fold(text[begin:end], rules)
    assert all(before[0] <= after[0] and before[1] <= after[1] for before, after in pairwise(spans))


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("Cheap RUNNING-shoes,  42!", ["Cheap", "RUNNING", "shoes", "42"]),
        ("Größe Łódź", ["Größe", "Łódź"]),
        ("Cafe\u0301 bar", ["Cafe\u0301", "bar"]),
        ("登山背包 ｶﾞﾗｽ", ["登", "山", "背", "包", "ｶﾞﾗｽ"]),
        ("c++ at&t $5", ["c++", "at&t", "$5"]),
        ("👍🏽👩\u200d💻", ["👍🏽", "👩\u200d💻"]),
        ("½ ﬁx", ["½", "ﬁx"]),
    ],
)
def test_words_are_found_as_they_are_written(text: str, written: list[str]) -> None:
    assert [text[begin:end] for begin, end in seen_word_spans(text, NOW)] == written


def test_words_that_a_cut_divides_have_places_too() -> None:
    cut = FeaturizerConfig(rules=2, min_df=1, max_chars=9)
    for text in ("at&t at&t x y", "a&b登山背包登山背包", "登山背包登山背包登山"):
        assert len(seen_word_spans(text, cut)) == len(seen_words(text, cut).split())


@pytest.mark.parametrize("config", RULES.values(), ids=["rules 1", "rules 2"])
@pytest.mark.parametrize("text", ["red shoes", "c++ code", "-5 $3", "café", "東京", "", "x" * 3_000])
def test_kernels_are_compiled_for_two_kinds_of_codes_only(text: str, config: FeaturizerConfig) -> None:
    """An array that can be changed would be a third kind: the first such query would wait for the compiler."""
    for texts in ([text], [text, "red"]):
        codes = fold_and_encode(texts, config)
        assert codes.dtype == (np.uint8 if max(codes, default=0) < 128 else np.uint32)
        assert not codes.flags.writeable
