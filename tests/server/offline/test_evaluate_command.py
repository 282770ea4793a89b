"""astec-evaluate reads tables, and leaves out pairs of a text and a label that are the same."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from astec.export.artifact.store import open_artifact
from astec.export.readers import Row, open_dataset
from astec.server.engine.predictor import Predictor
from astec.server.offline.evaluate import app
from tests.linked_artifacts import put_in_cache

pytestmark = pytest.mark.slow

Put = Callable[..., Path]
METRICS = ("P@1", "P@3", "P@5", "nDCG@5", "PSP@3", "R@5", "shortlist recall", "texts", "texts without a known label")


@pytest.fixture(scope="module")
def rows(demo_data: Path) -> list[Row]:
    """Rows of distinct texts."""
    found = {str(row.query): row for row in open_dataset(demo_data, "test").rows() if row.labels}
    return list(found.values())[:300]


def evaluate(*arguments: object) -> tuple[dict[str, Any], str]:
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout), done.stderr


def metrics(*arguments: object) -> list[float]:
    figures, _ = evaluate(*arguments)
    return [figures[name] for name in METRICS]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode(), mtime=0))
    return path


def write_raw(folder: Path, rows: list[Row]) -> list[str]:
    """Write the rows as raw texts of the XC repository; return the labels by number."""
    labels = sorted({label for row in rows for label in row.labels})
    numbers = {label: number for number, label in enumerate(labels)}
    write_lines(folder / "lbl.json.gz", [{"uid": f"L{n}", "title": label} for n, label in enumerate(labels)])
    texts = [{"title": row.query, "target_ind": [numbers[label] for label in row.labels]} for row in rows]
    write_lines(folder / "tst.json.gz", texts)
    return labels


def test_tables_give_the_figures_of_json_lines(demo_artifact: Path, rows: list[Row], tmp_path: Path) -> None:
    lines = write_lines(tmp_path / "t.jsonl.gz", [{"text": row.query, "labels": row.labels} for row in rows])
    expected = metrics(demo_artifact, lines)
    pairs = [(str(row.query), label) for row in rows for label in row.labels]
    (tmp_path / "parts" / "test").mkdir(parents=True)
    for number in range(2):
        texts, labels = zip(*pairs[number * 100 : (number + 1) * 100 if number == 0 else None], strict=True)
        table = pa.table({"q": texts, "clicked": labels})
        pq.write_table(table, tmp_path / "parts" / "test" / f"part-{number}.parquet")
    assert metrics(demo_artifact, tmp_path / "parts", "--text-column", "q", "--label-column", "clicked") == expected
    (tmp_path / "raw").mkdir()
    write_raw(tmp_path / "raw", rows)
    assert metrics(demo_artifact, tmp_path / "raw") == expected


def test_pairs_are_left_out_of_answers_and_right_labels(demo_artifact: Path, rows: list[Row], tmp_path: Path) -> None:
    predictor = Predictor(open_artifact(demo_artifact))
    names = predictor.artifact.labels
    queries = [str(row.query) for row in rows]
    (ranked_BK, _), _ = predictor.rank(queries, 6)
    first = [names[label] if label >= 0 else None for label in ranked_BK[:, 0]]
    labels = write_raw(tmp_path, [*rows, *(Row("other", (name,)) for name in first if name)])
    left_out = [(text, labels.index(name)) for text, name in enumerate(first) if name and text % 3]
    (tmp_path / "filter_labels_test.txt").write_text("".join(f"{text} {label}\n" for text, label in left_out))
    write_lines(tmp_path / "tst.json.gz", [
        {"title": row.query, "target_ind": [labels.index(label) for label in row.labels]} for row in rows
    ])  # fmt: skip

    hits = []
    for text, row in enumerate(rows):
        masked = first[text] if text % 3 else None
        right = {label for label in row.labels if label in set(names)} - {masked}
        answers = [names[label] for label in ranked_BK[text] if label >= 0]
        answers = [name for name in answers if name != masked]
        if right:
            hits.append(bool(answers) and answers[0] in right)
    figures, said = evaluate(demo_artifact, tmp_path)
    assert figures["P@1"] == pytest.approx(100 * np.mean(hits))
    assert figures["texts"] == len(hits)
    assert f"leaving out the {len(left_out)} pairs of {tmp_path / 'filter_labels_test.txt'}" in said

    elsewhere = (tmp_path / "filter_labels_test.txt").rename(tmp_path / "pairs.txt")
    assert metrics(demo_artifact, tmp_path) != [figures[name] for name in METRICS]
    assert metrics(demo_artifact, tmp_path, "--filter-labels", elsewhere) == [figures[name] for name in METRICS]


def test_pairs_that_do_not_fit_are_refused(demo_artifact: Path, rows: list[Row], tmp_path: Path) -> None:
    write_raw(tmp_path, rows)
    pairs = tmp_path / "pairs.txt"
    pairs.write_text(f"{len(rows)} 0\n")

    def refusal(file: Path, *options: object) -> str:
        done = CliRunner().invoke(app, [*map(str, (demo_artifact, file, "--filter-labels", pairs, *options)), "--json"])
        assert (done.exit_code, done.stdout) == (2, "")
        return done.stderr

    assert f"a pair names text {len(rows)}, and the test file has {len(rows)} texts" in refusal(tmp_path)
    lines = write_lines(tmp_path / "t.jsonl.gz", [{"text": row.query, "labels": row.labels} for row in rows])
    assert "the labels of t.jsonl.gz have none" in refusal(lines)
    pairs.write_text("0 0\n")
    with gzip.open(tmp_path / "tst.json.gz", "at") as stream:
        stream.write("{}\n")
    assert "pairs name texts by number, and 1 bad lines were skipped" in refusal(tmp_path, "--skip-bad-lines")


def test_an_artifact_of_links_is_measured_where_they_are_allowed(
    demo_artifact: Path, demo_data: Path, tmp_path: Path
) -> None:
    snapshot = put_in_cache(tmp_path / "cache", demo_artifact)
    linked = metrics(snapshot, demo_data, "--allow-links-under", tmp_path / "cache")
    assert linked == metrics(demo_artifact, demo_data)
    refused = CliRunner().invoke(app, [str(snapshot), str(demo_data)])
    assert refused.exit_code == 2
    assert "manifest.json in" in refused.output
    assert "--allow-links-under" in refused.output
