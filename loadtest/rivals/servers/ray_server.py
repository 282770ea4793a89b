"""The model behind Ray Serve: a proxy process in front of as many replicas as the other servers have workers."""

from __future__ import annotations

import os
import signal
from tempfile import gettempdir
from typing import Any

import ray
from ray import serve
from starlette.requests import Request

from astec.loadtest.rivals.servers.setup import BATCH_SIZE, BATCH_WAIT_MS, HOST, Ranker, ServerSetup

_OBJECT_STORE_BYTES = 100 << 20
_ONGOING_REQUESTS = 100


class OneByOne:
    """A replica that answers each request alone."""

    def __init__(self, artifact: str) -> None:
        self._ranker = Ranker(artifact)

    async def __call__(self, request: Request) -> dict[str, Any]:
        """Answer one request."""
        return self._ranker.rank([await request.json()])[0]


class InBatches:
    """A replica that answers the requests that wait together."""

    def __init__(self, artifact: str) -> None:
        self._ranker = Ranker(artifact)

    @serve.batch(max_batch_size=BATCH_SIZE, batch_wait_timeout_s=BATCH_WAIT_MS / 1e3)  # type: ignore[untyped-decorator]
    async def rank(self, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Answer the requests of a batch."""
        return self._ranker.rank(requests)

    async def __call__(self, request: Request) -> dict[str, Any]:
        """Answer one request, in a batch with others."""
        answer: dict[str, Any] = await self.rank(await request.json())
        return answer


def main() -> None:
    """Serve until SIGTERM, then shut Ray down."""
    setup = ServerSetup.read()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _serve(setup)
        signal.pause()
    except KeyboardInterrupt:
        serve.shutdown()
    finally:
        ray.shutdown()


def _serve(setup: ServerSetup) -> None:
    ray.init(
        num_cpus=setup.workers,
        include_dashboard=False,
        object_store_memory=_OBJECT_STORE_BYTES,
        log_to_driver=False,
        _temp_dir=gettempdir(),
        runtime_env={"env_vars": {"PYTHONPATH": os.environ["PYTHONPATH"]}},
    )
    serve.start(http_options={"host": HOST, "port": setup.port})
    # A replica takes as many requests at once as there are connections; the default of 5 would keep batches small.
    deployment = serve.deployment(num_replicas=setup.workers, max_ongoing_requests=_ONGOING_REQUESTS)
    replica = deployment(InBatches if setup.batches else OneByOne)
    serve.run(replica.bind(setup.artifact), route_prefix="/predict")


if __name__ == "__main__":
    main()
