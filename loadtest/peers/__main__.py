"""Compare public tools with ours on one split: `python -m astec.loadtest.peers.__main__ TRAIN TEST --ours ARTIFACT`.

Tools that read features get those of our featurizer, so that they differ in the model alone; fastText gets the texts.
Every tool trains with the settings that its own documentation gives, in a process of its own.

Shapes: R test texts, K = 5 ranks.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Annotated, Any, NoReturn

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from astec.export.artifact.store import Artifact, open_artifact
from astec.export.artifact.verification import ArtifactError
from astec.export.console import console
from astec.export.readers import DataError
from astec.loadtest.peers import tools as peer_tools
from astec.loadtest.peers.environments import PACKAGES, InstallError, find_python
from astec.loadtest.peers.split import PeerSplit, metric_names
from astec.loadtest.peers.tools import RANKED_FILE, TIMES_FILE, TOOLS, TOP_K, TRAINING_FILE
from astec.server.engine.predictor import Predictor

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130
_WARM_UP_QUERIES = 100
_TABLE_WIDTH = 132
_MIB = 1 << 20
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"), "1")

app = typer.Typer(add_completion=False)


class PeerError(Exception):
    """A tool that did not come to an answer; the message says why."""


@dataclass(frozen=True, slots=True)
class PeerResult:
    """What one model reaches and costs; a figure that cannot be had is None.

    Attributes:
        note: version, or why there are no figures.
        metrics: P@k and PSP@k in percent.
        train_s: seconds from the training file to a model on disk.
        model_bytes: size of that model.
        query_us: microseconds for one query in features, the median.
        text_query_us: microseconds for one query in text.
    """

    name: str
    note: str
    metrics: dict[str, float] = field(default_factory=dict)
    train_s: float | None = None
    model_bytes: int | None = None
    query_us: float | None = None
    text_query_us: float | None = None


@app.command()
def peers(
    train: Annotated[Path, typer.Argument(help="Training file, or a folder with train.* in it.", show_default=False)],
    test: Annotated[Path, typer.Argument(help="Test file, or a folder with test.* in it.", show_default=False)],
    ours: Annotated[
        Path | None, typer.Option(help="Artifact of a model trained on TRAIN, compared as well.", show_default=False)
    ] = None,
    names: Annotated[str, typer.Option("--peers", help="Which tools, separated by commas.")] = ",".join(TOOLS),
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write all figures to this file too.", show_default=False)
    ] = None,
    environments: Annotated[
        Path, typer.Option(help="Where tools that this environment lacks are installed; kept for the next time.")
    ] = Path("~/.cache/astec/peers"),
    propensity_a: Annotated[float, typer.Option(help="A of the propensities: 0.55; Amazon 0.6; Wikipedia 0.5.")] = 0.55,
    propensity_b: Annotated[float, typer.Option(help="B of the propensities: 1.5; Amazon 2.6; Wikipedia 0.4.")] = 1.5,
    timeout_minutes: Annotated[
        float, typer.Option(min=0, help="A tool that trains or answers for longer is stopped.")
    ] = 60.0,
) -> None:
    """Train public tools on TRAIN and compare them with ours on TEST: accuracy, training time, size, query time.

    Exit codes: 0 done, also where a tool could not be installed or failed (its row says so); 2 wrong usage; 130
    interrupted (it still reports).
    """
    chosen = [name.strip() for name in names.split(",") if name.strip()]
    if unknown := [name for name in chosen if name not in TOOLS]:
        _fail(f"--peers: there is no {', '.join(unknown)}; there are {', '.join(TOOLS)}")
    if json_file is not None and not json_file.parent.is_dir():
        _fail(f"--json: there is no folder {json_file.parent}; make it first")
    try:
        split = PeerSplit.read(train, test, (propensity_a, propensity_b))
        results = [] if ours is None else [measure_ours(open_artifact(ours), split)]
    except (DataError, ArtifactError, ValueError) as error:
        _fail(str(error))
    with TemporaryDirectory(prefix="astec-peers-") as temporary:
        interrupted = _compare(chosen, split, Path(temporary), environments.expanduser(), 60 * timeout_minutes, results)
    Console(width=_TABLE_WIDTH).print(compare_table(results))
    if json_file is not None:
        json_file.write_text(json.dumps(_record(split, results), indent=1) + "\n")
    if interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)


def measure_ours(artifact: Artifact, split: PeerSplit) -> PeerResult:
    """Ask an artifact every test query alone, through the code that serves.

    Raises:
        ValueError: no test text has a label that occurs in training, or the queries are of the wrong kind.
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
    seconds = artifact.manifest.training.get("seconds")
    return PeerResult(
        name="astec",
        note=f"{artifact.manifest.model.name} {artifact.manifest.model.version}",
        metrics=split.measure(label_ids[ranked_RK]),
        train_s=float(seconds) if isinstance(seconds, int | float) else None,
        model_bytes=_size(artifact.path),
        query_us=_median_us(times_R - featurize_R),
        text_query_us=_median_us(times_R) if split.has_texts else None,
    )


def measure_peer(
    name: str, python: Path, split: PeerSplit, data: Path, folder: Path, featurize_us: float, timeout_s: float
) -> PeerResult:
    """Train a tool, ask it every test query alone, each in a process of its own.

    Args:
        name: of the tool.
        python: interpreter of an environment that has it.
        split: what its answers are measured on.
        data: where `split` is written.
        folder: an empty one, for the model.
        featurize_us: what a query costs before the model sees it.
        timeout_s: limit of each process.

    Raises:
        PeerError: it failed or took too long, or cannot read this data.
    """
    tool = TOOLS[name]
    if tool.reads_texts and not split.has_texts:
        raise PeerError("reads texts, and this data has feature ids only")
    model = folder / "model"
    _work(python, "train", name, data, model, dict(os.environ), timeout_s)
    _work(python, "ask", name, data, model, {**os.environ, **ONE_THREAD}, timeout_s)
    training = json.loads((folder / TRAINING_FILE).read_text())
    query_us = _median_us(np.load(folder / TIMES_FILE))
    return PeerResult(
        name=name,
        note=f"{tool.distribution} {training['version']}",
        metrics=split.measure(np.load(folder / RANKED_FILE)),
        train_s=training["train_s"] + (0.0 if tool.reads_texts else split.prepare_s),
        model_bytes=_size(model),
        query_us=None if tool.reads_texts else query_us,
        text_query_us=query_us + (0.0 if tool.reads_texts else featurize_us) if split.has_texts else None,
    )


def compare_table(results: Sequence[PeerResult]) -> Table:
    """One row per model, the best of each column in bold."""
    columns = [_column(results, name) for name in metric_names()]
    costs = [[getattr(result, name) for result in results] for name in ("train_s", "query_us", "text_query_us")]
    sizes = [None if result.model_bytes is None else result.model_bytes / _MIB for result in results]
    cells = [_cells(column, 2, max) for column in columns]
    cells += [_cells(costs[0], 1, min), _cells(sizes, 1, min), *(_cells(column, 0, min) for column in costs[1:])]
    table = Table(
        box=None,
        caption="P@k and PSP@k in percent. train s: from the training file to a model on disk, featurising included. "
        "query us: one query at a time on one thread, the median over the test texts; first from features, then from "
        "the text (fastText reads nothing else).",
        caption_justify="left",
    )
    table.add_column("model")
    for header in (*metric_names(), "train s", "MiB", "query us", "from text us"):
        table.add_column(header, justify="right")
    table.add_column("note", overflow="fold")
    for result, *row in zip(results, *cells, strict=True):
        table.add_row(result.name, *row, result.note)
    return table


def _compare(
    names: Sequence[str],
    split: PeerSplit,
    work: Path,
    environments: Path,
    timeout_s: float,
    results: list[PeerResult],
) -> bool:
    """Append a result for every tool; whether the user broke it off."""
    try:
        split.write(work)
        featurize_us = split.featurize_us()
        for name in names:
            folder = work / name
            folder.mkdir()
            try:
                python = find_python(PACKAGES[name], environments, _say)
                _say(f"training and asking {name}")
                results.append(measure_peer(name, python, split, work, folder, featurize_us, timeout_s))
            except (InstallError, PeerError, OSError) as error:
                results.append(PeerResult(name, f"{type(error).__name__}: {error}"))
    except KeyboardInterrupt:
        return True
    return False


def _work(
    python: Path, job: str, name: str, data: Path, model: Path, environment: dict[str, str], timeout_s: float
) -> None:
    """Run a job of `peer_tools` by its path: `-P`, or the modules beside it would hide others of their names."""
    command = [str(python), "-P", peer_tools.__file__, job, name, str(data), str(model)]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise PeerError(f"{job} took more than {timeout_s / 60:g} minutes; raise --timeout-minutes") from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        raise PeerError(f"{job} ended with {done.returncode}: {lines[-1]}")


def _record(split: PeerSplit, results: Sequence[PeerResult]) -> dict[str, Any]:
    """Everything in the table, and what it was measured on."""
    return {
        "train_texts": len(split.train.examples),
        "test_texts": len(split.queries),
        "labels": split.train.num_labels,
        "features": split.train.featurizer.num_features,
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} usable CPUs",
        "python": platform.python_version(),
        "results": [asdict(result) for result in results],
    }


def _column(results: Sequence[PeerResult], name: str) -> list[float | None]:
    return [result.metrics.get(name) for result in results]


def _cells(values: Sequence[float | None], decimals: int, better: Callable[[list[float]], float]) -> list[str]:
    """Rounded figures, the best bold, a dash where there is none."""
    known = [round(value, decimals) for value in values if value is not None]
    best = better(known) if known else None
    cells = ["-" if value is None else f"{value:.{decimals}f}" for value in values]
    return [
        f"[bold]{cell}[/]" if value is not None and round(value, decimals) == best else cell
        for cell, value in zip(cells, values, strict=True)
    ]


def _median_us(times_R: NDArray[np.float64]) -> float:
    return 1e6 * float(np.median(times_R))


def _size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def _say(message: str) -> None:
    console.print(message, markup=False, soft_wrap=True)


def _fail(message: str) -> NoReturn:
    console.print(f"peers: {message}", style="red", markup=False, soft_wrap=True)
    raise typer.Exit(EXIT_BAD_INPUT)


if __name__ == "__main__":
    app()
