"""The model behind mosec: a router in Rust, and worker processes that it sends batches to."""

from __future__ import annotations

import sys
from typing import Any

from mosec import Server, Worker

from astec.loadtest.rivals.servers.setup import BATCH_SIZE, BATCH_WAIT_MS, HOST, Ranker, ServerSetup


class RankingWorker(Worker):  # type: ignore[misc]  # mosec is not installed where types are checked
    """A worker process; with batches, `forward` gets a list of requests."""

    def __init__(self) -> None:
        super().__init__()
        setup = ServerSetup.read()
        self._ranker, self._batches = Ranker(setup.artifact), setup.batches

    def forward(self, data: Any) -> Any:  # noqa: ANN401  (one request, or a list of them)
        """Answer one request, or each of a batch."""
        return self._ranker.rank(data) if self._batches else self._ranker.rank([data])[0]


def main() -> None:
    """Serve until SIGTERM."""
    setup = ServerSetup.read()
    sys.argv[1:] = ["--address", HOST, "--port", str(setup.port), "--log-level", "warning"]
    server = Server()
    batching = {"max_batch_size": BATCH_SIZE, "max_wait_time": BATCH_WAIT_MS} if setup.batches else {}
    server.append_worker(RankingWorker, num=setup.workers, route="/predict", **batching)
    server.run()


if __name__ == "__main__":
    main()
