"""The measurement of one model on a split: accuracy, training time, size, and time of one query.

Shapes: R test texts, K = 5 ranks.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Final

import numpy as np
from numpy.typing import NDArray

from astec.export.artifact.store import Artifact
from astec.loadtest.child_output import last_line
from astec.loadtest.peers.peer_split import PeerSplit
from astec.loadtest.peers.tools import run_tool
from astec.loadtest.peers.tools.catalogue import TOOLS
from astec.loadtest.peers.tools.tool import RANKED_FILE, TIMES_FILE, TOP_K, TRAINING_FILE
from astec.loadtest.report.disk_size import disk_size_bytes
from astec.server.engine.predictor import Predictor

ONE_THREAD: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"), "1"
)
"""Environment variables that limit a tool to one thread."""
_WARM_UP_QUERIES = 100


class PeerError(Exception):
    """A tool that failed, or cannot read the data; the message says why."""


@dataclass(frozen=True, slots=True)
class PeerResult:
    """The accuracy and the costs of one model; a figure that is not known is None.

    Attributes:
        name: the model's name.
        note: its version, or the reason why there are no figures.
        metrics: P@k and PSP@k in percent.
        train_s: seconds from the training file to a model on disk.
        model_bytes: size of that model.
        query_us: microseconds for one query given as features, the median.
        text_query_us: microseconds for one query given as a text, the median.
        errors: the standard errors of the metrics over the test texts, in percent.
    """

    name: str
    note: str
    metrics: dict[str, float] = field(default_factory=dict)
    train_s: float | None = None
    model_bytes: int | None = None
    query_us: float | None = None
    text_query_us: float | None = None
    errors: dict[str, float] = field(default_factory=dict)


def measure_ours(artifact: Artifact, split: PeerSplit) -> PeerResult:
    """Ask an artifact every test query alone, through the code of the server.

    Raises:
        ValueError: no test text has a label that occurs in training, or the model does not take such queries.
    """
    predictor = Predictor(artifact)
    label_ids = split.label_ids_of(artifact.labels)
    for query in split.queries[:_WARM_UP_QUERIES]:
        predictor.predict([query], TOP_K)
    ranked_RK = np.full((len(split.queries), TOP_K), -1, np.int64)
    times_R, featurize_R = np.empty((2, len(split.queries)))
    for row, query in enumerate(split.queries):
        begun = perf_counter()
        (ranking,), stages = predictor.predict([query], TOP_K)
        times_R[row] = perf_counter() - begun
        featurize_R[row] = stages.featurize_s
        ranked_RK[row, : len(ranking.label_ids)] = ranking.label_ids
    accuracy = split.measure(label_ids[ranked_RK])
    seconds = artifact.manifest.training.get("seconds")
    return PeerResult(
        name="astec",
        note=f"{artifact.manifest.model.name} {artifact.manifest.model.version}",
        metrics=accuracy.metrics,
        errors=accuracy.errors,
        train_s=float(seconds) if isinstance(seconds, int | float) else None,
        model_bytes=disk_size_bytes(artifact.path),
        query_us=_median_us(times_R - featurize_R),
        text_query_us=_median_us(times_R) if split.has_texts else None,
    )


def measure_peer(
    name: str, python: Path, split: PeerSplit, data: Path, folder: Path, featurize_us: float, timeout_s: float
) -> PeerResult:
    """Train a tool, then ask it every test query alone; each in a process of its own.

    Args:
        name: name of the tool.
        python: interpreter of an environment that has the tool.
        split: the test data on which its answers are measured.
        data: the folder to which `split` is written.
        folder: an empty folder for the model.
        featurize_us: time that it takes to featurise a query, added where the tool does not read texts.
        timeout_s: time limit of each process.

    Raises:
        PeerError: the tool failed or took too long, or cannot read this data.
    """
    tool = TOOLS[name]
    if tool.reads_texts and not split.has_texts:
        raise PeerError("reads texts, and this data has feature ids only")
    model = folder / "model"
    _run_tool(python, "train", name, data, model, dict(os.environ), timeout_s)
    _run_tool(python, "ask", name, data, model, {**os.environ, **ONE_THREAD}, timeout_s)
    training = json.loads((folder / TRAINING_FILE).read_text())
    query_us = _median_us(np.load(folder / TIMES_FILE))
    accuracy = split.measure(np.load(folder / RANKED_FILE))
    return PeerResult(
        name=split.row_name(name),
        note=f"{tool.distribution} {training['version']}",
        metrics=accuracy.metrics,
        errors=accuracy.errors,
        train_s=training["train_s"] + (0.0 if tool.reads_texts else split.prepare_s),
        model_bytes=disk_size_bytes(model),
        query_us=None if tool.reads_texts else query_us,
        text_query_us=query_us + (0.0 if tool.reads_texts else featurize_us) if split.has_texts else None,
    )


def _run_tool(
    python: Path, job: str, name: str, data: Path, model: Path, environment: dict[str, str], timeout_s: float
) -> None:
    """Run a job of `run_tool.py`, which is started by its path.

    `-P` keeps the folder of that file out of the import path: modules beside it would hide packages of the same name.
    """
    command = [str(python), "-P", run_tool.__file__, job, name, str(data), str(model)]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise PeerError(f"{job} took more than {timeout_s / 60:g} minutes; raise --timeout-minutes") from error
    if done.returncode:
        raise PeerError(f"{job} ended with {done.returncode}: {last_line(done.stderr or done.stdout)}")


def _median_us(times_R: NDArray[np.float64]) -> float:
    return 1e6 * float(np.median(times_R))
