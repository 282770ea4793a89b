"""The demo click log: its size, its determinism, and the properties of real logs that it imitates."""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from astec.export.readers import open_dataset
from astec.trainer.__main__ import app
from astec.trainer.demo import log as demo_log
from astec.trainer.demo.catalogue import CATEGORIES, FILLERS, INTENTS, PLACES, plural
from astec.trainer.demo.log import DemoLogConfig, default_num_queries, generate, sample_queries, write_demo_log

pytestmark = pytest.mark.slow

SMALL = DemoLogConfig(seed=3, num_queries=3_000, num_test_queries=500, num_phrases=1_200)


@pytest.fixture(scope="module")
def log():
    return generate(DemoLogConfig())


@pytest.fixture(scope="module")
def clicks(log):
    """Count the clicks on each phrase in the training log."""
    return Counter(label for _, labels in log.train for label in labels)


@pytest.fixture(scope="module")
def vocabulary():
    """Return every word that a query without typing errors can contain."""
    terms = [term for category in CATEGORIES for term in (*category.products, *category.brands, *category.attributes)]
    surfaces = [surface for term in (*terms, *INTENTS, PLACES, FILLERS) for surface in term]
    surfaces += [plural(surface) for category in CATEGORIES for term in category.products for surface in term]
    return {word for surface in surfaces for word in surface.split()} | {"in"}


def pairs_sharing_a_click(log, key):
    """List pairs of training queries with the same `key` and different texts that led to a click on the same phrase."""
    groups = defaultdict(list)
    for text, labels in log.train:
        groups[key(text)].append((text, set(labels)))
    for group in groups.values():
        (first, first_labels), *others = group
        yield from ((first, other) for other, labels in others if labels & first_labels)


def test_counts_and_distinctness(log, clicks):
    train, test = ([text for text, _ in rows] for rows in (log.train, log.test))
    assert (len(train), len(test)) == (100_000, 10_000)
    assert len({*train, *test}) == 110_000, "no text twice, none in both"
    assert len(clicks) >= 20_000
    assert all(text == text.strip() and text for text in train + test)


def test_every_query_has_clicks_and_many_have_several(log):
    per_query = np.array([len(labels) for _, labels in log.train])
    assert per_query.min() >= 1
    assert 2 <= per_query.mean() <= 4
    assert all(len(set(labels)) == len(labels) for _, labels in log.train)


def test_clicks_follow_zipfs_law_with_a_long_tail(clicks):
    counts = np.sort(np.array(list(clicks.values())))[::-1]
    ranks = np.arange(1, len(counts) + 1)
    middle = slice(10, 5_000)
    slope, _ = np.polyfit(np.log(ranks[middle]), np.log(counts[middle]), 1)
    assert -1.3 < slope < -0.5
    assert np.mean(counts <= 2) > 0.1
    assert counts[0] > 1_000


def test_popularity_alone_predicts_little_and_the_words_predict_much(log, clicks):
    head, _ = clicks.most_common(1)[0]
    assert np.mean([head in labels for _, labels in log.test]) < 0.05
    shares = [max(len(set(label.split()) & set(text.split())) for label in labels) > 0 for text, labels in log.test]
    assert 0.7 < np.mean(shares) < 1


def test_singular_and_plural(log):
    pairs = pairs_sharing_a_click(log, lambda text: re.sub(r"s\b", "", text))
    assert any(first.rstrip("s") == second.rstrip("s") for first, second in pairs)


def test_word_order(log):
    pairs = pairs_sharing_a_click(log, lambda text: tuple(sorted(text.split())))
    assert sum(1 for _ in pairs) > 100


def test_synonyms(log):
    sofa = [labels for text, labels in log.train if re.search(r"\b(couch|couches|settees?)\b", text)]
    assert any(re.search(r"\bsofas?\b", label) for labels in sofa for label in labels)


def test_typing_errors(log, vocabulary):
    mistyped = [text for text, _ in log.train if not vocabulary.issuperset(text.split())]
    assert 0.05 < len(mistyped) / len(log.train) < 0.2
    phrases = {label for _, labels in log.train for label in labels}
    assert vocabulary.issuperset(word for phrase in phrases for word in phrase.split()), "advertisers spell well"


def test_places_and_intents(log):
    texts = [text for text, _ in log.train]
    for part in ("near me", "cheap", "reviews", "how to choose", "in london", "helsinki"):
        assert any(part in text for text in texts), part


def test_rows_are_those_of_earlier_versions():
    """A model and its published figures belong to a log, and the load tests send its queries."""
    log = generate(SMALL)
    digests = [
        hashlib.sha256(json.dumps(drawn).encode()).hexdigest()
        for drawn in ([log.train, log.test], sample_queries(2_000, seed=5))
    ]
    assert digests == [
        "3904ea16aa735216810cb719ac4444eff0e9142d131922f8b53a29edbddbe7f1",
        "3ed5b0c91734ecc0055d6b96d3ed81a625ce68144ab260cde295f42276004709",
    ]


def test_a_log_of_the_large_market(assortment, monkeypatch):
    monkeypatch.setattr(demo_log, "assortment_for", lambda num_phrases: assortment)
    config = DemoLogConfig(seed=5, num_queries=6_800, num_test_queries=500, num_phrases=3_400)
    log = generate(config)
    assert generate(config) == log
    texts = [text for text, _ in (*log.train, *log.test)]
    assert (len(log.train), len(log.test), len(set(texts))) == (6_800, 500, 7_300)
    counts = np.array(list(Counter(label for _, labels in log.train for label in labels).values()))
    assert len(counts) > 0.8 * 3_400, "most labels have a click"
    assert np.mean(counts <= 5) > 0.5, "most have few"
    assert counts.max() > 20
    per_query = np.array([len(labels) for _, labels in log.train])
    assert per_query.min() >= 1
    assert 1.2 < per_query.mean() < 4
    vocabulary = {word for text in texts for word in text.split()}
    assert {"size", "under", "for"} <= vocabulary


def test_a_seed_is_a_log():
    assert generate(SMALL) == generate(SMALL)
    other = DemoLogConfig(seed=4, num_queries=3_000, num_test_queries=500, num_phrases=1_200)
    assert generate(SMALL).train != generate(other).train


@pytest.mark.slow
def test_files_are_the_same_bytes_whatever_the_hash_seed(tmp_path):
    program = (
        "import sys; from pathlib import Path; from astec.trainer.demo.log import *; "
        "config = DemoLogConfig(seed=3, num_queries=500, num_test_queries=50, num_phrases=600); "
        "write_demo_log(Path(sys.argv[1]), config); "
        "print(sample_queries(50, seed=1)); print('torch' in sys.modules)"
    )
    digests, outputs = set(), set()
    for hash_seed in ("0", "1", "2718"):
        folder = tmp_path / hash_seed
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", program, str(folder)]
        outputs.add(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
        files = (folder / "train.jsonl.gz", folder / "test.jsonl.gz")
        digests.add(tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in files))
    assert len(digests) == 1
    assert len(outputs) == 1
    assert outputs.pop().endswith("\nFalse\n"), "the generator needs no torch"


def test_written_files_are_read_back(tmp_path):
    num_clicked = write_demo_log(tmp_path / "new" / "folder", SMALL)
    log = generate(SMALL)
    assert num_clicked == len({label for _, labels in log.train for label in labels})
    folder = tmp_path / "new" / "folder"
    for dataset, rows in ((open_dataset(folder, "train"), log.train), (open_dataset(folder, "test"), log.test)):
        assert [(row.query, row.labels) for row in dataset.rows()] == rows
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == ["test.jsonl.gz", "train.jsonl.gz"]


def test_an_interrupted_writing_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(rows, path):
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(demo_log, "_write_rows", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_demo_log(tmp_path, SMALL)
    assert list(tmp_path.iterdir()) == []


def test_sampled_queries_repeat_by_popularity():
    queries = sample_queries(20_000, seed=5)
    assert len(queries) == 20_000
    assert queries == sample_queries(20_000, seed=5)
    assert queries != sample_queries(20_000, seed=6)
    counts = sorted(Counter(queries).values(), reverse=True)
    assert counts[0] > 5 * counts[20] > 0
    assert len(counts) > 1_000


def test_sampled_queries_speak_of_the_default_market(log):
    words = {word for text, _ in log.train for word in text.split()}
    queries = sample_queries(2_000, seed=9)
    assert np.mean([words.issuperset(query.split()) for query in queries]) > 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_queries": 0}, "num_queries is 0; it must lie between 1 and 5000000"),
        ({"num_test_queries": 6_000_000}, "num_test_queries is 6000000; it must lie between 1 and 5000000"),
        ({"num_phrases": 10}, "num_phrases is 10; it must lie between 300 and 3000000"),
        ({"num_phrases": 3_000_001}, "num_phrases is 3000001; it must lie between 300 and 3000000"),
        (
            {"num_phrases": 1_000, "num_queries": 50_000, "num_test_queries": 1},
            "50001 training and test queries are too many for 1000 phrases, which give at most 50000 distinct ones; "
            "ask for fewer queries or more phrases",
        ),
    ],
)
def test_impossible_sizes_are_refused(options, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        DemoLogConfig(**options)


@pytest.mark.parametrize(
    ("num_phrases", "num_queries"),
    [(300, 3_000), (5_000, 50_000), (30_000, 100_000), (1_000_000, 2_000_000), (3_000_000, 5_000_000)],
)
def test_the_default_number_of_queries(num_phrases, num_queries):
    assert default_num_queries(num_phrases) == num_queries
    DemoLogConfig(num_phrases=num_phrases, num_queries=num_queries)


def test_the_command_writes_the_wanted_sizes(tmp_path):
    result = CliRunner().invoke(app, ["demo-log", str(tmp_path), "--labels", "600", "--seed", "2"])
    assert result.exit_code == 0
    assert "6,000 and 10,000 queries" in result.stderr
    rows = list(open_dataset(tmp_path, "train").rows())
    num_labels = len({label for row in rows for label in row.labels})
    assert len(rows) == 6_000
    assert 500 < num_labels <= 600
    assert f"{num_labels:,} of 600 labels have a click" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--labels", "10"], "num_phrases is 10; it must lie between 300 and 3000000"),
        (["--queries", "6000000"], "num_queries is 6000000; it must lie between 1 and 5000000"),
        (["--labels", "400", "--queries", "20000"], "30000 training and test queries are too many for 400 phrases"),
    ],
)
def test_the_command_refuses_impossible_sizes(tmp_path, options, message):
    result = CliRunner().invoke(app, ["demo-log", str(tmp_path / "log"), *options])
    assert result.exit_code == 2
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("noun", "expected"),
    [
        ("running shoe", "running shoes"),
        ("bookshelf", "bookshelves"),
        ("handyman", "handymen"),
        ("wireless mouse", "wireless mice"),
        ("dog food", "dog food"),
        ("couch", "couches"),
        ("car battery", "car batteries"),
        ("chew toy", "chew toys"),
    ],
)
def test_plural(noun, expected):
    assert plural(noun) == expected


def test_the_catalogue_has_no_name_twice():
    surfaces = [surface for category in CATEGORIES for product in category.products for surface in product]
    brands = [brand for category in CATEGORIES for (brand,) in category.brands]
    for names in (surfaces, brands, list(PLACES)):
        assert [name for name, count in Counter(names).items() if count > 1] == []
