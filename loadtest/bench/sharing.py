"""What workers share: the memory of each, and how soon all are ready."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from astec.export.artifact.text.bags import Query
from astec.loadtest.bench.growth import artifact_size
from astec.loadtest.bench.over_http import CONNECTIONS, Contender, load
from astec.loadtest.bench.serving import ours_command, served
from astec.server.system.process_memory import ProcessMemory, process_memory


@dataclass(frozen=True, slots=True)
class Sharing:
    """The workers of one server after some load.

    Attributes:
        artifact_bytes: of all files.
        workers: memory of each.
        start_s: seconds from the command to readiness, by how files were verified.
    """

    artifact_bytes: int
    workers: list[ProcessMemory]
    start_s: dict[str, float]

    @property
    def private_share(self) -> float:
        """The largest private memory of a worker, over the artifact's size."""
        return max(worker.private_bytes for worker in self.workers) / self.artifact_bytes


def measure_sharing(artifact: Path, workers: int, queries: list[Query], seconds: float) -> Sharing:
    """Serve `artifact`, load it, and look at the memory of its workers.

    Raises:
        ServeError: the server does not start.
    """
    with served(ours_command(artifact, workers, "--verify", "hashes")) as server:
        with_hashes_s = server.start_s
    with served(ours_command(artifact, workers, "--verify", "sizes")) as server:
        load(Contender(f"{workers} workers", server.url, queries), seconds, clients=CONNECTIONS)
        memory = [process_memory(pid) for pid in server.workers()]
        return Sharing(artifact_size(artifact), memory, {"hashes": with_hashes_s, "sizes": server.start_s})
