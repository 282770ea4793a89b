"""Memory shared by worker processes: the memory of each, and the time until all are ready."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from astec.export.artifact.text.bags import Query
from astec.loadtest.bench.over_http import CONNECTIONS, ServerUnderTest, load
from astec.loadtest.bench.serving import ours_command, served
from astec.loadtest.report.disk_size import disk_size_bytes
from astec.server.system.process_memory import ProcessMemory, process_memory


@dataclass(frozen=True, slots=True)
class Sharing:
    """The memory of the workers of one server after some load.

    Attributes:
        artifact_bytes: size of the artifact on disk.
        workers: memory of each worker.
        start_s: seconds from the start of the command until all workers are ready, by `--verify` mode.
    """

    artifact_bytes: int
    workers: list[ProcessMemory]
    start_s: dict[str, float]

    @property
    def private_share(self) -> float:
        """The largest private memory of a worker, as a share of the artifact's size."""
        return max(worker.private_bytes for worker in self.workers) / self.artifact_bytes


def measure_sharing(artifact: Path, workers: int, queries: list[Query], seconds: float) -> Sharing:
    """Serve `artifact`, put load on it, and measure the memory of its workers.

    Raises:
        ServeError: the server does not start.
    """
    with served(ours_command(artifact, workers, "--verify", "hashes")) as server:
        with_hashes_s = server.start_s
    with served(ours_command(artifact, workers, "--verify", "sizes")) as server:
        load(ServerUnderTest(f"{workers} workers", server.url, queries), seconds, clients=CONNECTIONS)
        memory = [process_memory(pid) for pid in server.workers()]
        return Sharing(disk_size_bytes(artifact), memory, {"hashes": with_hashes_s, "sizes": server.start_s})
