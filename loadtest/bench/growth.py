"""The growth of costs with the number of labels, measured on synthetic artifacts."""

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
from astec.loadtest.child_output import last_line
from astec.loadtest.report.disk_size import disk_size_bytes
from astec.loadtest.synthetic.artifact_command import QUERIES_SUFFIX


class GrowthError(Exception):
    """A synthetic artifact that could not be made; the message is the last line of the command's output."""


@dataclass(frozen=True, slots=True)
class GrowthRow:
    """The size of a synthetic artifact, with as many training points as labels, and the cost of a query on it."""

    num_labels: int
    artifact_bytes: int
    in_process: InProcess


def measure_growth(folder: Path, num_labels: int, dim: int, weights: WeightType, count: int) -> GrowthRow:
    """Ask the artifact of this size `count` queries; the artifact is made where it does not exist yet.

    Raises:
        GrowthError: the artifact cannot be made.
        ArtifactError: the artifact cannot be opened.
    """
    path = synthetic_artifact(folder, num_labels, dim, weights)
    artifact = open_artifact(path)
    queries = [row.query for row in open_dataset(queries_of(path), "test").rows()]
    return GrowthRow(num_labels, disk_size_bytes(path), measure_in_process(artifact, queries, count))


def synthetic_artifact(folder: Path, num_labels: int, dim: int, weights: WeightType) -> Path:
    """Return the path of the artifact of this size; it is made in a child process where it does not exist yet.

    Raises:
        GrowthError: the command of the child process failed.
    """
    path = folder / f"format-{FORMAT_VERSION}-{num_labels}-labels-{dim}-dim-{weights}"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    console.print(f"making {path}; it is kept for later runs", markup=False, soft_wrap=True)
    command = [sys.executable, "-m", "astec.loadtest", "synth-artifact", str(path), "--labels", str(num_labels)]
    command += ["--points", str(num_labels), "--dim", str(dim), "--weights", weights]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise GrowthError(f"{path}: {last_line(done.stderr)}")
    return path


def queries_of(artifact: Path) -> Path:
    """Return the path of the file of queries that was made with a synthetic artifact."""
    return artifact.with_name(artifact.name + QUERIES_SUFFIX)
