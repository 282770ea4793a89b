"""A run of the benchmark: its parts, one after the other; a part that cannot be measured is reported as a problem."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from astec.export.artifact.manifest import WeightType
from astec.export.artifact.store import open_artifact
from astec.export.artifact.text.bags import Query
from astec.export.artifact.verification import ArtifactError, read_manifest
from astec.export.console import console
from astec.export.readers import DataError, open_dataset
from astec.loadtest.bench.bulk import BulkError, measure_bulk
from astec.loadtest.bench.growth import GrowthError, measure_growth, queries_of, synthetic_artifact
from astec.loadtest.bench.in_process import measure_in_process
from astec.loadtest.bench.machine_yardsticks import measure_machine
from astec.loadtest.bench.over_http import CONNECTIONS, ServerUnderTest, answer_bytes, compare, load
from astec.loadtest.bench.results import ECHO, HALF_CLOSED, HALF_ECHO, HALF_OPEN, OURS, Results
from astec.loadtest.bench.serving import ServeError, echo_command, ours_command, served
from astec.loadtest.bench.sharing import measure_sharing
from astec.loadtest.bench.trained_peers import TrainedPeer, train_peers
from astec.loadtest.generator.client import UnreachableError
from astec.loadtest.peers.peer_split import PeerSplit
from astec.server.offline.evaluate import measure

PARTS: Final = (
    "accuracy",
    "exact",
    "in-process",
    "peers",
    "http",
    "half",
    "curve",
    "cache",
    "growth",
    "sharing",
    "bulk",
)
PROPENSITY: Final = (0.55, 1.5)
"""A and B of the propensities, as for data sets that are neither Amazon's nor Wikipedia's."""
_QUICK_SIZES: Final = (200, 400)
_QUICK_DIM: Final = 32
_QUICK_BULK_QUERIES: Final = 100_000
_CURVE_SHARES: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1)
_CACHE_ENTRIES: Final = 100_000
_PROBLEMS = (ServeError, GrowthError, BulkError, UnreachableError, ArtifactError, DataError, ValueError, OSError)


@dataclass(frozen=True, slots=True)
class BenchmarkPlan:
    """The parts to measure, and how much of each.

    Attributes:
        artifact: the artifact to measure.
        test_data: texts to ask, with their labels.
        train: the file that `artifact` was trained on, for the peers; None measures no peers.
        workers: worker processes of our server, of the echo and of the peers, and processes that score a file.
        rounds: rounds of closed loops on each server.
        seconds, half_seconds: length of a closed loop, and of the open loop at half of the saturation rate.
        queries: number of queries asked one at a time in process.
        sizes: numbers of labels of the synthetic artifacts, rising; the memory of workers is measured on the last.
        dim: dimensions of the synthetic artifacts.
        scale_folder: folder of the synthetic artifacts, which are kept.
        sharing_workers: worker processes whose memory is measured.
        bulk_queries: lines of the file that is scored.
        peers: names of the public tools to compare with.
        environments: folder in which these tools are installed.
        parts: names of the parts to measure, of `PARTS`.
    """

    artifact: Path
    test_data: Path
    train: Path | None
    workers: int
    rounds: int
    seconds: float
    half_seconds: float
    queries: int
    sizes: Sequence[int]
    dim: int
    scale_folder: Path
    sharing_workers: int
    bulk_queries: int
    peers: Sequence[str]
    environments: Path
    parts: Sequence[str] = PARTS

    def quick(self) -> BenchmarkPlan:
        """Return the same plan cut down to seconds, to check that everything works; its figures are noise."""
        return replace(
            self,
            rounds=1,
            seconds=min(self.seconds, 0.2),
            half_seconds=min(self.half_seconds, 0.5),
            queries=min(self.queries, 200),
            sizes=_QUICK_SIZES,
            dim=_QUICK_DIM,
            bulk_queries=min(self.bulk_queries, _QUICK_BULK_QUERIES),
        )


@dataclass(slots=True)
class Benchmark:
    """Measures the parts of a plan into `results`; a part that cannot be measured adds a problem there."""

    plan: BenchmarkPlan
    results: Results = field(default_factory=Results)
    _peers: list[TrainedPeer] = field(default_factory=list)
    _folded_queries: list[str] = field(default_factory=list)

    def run(self) -> bool:
        """Measure all parts of the plan; return whether the user interrupted it.

        Raises:
            DataError: the test data cannot be read.
        """
        queries = [row.query for row in open_dataset(self.plan.test_data, "test").rows()]
        with TemporaryDirectory(prefix="astec-bench-") as temporary:
            try:
                self.results.speed = measure_machine()
                console.print(self.results.speed.describe(), markup=False, soft_wrap=True, end="")
                self._attempt("accuracy", lambda: self.results.accuracy.update(self._accuracy(exact=False)))
                self._attempt("exact", lambda: self.results.exact_accuracy.update(self._accuracy(exact=True)))
                self._attempt("in-process", lambda: self._measure_in_process(queries))
                self._attempt("peers", lambda: self._measure_peers(Path(temporary)))
                self._attempt("http", lambda: self._measure_http(queries))
                self._attempt("cache", lambda: self._measure_cache(queries))
                self._attempt("growth", self._measure_growth)
                self._attempt("sharing", self._measure_sharing)
                self._attempt("bulk", lambda: self._measure_bulk(queries))
            except KeyboardInterrupt:
                self.results.problems.append("what comes after the interruption by the user")
                return True
        return False

    def _attempt(self, part: str, work: Callable[[], None]) -> None:
        if part not in self.plan.parts:
            return
        console.print(f"{part} ...", markup=False)
        try:
            work()
        except _PROBLEMS as error:
            self.results.problems.append(f"{part}: {error}")

    def _accuracy(self, *, exact: bool) -> dict[str, float | int]:
        artifact, dataset = open_artifact(self.plan.artifact), open_dataset(self.plan.test_data, "test")
        return measure(artifact, dataset, PROPENSITY, skip_bad_lines=False, exact=exact)

    def _measure_in_process(self, queries: list[Query]) -> None:
        artifact = open_artifact(self.plan.artifact)
        self.results.in_process = measure_in_process(artifact, queries, self.plan.queries)

    def _measure_peers(self, folder: Path) -> None:
        if self.plan.train is None:
            raise ValueError("give the file that the artifact was trained on with --train")
        split = PeerSplit.read(self.plan.train, self.plan.test_data, PROPENSITY)
        self._folded_queries = split.folded_queries()
        for peer in train_peers(self.plan.peers, split, folder, self.plan.environments):
            if isinstance(peer, TrainedPeer):
                self._peers.append(peer)
            self.results.peers.append(peer.result if isinstance(peer, TrainedPeer) else peer)

    def _measure_http(self, queries: list[Query]) -> None:
        plan, results = self.plan, self.results
        with ExitStack() as servers:
            ours_url = servers.enter_context(served(ours_command(plan.artifact, plan.workers))).url
            ours = ServerUnderTest(OURS, ours_url, queries)
            echo_url = servers.enter_context(served(echo_command(plan.workers, answer_bytes(ours)))).url
            echo = ServerUnderTest(ECHO, echo_url, queries)
            peer_urls = {peer.result.name: servers.enter_context(peer.served(plan.workers)).url for peer in self._peers}
            peers = [ServerUnderTest(name, url, self._folded_queries) for name, url in peer_urls.items()]
            results.saturated = compare([ours, echo, *peers], plan.rounds, plan.seconds, CONNECTIONS)
            results.alone = compare([ours, echo], plan.rounds, plan.seconds / 2, 1)
            rates = {name: one.report.achieved_rate for name, one in results.saturated.items()}
            if "half" in plan.parts:
                self._measure_half(ours, echo, rates)
            if "curve" in plan.parts:
                for share in _CURVE_SHARES:
                    results.curve.append(load(ours, plan.seconds, rate=share * rates[OURS]).report)

    def _measure_half(self, ours: ServerUnderTest, echo: ServerUnderTest, closed: Mapping[str, float]) -> None:
        """Put open loops at half of the saturation rate on the server and on the echo.

        An open loop never reaches the rate of a closed loop: clients that each wait for an answer before they ask again
        fill batches better than clients that ask at independent times. The echo shows the latency without the model.
        """
        seconds, results = self.plan.half_seconds, self.results
        results.overload = load(ours, self.plan.seconds, rate=closed[OURS])
        results.half[HALF_OPEN] = load(ours, seconds, rate=results.overload.report.achieved_rate / 2)
        results.half[HALF_CLOSED] = load(ours, seconds / 2, rate=closed[OURS] / 2)
        results.half[HALF_ECHO] = load(echo, seconds / 2, rate=closed[ECHO] / 2)

    def _measure_cache(self, queries: list[Query]) -> None:
        command = ours_command(self.plan.artifact, self.plan.workers, "--cache-entries", str(_CACHE_ENTRIES))
        with served(command) as server:
            cached = ServerUnderTest("astec with a cache", server.url, queries, zipf=1.0)
            self.results.cached = load(cached, self.plan.seconds, clients=CONNECTIONS)

    def _measure_growth(self) -> None:
        plan = self.plan
        for size in plan.sizes:
            self.results.growth.append(measure_growth(plan.scale_folder, size, plan.dim, self._weights(), plan.queries))

    def _measure_sharing(self) -> None:
        path = synthetic_artifact(self.plan.scale_folder, self.plan.sizes[-1], self.plan.dim, self._weights())
        queries = [row.query for row in open_dataset(queries_of(path), "test").rows()]
        self.results.sharing = measure_sharing(path, self.plan.sharing_workers, queries, self.plan.seconds)

    def _measure_bulk(self, queries: list[Query]) -> None:
        plan = self.plan
        with TemporaryDirectory(prefix="astec-bulk-") as folder:
            self.results.bulk = measure_bulk(plan.artifact, queries, plan.bulk_queries, plan.workers, Path(folder))

    def _weights(self) -> WeightType:
        """Return the type of weights of the synthetic artifacts: that of the artifact that is measured."""
        return read_manifest(self.plan.artifact).weights
