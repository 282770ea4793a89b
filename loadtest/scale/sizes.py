"""What artifacts of different sizes take: disk, memory, the time to start, and the time of a query, in turns."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from statistics import median

import numpy as np

from astec.export.artifact.manifest import Manifest
from astec.export.artifact.store import open_artifact
from astec.export.artifact.text.bags import Query
from astec.export.readers import open_dataset
from astec.loadtest.bench.growth import queries_of
from astec.loadtest.bench.in_process import STAGES, percentiles_us, time_queries
from astec.loadtest.bench.over_http import ServerUnderTest, load
from astec.loadtest.bench.serving import Served, ours_command, served
from astec.loadtest.generator.connection import OK
from astec.loadtest.report.disk_size import disk_size_bytes
from astec.loadtest.scale.errors import ScaleError
from astec.loadtest.scale.rounds import Rounds, over_rounds
from astec.server.engine.predictor import Predictor
from astec.server.system.process_memory import ProcessMemory, process_memory


@dataclass(frozen=True, slots=True)
class SizeFigures:
    """The figures of one artifact.

    Attributes:
        manifest: of the artifact.
        disk_bytes: its size on disk.
        start_s: seconds from the start of the command of a server until it is ready, by `--verify` mode.
        memory: of the worker process, after it has answered queries.
        single_us: microseconds of a query in process.
        stages_us: the medians of each of `STAGES` in each round, in microseconds.
        request_us: microseconds of a request of one query on one connection that asks one after another.
    """

    manifest: Manifest
    disk_bytes: int
    start_s: dict[str, float]
    memory: ProcessMemory
    single_us: Rounds
    stages_us: Rounds
    request_us: Rounds

    def single(self, percentile: int) -> float:
        """Return the median over the rounds of a percentile of a query in process."""
        return over_rounds(self.single_us, percentile)

    def request(self, percentile: int) -> float:
        """Return the median over the rounds of a percentile of a request."""
        return over_rounds(self.request_us, percentile)

    def stages(self) -> dict[str, float]:
        """Return the median over the rounds of each stage's median."""
        return dict(zip(STAGES, map(median, zip(*self.stages_us, strict=True)), strict=True))


def measure_sizes(paths: Sequence[Path], count: int, rounds: int, seconds: float) -> list[SizeFigures]:
    """Measure artifacts that have a file of queries beside them, as `astec-loadtest synth-artifact` writes it.

    Args:
        paths: the artifacts.
        count: queries of a round in process.
        rounds: rounds, in which each artifact has its turn.
        seconds: of requests to each server in each round.

    Raises:
        ArtifactError: an artifact cannot be opened.
        DataError: an artifact has no queries.
        ServeError: a server does not start.
        ScaleError: a request is not answered.
    """
    queries = [_queries(path) for path in paths]
    in_process = _in_process(paths, queries, count, rounds)
    starts = [_start_s(path) for path in paths]
    with ExitStack() as stack:
        servers = [stack.enter_context(served(ours_command(path, 1, "--verify", "sizes"))) for path in paths]
        requests = _requests(servers, queries, rounds, seconds)
        memories = [process_memory(server.workers()[0]) for server in servers]
    return [
        SizeFigures(
            manifest=open_artifact(path, "sizes").manifest,
            disk_bytes=disk_size_bytes(path),
            start_s={"hashes": hashes_s, "sizes": server.start_s},
            memory=memory,
            single_us=single,
            stages_us=stages,
            request_us=request,
        )
        for path, hashes_s, server, memory, (single, stages), request in zip(
            paths, starts, servers, memories, in_process, requests, strict=True
        )
    ]


def _queries(artifact: Path) -> list[Query]:
    return [row.query for row in open_dataset(queries_of(artifact), "test").rows()]


def _in_process(
    paths: Sequence[Path], queries: Sequence[list[Query]], count: int, rounds: int
) -> list[tuple[Rounds, Rounds]]:
    """Return for each artifact the percentiles of a query and the medians of its stages, by round.

    Every round asks other queries, as far as there are any, and the first one is not timed.
    """
    predictors = [Predictor(open_artifact(path, "sizes")) for path in paths]
    streams = [cycle(own) for own in queries]
    found: list[tuple[Rounds, Rounds]] = [([], []) for _ in paths]
    for number in range(rounds + 1):
        for predictor, stream, (single, stages) in zip(predictors, streams, found, strict=True):
            total_Q, stages_QS = time_queries(predictor, list(islice(stream, count)))
            if number:
                single.append(percentiles_us(total_Q))
                stages.append((1e6 * np.median(stages_QS, axis=0)).tolist())
    return found


def _start_s(path: Path) -> float:
    with served(ours_command(path, 1, "--verify", "hashes")) as server:
        return server.start_s


def _requests(servers: Sequence[Served], queries: Sequence[list[Query]], rounds: int, seconds: float) -> list[Rounds]:
    found: list[Rounds] = [[] for _ in servers]
    for _ in range(rounds):
        for server, own, figures in zip(servers, queries, found, strict=True):
            measured = load(ServerUnderTest(server.url, server.url, own), seconds, clients=1).measured
            if failed := set(measured.kinds.tolist()) - {OK}:
                raise ScaleError(f"{server.url} did not answer every request: {', '.join(sorted(failed))}")
            figures.append(percentiles_us(measured.latency_s))
    return found
