"""From data to answers over HTTP, with the real commands: train, export, evaluate, predict and serve."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from astec.export.artifact.store import open_artifact
from astec.export.artifact.text.featurizer import TextFeaturizer
from astec.export.artifact.text.featurizer_config import FeaturizerConfig
from astec.export.readers import Row, open_dataset

PATIENCE_S = 300.0
SETTINGS = ("model.dim=32", "surrogate.min_steps=60", "surrogate.epochs=4", "extreme.min_steps=60", "extreme.epochs=4")
WORDS = FeaturizerConfig(word_ngrams=1, min_char_ngram=0, max_char_ngram=0, min_df=1)


@dataclass(frozen=True, slots=True)
class Published:
    """An artifact, the data it was made of, and the file of test queries that `astec-predict` reads."""

    artifact: Path
    data: Path
    test_queries: Path


def command(module: str, *arguments: object) -> str:
    """Run a command of the product; its stdout."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def served(artifact: Path, log: Path) -> Iterator[httpx.Client]:
    """A client of a server on a free port."""
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "astec.server", str(artifact), "--port", "0", "--request-timeout-ms", "60000"],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    with process:
        try:
            assert process.stdout is not None
            address = re.search(r"http://[\d.]+:\d+", process.stdout.readline())
            assert address, log.read_text()
            with httpx.Client(base_url=address[0], timeout=PATIENCE_S) as client:
                yield client
        finally:
            process.terminate()
            assert process.wait(PATIENCE_S) == 0, log.read_text()


def write_sparse(path: Path, num_columns: int, rows: Sequence[Sequence[tuple[int, float]]]) -> None:
    """A file of the XC repository's new format."""
    lines = [" ".join(f"{column}:{value:.6f}" for column, value in row) for row in rows]
    path.write_text("\n".join([f"{len(rows)} {num_columns}", *lines]) + "\n")


def write_xc(folder: Path, log: Path, *, named: bool) -> None:
    """The demo log as if it came featurised from elsewhere: a feature for each word, with or without names."""
    splits = {"trn": list(open_dataset(log, "train").rows()), "tst": list(open_dataset(log, "test").rows())}
    featurizer = TextFeaturizer.fit((str(row.query) for row in splits["trn"]), WORDS)
    labels = sorted({label for rows in splits.values() for row in rows for label in row.labels})
    ids = {label: i for i, label in enumerate(labels)}
    for prefix, rows in splits.items():
        bags = featurizer.transform([row.query for row in rows])
        pairs = list(zip(bags.ids.tolist(), bags.weights.tolist(), strict=True))
        features = [pairs[begin:end] for begin, end in zip(bags.offsets, bags.offsets[1:], strict=False)]
        write_sparse(folder / f"{prefix}_X_Xf.txt", featurizer.num_features, features)
        write_sparse(folder / f"{prefix}_X_Y.txt", len(labels), [[(ids[x], 1.0) for x in row.labels] for row in rows])
    if named:
        (folder / "Xf.txt").write_text("".join(f"{word}\n" for word in featurizer.vocabulary))
        (folder / "Y.txt").write_text("".join(f"{label}\n" for label in labels))


def train_and_export(data: Path, folder: Path, *more_settings: str) -> Path:
    run, artifact = folder / "run", folder / "artifact"
    settings = [argument for setting in (*SETTINGS, *more_settings) for argument in ("--set", setting)]
    command("astec.trainer", data, run, "--device", "cpu", *settings)
    command("astec.export", run, artifact)
    return artifact


@pytest.fixture(scope="module")
def of_text(demo_artifact: Path, demo_data: Path) -> Published:
    return Published(demo_artifact, demo_data, demo_data / "test.jsonl.gz")


@pytest.fixture(scope="module")
def without_sparse_term(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Published:
    artifact = train_and_export(
        demo_data, tmp_path_factory.mktemp("plain"), "sparse.enabled=false", "mix.label_text=false"
    )
    return Published(artifact, demo_data, demo_data / "test.jsonl.gz")


@pytest.fixture(scope="module")
def of_named_features(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Published:
    folder = tmp_path_factory.mktemp("named")
    write_xc(folder, demo_data, named=True)
    return Published(train_and_export(folder, folder), folder, folder / "tst_X_Xf.txt")


@pytest.fixture(scope="module")
def of_feature_ids(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Published:
    folder = tmp_path_factory.mktemp("ids")
    write_xc(folder, demo_data, named=False)
    return Published(train_and_export(folder, folder), folder, folder / "tst_X_Xf.txt")


def precision_at_1(firsts: Sequence[str | None], rows: Sequence[Row], known: set[str]) -> float:
    """In percent of the rows with a label that the model knows."""
    hits = [first in row.labels for first, row in zip(firsts, rows, strict=True) if known & set(row.labels)]
    return 100 * float(np.mean(hits))


def firsts(answers: Sequence[dict[str, Any]]) -> list[str | None]:
    """The best label of each answer, None where there is none."""
    return [answer["predictions"][0]["label"] if answer["predictions"] else None for answer in answers]


@pytest.mark.parametrize("kind", ["of_text", "without_sparse_term", "of_named_features", "of_feature_ids"])
def test_evaluate_predict_and_serve_agree_and_are_right(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    published: Published = request.getfixturevalue(kind)
    rows = list(open_dataset(published.data, "test").rows())
    clicks = Counter(label for row in open_dataset(published.data, "train").rows() for label in row.labels)

    figures = json.loads(command("astec.server.offline.evaluate", published.artifact, published.data, "--json"))
    output = tmp_path / "answers.jsonl"
    command(
        "astec.server.offline.predict",
        published.artifact,
        "--input",
        published.test_queries,
        "--output",
        output,
        "--top-k",
        3,
    )
    offline = [json.loads(line) for line in output.read_text().splitlines()]
    with served(published.artifact, tmp_path / "server.log") as client:
        body = {"queries": [answer["query"] for answer in offline], "top_k": 3}
        online = client.post("/predict", json=body).raise_for_status().json()["results"]

    assert len(offline) == len(online) == len(rows)
    for one, other in zip(offline, online, strict=True):
        assert [hit["label"] for hit in one["predictions"]] == [hit["label"] for hit in other["predictions"]]
        scores = [hit["score"] for hit in one["predictions"]]
        assert scores == sorted(scores, reverse=True)
        assert scores == pytest.approx([hit["score"] for hit in other["predictions"]], abs=1e-5)
    assert figures["P@1"] == pytest.approx(precision_at_1(firsts(online), rows, set(clicks)))
    assert figures["texts"] + figures["texts without a known label"] == len(rows)

    # Guessing the most clicked phrase for every query is what learning nothing would reach.
    popular = precision_at_1([clicks.most_common(1)[0][0]] * len(rows), rows, set(clicks))
    assert figures["P@1"] > 4 * popular
    assert figures["shortlist recall"] > 80


def test_a_model_of_named_features_takes_texts(of_named_features: Published, of_text: Published) -> None:
    """The words of a query are looked up among the names: the answer is nearly that to its features."""
    rows = list(open_dataset(of_text.data, "test").rows())[:50]
    texts = [str(row.query) for row in rows]
    answers = [
        json.loads(line)
        for line in command("astec.server.offline.predict", of_named_features.artifact, *texts).splitlines()
    ]
    assert [answer["query"] for answer in answers] == texts
    known = {label for row in open_dataset(of_text.data, "train").rows() for label in row.labels}
    assert precision_at_1(firsts(answers), rows, known) > 50


def test_without_the_sparse_term_an_artifact_has_nothing_of_it(without_sparse_term: Published) -> None:
    artifact = open_artifact(without_sparse_term.artifact)
    assert artifact.sparse is None
    assert (artifact.manifest.scoring.gamma, artifact.manifest.scoring.sparse_weights) == (0, 0)
    assert [name for name in artifact.manifest.files if "sparse" in name] == []


def test_a_model_of_feature_ids_refuses_texts_and_says_what_to_send(of_feature_ids: Published, tmp_path: Path) -> None:
    with served(of_feature_ids.artifact, tmp_path / "server.log") as client:
        refused = client.post("/predict", json={"query": "running shoes"})
        unknown = client.post("/predict", json={"query": {"ids": [10**6], "weights": [1.0]}})
        taken = client.post("/predict", json={"query": {"ids": [0, 1]}})
    assert (refused.status_code, unknown.status_code, taken.status_code) == (422, 422, 200)
    assert '{"ids": [...], "weights": [...]}' in refused.json()["errors"][0]["message"]
    assert "feature ids must lie between 0 and" in unknown.json()["errors"][0]["message"]
    assert taken.json()["predictions"]
    done = subprocess.run(
        [sys.executable, "-m", "astec.server.offline.predict", str(of_feature_ids.artifact), "running shoes"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "trained on feature ids" in done.stderr


def test_evaluating_on_texts_of_unknown_labels_alone_is_refused(of_text: Published, tmp_path: Path) -> None:
    file = tmp_path / "test.jsonl"
    file.write_text('{"text": "running shoes", "labels": ["no such phrase"]}\n')
    done = subprocess.run(
        [sys.executable, "-m", "astec.server.offline.evaluate", str(of_text.artifact), str(file), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "none of 1 rows has a relevant label that the model knows" in done.stderr
