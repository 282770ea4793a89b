"""Ray Data and Spark beside `astec-predict`: the same texts on the same cores, by the examples of the documentation."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Final

import astec
from astec.export.console import console
from astec.loadtest.child_output import last_line
from astec.loadtest.rivals.framework_server import RAY_VARIABLES
from astec.loadtest.scale.engine_texts import count_same, write_texts
from astec.loadtest.scale.errors import ScaleError

FEW_TEXTS: Final = 2_048
"""Texts of the run that shows how long a start takes; each engine scores some thousand at a time."""
_EXAMPLES: Final = Path(__file__).resolve().parents[2] / "docs" / "examples"
_VERSIONS: Final = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"


@dataclass(frozen=True, slots=True)
class EngineRun:
    """The settings that are the same for all engines.

    Attributes:
        python: the interpreter that has the engines.
        artifact: the model, an absolute path.
        cores: the number of scoring processes.
    """

    python: Path
    artifact: Path
    cores: int


@dataclass(frozen=True, slots=True)
class Job:
    """One job of an engine: the texts, and the place of their answers.

    Attributes:
        run: what is the same for all engines.
        texts: the folder and the file that `write_texts` has written.
        answers: the place of the answers.
    """

    run: EngineRun
    texts: Path
    answers: Path


@dataclass(frozen=True, slots=True)
class Engine:
    """A way to score texts: its name, its distribution and the command that does a job."""

    name: str
    distribution: str
    command: Callable[[Job], list[str]]


def _predict(job: Job) -> list[str]:
    places = ["--input", f"{job.texts}.parquet", "--output", f"{job.answers}.parquet"]
    options = ["--column", "query", "--workers", str(job.run.cores)]
    return [str(job.run.python), "-m", "astec.server.offline.predict", str(job.run.artifact), *places, *options]


def _example(name: str) -> Callable[[Job], list[str]]:
    def command(job: Job) -> list[str]:
        return [str(job.run.python), *map(str, (_EXAMPLES / name, job.run.artifact, job.texts, job.answers))]

    return command


PREDICT: Final = Engine("astec-predict", "astec", _predict)
ENGINES: Final = (
    PREDICT,
    Engine("Ray Data", "ray", _example("ray_data.py")),
    Engine("Spark", "pyspark", _example("spark.py")),
)
"""`astec-predict`, with which the others are compared, comes first."""


@dataclass(slots=True)
class EngineFigures:
    """The figures of one engine.

    Attributes:
        name: its name.
        version: of its distribution.
        few_s: seconds of the command for few texts, in each round.
        all_s: seconds of the command for all texts, in each round.
        same: the number of texts that the last round answered as `astec-predict` did.
    """

    name: str
    version: str
    few_s: list[float] = field(default_factory=list)
    all_s: list[float] = field(default_factory=list)
    same: int = 0

    def scoring_s(self) -> list[float]:
        """Return how much longer all texts took than few, in each round: the time without the start."""
        return [whole - few for whole, few in zip(self.all_s, self.few_s, strict=True)]


@dataclass(frozen=True, slots=True)
class EngineComparison:
    """The figures of all engines, `astec-predict` first, and the numbers of texts of the two runs of a round."""

    engines: list[EngineFigures]
    few: int
    texts: int


def ratio(first: Sequence[float], other: Sequence[float]) -> float:
    """Return how many times as fast the other is: the median of the ratios of the rounds' seconds."""
    return median(one / seconds for one, seconds in zip(first, other, strict=True))


def check_environment(python: Path, engines: Sequence[Engine]) -> list[str]:
    """Return the versions of the engines in an environment.

    Raises:
        ScaleError: One is missing there, or Java is; the message says what installs it.
    """
    remedy = "`make engines` installs Ray and Spark there, and ENGINES= names another folder"
    if not python.exists():
        raise ScaleError(f"there is no {python}; {remedy}")
    found = _run([str(python), "-c", _VERSIONS, *(engine.distribution for engine in engines)])
    if found.returncode:
        raise ScaleError(f"{python} lacks an engine ({last_line(found.stderr)}); {remedy}")
    if shutil.which("java") is None and any(engine.distribution == "pyspark" for engine in engines):
        raise ScaleError("Spark needs Java 17: apt-get install default-jre-headless")
    return found.stdout.split()


def measure_engines(
    run: EngineRun, texts: Sequence[str], count: int, rounds: int, engines: Sequence[Engine] = ENGINES
) -> EngineComparison:
    """Score the same texts by each engine in turns.

    Args:
        run: what is the same for all engines.
        texts: are repeated until there are `count`.
        count: of texts, at least 2.
        rounds: in each of which every engine scores few texts, and then all.
        engines: `PREDICT` first.

    Raises:
        ScaleError: an engine is missing or fails, or does not answer every text once.
    """
    versions = check_environment(run.python, engines)
    few = min(FEW_TEXTS, count // 2)
    figures = [EngineFigures(engine.name, version) for engine, version in zip(engines, versions, strict=True)]
    with TemporaryDirectory(prefix="engines-", ignore_cleanup_errors=True) as folder:
        few_texts, all_texts = (
            write_texts(Path(folder) / f"{size}-texts", texts, size, run.cores) for size in (few, count)
        )
        places = [Path(folder) / f"answers-{engine.distribution}" for engine in engines]
        for engine, place in zip(engines, places, strict=True):  # Not timed: it may compile kernels.
            _score(engine, Job(run, few_texts, place))
        for _ in range(rounds):
            for engine, place, measured in zip(engines, places, figures, strict=True):
                measured.few_s.append(_score(engine, Job(run, few_texts, place)))
                measured.all_s.append(_score(engine, Job(run, all_texts, place)))
        figures[0].same = count
        for measured, place in zip(figures[1:], places[1:], strict=True):
            measured.same = count_same(places[0].with_suffix(".parquet"), place)
    return EngineComparison(figures, few, count)


def _score(engine: Engine, job: Job) -> float:
    """Do a job, in place of the answers of an earlier one; return the seconds that its command took.

    Raises:
        ScaleError: The command failed.
    """
    if job.answers.exists():
        shutil.rmtree(job.answers)
    job.answers.with_suffix(".parquet").unlink(missing_ok=True)
    begun_s = perf_counter()
    done = _run(engine.command(job), _environment(job), job.answers.parent)
    seconds = perf_counter() - begun_s
    if done.returncode:
        raise ScaleError(f"{engine.name} ended with exit code {done.returncode}: {last_line(done.stderr)}")
    console.print(f"{engine.name}: {job.texts.name} in {seconds:.1f} s", markup=False)
    return seconds


def _environment(job: Job) -> dict[str, str]:
    """Return the variables of a command: our code, as many processes as cores, and a folder for what engines write."""
    variables = {
        "PYTHONPATH": str(Path(astec.__file__).parents[1]),
        "TMPDIR": str(job.answers.parent),
        "PYSPARK_PYTHON": str(job.run.python),
        "PYSPARK_SUBMIT_ARGS": f"--master local[{job.run.cores}] pyspark-shell",
        "RAY_OVERRIDE_RESOURCES": json.dumps({"CPU": job.run.cores}),
        "RAY_worker_niceness": "0",
        "RAY_AUTH_TOKEN": token_hex(32),
    }
    return os.environ | RAY_VARIABLES | variables


def _run(
    command: list[str], environment: dict[str, str] | None = None, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
