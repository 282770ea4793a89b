"""A server that merges the answers of two shards, and the shards, each in a process of its own."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from astec.export.model.checkpoint import Checkpoint
from astec.export.packing.label_table import read_label_metadata
from astec.export.packing.options import PackOptions
from astec.export.packing.pack import pack
from astec.export.packing.shards import pack_shards
from astec.export.search.indices import Indices
from astec.loadtest.bench.serving import Served, merging_command, ours_command, served
from tests.server.conftest import attributes

pytestmark = pytest.mark.e2e

PATIENCE_S = 60.0
PATIENT = ("--request-timeout-ms", "60000")
QUERY = "cheap running shoes"


class Setup(NamedTuple):
    """The server of the whole model, those of its shards, and those that merge the shards' answers, by policy."""

    whole: Served
    shards: list[Served]
    merging: dict[str, Served]

    def both(self, path: str, asked: Any) -> tuple[Any, Any]:
        """Return the answers of the whole model and of its shards to the same request."""
        return post(self.whole, path, asked).json(), post(self.merging["fail"], path, asked).json()


def post(server: Served, path: str, asked: Any, status: int = 200) -> httpx.Response:
    content = asked if isinstance(asked, str) else json.dumps(asked)
    response = httpx.post(server.url + path, content=content, timeout=PATIENCE_S)
    assert response.status_code == status, response.text
    return response


def get(server: Served, path: str) -> httpx.Response:
    return httpx.get(server.url + path, timeout=PATIENCE_S)


@pytest.fixture(scope="module")
def folder(
    make_checkpoint: Callable[..., Checkpoint],
    build_indices: Callable[..., Indices],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A folder with a model as one artifact and as two shards, with label metadata and training texts."""
    folder, checkpoint = tmp_path_factory.mktemp("merging"), make_checkpoint()
    rows = ({"label": text, **attributes(label)} for label, text in enumerate(checkpoint.labels))
    (folder / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    metadata = read_label_metadata(folder / "labels.jsonl", checkpoint.labels).metadata
    options = PackOptions(label_metadata=metadata, training_texts=True)
    indices = build_indices(checkpoint, dim=8, backend="flat", kind="points", max_candidates=20)
    pack(checkpoint, indices, folder / "whole", "m", options)
    pack_shards(checkpoint, indices.plan, 2, folder / "shards", "m", options)
    return folder


@pytest.fixture(scope="module")
def setup(folder: Path) -> Iterator[Setup]:
    with ExitStack() as stack:
        whole = stack.enter_context(served(ours_command(folder / "whole", 1, *PATIENT)))
        shards = [
            stack.enter_context(served(ours_command(folder / "shards" / f"shard-{number}", 1, *PATIENT)))
            for number in range(2)
        ]
        urls = [shard.url for shard in shards]
        merging = {
            policy: stack.enter_context(served(merging_command(urls, *PATIENT, "--on-missing", policy)))
            for policy in ("fail", "partial")
        }
        yield Setup(whole, shards, merging)


def predictions(answer: Any) -> list[tuple[int, str, Any]]:
    return [(one["label_id"], one["label"], pytest.approx(one["score"], abs=2e-6)) for one in answer["predictions"]]


def test_the_api_is_that_of_a_server_with_the_whole_model(setup: Setup) -> None:
    assert get(setup.merging["fail"], "/readyz").json() == {"status": "ready"}
    for asked in ({"query": QUERY}, {"query": QUERY, "top_k": 9, "min_score": 0.3}, {"query": "qqqq zzzz"}):
        whole, merged = setup.both("/predict", asked)
        assert predictions(merged) == predictions(whole)
        assert merged.keys() == {"model", "predictions"}
    whole, merged = setup.both("/predict", {"queries": [QUERY, "garden hose", ""], "top_k": 3})
    assert list(map(predictions, merged["results"])) == list(map(predictions, whole["results"]))


def test_filters_and_explanations_go_through(setup: Setup) -> None:
    asked = {"query": QUERY, "filter": {"country": ["DE"], "active": True}, "exclude": {"tier": [1, 2]}, "top_k": 20}
    whole, merged = setup.both("/predict", asked)
    assert predictions(merged) == predictions(whole)
    whole, merged = setup.both("/predict", {"query": QUERY, "explain": True})
    for one, other in zip(whole["explanation"]["labels"], merged["explanation"]["labels"], strict=True):
        assert other["parts"] == pytest.approx(one["parts"], abs=2e-6)
    texts = [[neighbour["text"] for neighbour in one["explanation"]["neighbours"]] for one in (whole, merged)]
    assert texts[0] == texts[1]
    refused = post(setup.merging["fail"], "/predict", {"query": QUERY, "filter": {"colour": "red"}}, 422).json()
    assert refused["errors"][0]["message"].startswith("There is no such column; the columns are")


def test_streams_and_the_open_inference_protocol_go_through(setup: Setup) -> None:
    lines = '"cheap running shoes"\n{"query": "garden hose", "top_k": 2}\n{"top_k": 1}\n'
    whole, merged = (
        [json.loads(line) for line in post(server, "/predict/stream", lines).text.splitlines()]
        for server in (setup.whole, setup.merging["fail"])
    )
    assert [predictions(line) for line in merged[:2]] == [predictions(line) for line in whole[:2]]
    assert merged[2] == whole[2]
    tensor = {"name": "query", "datatype": "BYTES", "shape": [1], "data": [QUERY]}
    whole, merged = setup.both("/v2/models/m/infer", {"inputs": [tensor]})
    assert [output["data"] for output in merged["outputs"] if output["name"] != "scores"] == [
        output["data"] for output in whole["outputs"] if output["name"] != "scores"
    ]


def test_the_model_is_described_with_its_shards(setup: Setup) -> None:
    whole, merged = (get(server, "/v1/model").json() for server in (setup.whole, setup.merging["fail"]))
    assert merged["dimensions"]["num_labels"] == whole["dimensions"]["num_labels"]
    assert [(shard["address"], shard["index"]) for shard in merged["shards"]] == [
        (shard.url, number) for number, shard in enumerate(setup.shards)
    ]


def test_requests_to_each_shard_are_counted(setup: Setup) -> None:
    post(setup.merging["fail"], "/predict", {"query": QUERY})
    metrics = get(setup.merging["fail"], "/metrics").text
    for shard in setup.shards:
        assert f'astec_upstream_errors_total{{upstream="{shard.url}"}} 0.0' in metrics
        (count,) = [
            line
            for line in metrics.splitlines()
            if line.startswith(f'astec_upstream_seconds_count{{upstream="{shard.url}"')
        ]
        assert float(count.split()[-1]) >= 1


def wait_until(is_done: Callable[[], bool]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not is_done():
        assert time.monotonic() < end_s, "it did not happen in time"
        time.sleep(0.05)


def answers_whole(server: Served) -> bool:
    """Return whether the server is ready, and answers with the labels of all shards."""
    return (
        get(server, "/readyz").status_code == 200 and "partial" not in post(server, "/predict", {"query": QUERY}).json()
    )


def test_a_shard_that_dies_is_named_and_served_again_when_it_is_back(folder: Path) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(served(ours_command(folder / "shards" / "shard-0", 1)))
        with socket.socket() as reserved:
            reserved.bind(("127.0.0.1", 0))
            port = str(reserved.getsockname()[1])
        second = ours_command(folder / "shards" / "shard-1", 1, "--port", port)
        urls = [first.url, f"http://127.0.0.1:{port}"]
        failing = stack.enter_context(served(merging_command(urls, *PATIENT)))
        lenient = stack.enter_context(served(merging_command(urls, *PATIENT, "--on-missing", "partial")))
        # The second shard is not up yet.
        assert get(failing, "/readyz").status_code == 503
        with served(second) as dying:
            for server in (failing, lenient):
                wait_until(partial(answers_whole, server))
            assert dying.url == urls[1]
            everything = predictions(post(lenient, "/predict", {"query": QUERY, "top_k": 20}).json())
        refused = post(failing, "/predict", {"query": QUERY}, 503).json()
        assert refused["type"] == "urn:astec:problem:upstream-failed"
        assert f"1 of 2 shards did not answer: {urls[1]}" in refused["detail"]
        wait_until(lambda: urls[1] in get(failing, "/readyz").text)
        answer = post(lenient, "/predict", {"query": QUERY, "top_k": 20}).json()
        assert (answer["partial"], answer["missing"]) == (True, [urls[1]])
        assert len(answer["predictions"]) > 0
        assert {one[0] for one in predictions(answer)} != {one[0] for one in everything}
        assert get(lenient, "/readyz").status_code == 200
        assert "astec_partial_answers_total 0.0" not in get(lenient, "/metrics").text


def test_servers_that_are_not_all_shards_of_one_model_are_named(setup: Setup) -> None:
    with served(merging_command([setup.shards[0].url, setup.whole.url], *PATIENT)) as server:
        assert f"{setup.whole.url} serves no shard, but a whole model" in get(server, "/readyz").json()["detail"]
        assert post(server, "/predict", {"query": QUERY}, 503).json()["status"] == 503
