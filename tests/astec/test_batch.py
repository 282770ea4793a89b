"""`astec.batch.Predictor`: the answers of `astec-predict` in a column of Arrow tables, and what it refuses."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import astec
from astec.batch import Predictor
from astec.export.artifact.store import Artifact
from astec.export.artifact.verification import ArtifactError
from astec.export.artifact_cache import CACHE_VARIABLE
from astec.server.offline.bulk.scorer import CHUNK_QUERIES

TEXTS = ["running shoes", "  garden hose ", "kitchen tap", "qqqq zzzz", "", "Größe 🎉"]
PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def path(described_artifact: Artifact) -> Path:
    return described_artifact.path


def table(texts: Sequence[str | None], kind: Any = None) -> pa.Table:
    return pa.table({"row": list(range(len(texts))), "query": pa.array(texts, kind or pa.string())})


def predictions(path: Path, texts: Sequence[str | None], **arguments: Any) -> list[list[dict[str, Any]]]:
    found: list[list[dict[str, Any]]] = Predictor(path, **arguments)(table(texts)).column("predictions").to_pylist()
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "arguments"),
    [
        ((), {}),
        (("--top-k", "20", "--min-score", "0.2"), {"top_k": 20, "min_score": 0.2}),
        (("--probabilities",), {"probabilities": True}),
    ],
    ids=["defaults", "likely labels", "probabilities"],
)
def test_the_column_is_that_of_astec_predict(
    demo_artifact: Path, demo_queries: list[str], tmp_path: Path, flags: tuple[str, ...], arguments: dict[str, Any]
) -> None:
    pq.write_table(table(demo_queries), tmp_path / "queries.parquet")
    command = [sys.executable, "-m", "astec.server.offline.predict", str(demo_artifact), "--input"]
    command += [str(tmp_path / "queries.parquet"), "--output", str(tmp_path / "answers.parquet"), *flags]
    subprocess.run(command, check=True, timeout=PATIENCE_S)
    expected = pq.read_table(tmp_path / "answers.parquet").column("predictions")
    assert any(expected.to_pylist())
    found = Predictor(demo_artifact, **arguments)(table(demo_queries)).column("predictions")
    assert found.to_pylist() == expected.to_pylist()
    assert found.type == expected.type


def test_the_answers_are_those_of_a_model_in_process(path: Path) -> None:
    expected = [
        [prediction.model_dump(exclude_none=True) for prediction in ranked]
        for ranked in astec.load(path).predict(TEXTS, top_k=3)
    ]
    assert any(expected)
    found = predictions(path, TEXTS, top_k=3)
    assert [[prediction["label_id"] for prediction in ranked] for ranked in found] == [
        [prediction["label_id"] for prediction in ranked] for ranked in expected
    ]
    assert [[prediction["label"] for prediction in ranked] for ranked in found] == [
        [prediction["label"] for prediction in ranked] for ranked in expected
    ]


def test_the_columns_of_a_table_are_kept_before_the_predictions(path: Path) -> None:
    given = table(TEXTS)
    found = Predictor(path)(given)
    assert found.column_names == ["row", "query", "predictions"]
    assert found.drop_columns("predictions") == given


def test_a_record_batch_gives_a_record_batch(path: Path) -> None:
    (batch,) = table(TEXTS).to_batches()
    predict = Predictor(path)
    found = predict(batch)
    assert isinstance(found, pa.RecordBatch)
    assert pa.table(found) == predict(table(TEXTS))


def test_a_long_table_in_pieces_is_answered_as_its_texts_are(path: Path) -> None:
    texts = TEXTS * (CHUNK_QUERIES // len(TEXTS) + 10)
    assert len(texts) > CHUNK_QUERIES
    pieces = pa.concat_tables([table(texts[:100]), table(texts[100:])])
    expected = predictions(path, TEXTS)
    predict = Predictor(path)
    assert predict(pieces).column("predictions").to_pylist() == expected * (len(texts) // len(TEXTS))
    (batch,) = table(texts).to_batches()
    assert predict(batch).column("predictions").to_pylist() == expected * (len(texts) // len(TEXTS))


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())], ids=str)
def test_strings_of_any_kind_are_texts(path: Path, kind: Any) -> None:
    found = Predictor(path)(table(TEXTS, kind)).column("predictions").to_pylist()
    assert found == predictions(path, TEXTS)


def test_a_null_has_no_labels(path: Path) -> None:
    (first, second) = predictions(path, [None, "running shoes"])
    assert first == []
    assert second


def test_an_empty_table_and_the_schema_need_no_artifact(tmp_path: Path, path: Path) -> None:
    predict = Predictor(tmp_path / "nothing", probabilities=True)
    empty = predict(table([]))
    assert empty.num_rows == 0
    assert empty.schema == predict.output_schema(table([]).schema)
    full = Predictor(path)
    assert full(table(TEXTS)).schema == full.output_schema(table(TEXTS).schema)


@pytest.mark.parametrize("names", [["id", "query"], ["id", "text"], ["anything"]])
def test_the_column_of_the_texts_is_found_as_by_astec_predict(path: Path, names: list[str]) -> None:
    columns = {name: TEXTS if name != "id" else [0] * len(TEXTS) for name in names}
    assert Predictor(path)(pa.table(columns)).column("predictions").to_pylist() == predictions(path, TEXTS)


def test_another_column_can_be_named(path: Path) -> None:
    columns = pa.table({"query": ["qqqq"], "phrase": ["running shoes"]})
    found = Predictor(path, column="phrase")(columns).column("predictions").to_pylist()
    assert found == predictions(path, ["running shoes"])


def test_labels_can_be_filtered(path: Path, described_artifact: Artifact) -> None:
    conditions: dict[str, Any] = {"filter": {"country": {"AT", "CH"}}, "exclude": {"advertiser": "acme"}}
    expected = astec.load(path).predict(TEXTS, **conditions)
    found = predictions(path, TEXTS, **conditions)
    ids = [[prediction["label_id"] for prediction in ranked] for ranked in found]
    assert ids == [[prediction.label_id for prediction in ranked] for ranked in expected]
    assert found != predictions(path, TEXTS)


def test_it_pickles_as_its_arguments(path: Path) -> None:
    predict = Predictor(path, column="query", top_k=2, exclude={"advertiser": ["acme"]})
    before = pickle.dumps(predict)
    expected = predict(table(TEXTS))
    assert pickle.dumps(predict) == before
    assert len(before) < 2_000
    assert pickle.loads(before)(table(TEXTS)) == expected


def test_an_artifact_is_opened_once_in_a_process(path: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(path, tmp_path / "artifact")
    expected = Predictor(copy)(table(TEXTS))
    shutil.rmtree(copy)
    assert Predictor(copy)(table(TEXTS)) == expected
    with pytest.raises(ArtifactError, match="is not an artifact"):
        Predictor(copy, top_k=3)(table(TEXTS))


def test_a_relative_path_is_that_of_the_process_that_made_the_predictor(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(path.parent)
    predict = Predictor(path.name)
    monkeypatch.chdir(tmp_path)
    assert predict(table(TEXTS)) == Predictor(path)(table(TEXTS))


def test_an_artifact_at_an_address_is_copied_when_the_first_table_comes(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    memory = fsspec.filesystem("memory")
    try:
        memory.put(f"{path}/", "/models/v1/", recursive=True)
        predict = Predictor("memory://models/v1")
        assert list(tmp_path.iterdir()) == []
        assert predict(table(TEXTS)) == Predictor(path)(table(TEXTS))
        assert astec.load("memory://models/v1").predict("running shoes") == astec.load(path).predict("running shoes")
    finally:
        memory.rm("/models", recursive=True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"top_k": 0}, "top_k is 0: Input should be greater than or equal to 1"),
        ({"min_score": 2}, "min_score is 2: Input should be less than or equal to 1"),
        ({"verify": "no"}, "verify is 'no'; give 'hashes' or 'sizes'"),
    ],
)
def test_an_argument_outside_its_limits_is_refused_at_once(path: Path, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}"):
        Predictor(path, **arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"probabilities": True}, "probabilities=True: model 'described' has no calibration"),
        ({"filter": {"colour": "red"}}, "filter.colour: There is no such column"),
        ({"column": "phrase"}, r"no column 'phrase' \(columns: 'row', 'query'\)\. Pass the one that holds the texts"),
        ({"column": "row"}, "column 'row' holds int64, not strings. Pass another column, or convert it"),
    ],
)
def test_what_the_model_or_the_table_does_not_have_is_refused(path: Path, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}"):
        Predictor(path, **arguments)(table(["running shoes"]))


def test_a_table_that_has_predictions_already_is_refused(path: Path) -> None:
    predict = Predictor(path)
    with pytest.raises(ValueError, match=r"there is a column 'predictions' already\. Rename or drop it"):
        predict(predict(table(["running shoes"])))


def test_what_is_no_artifact_is_refused_by_the_first_table(tmp_path: Path) -> None:
    predict = Predictor(tmp_path)
    with pytest.raises(ArtifactError, match="is not an artifact"):
        predict(table(["running shoes"]))
