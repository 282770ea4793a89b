"""The comparison of engines for batch jobs with `astec-predict`.

Ray and Spark are in an environment of their own, as for tests/docs/test_engines.py; without it, a script that calls
`astec.batch` stands for them.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from astec.export.artifact.verification import read_manifest
from astec.loadtest.scale.__main__ import app
from astec.loadtest.scale.engine_texts import count_same, write_texts
from astec.loadtest.scale.engines import (
    PREDICT,
    Engine,
    EngineComparison,
    EngineFigures,
    EngineRun,
    Job,
    check_environment,
    measure_engines,
    ratio,
)
from astec.loadtest.scale.engines_page import engines_markdown
from astec.loadtest.scale.errors import ScaleError

ENVIRONMENT = Path(os.environ.get("ENGINES", "~/.cache/astec/engines")).expanduser()
HERE = Path(sys.executable)
SCRIPT = """
import sys
from pathlib import Path
import pyarrow.parquet as pq
from astec.batch import Predictor
artifact, texts, answers = sys.argv[1:]
Path(answers).mkdir()
for part in sorted(Path(texts).iterdir(), reverse=True):
    pq.write_table(Predictor(artifact, column="query")(pq.read_table(part)), f"{answers}/{part.name}")
"""


def answers(folder: Path, rows: list[int], labels: list[list[str]]) -> Path:
    folder.mkdir()
    predictions = [[{"label": label, "score": 0.5} for label in found] for found in labels]
    pq.write_table(pa.table({"row": rows, "predictions": predictions}), folder / "part-0.parquet")
    return folder


def test_texts_are_repeated_and_divided(tmp_path: Path) -> None:
    folder = write_texts(tmp_path / "9-texts", ["a", "b"], 9, cores=1)
    assert pq.read_table(f"{folder}.parquet").to_pydict() == {"row": list(range(9)), "query": list("ababababa")}
    assert [pq.read_table(part)["row"].to_pylist() for part in sorted(folder.iterdir())] == [
        [0, 1, 2],
        [3, 4, 5],
        [6, 7, 8],
    ]


def test_answers_are_compared_by_the_numbers_of_texts(tmp_path: Path) -> None:
    expected = tmp_path / "expected.parquet"
    labels = [["a", "b"], [], ["c"]]
    pq.write_table(pq.read_table(answers(tmp_path / "given", [0, 1, 2], labels)).drop_columns("row"), expected)
    assert count_same(expected, answers(tmp_path / "shuffled", [2, 0, 1], [["c"], ["a", "b"], []])) == 3
    assert count_same(expected, answers(tmp_path / "different", [0, 1, 2], [["b", "a"], [], ["c"]])) == 2
    with pytest.raises(ScaleError, match="twice has 3 answers, which are not one for each of 3 texts"):
        count_same(expected, answers(tmp_path / "twice", [0, 1, 1], labels))


def test_every_round_counts_for_a_ratio() -> None:
    assert ratio([10.0, 20.0, 30.0], [5.0, 20.0, 60.0]) == 1.0


@pytest.mark.slow  # asks git for the commit
def test_the_page_has_rates_with_and_without_the_start(demo_artifact: Path) -> None:
    predict = EngineFigures("astec-predict", "1.0", [2.0, 2.0, 2.0], [12.0, 12.0, 22.0], 12_000)
    ray = EngineFigures("Ray Data", "2.0", [20.0, 20.0, 20.0], [40.0, 24.0, 40.0], 11_999)
    short = EngineFigures("Spark", "3.0", [20.0, 20.0, 20.0], [40.0, 19.0, 40.0], 12_000)
    compared = EngineComparison([predict, ray, short], 2_000, 12_000)
    page = engines_markdown("2026-01-02-0304", ["a setting"], read_manifest(demo_artifact), compared)
    assert "# Engines, 2026-01-02-0304 UTC" in page
    assert "| astec-predict | 1.0 | 2.0 | 1,000 | 1.00 | 1,000 | 1.00 | 12,000 of 12,000 |" in page
    assert "| Ray Data | 2.0 | 20.0 | 300 | 0.50 | 500 | 1.00 | 11,999 of 12,000 |" in page
    assert "| Spark | 3.0 | 20.0 | 300 | 0.55 | - | - | 12,000 of 12,000 |" in page
    assert "the texts beyond the first 2,000" in page


def test_the_command_says_what_installs_the_engines(demo_artifact: Path, queries_file: Path, tmp_path: Path) -> None:
    arguments = ["engines", str(demo_artifact), str(queries_file), "--environment", str(tmp_path)]
    result = CliRunner().invoke(app, [*arguments, "--output", str(tmp_path)])
    assert result.exit_code == 2
    assert "`make engines` installs Ray and Spark there" in " ".join(result.output.split())


@pytest.mark.slow
def test_an_environment_without_an_engine_is_refused() -> None:
    missing = Engine("nothing", "no-such-engine", PREDICT.command)
    with pytest.raises(ScaleError, match=r"lacks an engine \(.*no-such-engine\); `make engines`"):
        check_environment(HERE, [PREDICT, missing])


@pytest.mark.e2e
def test_an_engine_is_timed_and_compared_with_astec_predict(demo_artifact: Path, demo_queries: list[str]) -> None:
    def command(job: Job) -> list[str]:
        return [str(HERE), "-c", SCRIPT, str(job.run.artifact), str(job.texts), str(job.answers)]

    engines = [PREDICT, Engine("batch", "pyarrow", command)]
    compared = measure_engines(EngineRun(HERE, demo_artifact, 1), demo_queries, 300, 1, engines)
    assert (compared.few, compared.texts) == (150, 300)
    for figures in compared.engines:
        assert figures.same == 300
        assert min(*figures.few_s, *figures.all_s) > 0


@pytest.mark.e2e
def test_an_engine_that_fails_is_named(demo_artifact: Path) -> None:
    failing = Engine("batch", "pyarrow", lambda _: [str(HERE), "-c", "raise SystemExit('no room')"])
    with pytest.raises(ScaleError, match="batch ended with exit code 1: no room"):
        measure_engines(EngineRun(HERE, demo_artifact, 1), ["shoes"], 2, 1, [failing])


@pytest.mark.e2e
@pytest.mark.skipif(
    not (ENVIRONMENT / ".ready").exists() or shutil.which("java") is None, reason="`make engines` has not been run here"
)
def test_ray_and_spark_are_compared(demo_artifact: Path, queries_file: Path, tmp_path: Path) -> None:
    arguments = ["engines", str(demo_artifact), str(queries_file), "--texts", "300", "--rounds", "1"]
    result = CliRunner().invoke(app, [*arguments, "--output", str(tmp_path)])
    assert result.exit_code == 0, result.output
    (page,) = tmp_path.glob("*-engines.md")
    rows = re.findall(r"^\| (astec-predict|Ray Data|Spark) \|.*\| 300 of 300 \|$", page.read_text(), re.MULTILINE)
    assert rows == ["astec-predict", "Ray Data", "Spark"]
