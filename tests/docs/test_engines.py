"""The examples for Ray and Spark run on a real local Ray and Spark, and give the answers of `astec-predict`.

Both are installed by `make engines`, into an environment of their own, whose interpreter runs the examples.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from astec.export.artifact_cache import CACHE_VARIABLE
from tests.docs.conftest import ROOT

PYTHON = Path(os.environ.get("ENGINES", "~/.cache/astec/engines")).expanduser() / "bin" / "python"
EXAMPLES = ROOT / "docs" / "examples"
PATIENCE_S = 400.0
NUM_FILES = 2

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        not PYTHON.exists(), reason=f"there is no environment with Ray and Spark ({PYTHON}): `make engines` makes one"
    ),
]
needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java: install a JRE of version 17")
ENGINES = ["ray_data", pytest.param("spark", marks=needs_java)]


def run(example: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run an example in the environment of the engines, with copies of artifacts in a folder."""
    variables = {
        "PYTHONPATH": str(ROOT / "src"),
        "PYSPARK_PYTHON": str(PYTHON),
        CACHE_VARIABLE: str(folder / "cache"),
        "RAY_worker_niceness": "0",
    }
    return subprocess.run(
        [str(PYTHON), str(EXAMPLES / f"{example}.py"), *arguments],
        cwd=folder,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@pytest.fixture
def texts(demo_queries: list[str], tmp_path: Path) -> Path:
    """A folder of Parquet files with numbered queries, and all of them in one file beside it."""
    table = pa.table({"row": list(range(len(demo_queries))), "query": demo_queries})
    (tmp_path / "texts").mkdir()
    for part in range(NUM_FILES):
        pq.write_table(table.take(list(range(part, len(table), NUM_FILES))), tmp_path / "texts" / f"{part}.parquet")
    pq.write_table(table, tmp_path / "texts.parquet")
    return tmp_path / "texts"


@pytest.mark.parametrize("example", ENGINES)
def test_the_answers_of_an_engine_are_those_of_astec_predict(
    example: str, demo_artifact: Path, texts: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "astec.server.offline.predict", str(demo_artifact), "--column", "query", "--input"]
    subprocess.run([*command, f"{texts}.parquet", "--output", str(tmp_path / "expected.parquet")], check=True)
    expected = pq.read_table(tmp_path / "expected.parquet")
    # Several processes ask for the artifact at the same time, and one copies it.
    done = run(example, tmp_path, f"file://{demo_artifact}", str(texts), str(tmp_path / "answers"))
    assert done.returncode == 0, done.stderr
    found = pq.read_table(tmp_path / "answers").sort_by("row")
    given = pq.read_table(f"{texts}.parquet")
    assert found.select(["row", "query"]).to_pydict() == given.to_pydict()
    assert found.column("predictions").to_pylist() == expected.column("predictions").to_pylist()
    assert len([path for path in (tmp_path / "cache" / "artifacts").iterdir() if path.is_dir()]) == 1


@pytest.mark.parametrize("example", ENGINES)
def test_an_artifact_that_is_not_there_ends_the_job_by_its_address(example: str, texts: Path, tmp_path: Path) -> None:
    address = f"file://{tmp_path}/nothing"
    done = run(example, tmp_path, address, str(texts), str(tmp_path / "answers"))
    assert done.returncode != 0
    assert f"{address} is not an artifact: it has no manifest.json. Check the address" in done.stderr + done.stdout
    assert not list((tmp_path / "answers").glob("*.parquet"))


def test_processes_of_ray_train_a_model_that_is_exported(demo_data: Path, tmp_path: Path) -> None:
    options = ["--set=model.dim=16", "--set=surrogate.min_steps=1", "--set=surrogate.epochs=1", "--device=cpu"]
    options += ["--set=extreme.min_steps=1", "--set=extreme.epochs=1", "--set=shortlist.num_hard_negatives=20"]
    done = run("ray_train", tmp_path, str(demo_data), str(tmp_path / "models"), "2", *options)
    assert done.returncode == 0, done.stderr
    artifact = Path(done.stdout.splitlines()[-1])
    assert artifact.is_relative_to(tmp_path / "models")
    command = [sys.executable, "-m", "astec.server.offline.predict", str(artifact), "cheap running shoes"]
    assert '"predictions":[{' in subprocess.run(command, check=True, capture_output=True, text=True).stdout
