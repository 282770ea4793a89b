"""The model behind BentoML: worker processes on one port, each with the model and, if asked for, adaptive batches."""

from __future__ import annotations

import os
import sys
from typing import Any

import bentoml

from astec.loadtest.rivals.servers.setup import BATCH_SIZE, HOST, Ranker, ServerSetup

_SETUP = ServerSetup.read()


@bentoml.service(workers=_SETUP.workers, logging={"access": {"enabled": False}})
class OneByOne:
    """Answers each request alone."""

    def __init__(self) -> None:
        self._ranker = Ranker(_SETUP.artifact)

    @bentoml.api(route="/predict")  # type: ignore[untyped-decorator]  # not installed where types are checked
    def predict(self, query: str, top_k: int) -> dict[str, Any]:
        """Answer one request."""
        return self._ranker.rank([{"query": query, "top_k": top_k}])[0]


@bentoml.service(workers=_SETUP.workers, logging={"access": {"enabled": False}})
class InBatches:
    """Answers requests that come in at the same time together. Such an endpoint takes lists only."""

    def __init__(self) -> None:
        self._ranker = Ranker(_SETUP.artifact)

    # BentoML finds by itself how long a batch should wait.
    @bentoml.api(route="/predict", batchable=True, max_batch_size=BATCH_SIZE)  # type: ignore[untyped-decorator]
    def predict(self, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Answer the requests of a batch."""
        return self._ranker.rank(requests)


def main() -> None:
    """Replace this process by BentoML's own command, which serves until SIGTERM."""
    target = f"{__spec__.name}:{'InBatches' if _SETUP.batches else 'OneByOne'}"
    arguments = ["serve", target, "--host", HOST, "--port", str(_SETUP.port)]
    os.execv(sys.executable, [sys.executable, "-P", "-m", "bentoml", *arguments])  # noqa: S606


if __name__ == "__main__":
    main()
