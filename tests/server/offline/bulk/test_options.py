"""The options of `astec-predict`, which are those of a request to the server and give the same predictions."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from astec.export.artifact.store import Artifact
from astec.server.offline.bulk.options import OptionError, ScoringOptions, parse_options
from astec.trainer.demo.log import sample_queries

Serving = Callable[[Artifact], Callable[..., AbstractAsyncContextManager[tuple[FastAPI, httpx.AsyncClient]]]]
PATIENCE_S = 120.0
TEXTS = list(dict.fromkeys([*sample_queries(60, seed=5)[:20], "qqqq zzzz"]))


def predict(artifact: Artifact, folder: Path, *options: str, code: int = 0) -> tuple[list[list[dict[str, Any]]], str]:
    """Return the predictions for each text, and stderr."""
    (folder / "q.txt").write_text("\n".join(TEXTS) + "\n")
    output = folder / "a.jsonl"
    command = [
        sys.executable,
        "-m",
        "astec.server.offline.predict",
        str(artifact.path),
        "--input",
        str(folder / "q.txt"),
    ]
    command += ["--output", str(output), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == code, done.stderr
    lines = output.read_text().splitlines() if output.exists() else []
    return [json.loads(line)["predictions"] for line in lines], done.stderr


@pytest.fixture
async def ask(serving: Serving, request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., Any]]:
    """Return a function that requests predictions for all texts from a server of the artifact that the test names."""
    async with serving(request.getfixturevalue(request.param))(request_timeout_ms=60_000) as (_, client):

        async def answer(**members: object) -> list[list[dict[str, Any]]]:
            response = await client.post("/predict", json={"queries": TEXTS, **members})
            assert response.status_code == 200, response.text
            return [result["predictions"] for result in response.json()["results"]]

        yield answer


@pytest.mark.e2e
@pytest.mark.parametrize("ask", ["opened_artifact"], indirect=True)
async def test_probabilities_and_the_least_score(
    ask: Callable[..., Any], opened_artifact: Artifact, tmp_path: Path
) -> None:
    everything = await ask(probabilities=True)
    least = sorted(hit["score"] for hits in everything for hit in hits)[len(TEXTS)]
    answers, _ = predict(opened_artifact, tmp_path, "--probabilities", "--min-score", str(least))
    assert answers == await ask(probabilities=True, min_score=least)
    assert 0 < sum(map(len, answers)) < sum(map(len, everything))


@pytest.mark.e2e
@pytest.mark.parametrize("ask", ["described_artifact"], indirect=True)
@pytest.mark.parametrize(
    "conditions",
    [
        {"filter": {"country": "DE"}},
        {"filter": {"active": True, "country": ["AT", "CH"]}, "exclude": {"advertiser": ["acme", "hooli"]}},
        {"exclude": {"country": "DE"}},
        {"filter": {"country": "FR"}},
        {"filter": {}},
    ],
)
async def test_conditions_on_labels(
    ask: Callable[..., Any], described_artifact: Artifact, conditions: dict[str, object], tmp_path: Path
) -> None:
    options = [part for name, value in conditions.items() for part in (f"--{name}", json.dumps(value))]
    answers, _ = predict(described_artifact, tmp_path, "--top-k", "12", *options)
    assert answers == await ask(top_k=12, **conditions)


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--filter", "country=DE"), "--filter country=DE is no JSON: "),
        (("--filter", "7"), "--filter: Input should be a valid dictionary"),
        (("--filter", '{"country": 1.5}'), "--filter country: Give a string, a boolean, an integer, or a list"),
        (("--exclude", '{"color": "red"}'), "--exclude color: There is no such column; the columns are country, "),
        (("--exclude", '{"tier": "red"}'), "--exclude tier: A value of this column is of type integer, not string"),
        (("--probabilities",), "--probabilities: the model does not know how likely a label is right."),
    ],
)
def test_what_the_model_cannot_serve_is_refused_and_leaves_nothing(
    described_artifact: Artifact, options: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    assert described_artifact.manifest.calibration is None
    _, stderr = predict(described_artifact, tmp_path, *options, code=2)
    assert stderr.startswith(f"astec-predict: {message}")
    assert [path.name for path in tmp_path.iterdir()] == ["q.txt"]


def test_every_problem_is_told_at_once(described_artifact: Artifact) -> None:
    with pytest.raises(OptionError, match=r"--filter a: There is .*; --exclude b: There is "):
        parse_options(described_artifact, 5, wanted='{"a": 1}', unwanted='{"b": 1}')


def test_a_model_without_metadata_says_so(opened_artifact: Artifact) -> None:
    with pytest.raises(OptionError, match="export it with --label-metadata"):
        parse_options(opened_artifact, 5, wanted='{"country": "DE"}')


def test_a_model_with_metadata_and_no_conditions_selects_nothing(described_artifact: Artifact) -> None:
    assert parse_options(described_artifact, 7, 0.5) == ScoringOptions(7, 0.5)
    assert parse_options(described_artifact, 7, wanted="{}").selection is None


def test_conditions_are_the_same_however_they_are_written(described_artifact: Artifact) -> None:
    one = parse_options(described_artifact, 5, wanted='{"country":["DE","AT"],"tier":3}')
    other = parse_options(described_artifact, 5, wanted='{"tier": [3], "country": ["AT", "DE", "AT"]}')
    assert one.identity() == other.identity()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"min_score": 0.5}, "min-score"),
        ({"wanted": '{"country": "DE"}'}, "filter"),
        ({"unwanted": '{"country": "DE"}'}, "exclude"),
    ],
)
def test_other_options_are_another_job(described_artifact: Artifact, change: dict[str, Any], name: str) -> None:
    one = parse_options(described_artifact, 5).identity()
    other = parse_options(described_artifact, 5, **change).identity()
    assert [key for key in one if one[key] != other[key]] == [name]


def test_probabilities_are_another_job(opened_artifact: Artifact) -> None:
    assert parse_options(opened_artifact, 5, probabilities=True).identity()["probabilities"] is True
    manifest = opened_artifact.manifest.model_copy(update={"calibration": None})
    with pytest.raises(OptionError, match="astec-export, from a run with held-out texts"):
        parse_options(dataclasses.replace(opened_artifact, manifest=manifest), 5, probabilities=True)
