"""The comparison of the protocols, with a real server."""

import subprocess
import sys
from pathlib import Path

import pytest

from astec.loadtest.protocols.rounds import Cost, to_markdown
from astec.loadtest.protocols.ways import WAYS, to_message
from astec.server.api.open_inference.request import ParsedInferRequest
from astec.server.rpc.messages import parse_infer_message, read_message
from astec.server.rpc.proto.open_inference_pb2 import ModelInferRequest

ROOT = Path(__file__).parents[3]


def test_the_message_asks_for_the_query() -> None:
    message = read_message(ModelInferRequest, to_message("demo", "Größe"))
    parsed: ParsedInferRequest = parse_infer_message(message, 1, ["labels"])
    assert (message.model_name, parsed.request.queries, parsed.outputs) == ("demo", ["Größe"], {"labels": True})


def test_costs_are_compared_with_the_first() -> None:
    lines = to_markdown({"one": Cost(1234.4, 100.0), "two": Cost(600, 250.0)}).splitlines()
    assert lines[2:] == ["| one | 1,234 | 100 | 1.00 |", "| two | 600 | 250 | 2.50 |"]


@pytest.mark.e2e
def test_every_way_is_answered_by_a_real_server(demo_artifact: Path) -> None:
    flags = ["--connections", "4", "--seconds", "0.5", "--rounds", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "astec.loadtest.protocols", str(demo_artifact), *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines()[2:]]
    assert [row[0] for row in rows] == list(WAYS)
    assert all(float(row[1].replace(",", "")) > 0 for row in rows)
