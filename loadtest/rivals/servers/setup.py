"""The model that every framework serves, and the settings that the benchmark hands over in environment variables.

Frameworks start their worker processes themselves, and environment variables are what all of them pass on. The
environments of the frameworks have the packages that `astec.load` needs, and this project in their import path.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from astec import Model, load

HOST = "127.0.0.1"
BATCH_SIZE, BATCH_WAIT_MS = 32, 1
"""Largest batch, and the time for which its first query waits for others.

A batch holds at most the queries of all connections. A millisecond is about the time that such a batch takes; the
defaults of 10 ms and more are meant for models that take longer than that.
"""
_ARTIFACT, _PORT, _WORKERS, _BATCHES = "RIVAL_ARTIFACT", "RIVAL_PORT", "RIVAL_WORKERS", "RIVAL_BATCHES"


@dataclass(frozen=True, slots=True)
class ServerSetup:
    """The settings of a framework's server.

    Attributes:
        artifact: path of the artifact to serve.
        port: port to listen on.
        workers: number of processes that hold the model.
        batches: whether the framework puts waiting queries together into batches.
    """

    artifact: str
    port: int
    workers: int
    batches: bool

    @classmethod
    def read(cls) -> ServerSetup:
        """Read the settings from the environment."""
        return cls(
            os.environ[_ARTIFACT], int(os.environ[_PORT]), int(os.environ[_WORKERS]), bool(int(os.environ[_BATCHES]))
        )

    def environment(self) -> dict[str, str]:
        """Return the settings as environment variables."""
        values = (self.artifact, str(self.port), str(self.workers), str(int(self.batches)))
        return dict(zip((_ARTIFACT, _PORT, _WORKERS, _BATCHES), values, strict=True))


class Ranker:
    """The model of `setup`, asked as the requests of `POST /predict` ask.

    Args:
        artifact: path of the artifact to open.
    """

    def __init__(self, artifact: str) -> None:
        self._model: Model = load(artifact)

    def rank(self, requests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the answers to requests that have a `query` each, and the same `top_k`."""
        answers = self._model.predict([request["query"] for request in requests], top_k=requests[0]["top_k"])
        return [
            {
                "predictions": [
                    {"label_id": label.label_id, "label": label.label, "score": label.score} for label in labels
                ]
            }
            for labels in answers
        ]
