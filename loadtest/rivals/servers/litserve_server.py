"""The model behind LitServe: FastAPI processes in front, and as many processes that hold the model behind queues."""

from __future__ import annotations

from typing import Any

from litserve import LitAPI, LitServer

from astec.loadtest.rivals.servers.setup import BATCH_SIZE, BATCH_WAIT_MS, HOST, Ranker, ServerSetup


class RankingApi(LitAPI):  # type: ignore[misc]  # litserve is not installed where types are checked
    """The model of a process; with batches, `predict` gets a list of requests."""

    def setup(self, device: str) -> None:
        """Open the model in a process that will hold it."""
        setup = ServerSetup.read()
        self._ranker, self._batches = Ranker(setup.artifact), setup.batches

    def predict(self, x: Any) -> Any:  # noqa: ANN401  (one request, or a list of them)
        """Answer one request, or each of a batch."""
        return self._ranker.rank(x) if self._batches else self._ranker.rank([x])[0]

    def batch(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Put requests together: a list, where LitServe would make an array."""
        return inputs

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Take answers apart."""
        return output


def main() -> None:
    """Serve until SIGTERM."""
    setup = ServerSetup.read()
    batching = {"max_batch_size": BATCH_SIZE, "batch_timeout": BATCH_WAIT_MS / 1e3} if setup.batches else {}
    server = LitServer(RankingApi(**batching), accelerator="cpu", workers_per_device=setup.workers)
    server.run(
        host=HOST,
        port=setup.port,
        num_api_servers=setup.workers,
        log_level="warning",
        generate_client_file=False,
        access_log=False,
    )


if __name__ == "__main__":
    main()
