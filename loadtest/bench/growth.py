"""How costs grow with the number of labels, on synthetic artifacts."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from astec.export.artifact.manifest import FORMAT_VERSION, WeightType
from astec.export.artifact.store import open_artifact
from astec.export.console import console
from astec.export.readers import open_dataset
from astec.loadtest.bench.in_process import InProcess, measure_in_process
from astec.loadtest.synthetic.command import QUERIES_SUFFIX


class GrowthError(Exception):
    """A synthetic artifact that could not be made; the message is what its command said last."""


@dataclass(frozen=True, slots=True)
class GrowthRow:
    """A synthetic artifact, with as many training points as labels, and what a query costs there."""

    num_labels: int
    artifact_bytes: int
    in_process: InProcess


def measure_growth(folder: Path, num_labels: int, dim: int, weights: WeightType, count: int) -> GrowthRow:
    """Ask the artifact of this size, made where it is not there yet, `count` queries.

    Raises:
        GrowthError: it cannot be made.
        ArtifactError: what is there cannot be opened.
    """
    path = synthetic_artifact(folder, num_labels, dim, weights)
    artifact = open_artifact(path)
    queries = [row.query for row in open_dataset(queries_of(path), "test").rows()]
    return GrowthRow(num_labels, artifact_size(path), measure_in_process(artifact, queries, count))


def synthetic_artifact(folder: Path, num_labels: int, dim: int, weights: WeightType) -> Path:
    """The path of the artifact of this size, made by the command in a process of its own where it is not there yet.

    Raises:
        GrowthError: the command failed.
    """
    path = folder / f"format-{FORMAT_VERSION}-{num_labels}-labels-{dim}-dim-{weights}"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    console.print(f"making {path}; it is kept for the next time", markup=False, soft_wrap=True)
    command = [sys.executable, "-m", "astec.loadtest", "synth-artifact", str(path), "--labels", str(num_labels)]
    command += ["--points", str(num_labels), "--dim", str(dim), "--weights", weights]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise GrowthError(f"{path}: {(done.stderr.strip().splitlines() or ['no output'])[-1]}")
    return path


def queries_of(artifact: Path) -> Path:
    """The file of queries that was made with a synthetic artifact."""
    return artifact.with_name(artifact.name + QUERIES_SUFFIX)


def artifact_size(path: Path) -> int:
    """Bytes of all its files."""
    return sum(file.stat().st_size for file in path.iterdir())
