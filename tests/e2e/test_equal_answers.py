"""A query gets the same answer alone or in any batch, from one worker process or from one of four."""

from __future__ import annotations

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from astec.export.artifact.store import open_artifact
from astec.server.engine.predictor import Predictor, Ranking
from astec.trainer.demo.log import sample_queries

NUM_QUERIES, TOP_K = 10_000, 5
CLIENTS, QUERIES_PER_REQUEST = 8, 25
PATIENCE_S = 60.0

Answer = list[tuple[int, float]]
"""Label ids and scores, best first."""


@pytest.fixture(scope="module")
def queries(demo_queries: list[str]) -> list[str]:
    """So many as users send them, in an order that mixes long and short, odd and plain."""
    all_queries = [*demo_queries, *sample_queries(NUM_QUERIES - len(demo_queries), seed=17)]
    return [all_queries[i] for i in np.random.default_rng(0).permutation(NUM_QUERIES)]


@pytest.fixture(scope="module")
def alone(demo_artifact: Path, queries: list[str]) -> list[Answer]:
    """What each query is answered with when nothing else is asked."""
    predictor = Predictor(open_artifact(demo_artifact))
    return [plain(predictor.predict([query], TOP_K)[0][0]) for query in queries]


def plain(ranking: Ranking) -> Answer:
    return list(zip(ranking.label_ids.tolist(), ranking.scores.tolist(), strict=True))


def chunks(queries: list[str], size: int) -> list[list[str]]:
    return [queries[begin : begin + size] for begin in range(0, len(queries), size)]


@pytest.mark.parametrize("batch_size", [2, 7, 32, 500])
def test_batches_of_any_size(demo_artifact: Path, queries: list[str], alone: list[Answer], batch_size: int) -> None:
    predictor = Predictor(open_artifact(demo_artifact))
    answers = [
        plain(ranking) for batch in chunks(queries, batch_size) for ranking in predictor.predict(batch, TOP_K)[0]
    ]
    assert answers == alone


@pytest.mark.parametrize("workers", [1, 4])
def test_any_number_of_workers(demo_artifact: Path, queries: list[str], alone: list[Answer], workers: int) -> None:
    """Requests come side by side, so that batches form of several; connections close, so that all workers get some."""
    command = [sys.executable, "-m", "astec.server", str(demo_artifact), "--port", "0", "--workers", str(workers)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = re.search(r"http://[\d.]+:\d+", server.stdout.readline())
            assert address
            with (
                httpx.Client(base_url=address[0], headers={"Connection": "close"}, timeout=PATIENCE_S) as client,
                ThreadPoolExecutor(CLIENTS) as clients,
            ):
                answered = clients.map(lambda chunk: ask(client, chunk), chunks(queries, QUERIES_PER_REQUEST))
                answers = [answer for some in answered for answer in some]
        finally:
            server.terminate()
    assert answers == alone


def ask(client: httpx.Client, queries: list[str]) -> list[Answer]:
    response = client.post("/predict", json={"queries": queries, "top_k": TOP_K})
    assert response.status_code == 200
    return [
        # As float32, whose shortest form is what the server writes.
        [(one["label_id"], float(np.float32(one["score"]))) for one in result["predictions"]]
        for result in response.json()["results"]
    ]
